"""The deployment's schema-image.json: additional properties that have a schema of their own."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ferrotype.config.files import no_file
from ferrotype.config.values import Values

NAME = "schema-image.json"

#: The pattern of an ID, as schemas show it to clients.
UUID = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"

#: Glance's own schema-image.json: the default where a deployment has no such file.
SHIPPED_SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "kernel_id": {
            "type": ["null", "string"],
            "pattern": UUID,
            "description": "ID of the image that holds the kernel to boot this image with.",
        },
        "ramdisk_id": {
            "type": ["null", "string"],
            "pattern": UUID,
            "description": "ID of the image that holds the ramdisk to boot this image with.",
        },
        "instance_uuid": {"type": "string", "description": "ID of the instance this image was made from."},
        "architecture": {"type": "string", "description": "Architecture of the operating system."},
        "os_distro": {"type": "string", "description": "Name of the operating system's distribution."},
        "os_version": {"type": "string", "description": "Version of the operating system."},
        "description": {"type": "string", "description": "A human-readable description of this image."},
        "cinder_encryption_key_id": {
            "type": "string",
            "description": "ID of the key that the image's data is encrypted with.",
        },
        "cinder_encryption_key_deletion_policy": {
            "type": "string",
            "enum": ["on_image_deletion", "do_not_delete"],
            "description": "What happens to that key when the image is deleted.",
        },
    }
)


def read(values: Values, directories: Sequence[Path]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the properties and the required names, of Glance's own file where none of ``directories`` has one."""
    path = next((directory / NAME for directory in directories if not no_file(directory / NAME)), None)
    if path is None:
        return SHIPPED_SCHEMA, ()
    try:
        document = json.loads(path.read_bytes())
        return _parse(document)
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except ValueError as error:
        reason = f"is not valid JSON: {error}" if isinstance(error, json.JSONDecodeError) else str(error)
    values.problems.append(f"{path} {reason}; correct the file or remove it.")
    return SHIPPED_SCHEMA, ()


def _parse(document: Any) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the properties and the required names; the short form of the file has only properties."""
    from ferrotype.model.image import BASE_ATTRIBUTES  # It loads msgspec, and few deployments have such a file.

    if not isinstance(document, dict):
        raise ValueError("must contain a JSON object")
    extended = "properties" in document
    properties = document["properties"] if extended else document
    required = document.get("required", []) if extended else []
    if not isinstance(properties, dict) or not all(isinstance(value, dict) for value in properties.values()):
        raise ValueError("must contain an object of properties whose values are objects, their schemas")
    if not isinstance(required, list) or not all(isinstance(name, str) and name for name in required):
        raise ValueError("must have a list of names as required")
    if base := sorted(BASE_ATTRIBUTES & properties.keys()):
        raise ValueError(f"defines {base[0]}, an attribute that every image has")
    for name, declared in properties.items():
        _check_usable(name, declared)
    return MappingProxyType(properties), tuple(dict.fromkeys(required))


def _check_usable(name: str, declared: Any) -> None:
    """Raise ValueError unless the schema ``declared`` can be compiled."""
    import fastjsonschema  # few deployments have such a file

    try:
        fastjsonschema.compile(declared, use_default=False, use_formats=False)
    except Exception as error:  # An invalid schema makes the compiler raise many types.
        raise ValueError(f"has an invalid schema for {name}: {error}") from error
