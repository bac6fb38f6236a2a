"""The directories of a file store: their identity, their free space, and whether they can be written.

Each directory contains a file ``.ferrotype`` with a unique ID, which is also recorded in the database. If the ID is
missing or different, typically because a file system is not mounted, the directory is offline: nothing is written to
it, and no object is reported missing.
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

#: The file that holds a directory's ID.
ID_FILE = ".ferrotype"
CHECK_PERMISSIONS = "Check its owner, mode and free space."
MOUNT_OR_ADOPT = (
    "This is not the directory that the store used before; is its file system mounted? To use this directory instead,"
    f" create an empty file {ID_FILE} in it."
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
    """Raise an OSError as the StoreError of its cause, with a text that begins with "cannot " and ``what``."""
    try:
        yield
    except OSError as error:
        kind = _BY_ERRNO.get(error.errno or 0, StoreUnavailable)
        raise kind(f"cannot {what}: {os.strerror(error.errno or errno.EIO)}") from error


def _read_id(folder: int) -> str | None:
    """Return the ID of an open directory, "" for an empty ID file, None without one."""
    try:
        fd = os.open(ID_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        return os.read(fd, 256).decode("ascii", "replace").strip()
    finally:
        os.close(fd)


class Directories:
    """Directories with priorities, the highest first. ``mode`` is that of their files; 0 leaves it to the umask."""

    def __init__(self, priorities: Mapping[Path, int], mode: int):
        self._priorities = dict(sorted(priorities.items(), key=lambda each: each[1], reverse=True))
        self._mode = mode
        #: expected IDs by path
        self._ids: Mapping[str, str] = {}
        #: directories that could not be initialized, and why
        self._failed: Mapping[Path, OSError] = {}

    def __iter__(self) -> Iterator[Path]:
        return iter(self._priorities)

    def open_checked(self, directory: Path) -> int:
        """Open a directory and return the descriptor; raise FileNotFoundError when its ID is not the expected one."""
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = _read_id(folder)
            if found is None or found != self._ids.get(str(directory), found):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        except BaseException:
            os.close(folder)
            raise
        return folder

    def set_expected_ids(self, directory_ids: Mapping[str, str]) -> None:
        """Expect these IDs; no directory is looked at."""
        self._ids = directory_ids

    def is_known(self, directory: Path) -> bool:
        """Return whether the ID of a directory is recorded."""
        return str(directory) in self._ids

    def may_contain(self, directory: Path) -> bool:
        """Return whether objects may be in a directory: not in one that was never initialized."""
        return not self._ids or self.is_known(directory)

    def initialize(self, directory_ids: Mapping[str, str], store_is_empty: bool) -> Mapping[str, str]:
        """Create new directories and their IDs, and return the new IDs; see ``DirectoryIdentity.initialize``.

        A directory whose ID is recorded and that has another, or none, is offline. An empty ID file in it tells that
        the operator wants it to be used.
        """
        new, self._failed = {}, {}
        for directory in self:
            path = str(directory)
            try:
                found = self._initialize(directory, None if store_is_empty else directory_ids.get(path))
            except OSError as error:
                self._failed[directory] = error
            else:
                if found != directory_ids.get(path):
                    new[path] = found
        self._ids = {**directory_ids, **new}
        return new

    def _initialize(self, directory: Path, expected: str | None) -> str:
        if expected is None:
            self._create(directory)
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = _read_id(folder)
            if found == "" or (found is None and expected is None):
                found = _write_id(folder)
            elif found is None or found != (expected or found):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        finally:
            os.close(folder)
        self._relax_mode(directory)
        return found

    def _create(self, directory: Path) -> None:
        """Create a missing directory durably: after a power loss its files could vanish with it otherwise."""
        missing = []
        parent = directory
        while not parent.exists():
            missing.append(parent)
            parent = parent.parent
        for each in reversed(missing):
            each.mkdir(mode=0o750, exist_ok=True)
            _fsync_directory(each.parent)

    def _relax_mode(self, directory: Path) -> None:
        """Let groups and users that may read the files, by ``file_perm``, enter the directory too."""
        mode = stat.S_IMODE(directory.stat().st_mode)
        enter = (0o010 if self._mode & 0o070 else 0) | (0o001 if self._mode & 0o007 else 0)
        if mode | enter != mode:
            directory.chmod(mode | enter)

    def _check_online(self, directory: Path) -> None:
        try:
            os.close(self.open_checked(directory))
        except FileNotFoundError as error:
            raise self._failed.get(directory, error) from error

    def pick_directory(self, size: int) -> Path:
        """Return the directory with the highest priority that has ``size`` bytes free; among equals the emptiest.

        A directory that cannot be used is skipped as long as another can.
        """
        usable: list[tuple[int, int, Path]] = []
        failure: StoreError | None = None
        for directory in self:
            try:
                with translated(f"use {directory}"):
                    self._check_online(directory)
                    found = os.statvfs(directory)
                    _check_access(directory)
            except StoreError as error:
                failure = error
                continue
            usable.append((self._priorities[directory], found.f_bavail * found.f_frsize, directory))
        if not usable and failure:
            raise failure
        large_enough = [each for each in usable if each[1] >= size]
        if not large_enough:
            raise StoreFull(f"no directory has {size} bytes free: {', '.join(map(str, self))}")
        return max(large_enough, key=lambda each: each[:2])[2]

    def probe(self) -> Health:
        """Find out whether files can be written in at least one directory."""
        reasons, full, writable = [], True, False
        for directory in self:
            try:
                self._check_online(directory)
                _try_to_write(directory)
                writable = True
            except OSError as error:
                full = full and error.errno in (errno.ENOSPC, errno.EDQUOT)
                reason = os.strerror(error.errno or errno.EIO)
                advice = MOUNT_OR_ADOPT if isinstance(error, FileNotFoundError) else CHECK_PERMISSIONS
                reasons.append(f"cannot write to {directory}: {reason}. {advice}")
        return Health(writable, " ".join(reasons), full and not writable)


def _write_id(folder: int) -> str:
    """Give a directory an ID, durably, and return the ID it has: another process may have been faster."""
    made = uuid.uuid4().hex
    name = f"{ID_FILE}-{made}"
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640, dir_fd=folder)
    try:
        os.write(fd, made.encode())
        os.fsync(fd)
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(fd)
    os.rename(name, ID_FILE, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
    return _read_id(folder) or made


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
    """Write an unnamed file (O_TMPFILE), so that nothing is left whatever happens."""
    try:
        fd = os.open(directory, os.O_WRONLY | os.O_TMPFILE, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
        _check_access(directory)  # This file system has no unnamed files.
        return
    try:
        os.write(fd, b"probe")
    finally:
        os.close(fd)
