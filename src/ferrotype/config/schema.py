"""The deployment's schema-image.json: additional properties with a schema of their own."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ferrotype.config.model import SHIPPED_SCHEMA
from ferrotype.config.values import Values

NAME = "schema-image.json"

#: What every image has. The model of an image knows these names too; a test compares.
BASE = frozenset({
    "id", "name", "status", "visibility", "owner", "protected", "os_hidden", "tags",
    "disk_format", "container_format", "min_disk", "min_ram", "size", "virtual_size",
    "checksum", "os_hash_algo", "os_hash_value", "created_at", "updated_at",
    "self", "file", "schema", "locations", "direct_url", "stores",
})  # fmt: skip


def schema(values: Values, where: Sequence[Path]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the properties and the required names; those shipped with Glance where there is no file."""
    path = next((directory / NAME for directory in where if (directory / NAME).is_file()), None)
    if path is None:
        return SHIPPED_SCHEMA, ()
    try:
        document = json.loads(path.read_bytes())
        return _understood(document)
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except ValueError as error:
        reason = str(error)
    values.problems.append(f"{path}: {reason}; correct the file or remove it.")
    return SHIPPED_SCHEMA, ()


def _understood(document: Any) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the document's two parts; the short form has properties only."""
    if not isinstance(document, dict):
        raise ValueError("must hold a JSON object")
    extended = "properties" in document
    properties = document["properties"] if extended else document
    required = document.get("required", []) if extended else []
    if not isinstance(properties, dict) or not all(isinstance(value, dict) for value in properties.values()):
        raise ValueError("must hold an object of properties, each with an object as its schema")
    if not isinstance(required, list) or not all(isinstance(name, str) and name for name in required):
        raise ValueError("required must be a list of names")
    if base := sorted(BASE & properties.keys()):
        raise ValueError(f"{base[0]} is an attribute that every image has; it cannot be defined again")
    for name, declared in properties.items():
        _check_usable(name, declared)
    return MappingProxyType(properties), tuple(dict.fromkeys(required))


def _check_usable(name: str, declared: Any) -> None:
    """Raise ValueError where no property can be checked against ``declared``."""
    import fastjsonschema  # few deployments have such a file

    try:
        fastjsonschema.compile(declared, use_default=False, use_formats=False)
    except Exception as error:  # The compiler stumbles over nonsense in many ways, and all mean this.
        raise ValueError(f"the schema of {name} cannot be used: {error}") from error
