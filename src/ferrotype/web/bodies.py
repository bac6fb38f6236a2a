"""JSON <-> records: what clients send becomes records, what they get is made of documents."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from ferrotype.model.errors import Invalid
from ferrotype.model.patch import Operation, Patch
from ferrotype.web.errors import HTTPRefusal
from ferrotype.web.http import Request

PATCH_V21 = "application/openstack-images-v2.1-json-patch"
PATCH_V20 = "application/openstack-images-v2.0-json-patch"
#: Operations that one patch may have: more than any image has attributes, less than costs a second.
MOST_OPERATIONS = 1000

_LOOSE_TILDE = re.compile("~(?![01])")
_decode = msgspec.json.Decoder().decode


async def json(request: Request) -> Any:
    """Return the request's JSON document; raise Invalid when there is none or it is malformed."""
    raw = await request.body()
    if not raw:
        raise Invalid("A JSON document is expected in the body of this request.")
    try:
        document = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The body is not JSON that can be read: {error}") from None
    if b"u0000" in raw and _has_nul(document):
        raise Invalid("Texts must not contain the character NUL.")
    return document


def _has_nul(document: Any) -> bool:
    waiting = [document]  # Not recursive: documents may be nested as deep as the decoder goes.
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and "\0" in value:
            return True
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value
    return False


async def json_object(request: Request) -> dict[str, Any]:
    """Return the request's JSON object; anything else is Invalid."""
    document = await json(request)
    if not isinstance(document, dict):
        raise Invalid("The body must be a JSON object.")
    return document


async def member_name(request: Request) -> str:
    """Return the project that a new member is, from ``{"member": "..."}``."""
    name = (await json_object(request)).get("member")
    if not isinstance(name, str) or not 1 <= len(name) <= 255:
        raise Invalid("'member' must be a text of 1 to 255 characters.")
    return name


async def member_status(request: Request) -> str:
    """Return the status that a member wants, from ``{"status": "..."}``."""
    status = (await json_object(request)).get("status")
    if not isinstance(status, str):
        raise Invalid("'status' must be a text.")
    return status


# -- patches ------------------------------------------------------------------------------------


async def image_patch(request: Request) -> Patch:
    """Return the request's patch, checked for form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind not in (PATCH_V21, PATCH_V20):
        raise HTTPRefusal(
            415,
            f"The content type of a change must be {PATCH_V21} or {PATCH_V20}.",
            (("accept-patch", f"{PATCH_V20}, {PATCH_V21}"),),
        )
    document = await json(request)
    if not isinstance(document, list):
        raise Invalid("A change must be a JSON array of operations.")
    if len(document) > MOST_OPERATIONS:
        raise Invalid(f"A change may have at most {MOST_OPERATIONS} operations; this one has {len(document)}.")
    read = _operation if kind == PATCH_V21 else _old_operation
    return Patch(tuple(read(each) for each in document), only_new=kind == PATCH_V20)


def _operation(document: Any) -> Operation:
    if not isinstance(document, dict):
        raise Invalid("Every operation of a change must be a JSON object.")
    op = document.get("op")
    if op not in ("add", "replace", "remove"):
        raise Invalid(f"'op' must be add, replace or remove; got {str(op)[:32]!r}.")
    if "path" not in document:
        raise Invalid(f"The operation '{op}' must have a 'path'.")
    return _complete(op, document["path"], document)


def _old_operation(document: Any) -> Operation:
    if not isinstance(document, dict):
        raise Invalid("Every operation of a change must be a JSON object.")
    named = [op for op in ("add", "replace", "remove") if op in document]
    if len(named) != 1:
        raise Invalid("Every operation of a change must have exactly one of 'add', 'replace' and 'remove'.")
    return _complete(named[0], document[named[0]], document)


def _complete(op: Any, pointer: Any, document: dict[str, Any]) -> Operation:
    path = _path(pointer)
    wanted = 2 if path[0] == "locations" and op != "replace" else 1
    if len(path) != wanted:
        raise Invalid(f"The path '{pointer[:64]}' must have {wanted} segment{'s' if wanted > 1 else ''} to {op}.")
    if op == "remove":
        return Operation(op, path)
    if "value" not in document:
        raise Invalid(f"The operation '{op}' must have a 'value'.")
    return Operation(op, path, document["value"])


def _path(pointer: Any) -> tuple[str, ...]:
    """Return the segments of a JSON pointer, with this API's leniency for slashes and blanks before them."""
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        raise Invalid("A path must be a text that begins with '/'.")
    rest = pointer.lstrip("/")
    if rest.endswith("/") or "//" in rest:
        raise Invalid(f"The path '{pointer[:64]}' must not have empty segments.")
    if _LOOSE_TILDE.search(rest):
        raise Invalid(f"In the path '{pointer[:64]}' a '~' must be followed by 0 or 1.")
    return tuple(segment.strip().replace("~1", "/").replace("~0", "~") for segment in rest.split("/"))


# -- pages --------------------------------------------------------------------------------------


def image_page(
    documents: Sequence[Any], pairs: list[tuple[str, str]], limit: int, last_id: str | None
) -> dict[str, Any]:
    """Return one page of images, with the links to the first page and, when this one is full, to the next."""
    query = [(key, value) for key, value in pairs if key != "marker"]
    page: dict[str, Any] = {
        "images": documents,
        "schema": "/v2/schemas/images",
        "first": "/v2/images" + (f"?{urlencode(query)}" if query else ""),
    }
    if last_id is not None and len(documents) == limit:
        page["next"] = "/v2/images?" + urlencode([*query, ("marker", last_id)])
    return page
