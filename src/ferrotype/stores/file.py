"""Objects as files in one directory or several: written under a temporary name, made durable, then renamed.

The order makes an answer true after a power loss: data, fsync of the file, rename, fsync of the directory. The
temporary name is derived from the object's name, so the ledger's row covers both. The handle is the file's path.
"""

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ferrotype.config.file_store import FileStore
from ferrotype.model.blob import ObjectRef
from ferrotype.model.errors import BlobDamaged, BlobNotFound, StoreDenied, StoreError, StoreUnavailable
from ferrotype.offload import ThreadPools, shielded
from ferrotype.stores.directories import ID_FILE, MOUNT_OR_ADOPT, Directories, translated
from ferrotype.stores.driver import READ_SIZE, Batch, Health, Listed, LocalFile, Noted

#: Bytes after which fdatasync is called, so that the last one is quick.
SYNC_EVERY = 32 * 1024 * 1024
#: Threads of one store for calls to its file system, and for sendfile.
THREADS, SENDING = 32, 8
#: Largest number of buffers that one writev takes.
_IOV_MAX = os.sysconf("SC_IOV_MAX")


class _FileWriter:
    """A file that is being written; methods are called in threads, one at a time except ``sync``."""

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
            self._folder = self._directories.open_checked(self._directory)
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
        if written < wanted:  # A full disk takes a part before it refuses the rest.
            rest = memoryview(b"".join(buffers))[written:]
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def _write_thin(self, chunk: bytes) -> None:
        if chunk.count(0) == len(chunk):
            os.lseek(self._fd, len(chunk), os.SEEK_CUR)
        else:
            self._write_all([chunk])

    def finish(self) -> None:
        with translated(f"finish {self._name} in {self._directory}"):
            if self._thin:
                os.ftruncate(self._fd, self._size)
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            os.rename(self._part, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)

    def abandon(self) -> None:
        """Remove what was written. What cannot be removed now is found by the ledger, which knows the name."""
        if self._opened and self._folder >= 0:  # Otherwise the file that is there is not ours.
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


class FileSource:
    """An object that is an open file."""

    def __init__(self, file: LocalFile):
        self.local_file: LocalFile | None = file
        self.size: int | None = file.size
        self._file = file

    async def read(self, offset: int, count: int | None) -> AsyncIterator[bytes]:
        """Yield a part of the file."""
        loop = asyncio.get_running_loop()
        end = self._file.size if count is None else offset + count
        while offset < end:
            with translated("read the file"):
                work = loop.run_in_executor(
                    self._file.threads, os.pread, self._file.fd, min(READ_SIZE, end - offset), offset
                )
                self._file.keep_open_for(work)
                chunk = await asyncio.shield(work)  # The read may be abandoned, the thread cannot.
            if not chunk:
                return
            offset += len(chunk)
            yield chunk

    async def close(self) -> None:
        """Close the file."""
        self._file.close()


class FileDriver:
    """Files in directories of this machine, or of a file system that it mounts."""

    def __init__(self, store: str, options: FileStore, pools: ThreadPools):
        self._pools = pools
        self._threads = pools.new_pool(THREADS, "store")
        self._sending = pools.new_pool(SENDING, "sending")
        self._mode = options.file_perm
        # As they are configured: a symbolic link to a directory may change, and URLs must stay valid.
        self._directories = Directories(dict(options.directories), self._mode)
        self._thin = options.thin_provisioning
        data_dirs = [str(each) for each in self._directories]
        self.properties: Mapping[str, Any] = {
            "data_dir": data_dirs[0],
            "chunk_size": options.chunk_size,
            "thin_provisioning": self._thin,
            **({"data_dirs": data_dirs} if len(data_dirs) > 1 else {}),
        }

    async def initialize(self, directory_ids: Mapping[str, str], store_is_empty: bool) -> Mapping[str, str]:
        return await self._pools.offload(self._directories.initialize, directory_ids, store_is_empty)

    def set_expected_ids(self, directory_ids: Mapping[str, str]) -> None:
        self._directories.set_expected_ids(directory_ids)

    async def put(self, object: ObjectRef, batches: AsyncIterator[Batch], size: int | None, noted: Noted) -> str:
        directory = await self._threads.offload(self._directories.pick_directory, size or 0)
        file = _FileWriter(self._directories, directory, object.name, self._mode, self._thin)
        syncing: asyncio.Future[None] | None = None
        try:
            await self._threads.offload(file.open)
            async for batch in batches:
                await self._threads.offload(file.write, batch)
                if file.unsynced >= SYNC_EVERY:
                    if syncing is not None:
                        await syncing
                    file.unsynced = 0
                    # The disk works while more data arrives, and is never more than two such steps behind.
                    syncing = asyncio.ensure_future(self._threads.offload(file.sync))
            if syncing is not None:
                await syncing
            await self._threads.offload(file.finish)
        except BaseException:  # Failed or cancelled: remove the file, then let the error through.
            try:
                if syncing is not None:  # It uses the descriptor that is closed next.
                    await shielded(asyncio.wait([syncing]))
                    syncing.cancelled() or syncing.exception()  # Retrieved: the error that ended us may be another.
            finally:
                await self._threads.offload(file.abandon)
            raise
        file.close()
        return str(directory / object.name)

    async def open(self, handle: str) -> FileSource:
        return FileSource(await self._threads.offload(self._open, Path(handle)))

    async def stat(self, handle: str) -> int | None:
        def size_of(path: Path) -> int:
            file = self._open(path)
            file.close()
            return file.size

        return await self._threads.offload(size_of, Path(handle))

    def _open(self, path: Path) -> LocalFile:
        if path.parent not in self._directories:
            raise StoreDenied(f"{path} is not in a directory of this store")
        with translated(f"open {path}"):
            # O_NOFOLLOW and O_NONBLOCK: a link or a FIFO that was planted in its place is neither followed nor
            # waited for.
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError as error:
                os.close(self._directories.open_checked(path.parent))
                raise BlobNotFound(f"{path} does not exist") from error
            try:
                found = os.fstat(fd)
            except OSError:
                os.close(fd)
                raise
        if stat.S_ISREG(found.st_mode):
            return LocalFile(fd, found.st_size, self._sending.executor)
        os.close(fd)
        raise BlobDamaged(f"{path} is not a regular file")

    async def delete(self, name: str, handle: str | None) -> None:
        home = Path(handle).parent if handle else None
        directories = [home] if home and home in self._directories else [*self._directories]
        failure: StoreError | None = None
        for directory in directories:
            try:
                await self._threads.offload(self._delete, directory, name)
            except StoreError as error:  # The object may be in another directory.
                if self._directories.may_contain(directory):
                    failure = failure or error
        if failure:
            raise failure

    def _delete(self, directory: Path, name: str) -> None:
        with translated(f"remove {name} from {directory}"):
            folder = self._directories.open_checked(directory)
            try:
                _unlink(folder, name)
            finally:
                os.close(folder)

    async def list(self) -> AsyncIterator[Listed]:
        for directory in self._directories:
            for each in await self._threads.offload(self._list, directory):
                yield each

    def _list(self, directory: Path) -> Sequence[Listed]:
        with translated(f"list {directory}"):
            if self._directories.is_known(directory):
                try:
                    os.close(self._directories.open_checked(directory))
                except FileNotFoundError as error:
                    raise StoreUnavailable(f"cannot list {directory}: it is offline. {MOUNT_OR_ADOPT}") from error
            elif not directory.exists():
                return []
            with os.scandir(directory) as entries:
                found = [_listed(entry) for entry in entries if not entry.name.startswith(ID_FILE)]
        return [each for each in found if each is not None]

    async def probe(self) -> Health:
        # Not in the store's own threads: all of them may be busy, and that is no failure.
        return await self._pools.offload(self._directories.probe)

    def url(self, handle: str) -> str:
        return f"file://{quote(handle)}"

    def parse(self, url: str) -> str | None:
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        if parts.scheme not in ("file", "filesystem") or parts.netloc:
            return None
        path = Path(unquote(parts.path))
        return str(path) if path.parent in self._directories else None


def _listed(entry: "os.DirEntry[str]") -> Listed | None:
    """Return what a directory entry is, None when it has gone; a temporary file has the name of its object."""
    try:
        size = entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return None
    if entry.name.startswith(".") and entry.name.endswith(".part"):
        return Listed(entry.name[1:].removesuffix(".part"), None, size)
    return Listed(entry.name, entry.path, size)


def _unlink(folder: int, name: str) -> None:
    """Remove the finished and the unfinished file of this name durably."""
    removed = False
    for each in (name, f".{name}.part"):
        if _exists(each, folder):  # A read-only file system reports EROFS before ENOENT, so look first.
            with suppress(FileNotFoundError):  # Another node was faster.
                os.unlink(each, dir_fd=folder)
            removed = True
    if removed:
        os.fsync(folder)


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
