"""Objects as files in one directory or several: written under a temporary name, made durable, then renamed.

The order is what makes an answer true after a power loss: bytes, fsync of the file, rename, fsync of the
directory. The temporary name is made from the object's name, so the ledger's row covers both.
"""

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ferrotype.config.file_store import FileStore
from ferrotype.model.errors import BlobDamaged, BlobNotFound, StoreDenied, StoreError, StoreUnavailable
from ferrotype.offload import Crew, undisturbed
from ferrotype.stores.directories import HOW_TO_BRING_BACK, MARK, Directories, translated
from ferrotype.stores.driver import Batch, Health, LocalFile

#: Bytes after which they are asked to be on the disk, so that the end comes quickly.
SYNC_EVERY = 32 * 1024 * 1024
#: Calls of one store that wait for its file system at once, and downloads of it that the kernel works on at once.
THREADS, SENDING = 32, 8
#: Most buffers that one writev takes.
_IOV_MAX = os.sysconf("SC_IOV_MAX")


class _Writing:
    """A file that is being written; every method is called in a thread, one at a time but for ``sync``."""

    def __init__(self, directories: Directories, directory: Path, name: str, mode: int, thin: bool):
        self._directories = directories
        self._directory, self._name, self._part = directory, name, f".{name}.part"
        self._mode, self._thin = mode, thin
        #: bytes written since a sync was last begun
        self.unsynced = self._size = 0
        self._fd = self._folder = -1
        self._opened = False

    def open(self) -> None:
        with translated(f"create {self._part} in {self._directory}"):
            self._folder = self._directories.enter(self._directory)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._part, flags, self._mode or 0o640, dir_fd=self._folder)
            if _exists(self._name, self._folder):
                os.unlink(self._part, dir_fd=self._folder)
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            self._opened = True
            if self._mode:
                os.fchmod(self._fd, self._mode)

    def write(self, batch: Batch) -> None:
        with translated(f"write {self._part} in {self._directory}"):
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
        with translated(f"write {self._part} in {self._directory}"):
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
        with translated(f"finish {self._name} in {self._directory}"):
            if self._thin:
                os.ftruncate(self._fd, self._size)
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            os.rename(self._part, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)

    def abandon(self) -> None:
        """Undo a broken-off write. What cannot be removed now is left to the ledger, which knows the name."""
        if self._opened and self._folder >= 0:  # Else what is there is not ours.
            with suppress(OSError):
                _unlink(self._folder, self._name)
        with suppress(OSError):
            self.close()

    def close(self) -> None:
        file, folder, self._fd, self._folder = self._fd, self._folder, -1, -1
        try:
            if file >= 0:
                os.close(file)
        finally:
            if folder >= 0:
                os.close(folder)


class FileDriver:
    """Files below directories of this machine (or of a file system that it mounts)."""

    def __init__(self, config: FileStore, crew: Crew):
        self._crew = crew
        self._threads = crew.threads(THREADS, "store")
        self._sending = crew.threads(SENDING, "sending")
        self._mode = config.file_perm
        # As they are configured: a link to a directory may lead elsewhere tomorrow, and URLs stay.
        self._directories = Directories(dict(config.directories), self._mode)
        self._thin = config.thin_provisioning
        data_dirs = [str(each) for each in self._directories]
        self.properties: Mapping[str, Any] = {
            "data_dir": data_dirs[0],
            "chunk_size": config.chunk_size,
            "thin_provisioning": self._thin,
            **({"data_dirs": data_dirs} if len(data_dirs) > 1 else {}),
        }

    async def settle(self, marks: Mapping[str, str], fresh: bool) -> Mapping[str, str]:
        return await self._crew.offload(self._directories.settle, marks, fresh)

    def expect(self, marks: Mapping[str, str]) -> None:
        self._directories.expect(marks)

    async def put(self, name: str, batches: AsyncIterator[Batch], size: int | None) -> str:
        directory = await self._threads.offload(self._directories.roomiest, size or 0)
        file = _Writing(self._directories, directory, name, self._mode, self._thin)
        syncing: asyncio.Future[None] | None = None
        try:
            await self._threads.offload(file.open)
            async for batch in batches:
                await self._threads.offload(file.write, batch)
                if file.unsynced >= SYNC_EVERY:
                    if syncing is not None:
                        await syncing
                    file.unsynced = 0
                    # The disk works while more bytes come, and is never more than two such steps behind.
                    syncing = asyncio.ensure_future(self._threads.offload(file.sync))
            if syncing is not None:
                await syncing
            await self._threads.offload(file.settle)
        except BaseException:  # Failed or cancelled: leave no trace, then let it through.
            try:
                if syncing is not None:  # It uses the descriptor that is closed next.
                    await undisturbed(asyncio.wait([syncing]))
                    syncing.cancelled() or syncing.exception()  # Looked at: what ended us may be another thing.
            finally:
                await self._threads.offload(file.abandon)
            raise
        file.close()
        return f"file://{quote(str(directory / name))}"

    def owns(self, url: str) -> str | None:
        parts = urlsplit(url)
        if parts.scheme not in ("file", "filesystem") or parts.netloc:
            return None
        path = Path(unquote(parts.path))
        return path.name if path.parent in self._directories else None

    async def get(self, url: str, size: int | None) -> LocalFile | None:
        return await self._threads.offload(self._open, url, size)

    def _open(self, url: str, size: int | None) -> LocalFile:
        path = Path(unquote(urlsplit(url).path))
        if path.parent not in self._directories:
            raise StoreDenied(f"{path.name} is not in a directory of this store")
        with translated(f"open {path}"):
            # Neither a link nor a pipe that somebody put in its place is followed or waited for.
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError as error:
                os.close(self._directories.enter(path.parent))
                raise BlobNotFound(f"{path} does not exist") from error
            try:
                found = os.fstat(fd)
            except OSError:
                os.close(fd)
                raise
        if stat.S_ISREG(found.st_mode) and size in (None, found.st_size):
            return LocalFile(fd, found.st_size, self._sending.executor)
        os.close(fd)
        if not stat.S_ISREG(found.st_mode):
            raise BlobDamaged(f"{path} is not a plain file")
        raise BlobDamaged(f"{path} has {found.st_size} bytes where {size} were stored")

    async def delete(self, name: str) -> None:
        failure: StoreError | None = None
        for directory in self._directories:
            try:
                await self._threads.offload(self._delete, directory, name)
            except StoreError as error:  # It may lie in one of the others all the same.
                if self._directories.may_hold(directory):
                    failure = failure or error
        if failure:
            raise failure

    def _delete(self, directory: Path, name: str) -> None:
        with translated(f"remove {name} from {directory}"):
            folder = self._directories.enter(directory)
            try:
                _unlink(folder, name)
            finally:
                os.close(folder)

    async def probe(self) -> Health:
        # Not in a thread of ours: all of them may be busy, and that is no trouble.
        return await self._crew.offload(self._directories.probe)

    async def names(self) -> AsyncIterator[str]:
        for directory in self._directories:
            for name in await self._threads.offload(self._list, directory):
                yield name

    def _list(self, directory: Path) -> list[str]:
        with translated(f"list {directory}"):
            if self._directories.knows(directory):
                try:
                    os.close(self._directories.enter(directory))
                except FileNotFoundError as error:
                    raise StoreUnavailable(f"cannot list {directory}: it is away. {HOW_TO_BRING_BACK}") from error
            elif not directory.exists():
                return []
            found = [each.name for each in directory.iterdir()]
        return sorted(
            {
                name[1:].removesuffix(".part") if name.startswith(".") and name.endswith(".part") else name
                for name in found
                if not name.startswith(MARK)
            }
        )


def _unlink(folder: int, name: str) -> None:
    """Remove a finished and an unfinished file of this name, and make that durable."""
    gone = False
    for each in (name, f".{name}.part"):
        if _exists(each, folder):  # Asked first: a file system that is read-only says so before "not found".
            with suppress(FileNotFoundError):  # Another node was quicker.
                os.unlink(each, dir_fd=folder)
            gone = True
    if gone:
        os.fsync(folder)


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
