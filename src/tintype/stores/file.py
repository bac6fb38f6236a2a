"""Objects as files in one directory or several: written under a temporary name, made durable, then renamed.

The order is what makes an answer true after a power loss: bytes, fsync of the file, rename, fsync of the
directory. The temporary name is made from the object's name, so the ledger's row covers both.
"""

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tintype.model.errors import (
    BlobDamaged,
    BlobNotFound,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from tintype.offload import Crew, undisturbed
from tintype.stores.driver import Batch, Health, LocalFile

#: Bytes after which they are asked to be on the disk, so that the end comes quickly.
SYNC_EVERY = 32 * 1024 * 1024
#: Most buffers that one writev takes.
_IOV_MAX = os.sysconf("SC_IOV_MAX") if "SC_IOV_MAX" in os.sysconf_names else 1024

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
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = _BY_ERRNO.get(error.errno or 0, StoreUnavailable)
        raise kind(f"cannot {what}: {os.strerror(error.errno or errno.EIO)}") from error


class _Writing:
    """A file that is being written; every method is called in a thread, one at a time but for ``sync``."""

    def __init__(self, directory: Path, name: str, mode: int, thin: bool):
        self._directory, self._name, self._part = directory, name, f".{name}.part"
        self._mode, self._thin = mode, thin
        #: bytes written since a sync was last begun
        self.unsynced = self._size = 0
        self._fd = self._folder = -1
        self._opened = False

    def open(self) -> None:
        with _translated(f"create {self._part} in {self._directory}"):
            self._folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._part, flags, self._mode or 0o640, dir_fd=self._folder)
            if _exists(self._name, self._folder):
                os.unlink(self._part, dir_fd=self._folder)
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            self._opened = True
            if self._mode:
                os.fchmod(self._fd, self._mode)

    def write(self, batch: Batch) -> None:
        with _translated(f"write {self._part} in {self._directory}"):
            if self._thin:
                for chunk in batch:
                    self._write_thin(chunk)
            else:
                for start in range(0, len(batch), _IOV_MAX):
                    self._write_all(batch[start : start + _IOV_MAX])
            written = sum(map(len, batch))
            self._size += written
            self.unsynced += written

    def sync(self) -> None:
        with _translated(f"write {self._part} in {self._directory}"):
            os.fdatasync(self._fd)

    def _write_all(self, buffers: Batch) -> None:
        wanted = sum(map(len, buffers))
        written = os.writev(self._fd, buffers)
        if written < wanted:  # A full disk takes a part first and refuses the rest.
            rest = memoryview(b"".join(buffers))[written:]
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def _write_thin(self, chunk: bytes) -> None:
        if chunk.count(0) == len(chunk):
            os.lseek(self._fd, len(chunk), os.SEEK_CUR)
        else:
            self._write_all([chunk])

    def settle(self) -> None:
        with _translated(f"finish {self._name} in {self._directory}"):
            if self._thin:
                os.ftruncate(self._fd, self._size)
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            os.rename(self._part, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)
            self.close()

    def abandon(self) -> None:
        """Undo a broken-off write. What cannot be removed now is left to the ledger, which knows the name."""
        self.close()
        if self._opened:  # Else what is there is not ours.
            with suppress(OSError):
                _unlink(self._directory, self._name)

    def close(self) -> None:
        for fd in (self._fd, self._folder):
            if fd >= 0:
                os.close(fd)
        self._fd = self._folder = -1


class FileDriver:
    """Files below directories of this machine (or of a file system that it mounts)."""

    def __init__(self, options: Mapping[str, Any], crew: Crew):
        self._crew = crew
        listed = options.get("datadirs") or ((options["datadir"], 0),)
        #: directories, the preferred ones first
        self._directories = tuple(
            Path(path).resolve() for path, _ in sorted(listed, key=lambda each: each[1], reverse=True)
        )
        self._priorities = {Path(path).resolve(): priority for path, priority in listed}
        self._mode = int(options.get("file_perm", 0))
        self._thin = bool(options.get("thin_provisioning", False))
        self.properties: Mapping[str, Any] = {
            "data_dir": str(self._directories[0]),
            "chunk_size": int(options.get("chunk_size", 65536)),
            "thin_provisioning": self._thin,
            **({"data_dirs": [str(each) for each in self._directories]} if len(self._directories) > 1 else {}),
        }

    async def put(self, name: str, batches: AsyncIterator[Batch], size: int | None) -> str:
        directory = await self._crew.offload(self._roomiest, size or 0)
        file = _Writing(directory, name, self._mode, self._thin)
        syncing: asyncio.Future[None] | None = None
        try:
            await self._crew.offload(file.open)
            async for batch in batches:
                await self._crew.offload(file.write, batch)
                if file.unsynced >= SYNC_EVERY:
                    if syncing is not None:
                        await syncing
                    file.unsynced = 0
                    # The disk works while more bytes come, and is never more than two such steps behind.
                    syncing = asyncio.ensure_future(self._crew.offload(file.sync))
            if syncing is not None:
                await syncing
            await self._crew.offload(file.settle)
        except BaseException:  # Failed or cancelled: leave no trace, then let it through.
            if syncing is not None and not syncing.done():
                await undisturbed(asyncio.wait([syncing]))  # It uses the descriptor that is closed next.
            await self._crew.offload(file.abandon)
            raise
        return f"file://{quote(str(directory / name))}"

    def _roomiest(self, size: int) -> Path:
        """Return the directory of the highest priority that has room; among equals the emptiest.

        One that cannot be used is passed over, as long as there is another.
        """
        usable: list[tuple[int, int, Path]] = []
        failure: StoreError | None = None
        for directory in self._directories:
            try:
                with _translated(f"use {directory}"):
                    self._prepare(directory)
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
            raise StoreFull(f"no directory has {size} bytes free: {', '.join(map(str, self._directories))}")
        return max(roomy, key=lambda each: each[:2])[2]

    def _prepare(self, directory: Path) -> None:
        """Make the directory, durably: a file in it must not vanish with it after a power loss.

        Whoever may read the files by ``file_perm`` is let into the directory too.
        """
        missing = []
        parent = directory
        while not parent.exists():
            missing.append(parent)
            parent = parent.parent
        for each in reversed(missing):
            each.mkdir(mode=0o750, exist_ok=True)
            _fsync_directory(each.parent)
        found = directory.stat().st_mode
        if not stat.S_ISDIR(found):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        enter = (0o010 if self._mode & 0o070 else 0) | (0o001 if self._mode & 0o007 else 0)
        mode = stat.S_IMODE(found)
        if mode | enter != mode:
            directory.chmod(mode | enter)

    def owns(self, url: str) -> str | None:
        parts = urlsplit(url)
        if parts.scheme not in ("file", "filesystem") or parts.netloc:
            return None
        path = Path(unquote(parts.path))
        return path.name if path.parent in self._directories else None

    async def get(self, url: str, size: int | None) -> LocalFile | None:
        return await self._crew.offload(self._open, url, size)

    def _open(self, url: str, size: int | None) -> LocalFile:
        path = Path(unquote(urlsplit(url).path))
        if path.parent not in self._directories:
            raise StoreDenied(f"{path.name} is not in a directory of this store")
        with _translated(f"open {path}"):
            # Neither a link nor a pipe that somebody put in its place is followed or waited for.
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError as error:
                if path.parent.is_dir():
                    raise BlobNotFound(f"{path} does not exist") from error
                raise  # The whole directory is away: its file system is not mounted, and nothing is lost.
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and size in (None, found.st_size):
            return LocalFile(fd, found.st_size)
        os.close(fd)
        if not stat.S_ISREG(found.st_mode):
            raise BlobDamaged(f"{path} is not a plain file")
        raise BlobDamaged(f"{path} has {found.st_size} bytes where {size} were stored")

    async def delete(self, name: str) -> None:
        for directory in self._directories:
            await self._crew.offload(self._delete, directory, name)

    @staticmethod
    def _delete(directory: Path, name: str) -> None:
        with _translated(f"remove {name} from {directory}"):
            _unlink(directory, name)

    async def probe(self) -> Health:
        return await self._crew.offload(self._probe)

    def _probe(self) -> Health:
        reasons, full, writable = [], True, False
        for directory in self._directories:
            try:
                self._prepare(directory)
                _try_to_write(directory)
                writable = True
            except OSError as error:
                full = full and error.errno in (errno.ENOSPC, errno.EDQUOT)
                reason = os.strerror(error.errno or errno.EIO)
                reasons.append(f"cannot write to {directory}: {reason}. Check its owner, mode and free space.")
        return Health(writable, " ".join(reasons), full and not writable)

    async def names(self) -> AsyncIterator[str]:
        for directory in self._directories:
            for name in await self._crew.offload(self._list, directory):
                yield name

    @staticmethod
    def _list(directory: Path) -> list[str]:
        with _translated(f"list {directory}"):
            found = [each.name for each in directory.iterdir()] if directory.exists() else []
        return sorted(
            {name.removeprefix(".").removesuffix(".part") if name.endswith(".part") else name for name in found}
        )


def _unlink(directory: Path, name: str) -> None:
    """Remove a finished and an unfinished file of this name, and make that durable.

    The directory must be there: where it is not, its file system is not mounted, and the file will come back.
    """
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    gone = False
    try:
        for each in (name, f".{name}.part"):
            if _exists(each, folder):  # Asked first: a file system that is read-only says so before "not found".
                with suppress(FileNotFoundError):  # Another node was quicker.
                    os.unlink(each, dir_fd=folder)
                gone = True
        if gone:
            os.fsync(folder)
    finally:
        os.close(folder)


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


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
