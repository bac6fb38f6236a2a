"""Request bodies: JSON -> records, checked for form. ``web.documents`` is the way back."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ferrotype.model.errors import Invalid
from ferrotype.model.image import BASE_ATTRIBUTES, NewImage, NewLocation
from ferrotype.model.member import STATUSES, MemberStatus
from ferrotype.model.patch import OPS, Operation, Patch, PatchOp
from ferrotype.web.errors import HTTPError
from ferrotype.web.http import Request

PATCH_V21 = "application/openstack-images-v2.1-json-patch"
PATCH_V20 = "application/openstack-images-v2.0-json-patch"
#: Most operations in one patch: more than any image has attributes, and less than a second of CPU time.
MAX_OPERATIONS = 1000

_BARE_TILDE = re.compile("~(?![01])")
_MEMBER_STATUSES: Mapping[Any, MemberStatus] = {status: status for status in STATUSES}
_OPS: Mapping[Any, PatchOp] = {op: op for op in OPS}
#: Hexadecimal digits of a digest, by algorithm.
_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
_decode = msgspec.json.Decoder().decode


async def json(request: Request) -> Any:
    """Return the JSON document in the body; raise Invalid if there is none or it is malformed."""
    raw = await request.body()
    if not raw:
        raise Invalid("The body of this request must be a JSON document; it is empty.")
    try:
        document = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The body must be valid JSON: {error}") from None
    if b"u0000" in raw and _has_nul(document):
        raise Invalid("Strings must not contain the character NUL.")
    return document


def _has_nul(document: Any) -> bool:
    pending = [document]  # Iterative: a document may be nested as deep as the decoder allows.
    while pending:
        value = pending.pop()
        if isinstance(value, str) and "\0" in value:
            return True
        if isinstance(value, dict):
            pending += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            pending += value
    return False


async def json_object(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body; raise Invalid for anything else."""
    document = await json(request)
    if not isinstance(document, dict):
        raise Invalid("The body must be a JSON object.")
    return document


async def new_image(request: Request) -> NewImage:
    """Return the image that a create asks for; its values are checked by ``rules.review``."""
    document = await json_object(request)
    attributes = {name: value for name, value in document.items() if name in BASE_ATTRIBUTES}
    properties = {name: value for name, value in document.items() if name not in BASE_ATTRIBUTES}
    return NewImage(attributes, properties)


async def member_name(request: Request) -> str:
    """Return the project to share an image with, from ``{"member": "..."}``."""
    name = (await json_object(request)).get("member")
    if not isinstance(name, str) or not 1 <= len(name) <= 255:
        raise Invalid("'member' must be a string of 1 to 255 characters.")
    return name


async def member_status(request: Request) -> MemberStatus:
    """Return the new status of a member, from ``{"status": "..."}``."""
    text = (await json_object(request)).get("status")
    status = _MEMBER_STATUSES.get(text) if isinstance(text, str) else None
    if status is None:
        raise Invalid(f"'status' must be one of {', '.join(STATUSES)}.")
    return status


async def new_location(request: Request) -> NewLocation:
    """Return the location to add, from ``{"url": "...", "validation_data": {...}}``."""
    document = await json_object(request)
    url, digest = document.get("url"), document.get("validation_data", {})
    if not isinstance(url, str):
        raise Invalid("'url' must be a string.")
    if not isinstance(digest, dict) or digest.keys() - {"os_hash_algo", "os_hash_value"}:
        raise Invalid("'validation_data' must be an object with no other keys than os_hash_algo and os_hash_value.")
    if not digest:
        return NewLocation(url)
    algorithm, value = digest.get("os_hash_algo"), digest.get("os_hash_value")
    if not isinstance(algorithm, str) or algorithm not in _DIGITS:
        raise Invalid(f"'os_hash_algo' must be one of {', '.join(_DIGITS)}.")
    if not isinstance(value, str) or not re.fullmatch(f"[0-9a-fA-F]{{{_DIGITS[algorithm]}}}", value):
        raise Invalid(f"'os_hash_value' must have {_DIGITS[algorithm]} hexadecimal digits for {algorithm}.")
    return NewLocation(url, algorithm, value)


async def import_method(request: Request) -> str:
    """Return the name of the method that an import asks for."""
    document = await json_object(request)
    method = document.get("method")
    if not isinstance(method, dict) or not isinstance(method.get("name"), str):
        raise Invalid("'method' must be an object with a 'name'.")
    for key in ("all_stores", "all_stores_must_succeed"):
        if not isinstance(document.get(key, False), bool):
            raise Invalid(f"'{key}' must be true or false.")
    return str(method["name"])


# -- patches ------------------------------------------------------------------------------------


async def image_patch(request: Request) -> Patch:
    """Return the patch in the body, checked for form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind not in (PATCH_V21, PATCH_V20):
        raise HTTPError(
            415,
            f"The content type of a patch must be {PATCH_V21} or {PATCH_V20}.",
            (("accept-patch", f"{PATCH_V20}, {PATCH_V21}"),),
        )
    document = await json(request)
    if not isinstance(document, list):
        raise Invalid("A patch must be a JSON array of operations.")
    if len(document) > MAX_OPERATIONS:
        raise Invalid(f"A patch may have at most {MAX_OPERATIONS} operations; this one has {len(document)}.")
    parse = _operation if kind == PATCH_V21 else _old_operation
    return Patch(tuple(parse(each) for each in document), only_new=kind == PATCH_V20)


def _operation(document: Any) -> Operation:
    if not isinstance(document, dict):
        raise Invalid("Every operation of a patch must be a JSON object.")
    given = document.get("op")
    op = _OPS.get(given) if isinstance(given, str) else None
    if op is None:
        raise Invalid(f"'op' must be add, replace or remove; got {str(given)[:32]!r}.")
    if "path" not in document:
        raise Invalid(f"The operation '{op}' must have a 'path'.")
    return _with_value(op, document["path"], document)


def _old_operation(document: Any) -> Operation:
    """The first patch media type: the operation's name is the key of its path."""
    if not isinstance(document, dict):
        raise Invalid("Every operation of a patch must be a JSON object.")
    named = [op for op in OPS if op in document]
    if len(named) != 1:
        raise Invalid("Every operation of a patch must have exactly one of 'add', 'replace' and 'remove'.")
    return _with_value(named[0], document[named[0]], document)


def _with_value(op: PatchOp, pointer: Any, document: dict[str, Any]) -> Operation:
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
    """Return the segments of a JSON pointer (RFC 6901); this API also accepts leading slashes and spaces."""
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        raise Invalid("A path must be a string that begins with '/'.")
    rest = pointer.lstrip("/")
    if rest.endswith("/") or "//" in rest:
        raise Invalid(f"The path '{pointer[:64]}' must not have empty segments.")
    if _BARE_TILDE.search(rest):
        raise Invalid(f"In the path '{pointer[:64]}' a '~' must be followed by 0 or 1.")
    return tuple(segment.strip().replace("~1", "/").replace("~0", "~") for segment in rest.split("/"))
