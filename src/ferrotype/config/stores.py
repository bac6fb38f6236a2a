"""Which stores there are. A type of store is a row in ``TYPES``, with its options and its record in a module.

Types of other packages are in ``plugins``.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from ferrotype.config import (
    azure_store,
    cinder_store,
    file_store,
    gcs_store,
    http_store,
    memory_store,
    rbd_store,
    s3_store,
    swift_store,
    vmware_store,
)
from ferrotype.config.file_store import FileStore
from ferrotype.config.options import COUNT, IGNORED, NAMES, STORE, TEXT, Option, ignored_option
from ferrotype.config.values import Values


class StoreOptions(Protocol):
    """The configuration record of a store, one class for each type."""

    @property
    def place(self) -> str:
        """What an operator reads about where the objects are."""

    @property
    def properties(self) -> Mapping[str, Any]:
        """What ``/v2/info/stores/detail`` shows: no secrets (DISC-60), None for what only the back end knows."""


class StoreType(NamedTuple):
    """The options of a type of store, and the function that makes its record from the sections that may set them.

    The type of another package also has its ``driver``, a ``stores.driver.Factory``; ours are in ``stores.stores``.
    """

    options: tuple[Option, ...]
    read: Callable[[Values, Sequence[str]], StoreOptions]
    driver: Callable[[str, Any, Any], Any] | None = None


def _without_driver(
    name: str, options: tuple[Option, ...], read: Callable[[Values, Sequence[str]], StoreOptions]
) -> StoreType:
    """Return a type of Glance's whose options are known and checked, and have no effect."""
    reason = f"this version does not support stores of type {name}"
    return StoreType(tuple(option._replace(support=IGNORED, help=reason) for option in options), read)


TYPES: Mapping[str, StoreType] = MappingProxyType(
    {
        "file": StoreType(file_store.OPTIONS, file_store.read),
        "http": StoreType(http_store.OPTIONS, http_store.read),
        "memory": StoreType(memory_store.OPTIONS, memory_store.read),
        "s3": StoreType(s3_store.OPTIONS, s3_store.read),
        "gcs": StoreType(gcs_store.OPTIONS, gcs_store.read),
        "azure": StoreType(azure_store.OPTIONS, azure_store.read),
    }
)
#: Types of Glance that have options and a record here, and no driver yet.
WITHOUT_DRIVER: Mapping[str, StoreType] = MappingProxyType(
    {
        "rbd": _without_driver("rbd", rbd_store.OPTIONS, rbd_store.read),
        "swift": _without_driver("swift", swift_store.OPTIONS, swift_store.read),
        "cinder": _without_driver("cinder", cinder_store.OPTIONS, cinder_store.read),
        "vmware": _without_driver("vmware", vmware_store.OPTIONS, vmware_store.read),
    }
)
#: Types of Glance that this version does not support.
UNSUPPORTED = tuple(WITHOUT_DRIVER)
#: Types that never take data.
READ_ONLY = ("http",)
#: Other names of types, as ``[glance_store] stores`` and ``default_store`` may have them.
_ALIASES = {
    "filesystem": "file",
    "https": "http",
    "swift+http": "swift",
    "swift+https": "swift",
    "swift+config": "swift",
    "s3+http": "s3",
    "s3+https": "s3",
    "vsphere": "vmware",
    "vmware_datastore": "vmware",
}
_RESERVED = "os_glance_"
_NEVER_WRITTEN = "a store of type http takes no images, so uploads that name no other store are refused."
#: The internal ID of the one store of a configuration without ``enabled_backends``.
_SINGLE_ID = "os_glance_default"


@dataclass(frozen=True)
class StoreConfig:
    """One store. ``options`` are those of its type; None where the type is unknown: that prevents the start."""

    id: str
    type: str
    description: str | None = None
    #: copies in stores of a higher weight are read first
    weight: int = 0
    options: StoreOptions | None = None
    #: makes the driver of a type that another package adds
    driver: Callable[[str, Any, Any], Any] | None = None

    @property
    def place(self) -> str:
        """What an operator reads about where the objects are."""
        return self.options.place if self.options else ""


@dataclass(frozen=True)
class Stores:
    """``multi``: IDs are shown to users. In single-store mode the one store has an internal ID (RUL-34)."""

    multi: bool
    #: ID of the store that takes data when a request names none
    default: str
    entries: tuple[StoreConfig, ...]


OPTIONS = (
    Option("DEFAULT", "enabled_backends", TEXT, None, "stores as `id:type,id:type`, in the order that users see",
           dest="stores.entries", sample_default="unset: one store without an ID"),
    Option("glance_store", "default_backend", TEXT, None,
           "ID of the store that takes data when a request names none; required with `enabled_backends`",
           dest="stores.default"),
    Option("glance_store", "stores", NAMES, ["file", "http"],
           "types of stores, without `enabled_backends`; `default_store` must be one of them"),
    Option("glance_store", "default_store", TEXT, "file", "type of the store, without `enabled_backends`",
           dest="stores.entries"),
    Option(STORE, "store_description", TEXT, None, "description of the store that users see",
           dest="stores.entries.description"),
    Option(STORE, "weight", COUNT, StoreConfig.weight, "copies in the store of the highest weight are read first",
           dest="stores.entries.weight"),
    *(option for type_ in {**TYPES, **WITHOUT_DRIVER}.values() for option in type_.options),
    ignored_option("DEFAULT", "staging_store", TEXT, "this version does not import images, so it stages no data"),
    ignored_option("DEFAULT", "node_staging_uri", TEXT,
                   "this version does not import images, so it stages no data; the directory must still differ from"
                   " those of the stores"),
)  # fmt: skip


def ids(backends: str | None) -> tuple[str, ...]:
    """Return the IDs in a value of ``enabled_backends``, even if the value is invalid."""
    return tuple(part.partition(":")[0].strip() for part in (backends or "").split(",") if part.strip())


def named_types(values: Values) -> frozenset[str]:
    """Return the types that the configuration names, known or not; none where it names no store at all."""
    if backends := values.get("DEFAULT", "enabled_backends"):
        return frozenset(part.partition(":")[2].strip() for part in str(backends).split(","))
    if not values.is_set("glance_store", "default_store"):
        return frozenset()
    return frozenset({values.get("glance_store", "default_store"), *values.get("glance_store", "stores")})


def read(values: Values, local: Path | None, added: Mapping[str, StoreType]) -> Stores:
    """Return the stores. ``local`` is the directory of the one store where there is no configuration at all.

    ``added`` are the types of other packages.
    """
    types = {**TYPES, **added}
    if values.get("DEFAULT", "enabled_backends"):  # Empty is the same as unset, as in Glance.
        stores = _multi_store(values, types)
    elif local:
        # It has an ID, so that discovery answers.
        entry = StoreConfig("local", "file", "Local directory", options=FileStore(((local, 0),)))
        return Stores(multi=True, default="local", entries=(entry,))
    else:
        stores = _single_store(values, types)
    _check_disjoint(values, stores)
    return stores


def _multi_store(values: Values, types: Mapping[str, StoreType]) -> Stores:
    entries = tuple(_entry(values, id_, type_, types) for id_, type_ in _enabled(values, types))
    known = ids(values.get("DEFAULT", "enabled_backends"))  # also those that have a problem of their own
    listed = ", ".join(known)
    default = values.get("glance_store", "default_backend")
    if not known or values.is_invalid("glance_store", "default_backend"):
        default = None
    elif not default:
        values.problem("glance_store", "default_backend", f"must be set to one of enabled_backends: {listed}")
    elif default not in known:
        values.problem("glance_store", "default_backend", f"must be one of enabled_backends: {listed}")
    staging = values.get("DEFAULT", "staging_store")
    if staging and known and staging not in known:
        values.problem("DEFAULT", "staging_store", f"must be one of enabled_backends: {listed}")
    if next((entry.type for entry in entries if entry.id == default), None) in READ_ONLY:  # DISC-35
        text = f"[glance_store] default_backend = {default} never takes data: uploads must name another store."
        values.warn(text)
    return Stores(multi=True, default=default or "", entries=entries)


def _single_store(values: Values, types: Mapping[str, StoreType]) -> Stores:
    listed = [_canonical(name) for name in values.get("glance_store", "stores")]
    type_ = _canonical(values.get("glance_store", "default_store"))
    strange = sorted(set(listed) - {*types, *UNSUPPORTED})
    for unknown in strange:
        values.problem("glance_store", "stores", f"contains the unknown type {unknown!r}; remove it")
    if type_ not in (*types, *UNSUPPORTED):
        values.problem("glance_store", "default_store", f"is not a type of store; use {' or '.join(types)}")
    elif type_ not in listed and not strange:
        values.problem("glance_store", "default_store", f"must be one of stores ({', '.join(listed)})")
    elif type_ in UNSUPPORTED:
        text = f"is of type {type_}, which this version does not support; use {' or '.join(types)}"
        values.problem("glance_store", "default_store", text)
    if values.is_set("glance_store", "stores"):
        for unsupported in sorted(set(listed) & set(UNSUPPORTED) - {type_}):
            values.warn(f"[glance_store] stores: this version cannot read locations of type {unsupported}.")
    if values.get("DEFAULT", "staging_store"):
        values.problem("DEFAULT", "staging_store", "requires enabled_backends; remove it")
    # The other types only read what locations name; their IDs are not shown to anyone either.
    named = {_SINGLE_ID: type_} | {f"{_RESERVED}{name}": name for name in listed if name in types and name != type_}
    entries = []
    for id_, name in named.items():
        options, driver = _of_type(values, name, types, ["glance_store"])
        entries.append(StoreConfig(id_, name, options=options, driver=driver))
    if type_ in READ_ONLY:
        values.warn(f"[glance_store] default_store: {_NEVER_WRITTEN}")
    return Stores(multi=False, default=_SINGLE_ID, entries=tuple(entries))


def _canonical(name: str) -> str:
    """Return the type that an alias means; old files have the whole path of a class."""
    name = re.sub(r"^glance\.store\.(\w+)\.Store$", r"\1", name.strip())
    return _ALIASES.get(name, name)


def _enabled(values: Values, types: Mapping[str, StoreType]) -> list[tuple[str, str]]:
    """Return ID and type of each store of ``enabled_backends``, without those whose section could not be read."""
    pairs: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    table = values.table
    taken = {section.lower() for section in table.sections()} | set(table.names_in("DEFAULT", frozenset()))

    def problem(text: str) -> None:
        values.problem("DEFAULT", "enabled_backends", text, show=False)

    parts = [part for part in str(values.get("DEFAULT", "enabled_backends")).split(",") if part.strip()]
    if not parts:
        problem("lists no store; write id:type, as in fast:file, or remove it to run with one store")
    for part in parts:
        id_, colon, type_ = (piece.strip() for piece in part.partition(":"))
        if not id_ or not colon or not type_ or ":" in type_:
            problem(f"contains {part.strip()!r}; write id:type, as in fast:file")
            continue
        if id_.startswith(_RESERVED):
            problem(f"has a store {id_!r}; IDs that begin with {_RESERVED} are reserved, choose another ID")
        elif id_.lower() in taken:
            problem(f"has a store {id_!r}; this is the name of another section or option, choose another ID")
            continue
        elif not re.fullmatch(r"[ -~]{1,255}", id_):
            problem(f"has a store {id_!r}; IDs must be printable ASCII, at most 255 characters, choose another ID")
        elif id_ in seen.values():
            problem(f"lists the store {id_!r} twice; IDs must be unique")
            continue
        elif id_.lower() in seen:
            problem(f"has stores {seen[id_.lower()]!r} and {id_!r}, which share a section; choose another ID")
            continue
        seen[id_.lower()] = id_
        if type_ in UNSUPPORTED:
            supported = " or ".join(types)
            problem(f"has a store {id_!r} of type {type_}, which this version does not support; use {supported}")
        elif type_ not in types:
            known = ", ".join((*types, *UNSUPPORTED))
            problem(f"has a store {id_!r} of the unknown type {type_!r}; types are {known}")
        pairs.append((id_, type_))
    return pairs


def _entry(values: Values, id_: str, type_: str, types: Mapping[str, StoreType]) -> StoreConfig:
    options, driver = _of_type(values, type_, types, [id_, "backend_defaults"])
    description = values.get(id_, "store_description") or None
    return StoreConfig(id_, type_, description, values.get(id_, "weight") or 0, options, driver)


def _of_type(
    values: Values, type_: str, types: Mapping[str, StoreType], sections: Sequence[str]
) -> tuple[StoreOptions | None, Callable[[str, Any, Any], Any] | None]:
    """Return the record of a store, and what makes its driver where another package adds its type."""
    found = types.get(type_) or WITHOUT_DRIVER.get(type_)
    return (found.read(values, sections), found.driver) if found else (None, None)


def staging(values: Values) -> dict[str, Path]:
    """Return the directories of staging and tasks that the configuration names, by what names them."""
    found: dict[str, Path] = {}
    if values.get("DEFAULT", "enabled_backends"):
        for section in ("os_glance_staging_store", "os_glance_tasks_store"):
            if (line := values.line(section, "filesystem_store_datadir")) and line.value:
                found[f"[{section}]"] = Path(values.get(section, line.name))
    else:
        uri = urlsplit(values.get("DEFAULT", "node_staging_uri") or "")
        if uri.scheme == "file":
            found["[DEFAULT] node_staging_uri"] = Path(unquote(uri.path))
    return found


def _check_disjoint(values: Values, stores: Stores) -> None:
    """Report a store directory that is, contains or lies inside another directory of the configuration."""
    places: list[tuple[str, Path]] = []
    for entry in stores.entries:
        title = f"store {entry.id}" if stores.multi else "the store ([glance_store])"
        if isinstance(entry.options, FileStore):
            places += [(title, path) for path, _ in entry.options.directories]
    owned = len(places)
    places += staging(values).items()
    if cache := values.get("DEFAULT", "image_cache_dir"):
        places.append(("[DEFAULT] image_cache_dir", Path(cache)))
    real = [Path(os.path.realpath(path)) for _, path in places]  # Path.resolve raises for a loop of links.
    for second in range(len(places)):
        for first in range(min(second, owned)):
            if real[first] == real[second]:
                relation = "is also used by"
            elif real[second].is_relative_to(real[first]):
                relation = "contains that of"
            elif real[first].is_relative_to(real[second]):
                relation = "lies inside that of"
            else:
                continue
            (title, path), (other, other_path) = places[first], places[second]
            values.problems.append(
                f"The directory {path} of {title} {relation} {other} ({other_path}); use separate directories."
            )
