"""A store of type ``file``: objects are files in one directory or several."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferrotype.config.options import BOOL, STORE, TEXT, Option, at_least, ignored_option
from ferrotype.config.values import Values

DEFAULT_DIRECTORY = "/var/lib/glance/images"
#: The longest path of a directory, in bytes: the database keeps ``directory/name`` in 1,024 characters.
MAX_PATH = 900


@dataclass(frozen=True)
class FileStore:
    """Where a file store keeps its objects, and how it writes them."""

    #: absolute paths with their priorities; the highest one with enough space takes the data
    directories: tuple[tuple[Path, int], ...]
    #: shown in the operator's discovery
    chunk_size: int = 65536
    #: permissions of new files; 0 leaves them to the umask
    file_perm: int = 0
    #: write blocks of zeros as holes
    thin_provisioning: bool = False

    @property
    def place(self) -> str:
        """What an operator reads about where the objects are."""
        return " ".join(str(path) for path, _ in self.directories)

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the operators' discovery shows (DISC-70 to DISC-73)."""
        ranked = [str(path) for path, _ in sorted(self.directories, key=lambda entry: -entry[1])]
        several = {"data_dirs": ranked} if len(ranked) > 1 else {}
        return {
            "data_dir": ranked[0],
            "chunk_size": self.chunk_size,
            "thin_provisioning": self.thin_provisioning,
            **several,
        }


_DATADIR = Option(
    STORE,
    "filesystem_store_datadir",
    TEXT,
    DEFAULT_DIRECTORY,
    "directory of a file store",
    dest="stores.entries.options.directories",
)
_DATADIRS = Option(
    STORE, "filesystem_store_datadirs", TEXT, None,
    "instead of one directory: `path` or `path:priority`, repeated; the highest priority with enough space takes"
    " the data", dest="stores.entries.options.directories", multi=True,
)  # fmt: skip
_FILE_PERM = Option(
    STORE, "filesystem_store_file_perm", TEXT, "0", "permissions of new files, in octal digits; 0: as the umask says",
    dest="stores.entries.options.file_perm",
)  # fmt: skip
_CHUNK_SIZE = Option(
    STORE, "filesystem_store_chunk_size", at_least(1), FileStore.chunk_size,
    "`chunk_size` in `/v2/info/stores/detail`; reads do not use it", dest="stores.entries.options.chunk_size",
)  # fmt: skip
_THIN = Option(
    STORE, "filesystem_thin_provisioning", BOOL, FileStore.thin_provisioning,
    "write blocks of zeros as holes, which take no space", dest="stores.entries.options.thin_provisioning",
)  # fmt: skip
_METADATA_FILE = ignored_option(
    STORE, "filesystem_store_metadata_file", TEXT, "this version adds no metadata to the locations of a file store"
)
OPTIONS = (_DATADIR, _DATADIRS, _FILE_PERM, _CHUNK_SIZE, _THIN, _METADATA_FILE)


def read(values: Values, sections: Sequence[str]) -> FileStore:
    """Return the store's configuration; the first of ``sections`` that sets an option decides about it."""

    def get(option: Option) -> Any:
        return values.of_store(sections, option)[1]

    return FileStore(
        directories=_directories(values, sections),
        chunk_size=get(_CHUNK_SIZE),
        file_perm=_permissions(values, *values.of_store(sections, _FILE_PERM)),
        thin_provisioning=get(_THIN),
    )


def _directories(values: Values, sections: Sequence[str]) -> tuple[tuple[Path, int], ...]:
    one, many = _DATADIR.name, _DATADIRS.name
    for section in sections:
        directory, listed = values.get(section, one), values.get(section, many)
        if values.is_invalid(section, one) or values.is_invalid(section, many):
            return ()  # The default would be compared with the directories of other stores.
        if directory is None and listed is None:
            continue
        if directory and listed:
            values.problem(section, many, f"and {one} cannot both be set; remove one of them", show=False)
        if listed:
            return _with_priorities(values, section, listed)
        if not directory:
            values.problem(section, one, "is empty; set it to the directory of the store")
            return ()
        return ((_directory(values, section, one, directory), 0),)
    return ((Path(DEFAULT_DIRECTORY), 0),)


def _with_priorities(values: Values, section: str, entries: Sequence[str]) -> tuple[tuple[Path, int], ...]:
    found: dict[Path, int] = {}
    name = _DATADIRS.name
    for entry in entries:
        path, colon, number = entry.strip().partition(":")
        if not path or (colon and not re.fullmatch(r"\s*\d+\s*", number)):
            text = f"contains {entry!r}; write path or path:priority, the priority a whole number"
            values.problem(section, name, text, show=False)
            continue
        directory, priority = _directory(values, section, name, path), int(number or 0)
        if found.setdefault(directory, priority) != priority:
            values.problem(section, name, f"lists {path} with two priorities; keep one", show=False)
    return tuple(found.items())


def _directory(values: Values, section: str, name: str, text: str) -> Path:
    path = Path(text.strip())
    if not path.is_absolute():
        values.warn(f"[{section}] {name} = {text} is relative to the working directory: {path.absolute()}.")
    if (size := len(os.fsencode(path.absolute()))) > MAX_PATH:
        text = (
            f"names a directory whose path has {size} bytes; the database has room for {MAX_PATH}, use a shorter one"
        )
        values.problem(section, name, text, show=False)
        return path.absolute()
    try:
        reason = "is not a directory" if path.exists() and not path.is_dir() else None
    except OSError as error:  # A directory above it cannot be searched, or a name is too long.
        reason = f"cannot be reached: {error.strerror}"
    if reason:
        values.problem(section, name, f"names {path}, which {reason}; name a directory", show=False)
    return path.absolute()


def _permissions(values: Values, section: str, text: str) -> int:
    """Return the mode; 0 where the option is 0, negative or invalid."""
    if re.fullmatch(r"-\d+|0+", text.strip()):
        return 0
    if not re.fullmatch(r"0*[0-7]{1,3}", text.strip()):
        values.problem(section, _FILE_PERM.name, "must be octal digits such as 640, at most 777")
        return 0
    mode = int(text, 8)
    if not mode & 0o400:
        values.problem(section, _FILE_PERM.name, "must let the owner read, as in 640 or 400")
    return mode
