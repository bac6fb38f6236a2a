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
from ferrotype.model.errors import BlobDamaged, BlobNotFound, StoreDenied, StoreError, StoreFull, StoreUnavailable
from ferrotype.offload import ThreadPools, shielded
from ferrotype.stores.directories import CHECK_PERMISSIONS, ID_FILE, MOUNT_OR_ADOPT, Directories, translated
from ferrotype.stores.driver import READ_SIZE, Batch, Health, Listed, LocalFile, Noted
from ferrotype.stores.place import Place
from ferrotype.stores.space import Claim
from ferrotype.stores.supervisor import Supervisor

#: Bytes after which fdatasync is called, so that the last one is quick.
SYNC_EVERY = 32 * 1024 * 1024
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
        self._mode = options.file_perm
        self._directories = Directories(self._mode)
        # As they are configured: a symbolic link to a directory may change, and URLs must stay valid.
        self._places = {
            path: Place(path, priority, self._directories, pools)
            for path, priority in sorted(options.directories, key=lambda each: each[1], reverse=True)
        }
        #: the place of each object that is being written, by its name
        self._writing: dict[str, Place] = {}
        self._thin = options.thin_provisioning
        self.properties: Mapping[str, Any] = options.properties

    async def initialize(self, directory_ids: Mapping[str, str]) -> Mapping[str, str]:
        self._directories.set_expected_ids(directory_ids)
        work = (place.initialize(directory_ids.get(str(place.path))) for place in self._places.values())
        found = zip(self._places, await asyncio.gather(*work), strict=True)
        return {str(path): id_ for path, id_ in found if id_ is not None and id_ != directory_ids.get(str(path))}

    def set_expected_ids(self, directory_ids: Mapping[str, str]) -> None:
        self._directories.set_expected_ids(directory_ids)

    def part_of(self, name: str) -> Supervisor | None:
        place = self._writing.get(name)
        return place.writing if place else None

    async def _choose(self, size: int) -> tuple[Place, Claim]:
        """Claim ``size`` bytes of the directory with the highest priority that has them; among equals the emptiest.

        Each is asked. One that cannot be used, or does not answer, is skipped as long as another can.
        """
        places = self._places.values()
        await asyncio.gather(*(place.writing.ask() for place in places if not place.writing.unresponsive))
        usable = [(each.priority, each.space.available, each) for each in places if each.writing.error is None]
        for _, _, place in sorted(usable, key=lambda each: each[:2], reverse=True):
            if claim := place.space.claim(size):
                return place, claim
        errors = [place.writing.error for place in places if place.writing.error is not None]
        if len(errors) < len(places) or any(isinstance(each, StoreFull) for each in errors):
            raise StoreFull(f"no directory has {size} bytes free: {', '.join(map(str, self._places))}")
        raise type(errors[-1])(str(errors[-1])) from errors[-1].__cause__

    async def put(self, object: ObjectRef, batches: AsyncIterator[Batch], size: int | None, noted: Noted) -> str:
        place, claim = await self._choose(size or 0)
        file = _FileWriter(self._directories, place.path, object.name, self._mode, self._thin)
        offload = place.writing_threads.offload
        syncing: asyncio.Future[None] | None = None
        self._writing[object.name] = place
        try:
            await offload(file.open)
            async for batch in batches:
                length = sum(map(len, batch))
                await claim.need(length, place.update_space)
                await offload(file.write, batch)
                claim.written(length)
                if file.unsynced >= SYNC_EVERY:
                    if syncing is not None:
                        await syncing
                    file.unsynced = 0
                    # The disk works while more data arrives, and is never more than two such steps behind.
                    syncing = asyncio.ensure_future(offload(file.sync))
            if syncing is not None:
                await syncing
            await offload(file.finish)
        except BaseException:  # Failed or cancelled: remove the file, then let the error through.
            claim.begin_removal()
            try:
                if syncing is not None:  # It uses the descriptor that is closed next.
                    await shielded(asyncio.wait([syncing]))
                    syncing.cancelled() or syncing.exception()  # Retrieved: the error that ended us may be another.
            finally:
                await shielded(offload(file.abandon))
            raise
        finally:
            claim.end()
            self._writing.pop(object.name, None)  # Another writer of the name may have ended before.
        file.close()
        return str(place.path / object.name)

    async def open(self, handle: str) -> FileSource:
        place = self._place_of(handle)

        async def opened() -> FileSource:
            return FileSource(await place.reading_threads.offload(self._open, Path(handle), place))

        return await place.reading.call(opened)

    async def stat(self, handle: str) -> int | None:
        def size_of(path: Path) -> int:
            file = self._open(path, place)
            file.close()
            return file.size

        place = self._place_of(handle)
        return await place.reading.call(place.reading_threads.offload, size_of, Path(handle))

    def _place_of(self, handle: str) -> Place:
        try:
            return self._places[Path(handle).parent]
        except KeyError:
            raise StoreDenied(f"{handle} is not in a directory of this store") from None

    def _open(self, path: Path, place: Place) -> LocalFile:
        with translated(f"open {path}"):
            # O_NOFOLLOW and O_NONBLOCK: a link or a FIFO that was planted in its place is neither followed nor
            # waited for.
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError as error:
                os.close(self._directories.open_checked(place.path))
                raise BlobNotFound(f"{path} does not exist") from error
            try:
                found = os.fstat(fd)
            except OSError:
                os.close(fd)
                raise
        if stat.S_ISREG(found.st_mode):
            return LocalFile(fd, found.st_size, place.sending_threads.executor)
        os.close(fd)
        raise BlobDamaged(f"{path} is not a regular file")

    async def delete(self, name: str, handle: str | None) -> None:
        home = self._places.get(Path(handle).parent) if handle else None
        failure: StoreError | None = None
        for place in [home] if home else self._places.values():
            try:
                await place.writing.call(place.writing_threads.offload, self._delete, place.path, name)
            except StoreError as error:  # The object may be in another directory.
                if self._directories.may_contain(place.path):
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
        for place in self._places.values():
            for each in await place.reading.call(place.reading_threads.offload, self._list, place.path):
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
        """Probe every directory but those that owe an answer: the store can be written when one of them can."""
        places = self._places.values()
        await asyncio.gather(*(place.writing.probe() for place in places if not place.writing.unresponsive))
        errors = [place.writing.error for place in places if place.writing.error is not None]
        full = len(errors) == len(places) and all(isinstance(error, StoreFull) for error in errors)
        return Health(len(errors) < len(places), " ".join(map(_with_advice, errors)), full)

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
        return str(path) if path.parent in self._places else None


def _listed(entry: "os.DirEntry[str]") -> Listed | None:
    """Return what a directory entry is, None when it has gone; a temporary file has the name of its object."""
    try:
        size = entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return None
    if entry.name.startswith(".") and entry.name.endswith(".part"):
        return Listed(entry.name[1:].removesuffix(".part"), None, size)
    return Listed(entry.name, entry.path, size)


def _with_advice(error: StoreError) -> str:
    """Return the reason why a directory cannot be written, and what to do."""
    if error.__cause__ is None:  # It does not answer.
        return str(error)
    return f"{error}. {MOUNT_OR_ADOPT if isinstance(error.__cause__, FileNotFoundError) else CHECK_PERMISSIONS}"


def _unlink(folder: int, name: str) -> None:
    """Remove the unfinished and the finished file of this name durably.

    In this order: a writer that renames it meanwhile either fails, or the finished file is found.
    """
    removed = False
    for each in (f".{name}.part", name):
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
