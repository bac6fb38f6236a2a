"""What other users of the machine could do to the service: paths that they may write to, and running as root."""

import os
import shlex
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from ferrotype.config import Config
from ferrotype.config.file_store import FileStore

#: What others who may write to a path can do, by what the path is.
_CONFIGURATION = "change what the service does"
_DATA = "replace or delete the data of images"
_RECORDS = "change every record of the service"
_ACCOUNTS = "log in as any user"
_POLICY = "change who may do what"
_STAGED = "replace data that is being imported"

AS_ROOT = "Running as root: a flaw in the service would concern the whole machine; give it a user of its own."
_MAX_LINKS = 40


def warnings(config: Config, files: Sequence[Path], dirs: Sequence[Path], staging: Iterable[Path]) -> list[str]:
    """Return a sentence for each path that others may write to, with the command that changes that, and about root.

    ``files`` and ``dirs`` are those of the configuration. Nothing is created or changed.
    """
    found: dict[Path, str] = {}
    for path, risk in _named(config, files, dirs, staging):
        _examine(path.absolute(), risk, found)
    sentences = list(found.values())
    if os.geteuid() == 0:
        sentences.append(AS_ROOT)
    if (umask := _umask()) is not None and not umask & stat.S_IWOTH:
        sentences.append(f"The umask {umask:04o} lets every user of this machine write to new files; run umask 0027.")
    return sentences


def _named(
    config: Config, files: Sequence[Path], dirs: Sequence[Path], staging: Iterable[Path]
) -> Iterator[tuple[Path, str]]:
    """Yield the paths that the service depends on, and what others who may write to them can do."""
    for path in (*files, *dirs):
        yield path, _CONFIGURATION
    for directory in dict.fromkeys([*(file.parent for file in files), *dirs]):
        yield directory / "schema-image.json", _CONFIGURATION
    if config.accounts:
        accounts = (getattr(config.accounts, field.name) for field in fields(config.accounts))
        yield from ((path, _ACCOUNTS) for path in accounts if isinstance(path, Path))
    for optional in (config.policy.file, config.protection.file):
        if optional:
            yield optional, _POLICY
    for directory in config.policy.dirs:
        yield directory, _POLICY
        yield from ((path, _POLICY) for path in _files_in(directory))
    if config.database.path:
        yield config.database.path, _RECORDS
    for store in config.stores.entries:
        if isinstance(store.options, FileStore):
            yield from ((path, _DATA) for path, _ in store.options.directories)
    yield from ((path, _STAGED) for path in staging)


def _files_in(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except OSError:
        return []  # There is none, or the service cannot read it either.


def _examine(named: Path, risk: str, found: dict[Path, str]) -> None:
    """Add a sentence for the path, and for each directory on the way to it, that others may write to."""
    for path, mode, sticky, last in _walk(named):
        if path not in found and mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
            found[path] = _sentence(path, mode, risk if last else f"replace {named}, and so {risk}")


def _walk(path: Path) -> Iterator[tuple[Path, int, bool, bool]]:
    """Yield what the system passes on the way to a path, links followed: each with its mode.

    Then, whether the sticky bit keeps others from replacing what comes next: only if that exists. Last, whether this
    is the end of the way.
    """
    current, rest, links = Path("/"), list(path.parts[1:]), 0
    while links <= _MAX_LINKS:
        try:
            mode = current.lstat().st_mode
        except OSError:
            return  # It does not exist, or is out of reach.
        if stat.S_ISLNK(mode):
            links, target = links + 1, current.readlink()
            rest = [*(target.parts[1:] if target.is_absolute() else target.parts), *rest]
            current = Path("/") if target.is_absolute() else current.parent
            continue
        following = current / rest[0] if rest else None
        sticky = mode & stat.S_ISVTX and following is not None and os.path.lexists(following)
        yield current, mode, bool(sticky), following is None
        if following is None:
            return
        current = current.parent if rest.pop(0) == ".." else following


def _sentence(path: Path, mode: int, risk: str) -> str:
    bits = {stat.S_IWGRP: "g", stat.S_IWOTH: "o"}
    who = "every user of this machine" if mode & stat.S_IWOTH else "its group"
    change = "".join(letter for bit, letter in bits.items() if mode & bit) + "-w"
    return f"{path} has mode {stat.S_IMODE(mode):04o}: {who} can {risk}; run chmod {change} {shlex.quote(str(path))}."


def _umask() -> int | None:
    """Return the umask without changing it; None where the system does not tell it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1], 8) for line in lines if line.startswith("Umask:")), None)
