"""Which stores there are, and whether they can live side by side."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from ferrotype.config.model import StoreConfig, Stores
from ferrotype.config.options import BY_NAME, DEFAULT_DATADIR, find, sections
from ferrotype.config.values import Values

AVAILABLE = ("file",)
LATER = ("rbd", "swift", "s3", "cinder", "http", "vmware")
RESERVED = "os_glance_"
#: The internal id of the one store of a configuration without ``enabled_backends``.
ONLY = "os_glance_default"

#: Other names of types, as ``[glance_store] stores`` and ``default_store`` may hold them.
ALIASES = {
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


def ids(backends: str | None) -> tuple[str, ...]:
    """Return the ids in a value of ``enabled_backends``, whatever else is wrong with it."""
    return tuple(part.partition(":")[0].strip() for part in (backends or "").split(",") if part.strip())


def local(directory: Path) -> Stores:
    """Return what runs where nothing is configured: one directory, with an id, so that discovery answers."""
    options = _options(datadir=directory)
    entry = StoreConfig("local", "file", "Local directory", 0, options)
    return Stores(multi=True, default="local", entries=(entry,))


def several(values: Values) -> Stores:
    """Return the stores of ``enabled_backends``."""
    entries = tuple(_entry(values, id_, type_) for id_, type_ in _enabled(values))
    known = [entry.id for entry in entries]
    listed = ", ".join(known) or "none"
    default = values.get("glance_store", "default_backend")
    if not default:
        values.problem("glance_store", "default_backend", f"must be set to a store of enabled_backends ({listed})")
    elif default not in known:
        values.problem("glance_store", "default_backend", f"is not a store of enabled_backends ({listed})")
    staging = values.get("DEFAULT", "staging_store")
    if staging and staging not in known:
        values.problem("DEFAULT", "staging_store", f"is not a store of enabled_backends ({listed})")
    stores = Stores(multi=True, default=default or "", entries=entries, staging=staging or None)
    _apart(values, stores)
    return stores


def single(values: Values) -> Stores:
    """Return the one store of a configuration without ``enabled_backends``."""
    types = [_plain(name) for name in values.get("glance_store", "stores")]
    type_ = _plain(values.get("glance_store", "default_store"))
    for unknown in sorted(set(types) - {*AVAILABLE, *LATER}):
        values.problem("glance_store", "stores", f"holds {unknown!r}, which is not a type of store; remove it")
    if type_ not in (*AVAILABLE, *LATER):
        values.problem("glance_store", "default_store", f"is not a type of store; use {AVAILABLE[0]}")
    elif type_ not in types:
        values.problem("glance_store", "default_store", f"must be one of stores ({', '.join(types)})")
    elif type_ in LATER:
        text = f"needs a store of type {type_}, which is not in this version; use file"
        values.problem("glance_store", "default_store", text)
    if values.written("glance_store", "stores"):
        for later in sorted(set(types) & set(LATER) - {type_}):
            text = f"[glance_store] stores: locations in stores of type {later} cannot be read in this version."
            values.remark(text)
    if values.get("DEFAULT", "staging_store"):
        values.problem("DEFAULT", "staging_store", "has a meaning only with enabled_backends; remove it")
    options = _file_options(values, ["glance_store"]) if type_ == "file" else MappingProxyType({})
    stores = Stores(multi=False, default=ONLY, entries=(StoreConfig(ONLY, type_, options=options),))
    _apart(values, stores)
    return stores


def _plain(name: str) -> str:
    """Return the type that a name of a driver stands for; old files give the whole path of a class."""
    name = re.sub(r"^glance\.store\.(\w+)\.Store$", r"\1", name.strip())
    return ALIASES.get(name, name)


def _enabled(values: Values) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    own = {section.lower() for section in sections()} | {name for place, name in BY_NAME if place == "DEFAULT"}

    def wrong(text: str) -> None:
        values.problem("DEFAULT", "enabled_backends", text, show=False)

    parts = [part for part in str(values.get("DEFAULT", "enabled_backends")).split(",") if part.strip()]
    if not parts:
        wrong("names no store; write it as in fast:file, or remove it to run with one store")
    for part in parts:
        id_, colon, type_ = (piece.strip() for piece in part.partition(":"))
        if not id_ or not colon or not type_ or ":" in type_:
            wrong(f"holds {part.strip()!r}, which is not id:type; write it as in fast:file")
            continue
        if id_.startswith(RESERVED):
            wrong(f"names a store {id_!r}; ids must not begin with {RESERVED}, choose another")
        elif id_.lower() in own:
            wrong(f"names a store {id_!r}, a name which has another meaning in this file; choose another id")
            continue
        elif not re.fullmatch(r"[ -~]{1,255}", id_):
            wrong(f"names a store {id_!r}; ids must be at most 255 characters of printable ASCII, choose another")
        elif id_ in seen.values():
            wrong(f"names the store {id_!r} twice; every id must be unique")
            continue
        elif id_.lower() in seen:
            wrong(f"names stores {seen[id_.lower()]!r} and {id_!r}, whose sections are the same; choose another id")
        seen[id_.lower()] = id_
        if type_ in LATER:
            wrong(f"names a store {id_!r} of type {type_}, which is not in this version; use type file")
        elif type_ not in AVAILABLE:
            known = ", ".join((*AVAILABLE, *LATER))
            wrong(f"names a store {id_!r} of the unknown type {type_!r}; types are {known}")
        pairs.append((id_, type_))
    return pairs


def _entry(values: Values, id_: str, type_: str) -> StoreConfig:
    options = _file_options(values, [id_, "backend_defaults"]) if type_ == "file" else MappingProxyType({})
    description = values.get(id_, "store_description") or None
    return StoreConfig(id_, type_, description, values.get(id_, "weight") or 0, options)


def _options(**given: Any) -> Mapping[str, Any]:
    usual = {"chunk_size": 65536, "file_perm": 0, "thin_provisioning": False, "metadata_file": None}
    return MappingProxyType({**usual, **given})


def _file_options(values: Values, places: Sequence[str]) -> Mapping[str, Any]:
    """Return a file store's options; the first of ``places`` that sets one decides."""

    def place_of(name: str) -> str:
        return next((place for place in places if values.get(place, name) is not None), places[0])

    def get(name: str) -> Any:
        value = values.get(place_of(name), name)
        if value is not None:
            return value
        option, _ = find("backend_defaults", name, frozenset())
        return option.default if option else None

    given: dict[str, Any] = {
        "chunk_size": get("filesystem_store_chunk_size"),
        "thin_provisioning": get("filesystem_thin_provisioning"),
        "file_perm": _permissions(values, place_of("filesystem_store_file_perm"), get("filesystem_store_file_perm")),
    }
    if metadata := get("filesystem_store_metadata_file"):
        given["metadata_file"] = Path(metadata).absolute()
        if not given["metadata_file"].is_file():
            place = place_of("filesystem_store_metadata_file")
            values.problem(place, "filesystem_store_metadata_file", "is not a file; correct or remove it")
    return _options(**given, **_directories(values, places))


def _directories(values: Values, places: Sequence[str]) -> dict[str, Any]:
    one, many = "filesystem_store_datadir", "filesystem_store_datadirs"
    for place in places:
        datadir, datadirs = values.get(place, one), values.get(place, many)
        if datadir is None and datadirs is None:
            continue
        if datadir and datadirs:
            values.problem(place, many, f"and {one} cannot both be set; remove one of them", show=False)
        if datadirs:
            return {"datadirs": _prioritised(values, place, datadirs)}
        if not datadir:
            values.problem(place, one, "is empty; set it to the directory of the store")
            continue
        return {"datadir": _directory(values, place, one, datadir)}
    return {"datadir": Path(DEFAULT_DATADIR)}


def _prioritised(values: Values, place: str, entries: Sequence[str]) -> tuple[tuple[Path, int], ...]:
    found: dict[Path, int] = {}
    name = "filesystem_store_datadirs"
    for entry in entries:
        path, colon, number = entry.strip().partition(":")
        if not path or (colon and not re.fullmatch(r"\s*\d+\s*", number)):
            text = f"holds {entry!r}; write path or path:priority, with a whole number"
            values.problem(place, name, text, show=False)
            continue
        directory, priority = _directory(values, place, name, path), int(number or 0)
        if found.setdefault(directory, priority) != priority:
            values.problem(place, name, f"lists {path} with two priorities; keep one", show=False)
    return tuple(found.items())


def _directory(values: Values, place: str, name: str, text: str) -> Path:
    path = Path(text.strip())
    if not path.is_absolute():
        values.remark(f"[{place}] {name} = {text} is taken from the directory of the start: {path.absolute()}.")
    if path.exists() and not path.is_dir():
        values.problem(place, name, f"names {path}, which is not a directory; choose another", show=False)
    return path.absolute()


def _permissions(values: Values, place: str, text: str) -> int:
    name = "filesystem_store_file_perm"
    if re.fullmatch(r"-\d+|0+", text.strip()):
        return 0
    if not re.fullmatch(r"0*[0-7]{1,3}", text.strip()):
        values.problem(place, name, "must be octal digits such as 640, at most 777")
        return 0
    bits = int(text, 8)
    if not bits & 0o400:
        values.problem(place, name, "must let the owner read, as in 640 or 400")
    return bits


def _apart(values: Values, stores: Stores) -> None:
    """No directory may be, or lie inside, one that somebody else fills."""
    places: list[tuple[str, Path]] = []
    for entry in stores.entries:
        title = f"store {entry.id}" if stores.multi else "the store ([glance_store])"
        if "datadir" in entry.options:
            places.append((title, entry.options["datadir"]))
        places += [(title, path) for path, _ in entry.options.get("datadirs", ())]
    owned = len(places)
    staging = urlsplit(values.get("DEFAULT", "node_staging_uri") or "")
    if not stores.multi and staging.scheme == "file":
        places.append(("[DEFAULT] node_staging_uri", Path(unquote(staging.path))))
    for section in ("os_glance_staging_store", "os_glance_tasks_store"):
        if stores.multi and (line := values.line(section, "filesystem_store_datadir")) and line.value:
            places.append((f"[{section}]", Path(line.value)))
    if cache := values.get("DEFAULT", "image_cache_dir"):
        places.append(("[DEFAULT] image_cache_dir", Path(cache)))
    real = [path.resolve() for _, path in places]
    for second in range(len(places)):
        for first in range(min(second, owned)):
            if real[first] == real[second]:
                how = "is also used by"
            elif real[second].is_relative_to(real[first]):
                how = "contains that of"
            elif real[first].is_relative_to(real[second]):
                how = "lies inside that of"
            else:
                continue
            mine, theirs = places[first], places[second]
            values.problems.append(
                f"The directory {mine[1]} of {mine[0]} {how} {theirs[0]} ({theirs[1]}); give each its own."
            )
