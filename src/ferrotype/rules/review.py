"""May it become that? What a create or a change asks for, judged attribute by attribute in the API's order."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from ferrotype.config.model import UUID, Limits
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Conflict, Forbidden, Invalid
from ferrotype.model.image import BASE_ATTRIBUTES, Image
from ferrotype.model.patch import Operation, Patch
from ferrotype.rules import limits as room
from ferrotype.rules.protection import NAME_LENGTH, Protection
from ferrotype.rules.schemas import Schemas

#: Set by the service alone; a create that names one is refused whatever its value.
NEVER_GIVEN = ("direct_url", "self", "file", "schema", "stores")
READ_ONLY = (
    "status", "checksum", "size", "virtual_size", "created_at", "updated_at", "os_hash_algo", "os_hash_value",
)  # fmt: skip
RESERVED = ("location", "deleted", "deleted_at")
FIXED_BY_DATA = ("disk_format", "container_format")
INT_MAX = 2**31 - 1
PROPERTY_BYTES = 65535
NESTING = 32

_SIGNATURE = (
    "img_signature",
    "img_signature_hash_method",
    "img_signature_key_type",
    "img_signature_certificate_uuid",
)

#: Asks the rules whether a visibility may be given to this image, or raises.
MayBecome = Callable[[Image], None]


def name_is_free(name: str) -> None:
    """Raise unless a property may have this name."""
    if name.startswith("os_glance") or name in RESERVED:
        raise Forbidden(f"Attribute '{name[:NAME_LENGTH]}' is reserved.")


def name_fits(name: str) -> None:
    """Raise Invalid unless a property's name is of a length that every database keeps."""
    if not name:
        raise Invalid("A property must have a name.")
    if len(name) > NAME_LENGTH:
        raise Invalid(f"Property name '{name[:32]}...' must have at most {NAME_LENGTH} characters.")


def value_fits(name: str, value: Any) -> None:
    """Raise Invalid unless a property's value is of a size that every database keeps and every client reads."""
    if _deeper_than(NESTING, value):
        raise Invalid(f"Property '{name}' must be nested in at most {NESTING} levels.")
    length = len(value.encode()) if isinstance(value, str) else len(msgspec.json.encode(value))
    if length > PROPERTY_BYTES:
        raise Invalid(f"Property '{name}' must have at most {PROPERTY_BYTES} bytes; it has {length}.")


def _deeper_than(levels: int, value: Any) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper_than(levels - 1, each) for each in inner)


def proposed(document: Mapping[str, Any], caller: Caller, schemas: Schemas) -> Image:
    """Return the image that a create asks for, checked for form; what the caller may do comes after."""
    for name in NEVER_GIVEN:
        if name in document:
            raise Forbidden(f"Attribute '{name}' is set by the service.")
    schemas.check(document)
    schemas.check_required(document)
    properties: dict[str, Any] = {}
    for name, value in document.items():
        if name not in BASE_ATTRIBUTES:
            name_fits(name)
            name_is_free(name)
            value_fits(name, value)
            properties[name] = value
    if "locations" in document:
        raise Forbidden("Attribute 'locations' is reserved.")
    owner = (document["owner"] or None) if "owner" in document else caller.project
    if owner is not None and len(owner) > NAME_LENGTH:  # the caller's project: the schema has not seen it
        raise Invalid(f"The owner must have at most {NAME_LENGTH} characters.")
    return Image(
        id=document.get("id", ""),
        name=document.get("name"),
        visibility=document.get("visibility", "shared"),
        owner=owner,
        protected=document.get("protected", False),
        os_hidden=document.get("os_hidden", False),
        disk_format=document.get("disk_format"),
        container_format=document.get("container_format"),
        tags=tuple(dict.fromkeys(document.get("tags", ()))),
        properties=properties,
    )


def properties_are_open(image: Image, caller: Caller, protection: Protection | None) -> None:
    """Raise Forbidden where a new image has a property that the caller may not create."""
    for name in image.properties if protection else ():
        if protection and not protection.allows(caller, "create", name):
            raise Forbidden(f"Attribute '{name}' is reserved.")


def completed(image: Image, document: Mapping[str, Any], limits: Limits) -> Image:
    """Return the proposed image with its numbers, after the checks that the API makes last."""
    room.tags_fit((), image.tags, limits)
    for name in READ_ONLY:
        if name in document:
            raise Forbidden(f"Attribute '{name}' is read-only.")
    min_disk, min_ram = (whole(name, document.get(name, 0)) for name in ("min_disk", "min_ram"))
    room.properties_fit({}, image.properties, limits)
    return replace(image, min_disk=min_disk, min_ram=min_ram)


def whole(name: str, value: float) -> int:
    """Return a number of ``min_disk`` or ``min_ram`` as an integer within its bounds; raise Invalid."""
    if not 0 <= value <= INT_MAX:
        raise Invalid(f"'{name}' must be from 0 to {INT_MAX}.")
    return int(value)


# -- PATCH --------------------------------------------------------------------------------------


def patch_is_legal(patch: Patch, schemas: Schemas) -> None:
    """Raise where an operation could not be applied to any image: before the image is even looked for."""
    for operation in patch.operations:
        name = operation.name
        if name in ("id", *READ_ONLY, *NEVER_GIVEN):
            raise Forbidden(f"Attribute '{name}' is read-only.")
        name_is_free(name)
        if operation.op == "remove":
            continue
        if name == "locations" and len(operation.path) > 1:
            schemas.check({"locations": [operation.value]})
            continue
        schemas.check({name: operation.value})
        if name not in BASE_ATTRIBUTES:
            name_fits(name)
            value_fits(name, operation.value)
        elif name in ("min_disk", "min_ram"):
            whole(name, operation.value)


def changed(
    before: Image,
    patch: Patch,
    caller: Caller,
    may_become: MayBecome,
    limits: Limits,
    schemas: Schemas,
    protection: Protection | None = None,
) -> Image:
    """Return ``before`` with every operation applied in order; raise, and nothing is applied.

    Properties that the caller cannot read are part of ``before``, and stay part of it.
    """
    after = before
    for operation in patch.operations:
        if operation.name in BASE_ATTRIBUTES:
            after = _base_changed(after, operation, patch.only_new, caller, may_become)
        else:
            if protection:
                _property_is_open(after.properties, operation, caller, protection)
            after = replace(after, properties=_property_changed(after.properties, operation, patch.only_new))
    room.tags_fit(before.tags, after.tags, limits)
    room.properties_fit(before.properties, after.properties, limits)
    for name in schemas.required:
        if name in before.properties and name not in after.properties:
            raise Invalid(f"Property '{name}' is required in this deployment.")
    return after


def _base_changed(image: Image, operation: Operation, only_new: bool, caller: Caller, may_become: MayBecome) -> Image:
    name, value = operation.name, operation.value
    if name == "locations":
        raise Forbidden("Locations cannot be changed: no store of this deployment takes any that somebody names.")
    if operation.op == "remove":
        raise Forbidden(f"Attribute '{name}' cannot be removed.")
    if operation.op == "add" and only_new:
        raise Conflict(f"Attribute '{name}' exists already; replace it.")
    if name in FIXED_BY_DATA and image.status not in ("queued", "importing"):
        raise Forbidden(f"Attribute '{name}' cannot be changed once the image is {image.status}.")
    if name == "owner":
        if not caller.is_admin:
            raise Forbidden("Only an administrator can change the owner.")
        value = value or None
    if name in ("min_disk", "min_ram"):
        value = int(value)
    if name == "tags":
        value = tuple(dict.fromkeys(value))
    after: Image = replace(image, **{name: value})
    if name == "visibility":
        may_become(after)
    return after


def _property_is_open(
    properties: Mapping[str, Any], operation: Operation, caller: Caller, protection: Protection
) -> None:
    """Raise where the caller may not do this: as if there were nothing, where it cannot read what there is."""
    name = operation.name
    if name not in properties:
        if operation.op == "add" and not protection.allows(caller, "create", name):
            raise Forbidden(f"Attribute '{name}' is reserved.")
        return
    readable = protection.allows(caller, "read", name)
    if not readable and operation.op != "add":
        raise Conflict(f"Property '{name}' does not exist.")
    if not readable or not protection.allows(caller, "delete" if operation.op == "remove" else "update", name):
        raise Forbidden(f"Attribute '{name}' is reserved.")


def _property_changed(properties: Mapping[str, Any], operation: Operation, only_new: bool) -> dict[str, Any]:
    name, present = operation.name, operation.name in properties
    if operation.op == "add":
        if present and only_new:
            raise Conflict(f"Property '{name}' exists already; replace it.")
    elif not present:
        raise Conflict(f"Property '{name[:NAME_LENGTH]}' does not exist.")
    if operation.op == "remove":
        return {key: value for key, value in properties.items() if key != name}
    return {**properties, name: operation.value}


# -- data ---------------------------------------------------------------------------------------


def ready_for_data(image: Image) -> None:
    """Raise unless the image can take data now."""
    if image.status != "queued":
        raise Conflict(f"Image {image.id} is {image.status}; only a queued image takes data.")
    for name in FIXED_BY_DATA:
        if not getattr(image, name):
            raise Invalid(f"Set '{name}' before data are uploaded.")
    if all(image.properties.get(name) for name in _SIGNATURE):
        raise Invalid(
            "This image carries a signature, which this version cannot verify;"
            " remove the img_signature properties to upload it unsigned."
        )


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def is_clean(what: str, text: str) -> None:
    """Raise Invalid where a text that will be part of a URL has control characters."""
    if _CONTROL.search(text):
        raise Invalid(f"{what} must not contain control characters.")


_IMAGE_ID = re.compile(UUID)


def could_be_image_id(text: str) -> bool:
    """Tell whether any image could have this id; clients ask for names in the place of ids."""
    return _IMAGE_ID.fullmatch(text) is not None
