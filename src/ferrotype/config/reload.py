"""What SIGHUP changes in a running configuration."""

from dataclasses import fields, replace
from typing import Any

from ferrotype.config import Config
from ferrotype.config.table import TABLE

#: The fields that SIGHUP changes, such as ``limits.image_tag_quota``.
_RELOADABLE = frozenset(option.dest for option in TABLE.options if option.reloadable)
#: What sets a field, or a whole record that comes or goes, where no option has it as its ``dest``.
_SOURCES = {
    "database.kind": "[database] connection",
    **dict.fromkeys(
        (f"database.{name}" for name in ("url", "path", "hosts", "application_name", "connect_timeout", "system_ca")),
        "[database] connection",
    ),
    "api.schema_properties": "schema-image.json",
    "api.schema_required": "schema-image.json",
    "stores.multi": "[DEFAULT] enabled_backends",
    "stores.entries": "The list of stores or an option of a store",
    "accounts": "[DEFAULT] auth_strategy",
    "keystone": "[DEFAULT] auth_strategy",
    "unified_limits": "[DEFAULT] use_keystone_limits",
}


def reloadable_changes(old: Config, new: Config) -> tuple[Config, tuple[str, ...]]:
    """Return ``old`` with the changes that need no restart, and a sentence for each change that needs one."""
    parts: dict[str, Any] = {}
    needs_restart: dict[str, None] = {}
    for part in (field.name for field in fields(Config)):
        before, after = getattr(old, part), getattr(new, part)
        if part == "warnings" or before == after:
            parts[part] = after
        elif before is None or after is None:
            parts[part] = before
            needs_restart[_source(part)] = None
        else:
            places = {name: f"{part}.{name}" for name in _changed_fields(before, after)}
            taken = {name: getattr(after, name) for name, place in places.items() if place in _RELOADABLE}
            parts[part] = replace(before, **taken)
            needs_restart |= {_source(place): None for name, place in places.items() if name not in taken}
    sentences = tuple(f"{source} has changed; it takes effect after a restart." for source in needs_restart)
    return Config(**parts), sentences


def _changed_fields(before: Any, after: Any) -> list[str]:
    return [each.name for each in fields(before) if getattr(before, each.name) != getattr(after, each.name)]


def _source(place: str) -> str:
    """Return what an operator changes to change a field or a record of ``Config``."""
    if source := _SOURCES.get(place):
        return source
    options = [option for option in TABLE.options if option.dest and f"{option.dest}.".startswith(f"{place}.")]
    if len(options) > 3:
        return f"An option of [{options[0].section}]"
    return " or ".join(option.title for option in options) or place
