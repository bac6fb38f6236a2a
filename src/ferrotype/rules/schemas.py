"""JSON schemas of images and members, built once from the configuration, and validation against them.

The document that clients get is the one that requests are validated against.
"""

from collections.abc import Callable, Mapping
from typing import Any

import fastjsonschema

from ferrotype.config.model import UUID, Api, Formats
from ferrotype.model.errors import Invalid
from ferrotype.model.image import Status
from ferrotype.model.member import STATUSES as MEMBER_STATUSES

#: In the order of the API's schema.
_STATUSES: tuple[Status, ...] = (
    "queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated",
)  # fmt: skip


def _string(description: str, limit: int | None = None, null: bool = False, **more: Any) -> dict[str, Any]:
    kind: Any = ["null", "string"] if null else "string"
    return {
        "type": kind,
        **({"maxLength": limit} if limit else {}),
        "description": description,
        **more,
    }


def _number(description: str, null: bool = False, **more: Any) -> dict[str, Any]:
    return {"type": ["null", "integer"] if null else "integer", "description": description, **more}


def image_schema(formats: Formats, api: Api) -> dict[str, Any]:
    """Return the schema of an image in this deployment."""
    read_only = {"readOnly": True}
    properties: dict[str, Any] = {
        "id": _string("Identifier of the image.", pattern=UUID),
        "name": _string("Name of the image; not necessarily unique.", 255, null=True),
        "status": _string("Status of the image.", enum=list(_STATUSES), **read_only),
        "visibility": _string("Who can see the image.", enum=["community", "public", "private", "shared"]),
        "protected": {"type": "boolean", "description": "Whether deletion of the image is refused."},
        "os_hidden": {"type": "boolean", "description": "Whether default lists leave the image out."},
        "checksum": _string("MD5 of the data, in hexadecimal.", 32, null=True, **read_only),
        "os_hash_algo": _string("Algorithm of os_hash_value.", 64, null=True, **read_only),
        "os_hash_value": _string("Digest of the data, in hexadecimal.", 128, null=True, **read_only),
        "owner": _string("Project that owns the image.", 255, null=True),
        "size": _number("Size of the data in bytes.", null=True, **read_only),
        "virtual_size": _number("Size in bytes of the virtual disk in the data.", null=True, **read_only),
        "container_format": _string(
            "Format of the container around the disk.", null=True, enum=[None, *formats.container_formats]
        ),
        "disk_format": _string("Format of the disk.", null=True, enum=[None, *formats.disk_formats]),
        "created_at": _string("When the image was created.", **read_only),
        "updated_at": _string("When the image was last changed.", **read_only),
        "tags": {
            "type": "array",
            "items": {"type": "string", "maxLength": 255},
            "description": "Strings to find the image by.",
        },
        "direct_url": _string("URL of the data, for clients with access to the store.", **read_only),
        "min_ram": _number("Memory in MiB that a server needs for this image."),
        "min_disk": _number("Disk in GiB that a server needs for this image."),
        "self": _string("Path of the image.", **read_only),
        "file": _string("Path of the image's data.", **read_only),
        "schema": _string("Path of this schema.", **read_only),
        "stores": _string("Stores that hold the data, joined by commas.", **read_only),
        "locations": {"type": "array", "items": _LOCATION, "description": "Locations of the data."},
    }
    properties |= {name: {**each, "is_base": False} for name, each in api.schema_properties.items()}
    return {
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
        **({"required": list(api.schema_required)} if api.schema_required else {}),
    }


_LOCATION: dict[str, Any] = {
    "type": "object",
    "properties": {
        "url": {"type": "string", "maxLength": 255},
        "metadata": {"type": "object"},
        "validation_data": {
            "type": "object",
            "description": "Expected digests of the data.",
            "writeOnly": True,
            "additionalProperties": False,
            "properties": {
                "checksum": {"type": "string", "minLength": 32, "maxLength": 32},
                "os_hash_algo": {"type": "string", "maxLength": 64},
                "os_hash_value": {"type": "string", "maxLength": 128},
            },
            "required": ["os_hash_algo", "os_hash_value"],
        },
    },
    "required": ["url", "metadata"],
}

MEMBER_SCHEMA: dict[str, Any] = {
    "name": "member",
    "properties": {
        "member_id": {"type": "string", "description": "Project that the image is shared with."},
        "image_id": {"type": "string", "pattern": UUID, "description": "The image that is shared."},
        "created_at": {"type": "string", "description": "When the project became a member."},
        "updated_at": {"type": "string", "description": "When the membership was last changed."},
        "status": {
            "type": "string",
            "enum": list(MEMBER_STATUSES),
            "description": "The project's answer to the offer.",
        },
        "schema": {"type": "string", "readOnly": True, "description": "Path of this schema."},
    },
}

MEMBERS_SCHEMA: dict[str, Any] = {
    "name": "members",
    "properties": {"members": {"type": "array", "items": MEMBER_SCHEMA}, "schema": {"type": "string"}},
    "links": [{"rel": "describedby", "href": "{schema}"}],
}


def images_schema(image: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a list of images."""
    return {
        "name": "images",
        "properties": {
            "images": {"type": "array", "items": image},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


class Schemas:
    """The schemas of one deployment, and the compiled validator of images."""

    def __init__(self, formats: Formats, api: Api):
        self.image = image_schema(formats, api)
        self.images = images_schema(self.image)
        self.member = MEMBER_SCHEMA
        self.members = MEMBERS_SCHEMA
        self.required = tuple(self.image.get("required", ()))
        checked = {key: value for key, value in self.image.items() if key != "required"}
        self._check: Callable[[Any], Any] = fastjsonschema.compile(
            {"type": "object", **checked}, use_default=False, use_formats=False
        )

    def check(self, document: Mapping[str, Any]) -> None:
        """Raise Invalid, naming attribute and limit, if the document does not match the schema of images."""
        try:
            self._check(dict(document))
        except fastjsonschema.JsonSchemaValueException as error:
            raise Invalid(_message(error)) from None

    def check_required(self, document: Mapping[str, Any]) -> None:
        """Raise Invalid if a property that the deployment requires is missing."""
        for name in self.required:
            if name not in document:
                raise Invalid(f"Property '{name}' is required in this deployment.")


def _message(error: Any) -> str:
    """Return a sentence that names the attribute and the limit."""
    path = [str(step) for step in error.path[1:]]
    name = path[0][:255] if path else "document"
    place = f"'{name}'" + (f" ({'.'.join(path[1:])})" if len(path) > 1 else "")
    limit = error.rule_definition
    match error.rule:
        case "type":
            kinds = limit if isinstance(limit, list) else [limit]
            return f"{place} must be of type {' or '.join(kinds)}."
        case "maxLength":
            return f"{place} must have at most {limit} characters."
        case "minLength":
            return f"{place} must have at least {limit} characters."
        case "enum":
            return f"{place} must be one of {', '.join('null' if each is None else str(each) for each in limit)}."
        case "pattern":
            return f"{place} must match the pattern {limit}."
        case "required":
            return f"{place} must have {', '.join(limit)}."
        case "additionalProperties":
            return f"{place} must not have members that the schema does not name."
        case rule:
            return f"{place} does not match the schema ({rule}: {limit})."
