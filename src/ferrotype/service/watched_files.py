"""Files whose contents count while the service runs: policy, property protections, users, roles and API tokens.

They are read when the service starts and checked every few seconds. A change takes effect when two checks in a row
find the same files. A change after which a file is invalid, missing or truncated never takes effect: the previous
contents stay in force, and the log has one error for it (WATCH-01 to WATCH-08).
"""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from ferrotype.model.errors import FerrotypeError

log = logging.getLogger("ferrotype.files")

T = TypeVar("T")
#: The parsed contents of one file, by name: rules, sections, users, ...
Entries = Mapping[Any, Any]

#: Seconds for which files must stay unchanged before a change that removes entries takes effect.
GRACE = 10.0
#: Most names in one message.
_NAMES = 10


class BrokenFiles(FerrotypeError):
    """Watched files cannot be read or parsed. The message names the file."""


class Snapshot:
    """The contents in force, shared by the processes of one service: memory that workers inherit by ``fork``.

    A replacement worker starts with them, even if the files have since become invalid.
    """

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("watched-files")

    def load(self, key: str) -> dict[str, str] | None:
        """Return what was stored under this key, text by path."""
        return self._all().get(key)

    def store(self, key: str, texts: Mapping[str, str]) -> None:
        """Replace what is stored under this key."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            content = msgspec.json.encode({**self._all(), key: dict(texts)})
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, content, 0)
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _all(self) -> dict[str, dict[str, str]]:
        content = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        try:
            return msgspec.json.decode(content, type=dict[str, dict[str, str]])
        except msgspec.DecodeError:  # Empty, or a worker was killed while it wrote.
            return {}


class WatchedFiles(Generic[T]):
    """Files that are read into one value, ``current``.

    ``find`` returns their paths; a later one overrides those before it. ``parse`` returns the entries of one file,
    ``combine`` the value of all of them. All three raise BrokenFiles. ``name`` is for messages and for the snapshot.
    With ``anew`` the files are read although the snapshot has contents, and only ``keep`` replaces those.
    """

    def __init__(
        self,
        name: str,
        find: Callable[[], Sequence[Path]],
        parse: Callable[[Path, str], Entries],
        combine: Callable[[Mapping[Path, Entries]], T],
        snapshot: Snapshot | None = None,
        clock: Callable[[], float] = time.monotonic,
        anew: bool = False,
    ):
        self.name = name
        self._find, self._parse, self._combine, self._clock = find, parse, combine, clock
        self._snapshot = snapshot
        #: the signature of the files in force, that of the last check, and when a check first found the latter
        self._in_force: object = None
        self._seen: object = None
        self._since = 0.0
        self._judged = self._announced = False
        kept = snapshot.load(name) if snapshot and not anew else None
        try:
            if kept is None:
                self._in_force = self._signature()
                self._texts = self._read()
            else:
                self._texts = {Path(path): text for path, text in kept.items()}
            #: the entries of each file in force
            self.files: Mapping[Path, Entries] = self._parsed(self._texts)
            #: the value of all files
            self.current = combine(self.files)
        except BrokenFiles as error:
            raise BrokenFiles(f"{name}: {error}") from None
        if kept is None and not anew:
            self.keep()

    def recombine(self) -> None:
        """Compute ``current`` again from the contents in force: something else that it depends on has changed."""
        self.current = self._combine(self.files)

    def reconsider(self) -> None:
        """Validate rejected files again at the next check: something else that they depend on has changed."""
        self._judged = False

    def refresh(self) -> bool:
        """Check the files; return whether ``current`` has changed. Logs errors and never raises BrokenFiles."""
        signature = self._signature()
        if signature == self._in_force:
            self._seen = None
            return False
        if signature != self._seen:
            self._seen, self._since, self._judged, self._announced = signature, self._clock(), False, False
            return False
        if self._judged:
            return self._follow()
        try:
            texts = self._read()
            files = self._parsed(texts)
            if self._signature() != signature:
                return False  # They changed while they were read.
            self._refuse_truncated(texts, files)
            value = self._combine(files)
        except BrokenFiles as error:
            self._judged = True
            if self._follow():
                return True
            log.error("%s: %s; the previous contents stay in force", self.name, error)
            return False
        if (loss := self._loss(texts, files)) and self._clock() - self._since < GRACE:
            if not self._announced:
                log.warning("%s: %s; takes effect after %g s without another change", self.name, loss, GRACE)
            self._announced = True
            return False
        same = texts == self._texts
        self._in_force, self._texts, self.files = signature, texts, files
        if same:
            return False
        self.current = value
        self.keep()
        log.warning("%s: the change has taken effect", self.name)
        return True

    def _follow(self) -> bool:
        """Take over the contents that other processes of the service have in force, if the files are invalid."""
        kept = self._snapshot.load(self.name) if self._snapshot else None
        texts = {Path(path): text for path, text in (kept or {}).items()}
        if kept is None or texts == self._texts:
            return False
        try:
            files = self._parsed(texts)
            self.current, self._texts, self.files = self._combine(files), texts, files
        except BrokenFiles:  # Invalid together with the other files that this process has in force so far.
            return False
        return True

    def lost_by(self, other: "WatchedFiles[T]") -> Path | None:
        """Return a file in force that had entries, is missing, and is not in ``other`` under a new name."""
        texts = other._texts.values()
        lost = (path for path, said in self.files.items() if said and self._texts[path] not in texts)
        return next((path for path in lost if not path.exists()), None)

    def keep(self) -> None:
        """Store the contents in force for processes that start later."""
        if self._snapshot:
            self._snapshot.store(self.name, {str(path): text for path, text in self._texts.items()})

    def _signature(self) -> object:
        """Return a value that changes whenever the files do, also if they cannot be found."""
        try:
            return tuple((path, _state(path)) for path in self._find())
        except BrokenFiles as error:
            return str(error)

    def _read(self) -> dict[Path, str]:
        return {path: _text(path) for path in self._find()}

    def _parsed(self, texts: Mapping[Path, str]) -> dict[Path, Entries]:
        return {path: self._parse(path, text) for path, text in texts.items()}

    def _refuse_truncated(self, texts: Mapping[Path, str], files: Mapping[Path, Entries]) -> None:
        """Raise BrokenFiles if a file that had entries is missing, empty or truncated."""
        for path, before in self._texts.items():
            if path not in texts:
                moved = any(text == before for other, text in texts.items() if other not in self._texts)
                if self.files[path] and not moved:
                    raise BrokenFiles(f"{path} has disappeared")
            elif self.files[path] and not texts[path].strip():
                raise BrokenFiles(f"{path} is empty; to remove all its entries, leave a comment or {{}} in it")
            elif before.endswith("\n") and _may_be_cut(texts[path]):
                raise BrokenFiles(f"{path} may be truncated: its last line has no line end")

    def _loss(self, texts: Mapping[Path, str], files: Mapping[Path, Entries]) -> str | None:
        """Return what a change removes, or would remove if a file is truncated; None if it removes nothing."""
        for path, text in texts.items():
            before = self._texts.get(path)
            if before is not None and (lost := self.files[path].keys() - files[path].keys()):
                names = sorted(" ".join(name) if isinstance(name, tuple) else str(name) for name in lost)
                more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
                return f"{path} no longer has {', '.join(names[:_NAMES])}{more}"
            if before is not None and text != before and before.startswith(text):
                return f"{path} has lost its end"
            if text != before and _may_be_cut(text):
                return f"{path} may be truncated: its last line has no line end"
        return None


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:  # Reading the file reports the error.
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenFiles(f"{path} cannot be read: {error}") from error


def _may_be_cut(text: str) -> bool:
    """Tell whether a file may be truncated. The closing brace shows that a JSON object is complete."""
    bare = text.strip()
    return bool(bare) and not text.endswith("\n") and not (bare[0] == "{" and bare[-1] == "}")
