"""The directories of a file store: their identity, and whether they can be used. All calls here block.

Each directory contains a file ``.ferrotype`` with a unique ID, which is also recorded in the database. If the ID is
missing or different, typically because a file system is not mounted, the directory is offline: nothing is written to
it, and no object is reported missing.
"""

import errno
import fcntl
import logging
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ferrotype.model.errors import BlobDamaged, Busy, StoreDenied, StoreError, StoreFull, StoreUnavailable

log = logging.getLogger("ferrotype.stores")

#: The file that holds a directory's ID.
ID_FILE = ".ferrotype"
CHECK_PERMISSIONS = "Check its owner, mode and free space."
MOUNT_OR_ADOPT = (
    "This is not the directory that the store uses; is its file system mounted? To use this directory instead, create"
    f" an empty file {ID_FILE} in it."
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
#: Errors of file systems without hard links.
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS))
#: What this process, or the machine, lacks. No store is the worse for it.
_OF_THE_PROCESS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise an OSError as the StoreError of its cause, with a text that begins with "cannot " and ``what``.

    Raises Busy where this process has no more file descriptors or no memory.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _OF_THE_PROCESS:
            log.error("out of descriptors or memory: cannot %s: %s", what, os.strerror(error.errno or 0))
            raise Busy("This node has no capacity at the moment. Please retry later.") from error
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
    """The IDs of directories, and whether they can be used. ``mode`` is that of files; 0 leaves it to the umask."""

    def __init__(self, mode: int):
        self._mode = mode
        #: expected IDs by path
        self._ids: Mapping[str, str] = {}
        #: directories that could not be initialized, and why
        self._failed: dict[Path, OSError] = {}

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

    def initialize(self, directory: Path, known: str | None) -> str:
        """Return the ID that a directory has and should have; create a directory that is not ``known`` and its ID.

        One that is known and has another ID, or none, is offline: raises FileNotFoundError. An empty ID file in it is
        the operator's request to use it: it gets a new ID.
        """
        try:
            found = self._initialize(directory, known)
        except OSError as error:
            self._failed[directory] = error
            raise
        self._failed.pop(directory, None)
        return found

    def _initialize(self, directory: Path, known: str | None) -> str:
        if known is None:
            self._create(directory)
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = _read_id(folder)
            if found == "":
                found = _fill_id(folder)
            elif found is None and known is None:
                found = _write_id(folder)
            elif found is None or found != (known or found):
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

    def check_readable(self, directory: Path) -> None:
        """Raise a StoreError unless a directory is online."""
        with translated(f"read {directory}"):
            self._check_online(directory)

    def check_writable(self, directory: Path) -> int:
        """Raise a StoreError unless files can be written to a directory; return how many bytes are free."""
        with translated(f"write to {directory}"):
            self._check_online(directory)
            _try_to_write(directory)
            found = os.statvfs(directory)
            return found.f_bavail * found.f_frsize


def _write_id(folder: int) -> str:
    """Give a directory without ID file an ID, durably, and return the ID it has: another process may be faster."""
    made = uuid.uuid4().hex
    name = f"{ID_FILE}-{made}"
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640, dir_fd=folder)
    try:
        try:
            os.write(fd, made.encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        try:
            with suppress(FileExistsError):  # Another process was faster.
                os.link(name, ID_FILE, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.rename(name, ID_FILE, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
    os.fsync(folder)
    return _read_id(folder) or made


def _fill_id(folder: int) -> str:
    """Write a new ID into the empty ID file of a directory, durably, and return the ID it has.

    Several processes may do so at once: the file is locked, and only the first one finds it empty.
    """
    fd = os.open(ID_FILE, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if found := os.read(fd, 256).decode("ascii", "replace").strip():
            return found
        made = uuid.uuid4().hex
        os.pwrite(fd, made.encode(), 0)
        os.fsync(fd)
        return made
    finally:
        os.close(fd)


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
