"""The directories of a file store: which of them are here, ours, and have room.

A directory says which it is in its file ``.ferrotype``, and the database remembers that. Where another lies in its
place, or none, its file system is not mounted: nothing is written then, and nothing is taken for gone.
"""

import errno
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ferrotype.model.errors import BlobDamaged, StoreDenied, StoreError, StoreFull, StoreUnavailable
from ferrotype.stores.driver import Health

#: The file in which a directory says which it is.
MARK = ".ferrotype"
HOW_TO_MEND = "Check its owner, mode and free space."
HOW_TO_BRING_BACK = (
    "What lies there is not the directory that was used before: mount its file system. To use what lies there"
    f" instead, put an empty file {MARK} into it."
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


def _mark_of(folder: int) -> str | None:
    """Return what a directory that is open says of itself; None where it says nothing."""
    try:
        fd = os.open(MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        return os.read(fd, 256).decode("ascii", "replace").strip()
    finally:
        os.close(fd)


class Directories:
    """Directories with priorities, the preferred ones first. ``mode`` is that of the files in them; 0: the usual."""

    def __init__(self, priorities: Mapping[Path, int], mode: int):
        self._priorities = dict(sorted(priorities.items(), key=lambda each: each[1], reverse=True))
        self._mode = mode
        #: what they must say of themselves
        self._marks: Mapping[str, str] = {}
        #: why those that could not be settled in could not
        self._wrong: Mapping[Path, OSError] = {}

    def __iter__(self) -> Iterator[Path]:
        return iter(self._priorities)

    def enter(self, directory: Path) -> int:
        """Open a directory and return the descriptor. Raise FileNotFoundError where another lies in its place."""
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mark = _mark_of(folder)
            if mark is None or mark != self._marks.get(str(directory), mark):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        except BaseException:
            os.close(folder)
            raise
        return folder

    def expect(self, marks: Mapping[str, str]) -> None:
        """Take it that the directories have these marks, and look at none."""
        self._marks = marks

    def knows(self, directory: Path) -> bool:
        """Say whether a directory has been settled in, and has a mark by which to know it."""
        return str(directory) in self._marks

    def may_hold(self, directory: Path) -> bool:
        """Say whether objects may lie in a directory: not in one that was never settled in."""
        return not self._marks or self.knows(directory)

    def settle(self, marks: Mapping[str, str], fresh: bool) -> Mapping[str, str]:
        """Make and mark what is new, and return the marks that are; see ``Driver.settle``.

        One whose mark is known and that has another, or none, is away: its file system is not mounted. Whoever knows
        better puts an empty mark into it.
        """
        new, self._wrong = {}, {}
        for directory in self:
            place = str(directory)
            try:
                mark = self._settle(directory, None if fresh else marks.get(place))
            except OSError as error:
                self._wrong[directory] = error
            else:
                if mark != marks.get(place):
                    new[place] = mark
        self._marks = {**marks, **new}
        return new

    def _settle(self, directory: Path, known: str | None) -> str:
        if known is None:
            self._make(directory)
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mark = _mark_of(folder)
            if mark == "" or (mark is None and known is None):
                mark = _write_mark(folder)
            elif mark is None or mark != (known or mark):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        finally:
            os.close(folder)
        self._let_in(directory)
        return mark

    def _make(self, directory: Path) -> None:
        """Make the directory where it is missing, durably: else its files could vanish with it after a power loss."""
        missing = []
        parent = directory
        while not parent.exists():
            missing.append(parent)
            parent = parent.parent
        for each in reversed(missing):
            each.mkdir(mode=0o750, exist_ok=True)
            _fsync_directory(each.parent)

    def _let_in(self, directory: Path) -> None:
        """Let whoever may read the files by ``file_perm`` into the directory too."""
        mode = stat.S_IMODE(directory.stat().st_mode)
        enter = (0o010 if self._mode & 0o070 else 0) | (0o001 if self._mode & 0o007 else 0)
        if mode | enter != mode:
            directory.chmod(mode | enter)

    def _look_at(self, directory: Path) -> None:
        try:
            os.close(self.enter(directory))
        except FileNotFoundError as error:
            raise self._wrong.get(directory, error) from error

    def roomiest(self, size: int) -> Path:
        """Return the directory of the highest priority that has room; among equals the emptiest.

        One that cannot be used is passed over, as long as there is another.
        """
        usable: list[tuple[int, int, Path]] = []
        failure: StoreError | None = None
        for directory in self:
            try:
                with translated(f"use {directory}"):
                    self._look_at(directory)
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
        for directory in self:
            try:
                self._look_at(directory)
                _try_to_write(directory)
                writable = True
            except OSError as error:
                full = full and error.errno in (errno.ENOSPC, errno.EDQUOT)
                reason = os.strerror(error.errno or errno.EIO)
                advice = HOW_TO_BRING_BACK if isinstance(error, FileNotFoundError) else HOW_TO_MEND
                reasons.append(f"cannot write to {directory}: {reason}. {advice}")
        return Health(writable, " ".join(reasons), full and not writable)


def _write_mark(folder: int) -> str:
    """Have a directory say which it is, durably, and return what it says: another process may have been quicker."""
    made = uuid.uuid4().hex
    name = f"{MARK}-{made}"
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640, dir_fd=folder)
    try:
        os.write(fd, made.encode())
        os.fsync(fd)
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(fd)
    os.rename(name, MARK, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
    return _mark_of(folder) or made


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
