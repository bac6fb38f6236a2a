"""Validate image create and update requests, attribute by attribute, in the order the API defines."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from ferrotype.config.limits import Limits
from ferrotype.config.schema import UUID
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Conflict, Forbidden, Invalid
from ferrotype.model.image import BASE_ATTRIBUTES, Image, NewImage
from ferrotype.model.patch import Operation, Patch
from ferrotype.rules import limits as quota
from ferrotype.rules.protection import NAME_LENGTH, Protection
from ferrotype.rules.schemas import Schemas

#: Set by the service alone; a create that names one is refused before its value is looked at (IMG-PROP-06).
SET_BY_SERVICE = ("direct_url", "self", "file", "schema", "stores")
READ_ONLY = (
    "status", "checksum", "size", "virtual_size", "created_at", "updated_at", "os_hash_algo", "os_hash_value",
)  # fmt: skip
RESERVED = ("location", "deleted", "deleted_at")
#: Attributes that cannot change once the image has data.
FIXED_BY_DATA = ("disk_format", "container_format")
INT_MAX = 2**31 - 1
#: Most bytes of a property's value, and most levels of nesting in it.
PROPERTY_BYTES = 65535
NESTING = 32

_SIGNATURE = (
    "img_signature",
    "img_signature_hash_method",
    "img_signature_key_type",
    "img_signature_certificate_uuid",
)

#: Raises Forbidden unless the policy allows the image's visibility.
CheckVisibility = Callable[[Image], None]
#: Returns the image with its locations changed by an operation, or raises.
ChangeLocations = Callable[[Image, Operation], Image]


def check_name_allowed(name: str) -> None:
    """Raise Forbidden if the name of a property is reserved for the service."""
    if name.startswith("os_glance") or name in RESERVED:
        raise Forbidden(f"Attribute '{name[:NAME_LENGTH]}' is reserved.")


def check_name_length(name: str) -> None:
    """Raise Invalid unless the name of a property has 1 to 255 characters."""
    if not name:
        raise Invalid(f"The name of a property must have 1 to {NAME_LENGTH} characters; it is empty.")
    if len(name) > NAME_LENGTH:
        raise Invalid(f"Property name '{name[:32]}...' must have at most {NAME_LENGTH} characters.")


def check_value_size(name: str, value: Any) -> None:
    """Raise Invalid if the value of a property has too many bytes or levels (SEC-107)."""
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


# -- create -------------------------------------------------------------------------------------
# The order of the checks is IMG-CREATE-02: parse_new_image, then the policy, then check_property_protection,
# then with_numbers.


def parse_new_image(new: NewImage, caller: Caller, schemas: Schemas) -> Image:
    """Return the image that a create asks for, without its numbers; raise Forbidden or Invalid.

    Its id is empty if the client named none. Checks names, the schema and the size of properties.
    """
    for name in SET_BY_SERVICE:
        if name in new.attributes:
            raise Forbidden(f"Attribute '{name}' is set by the service.")
    document = {**new.attributes, **new.properties}
    schemas.check(document)
    schemas.check_required(document)
    for name, value in new.properties.items():
        check_name_length(name)
        check_name_allowed(name)
        check_value_size(name, value)
    given = new.attributes
    reject_empty_tag(given.get("tags", ()))
    if "locations" in given:
        raise Forbidden("Attribute 'locations' is reserved.")
    owner = (given["owner"] or None) if "owner" in given else caller.project
    if owner is not None and len(owner) > NAME_LENGTH:  # The schema has not seen the caller's project.
        raise Invalid(f"The owner must have at most {NAME_LENGTH} characters.")
    return Image(
        id=given.get("id", ""),
        name=given.get("name"),
        visibility=given.get("visibility", "shared"),
        owner=owner,
        protected=given.get("protected", False),
        os_hidden=given.get("os_hidden", False),
        disk_format=given.get("disk_format"),
        container_format=given.get("container_format"),
        tags=tuple(dict.fromkeys(given.get("tags", ()))),
        properties=dict(new.properties),
    )


def check_property_protection(image: Image, caller: Caller, protection: Protection | None) -> None:
    """Raise Forbidden if a new image has a property that the caller may not create."""
    for name in image.properties if protection else ():
        if protection and not protection.allows(caller, "create", name):
            raise Forbidden(f"Attribute '{name}' is reserved.")


def with_numbers(image: Image, new: NewImage, limits: Limits) -> Image:
    """Return the parsed image with min_disk and min_ram, after the last checks: quotas and read-only attributes."""
    quota.tags_fit((), image.tags, limits)
    for name in READ_ONLY:
        if name in new.attributes:
            raise Forbidden(f"Attribute '{name}' is read-only.")
    min_disk, min_ram = (to_int(name, new.attributes.get(name, 0)) for name in ("min_disk", "min_ram"))
    quota.properties_fit({}, image.properties, limits)
    return replace(image, min_disk=min_disk, min_ram=min_ram)


def to_int(name: str, value: float) -> int:
    """Return the value of ``min_disk`` or ``min_ram`` as an integer; raise Invalid if it is out of bounds."""
    if not 0 <= value <= INT_MAX:
        raise Invalid(f"'{name}' must be from 0 to {INT_MAX}.")
    return int(value)


# -- PATCH --------------------------------------------------------------------------------------


def check_patch(patch: Patch, schemas: Schemas) -> None:
    """Raise if an operation is impossible on every image; asked before the image is looked up."""
    for operation in patch.operations:
        name = operation.name
        if name in ("id", *READ_ONLY, *SET_BY_SERVICE):
            raise Forbidden(f"Attribute '{name}' is read-only.")
        check_name_allowed(name)
        if operation.op == "remove":
            continue
        if name == "locations" and len(operation.path) > 1:
            schemas.check({"locations": [operation.value]})
            continue
        schemas.check({name: operation.value})
        if name not in BASE_ATTRIBUTES:
            check_name_length(name)
            check_value_size(name, operation.value)
        elif name in ("min_disk", "min_ram"):
            to_int(name, operation.value)


def actions_of(patch: Patch) -> list[str]:
    """Return the actions that a caller must be allowed to do for a patch (IMG-LOCP-02)."""
    needed = {
        ("set_image_location" if each.op != "remove" else "delete_image_location")
        if each.name == "locations"
        else "modify_image"
        for each in patch.operations
    }
    return sorted(needed or {"modify_image"}, reverse=True)


def apply_patch(
    before: Image,
    patch: Patch,
    caller: Caller,
    check_visibility: CheckVisibility,
    change_locations: ChangeLocations,
    limits: Limits,
    schemas: Schemas,
    protection: Protection | None = None,
) -> Image:
    """Return ``before`` with all operations applied in order, or raise.

    ``before`` includes the properties that are hidden from the caller; the result keeps them.
    """
    after = before
    for operation in patch.operations:
        if operation.name == "locations":
            after = change_locations(after, operation)
        elif operation.name in BASE_ATTRIBUTES:
            after = _patch_attribute(after, operation, patch.only_new, caller, check_visibility)
        else:
            if protection:
                _check_protected(after.properties, operation, caller, protection)
            after = replace(after, properties=_patch_property(after.properties, operation, patch.only_new))
    reject_empty_tag(set(after.tags) - set(before.tags))
    quota.tags_fit(before.tags, after.tags, limits)
    quota.locations_fit(len(before.locations), len(after.locations), limits)
    hidden = protection.hidden(caller, before.properties) if protection else ()
    quota.properties_fit(before.properties, after.properties, limits, hidden)
    for name in schemas.required:
        if name in before.properties and name not in after.properties:
            raise Invalid(f"Property '{name}' is required in this deployment.")
    return after


def _patch_attribute(
    image: Image, operation: Operation, only_new: bool, caller: Caller, check_visibility: CheckVisibility
) -> Image:
    name, value = operation.name, operation.value
    if operation.op == "remove":
        raise Forbidden(f"Attribute '{name}' cannot be removed.")
    if operation.op == "add" and only_new:
        raise Conflict(f"Attribute '{name}' already exists; replace it.")
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
        check_visibility(after)
    return after


def _check_protected(
    properties: Mapping[str, Any], operation: Operation, caller: Caller, protection: Protection
) -> None:
    """Raise if the caller may not do this to a property; the error does not reveal a property that is hidden."""
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


def _patch_property(properties: Mapping[str, Any], operation: Operation, only_new: bool) -> dict[str, Any]:
    name, present = operation.name, operation.name in properties
    if operation.op == "add":
        if present and only_new:
            raise Conflict(f"Property '{name}' already exists; replace it.")
    elif not present:
        raise Conflict(f"Property '{name[:NAME_LENGTH]}' does not exist.")
    if operation.op == "remove":
        return {key: value for key, value in properties.items() if key != name}
    return {**properties, name: operation.value}


def reject_empty_tag(added: Collection[str]) -> None:
    """Raise Invalid if one of the tags to add is empty: the API could not name it in a path to remove it."""
    if "" in added:
        raise Invalid("A tag must have at least 1 character.")


# -- data ---------------------------------------------------------------------------------------


def ready_for_data(image: Image) -> None:
    """Raise unless data can be uploaded to the image now: it is queued, has its formats and no signature."""
    if image.status != "queued":
        raise Conflict(f"Image {image.id} is {image.status}; data can be uploaded to a queued image only.")
    for name in FIXED_BY_DATA:
        if not getattr(image, name):
            raise Invalid(f"Set '{name}' before adding data.")
    if all(image.properties.get(name) for name in _SIGNATURE):
        raise Invalid(
            "This image carries a signature, which this version cannot verify;"
            " remove the img_signature properties to add its data unsigned."
        )


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def reject_control_chars(what: str, text: str) -> None:
    """Raise Invalid if a string that becomes part of a URL has control characters."""
    if _CONTROL.search(text):
        raise Invalid(f"{what} must not contain control characters.")


_IMAGE_ID = re.compile(UUID)


def could_be_image_id(text: str) -> bool:
    """Tell whether the string has the form of an image id; clients also send names in place of ids."""
    return _IMAGE_ID.fullmatch(text) is not None
