"""The directories of a file store: which of them are here, ours, and have room.

A directory that objects are kept in has an empty file ``.tintype``. Where that is missing, its file system is not
mounted: nothing is written then, and nothing that seems to be gone is taken for gone.
"""

import errno
import os
import stat
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tintype.model.errors import BlobDamaged, StoreDenied, StoreError, StoreFull, StoreUnavailable
from tintype.stores.driver import Health

#: The file that says that a directory is ours and here.
MARK = ".tintype"
HOW_TO_MEND = "Check its owner, mode and free space."
HOW_TO_BRING_BACK = (
    "Objects were kept there, and what is there now is not that directory: mount its file system. If it is empty on"
    f" purpose, make an empty file {MARK} in it."
)

_BY_ERRNO: dict[int, type[StoreError]] = {
    errno.ENOSPC: StoreFull,
    errno.EDQUOT: StoreFull,
    errno.EFBIG: StoreFull,
    errno.EACCES: StoreDenied,
    errno.EPERM: StoreDenied,
    errno.EROFS: StoreDenied,
    errno.ELOOP: BlobDamaged,
    errno.ENXIO: BlobDamaged,
}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise what the system says as an error of stores, which begins with "cannot " and ``what``."""
    try:
        yield
    except OSError as error:
        kind = _BY_ERRNO.get(error.errno or 0, StoreUnavailable)
        raise kind(f"cannot {what}: {os.strerror(error.errno or errno.EIO)}") from error


def enter(directory: Path) -> int:
    """Open a directory that is ours and return the descriptor. Raise FileNotFoundError for one that is not."""
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.stat(MARK, dir_fd=folder, follow_symlinks=False)
    except BaseException:
        os.close(folder)
        raise
    return folder


class Directories:
    """Directories with priorities, the preferred ones first. ``mode`` is that of the files in them; 0: the usual."""

    def __init__(self, priorities: Mapping[Path, int], mode: int):
        self._priorities = dict(sorted(priorities.items(), key=lambda each: each[1], reverse=True))
        self._mode = mode
        #: those that have been found to be ours; from then on they are never made again
        self._seen: set[Path] = set()
        #: names of objects that should be there; None until somebody has said so, and nothing is made before
        self.expected: Collection[str] | None = None
        self._making = threading.Lock()

    def __iter__(self) -> Iterator[Path]:
        return iter(self._priorities)

    def settle_in(self) -> dict[Path, OSError]:
        """Make and mark the directories that are not ours yet; return what is wrong with those that cannot be used.

        One in which nothing of ours is found may be the empty place of a file system that is not mounted. So it is
        taken only when every object that should be there is found, in another directory.
        """
        wrong = self._look()
        if self.expected is None or not any(isinstance(error, FileNotFoundError) for error in wrong.values()):
            return wrong
        with self._making:
            wrong = self._look()
            homes = {name: [each for each in self if (each / name).exists()] for name in self.expected}
            nothing_is_missing = all(homes.values())
            for directory, error in list(wrong.items()):
                mine = nothing_is_missing or any(directory in found for found in homes.values())
                if not mine or directory in self._seen or not isinstance(error, FileNotFoundError):
                    continue
                try:
                    self._take(directory)
                    del wrong[directory]
                except OSError as failure:
                    wrong[directory] = failure
        return wrong

    def _look(self) -> dict[Path, OSError]:
        """Return what is wrong with the directories that are not ours, or cannot be looked at."""
        wrong = {}
        for directory in self:
            try:
                os.close(enter(directory))
                self._let_in(directory)
                self._seen.add(directory)
            except OSError as error:
                wrong[directory] = error
        return wrong

    def _take(self, directory: Path) -> None:
        """Make the directory and mark it, durably: a file in it must not vanish with it after a power loss."""
        missing = []
        parent = directory
        while not parent.exists():
            missing.append(parent)
            parent = parent.parent
        for each in reversed(missing):
            each.mkdir(mode=0o750, exist_ok=True)
            _fsync_directory(each.parent)
        self._let_in(directory)
        with suppress(FileExistsError):  # Another worker was quicker.
            os.close(os.open(directory / MARK, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
        _fsync_directory(directory)
        self._seen.add(directory)

    def _let_in(self, directory: Path) -> None:
        """Let whoever may read the files by ``file_perm`` into the directory too."""
        mode = stat.S_IMODE(directory.stat().st_mode)
        enter = (0o010 if self._mode & 0o070 else 0) | (0o001 if self._mode & 0o007 else 0)
        if mode | enter != mode:
            directory.chmod(mode | enter)

    def roomiest(self, size: int) -> Path:
        """Return the directory of the highest priority that has room; among equals the emptiest.

        One that cannot be used is passed over, as long as there is another.
        """
        usable: list[tuple[int, int, Path]] = []
        failure: StoreError | None = None
        wrong = self.settle_in()
        for directory in self:
            try:
                with translated(f"use {directory}"):
                    if directory in wrong:
                        raise wrong[directory]
                    found = os.statvfs(directory)
                    _check_access(directory)
            except StoreError as error:
                failure = error
                continue
            usable.append((self._priorities[directory], found.f_bavail * found.f_frsize, directory))
        if not usable and failure:
            raise failure
        roomy = [each for each in usable if each[1] >= size]
        if not roomy:
            raise StoreFull(f"no directory has {size} bytes free: {', '.join(map(str, self))}")
        return max(roomy, key=lambda each: each[:2])[2]

    def probe(self) -> Health:
        """Find out whether files can be written, in at least one of them."""
        reasons, full, writable = [], True, False
        wrong = self.settle_in()
        for directory in self:
            try:
                if directory in wrong:
                    raise wrong[directory]
                _try_to_write(directory)
                writable = True
            except OSError as error:
                full = full and error.errno in (errno.ENOSPC, errno.EDQUOT)
                reason = os.strerror(error.errno or errno.EIO)
                advice = HOW_TO_BRING_BACK if isinstance(error, FileNotFoundError) else HOW_TO_MEND
                reasons.append(f"cannot write to {directory}: {reason}. {advice}")
        return Health(writable, " ".join(reasons), full and not writable)


def _check_access(directory: Path) -> None:
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _fsync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _try_to_write(directory: Path) -> None:
    """Write a file that has no name, so that nothing is left whatever happens."""
    try:
        fd = os.open(directory, os.O_WRONLY | os.O_TMPFILE, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
        _check_access(directory)  # This file system has no nameless files.
        return
    try:
        os.write(fd, b"probe")
    finally:
        os.close(fd)
