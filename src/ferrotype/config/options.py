"""How an option is declared, and how the line of a file finds its option.

Each option is declared beside the reader that uses it: ``OPTIONS`` in the module of its area. ``table`` puts them
together. Options without effect are in ``ignored.toml``, unless their value is checked or looked at.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from oslo_config import types

from ferrotype.config import ignored

#: Support levels. Any other name is ``unknown``.
SUPPORTED, IGNORED, REMOVED = "supported", "ignored", "removed"

#: Stands for the section of a store: the one named like it, ``[backend_defaults]``, or ``[glance_store]``.
STORE = "<store>"
#: Sections whose options are those of stores, besides the sections named like a store.
STORE_SECTIONS = ("glance_store", "backend_defaults")

TEXT = types.String()
BOOL = types.Boolean()
NAMES = types.List(item_type=types.String(), bounds=False)
BRACKETED = types.List(item_type=types.String(quotes=True), bounds=True)
HOSTS = types.List(item_type=types.HostAddress(), bounds=True)
PORTS = types.List(item_type=types.Integer(min=1, max=65535), bounds=True)
#: The largest integer that the databases and JSON clients represent.
BIGINT = 2**63 - 1
COUNT = types.Integer(min=-BIGINT - 1, max=BIGINT)  # Negative numbers have meanings of their own.
#: The longest duration that every timer of the operating system represents in milliseconds.
MAX_SECONDS = 1_000_000
#: The most connections in a pool of a worker.
MAX_CONNECTIONS = 10_000


def at_most(maximum: int) -> types.Integer:
    """Return the type of whole numbers up to ``maximum``, negative ones too: Glance takes them for 0."""
    return types.Integer(min=-BIGINT - 1, max=maximum)


def at_least(minimum: int, maximum: int = BIGINT) -> types.Integer:
    """Return the type of whole numbers from ``minimum`` to ``maximum``."""
    return types.Integer(min=minimum, max=maximum)


def requirement(type_: types.ConfigType | None) -> str | None:
    """Return what values of a type must be, as the end of a sentence; None for types with messages of their own."""
    if isinstance(type_, types.Boolean):
        return "must be true or false"
    if isinstance(type_, types.Number):
        what = "number" if isinstance(type_, types.Float) else "whole number"
        return f"must be a {what} from {type_.min} to {type_.max}"
    if isinstance(type_, types.HostAddress):
        return "must be an IP address or a host name"
    if isinstance(type_, types.String) and type_.choices:
        return f"must be one of {', '.join(type_.choices)}"
    if isinstance(type_, types.List) and isinstance(type_.item_type, types.Integer):
        return f"must be whole numbers from {type_.item_type.min} to {type_.item_type.max}, as in [80,443]"
    return None


class Option(NamedTuple):
    """One option, in oslo.config's words. ``help`` is the sentence that the operator reads.

    A type of None takes the value as it is written. The option of a store has the section ``<store>``.
    """

    section: str
    name: str
    type: types.ConfigType | None
    default: Any
    help: str
    #: the field of ``Config`` that the value goes to, such as ``server.bind_port``
    dest: str | None = None
    #: SIGHUP changes it; else a change needs a restart
    reloadable: bool = False
    multi: bool = False
    #: former names, as (section, name)
    deprecated_names: tuple[tuple[str, str], ...] = ()
    #: what the documentation shows where the default is computed
    sample_default: str | None = None
    support: str = SUPPORTED

    @property
    def title(self) -> str:
        """The name as an operator would look for it."""
        return f"[{self.section}] {self.name}"


def ignored_option(section: str, name: str, type_: types.ConfigType, reason: str, **more: Any) -> Option:
    """Return an option without effect whose value is checked, or compared with others, all the same."""
    return Option(section, name, type_, None, reason, support=IGNORED, **more)


# Connections and bus addresses hold a password; the values of the others are secret as a whole.
_SECRET = re.compile(
    r"(password|secret|hmac_keys|transport_url|connection|connection_parameters|encryption_key|_store_key|access_key"
    r"|secret_key|token)$|^(role_id|approle_\w+_id|admin_token)$"
)


def is_secret(name: str) -> bool:
    """Return whether values of this option must never be printed."""
    return _SECRET.search(name.replace("-", "_").lower()) is not None


class Table:
    """All declared options, in the order of the documentation."""

    def __init__(self, options: Iterable[Option]):
        self.options = tuple(options)
        self.by_name = {(option.section, option.name): option for option in self.options}
        self._by_deprecated_name = {name: option for option in self.options for name in option.deprecated_names}

    def declared(self, section: str, name: str, store_ids: frozenset[str]) -> tuple[Option | None, bool]:
        """Return the declared option that a line in a file sets, and whether the line uses a deprecated name.

        ``store_ids`` are lower-case. ``section`` is spelled as oslo.config compares it: lower-case, but ``DEFAULT``.
        """
        for place in _places(section, store_ids):
            if option := self.by_name.get((place, name)):
                return option, False
            if option := self._by_deprecated_name.get((place, name)):
                return option, True
        return None, False

    def find(self, section: str, name: str, store_ids: frozenset[str]) -> tuple[Option | None, bool]:
        """Return the same as ``declared``, or else the option of ``ignored.toml``."""
        option, deprecated = self.declared(section, name, store_ids)
        if option:
            return option, deprecated
        known = ignored.load()
        for place in _places(section, store_ids):
            if reason := known.options.get((place, name)):
                return _without_effect(place, name, reason), False
        if section not in store_ids and (reason := known.sections.get(section)):
            return _without_effect(section, name, reason), False
        return None, False

    def all_options(self) -> tuple[Option, ...]:
        """Return the declared options and those of ``ignored.toml``."""
        known = ignored.load().options.items()
        return (*self.options, *(_without_effect(*place, reason) for place, reason in known))

    def names_in(self, section: str, store_ids: frozenset[str]) -> list[str]:
        """Return the names that are options in this section."""
        places = _places(section, store_ids)
        return [option.name for option in self.all_options() if option.section in places]

    def sections(self) -> tuple[str, ...]:
        """Return every section that has options of its own, or is ignored as a whole."""
        named = dict.fromkeys(option.section for option in self.all_options() if option.section != STORE)
        return (*named, "backend_defaults", *ignored.load().sections)


def _places(section: str, store_ids: frozenset[str]) -> tuple[str, ...]:
    return (section, STORE) if section in STORE_SECTIONS or section in store_ids else (section,)


def _without_effect(section: str, name: str, reason: ignored.Reason) -> Option:
    return Option(section, name, None, None, reason.note, support=reason.support)
