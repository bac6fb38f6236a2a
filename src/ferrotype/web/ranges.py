"""Range and conditional requests for image data (RFC 9110, 13 and 14)."""

import re

from ferrotype.model.errors import BadRange
from ferrotype.model.image import Image
from ferrotype.web.http import Request

_OTHER_UNIT = re.compile(r"\s*(?!bytes\s*=)[^\s=]+\s*=.*", re.ASCII | re.IGNORECASE)
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.ASCII | re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"\s*bytes\s+(\d+)-(\d+)/(\*|\d+)\s*", re.ASCII | re.IGNORECASE)


def part(request: Request, size: int, etag: str | None) -> tuple[int, int] | None:
    """Return (offset, count) of the requested range; None for all of the data.

    Several ranges, and ranges of another unit than bytes, are answered with all of the data (RUL-74). Raises BadRange
    for a range that is malformed or outside the data.
    """
    wanted = request.headers.get("range")
    if wanted is not None:
        if not _if_range_holds(request, etag) or "," in wanted or _OTHER_UNIT.fullmatch(wanted):
            return None
        return _range(wanted, size)
    legacy = request.headers.get("content-range")
    return _content_range(legacy, size) if legacy is not None else None


def _number(digits: str) -> int:
    """Return the number, truncated to 20 digits: beyond the size of any file its exact value does not matter."""
    return int(digits.lstrip("0")[:20] or "0")


def _if_range_holds(request: Request, etag: str | None) -> bool:
    """If-Range: the range applies only while the data still have the client's validator."""
    condition = request.headers.get("if-range")
    return condition is None or (etag is not None and condition.strip() == etag)


def _range(text: str, size: int) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    if not match or match.groups() == ("", ""):
        raise BadRange("'Range' must have the form bytes=0-99, bytes=100- or bytes=-100.", size)
    first, last = match.groups()
    if not first:
        return _suffix(_number(last), size)
    return _between(_number(first), _number(last) if last else size - 1, size)


def _suffix(count: int, size: int) -> tuple[int, int]:
    count = min(count, size)
    if not count:
        raise BadRange(f"The range has no bytes; the data has {size}.", size)
    return size - count, count


def _between(first: int, last: int, size: int) -> tuple[int, int]:
    if first >= size or first > last:
        raise BadRange(f"The range {first}-{last} lies outside the data, which has {size} bytes.", size)
    last = min(last, size - 1)
    return first, last - first + 1


def _content_range(text: str, size: int) -> tuple[int, int]:
    """Parse the legacy form of a range request: ``Content-Range: bytes 0-99/*``."""
    match = _CONTENT_RANGE.fullmatch(text)
    if not match:
        raise BadRange("'Content-Range' must have the form bytes 0-99/*.", size)
    first, last, total = _number(match[1]), _number(match[2]), match[3]
    if last >= size or (total != "*" and _number(total) != size):
        raise BadRange(f"The range ends at {last} of {total}, but the data has {size} bytes.", size)
    return _between(first, last, size)


def etag_of(image: Image) -> str | None:
    """Return the strong ETag of the image's data; None while it has no digest."""
    return f'"{image.os_hash_value or image.checksum}"' if image.os_hash_value or image.checksum else None


def not_modified(request: Request, etag: str | None) -> bool:
    """Tell whether the client already has these data (If-None-Match)."""
    known = request.headers.get("if-none-match")
    return known is not None and etag is not None and _etag_matches(known, etag, weak=True)


def precondition_failed(request: Request, etag: str | None) -> bool:
    """Tell whether the client asks for other data than these (If-Match)."""
    wanted = request.headers.get("if-match")
    return wanted is not None and (etag is None or not _etag_matches(wanted, etag, weak=False))


def _etag_matches(condition: str, etag: str, weak: bool) -> bool:
    if condition.strip() == "*":
        return True
    tags = (each.strip() for each in condition.split(","))
    return any(each == etag or (weak and each == f"W/{etag}") for each in tags)
