"""Prints the types, limits and defaults of Glance's options, one JSON object a line: ``glance-33-types.jsonl``.

Run it with the Python of an environment in which glance==33.0.0 is installed. Tests read the file and need no Glance.
"""

import json
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

#: What registers the options that the API service reads.
NAMESPACES = (
    "glance", "glance.api", "glance.store", "keystonemiddleware.auth_token", "oslo.db", "oslo.limit", "oslo.log",
    "oslo.middleware.cors", "oslo.middleware.http_proxy_to_wsgi", "oslo.middleware.basic_auth",
    "oslo.middleware.healthcheck", "oslo.policy", "oslo.service.service",
)  # fmt: skip


def described(type_: Any) -> dict[str, Any]:
    """Return a type of oslo.config as data; a callable that is none takes any string."""
    if isinstance(type_, type):
        return {"type": "String"}
    found: dict[str, Any] = {"type": type(type_).__name__}
    for name in ("min", "max", "choices", "ignore_case", "quotes", "bounds"):
        value = getattr(type_, name, None)
        if value is not None and value is not False:
            found[name] = list(value) if name == "choices" else value
    if getattr(type_, "item_type", None) is not None:
        found["item"] = described(type_.item_type)
    return found


def options() -> Iterator[tuple[str, Any]]:
    """Yield section and option; those of a store have the section ``<store>``."""
    from glance.common.config import set_cors_middleware_defaults
    from glance_store.driver import _MULTI_BACKEND_OPTS
    from glance_store.multi_backend import _STORE_OPTS

    set_cors_middleware_defaults()
    yield from (("<store>", option) for option in _MULTI_BACKEND_OPTS)
    yield from (("glance_store", option) for option in _STORE_OPTS)
    for each in entry_points(group="oslo.config.opts"):
        if each.name in NAMESPACES:
            for group, found in each.load()():
                name = getattr(group, "name", group) or "DEFAULT"
                for option in found:
                    store = name == "glance_store" and option.dest.startswith(("filesystem_", "http"))
                    yield ("<store>" if store else name), option


def main() -> None:
    seen = set()
    for section, option in options():
        if (section, option.dest) in seen:
            continue
        seen.add((section, option.dest))
        record = {"section": section, "name": option.dest, **described(option.type), "default": option.default}
        if option.multi:
            record["multi"] = True
        if option.deprecated_opts:
            record["deprecated"] = [[each.group or section, each.name] for each in option.deprecated_opts]
        sys.stdout.write(json.dumps(record, default=str) + "\n")


if __name__ == "__main__":
    main()
