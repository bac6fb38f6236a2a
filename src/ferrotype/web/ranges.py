"""Which part of the data is asked for, and whether the caller has it already."""

import re

from ferrotype.model.errors import BadRange, Invalid
from ferrotype.model.image import Image
from ferrotype.web.http import Request

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.ASCII | re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"\s*bytes\s+(\d+)-(\d+)/(\*|\d+)\s*", re.ASCII | re.IGNORECASE)


def part(request: Request, size: int, etag: str | None) -> tuple[int, int] | None:
    """Return (offset, count) of the part that the request asks for; None for all of it.

    Raises BadRange for what does not exist or cannot be understood, Invalid for several parts at once.
    """
    wanted = request.headers.get("range")
    if wanted is not None:
        if not _still_the_same(request, etag):
            return None
        return _range(wanted, size)
    legacy = request.headers.get("content-range")
    return _content_range(legacy, size) if legacy is not None else None


def _number(digits: str) -> int:
    """Return what the digits say; beyond what any file can have, the exact value does not matter."""
    return int(digits.lstrip("0")[:20] or "0")


def _still_the_same(request: Request, etag: str | None) -> bool:
    """If-Range: a part is only wanted when the whole is still what the client knows."""
    condition = request.headers.get("if-range")
    return condition is None or (etag is not None and condition.strip() == etag)


def _range(text: str, size: int) -> tuple[int, int]:
    if "," in text:
        raise Invalid("Only one range can be asked for at once.")
    match = _RANGE.fullmatch(text)
    if not match or match.groups() == ("", ""):
        raise BadRange("The range must look like bytes=0-99, bytes=100- or bytes=-100.", size)
    first, last = match.groups()
    if not first:
        return _suffix(_number(last), size)
    return _between(_number(first), _number(last) if last else size - 1, size)


def _suffix(count: int, size: int) -> tuple[int, int]:
    if size == 0:
        raise BadRange("The image has no data to take the end of.", size)
    count = size if count == 0 or count > size else count
    return size - count, count


def _between(first: int, last: int, size: int) -> tuple[int, int]:
    if first >= size or first > last:
        raise BadRange(f"The range begins at {first} and ends at {last}; the data have {size} bytes.", size)
    last = min(last, size - 1)
    return first, last - first + 1


def _content_range(text: str, size: int) -> tuple[int, int]:
    """The old way of asking: ``Content-Range: bytes 0-99/*`` in a request."""
    match = _CONTENT_RANGE.fullmatch(text)
    if not match:
        raise BadRange("The range must look like bytes 0-99/*.", size)
    first, last, total = _number(match[1]), _number(match[2]), match[3]
    if last >= size or (total != "*" and _number(total) != size):
        raise BadRange(f"The range ends at {last} of {total}; the data have {size} bytes.", size)
    return _between(first, last, size)


def etag_of(image: Image) -> str | None:
    """Return a strong validator of the image's data; None where no digest is known."""
    return f'"{image.os_hash_value or image.checksum}"' if image.os_hash_value or image.checksum else None


def not_modified(request: Request, etag: str | None) -> bool:
    """Tell whether the caller has these data already (If-None-Match)."""
    known = request.headers.get("if-none-match")
    return known is not None and etag is not None and _names(known, etag, weak=True)


def precondition_failed(request: Request, etag: str | None) -> bool:
    """Tell whether the caller wants other data than these (If-Match)."""
    wanted = request.headers.get("if-match")
    return wanted is not None and (etag is None or not _names(wanted, etag, weak=False))


def _names(condition: str, etag: str, weak: bool) -> bool:
    if condition.strip() == "*":
        return True
    tags = (each.strip() for each in condition.split(","))
    return any(each == etag or (weak and each == f"W/{etag}") for each in tags)
