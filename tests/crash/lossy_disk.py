"""A disk that loses its cache: what would be found after a power cut, given what was asked of it until then.

A write is safe once the file was synced after it, a name once its folder was. Of the rest anything may be
there or not: names in the order in which they were given or taken, writes in any order.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from syscalls import Call


@dataclass
class File:
    safe: bytearray = field(default_factory=bytearray)
    #: (where, what), or (new length, None)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    #: where a write without a place of its own goes
    end: int = 0

    def after_power_cut(self, chance: random.Random | None) -> bytes:
        found = bytearray(self.safe)
        apply(found, [each for each in self.pending if chance and chance.random() < 0.5])
        return bytes(found)


@dataclass
class Folder:
    safe: "dict[str, File | Folder]" = field(default_factory=dict)
    now: "dict[str, File | Folder]" = field(default_factory=dict)
    #: what the names were after each change since the last sync
    pending: "list[dict[str, File | Folder]]" = field(default_factory=list)

    def change(self, **names: "File | Folder | None") -> None:
        self.now = {name: what for name, what in (self.now | names).items() if what is not None}
        self.pending.append(self.now)

    def after_power_cut(self, chance: random.Random | None) -> "dict[str, File | Folder]":
        return chance.choice([self.safe, *self.pending]) if chance else self.safe


def apply(content: bytearray, changes: Iterable[tuple[int, bytes | None]]) -> None:
    for where, what in changes:
        content.extend(bytes(max(0, where - len(content))))
        if what is None:
            del content[where:]
        else:
            content[where : where + len(what)] = what


class Disk:
    """Everything below ``root``, which is empty at first and safe itself."""

    def __init__(self, root: Path):
        self.root = root
        self.top = Folder()

    def take(self, call: Call) -> None:
        """Note what one call did."""
        path = Path(call.path)
        if path != self.root and self.root not in path.parents:
            return
        if call.name == "mkdir":
            self._folder(path).change(**{path.name: Folder()})
        elif call.name == "openat" and "O_CREAT" in call.flags:
            if self._at(path) is None:
                self._folder(path).change(**{path.name: File()})
        elif call.name in ("unlink", "rmdir"):
            self._folder(path).change(**{path.name: None})
        elif call.name == "link":
            self._folder(Path(call.other)).change(**{Path(call.other).name: self._at(path)})
        elif call.name == "rename":
            new = Path(call.other)
            self._folder(path).change(**{path.name: None, new.name: self._at(path)})
        elif (at := self._at(path)) is not None:
            self._touch(at, call)

    def _touch(self, at: File | Folder, call: Call) -> None:
        if call.is_sync:
            if isinstance(at, File):
                apply(at.safe, at.pending)
            else:
                at.safe = at.now
            at.pending.clear()
        elif isinstance(at, File) and call.name == "ftruncate":
            at.pending.append((call.offset, None))
        elif isinstance(at, File) and call.is_write:
            where = call.offset if call.offset >= 0 else at.end
            at.end = where + len(call.data)
            at.pending.append((where, call.data))

    def _at(self, path: Path) -> File | Folder | None:
        at: File | Folder | None = self.top
        for name in path.relative_to(self.root).parts:
            at = at.now.get(name) if isinstance(at, Folder) else None
        return at

    def _folder(self, path: Path) -> Folder:
        found = self._at(path.parent)
        assert isinstance(found, Folder), path
        return found

    def write_to(self, directory: Path, chance: random.Random | None = None) -> None:
        """Put into ``directory`` what a power cut now would leave; by ``chance`` more than what is safe."""
        _write(self.top, directory, chance)


def _write(folder: Folder, directory: Path, chance: random.Random | None) -> None:
    directory.mkdir(exist_ok=True)
    for name, what in folder.after_power_cut(chance).items():
        if name.endswith("-shm"):  # memory that processes share, not a file
            continue
        if isinstance(what, Folder):
            _write(what, directory / name, chance)
        else:
            (directory / name).write_bytes(what.after_power_cut(chance))
