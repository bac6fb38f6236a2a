"""Objects in this process's memory: for tests and demonstrations. They are gone when the process ends."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ferrotype.config.memory_store import MemoryStore
from ferrotype.model.blob import ObjectRef, Registered
from ferrotype.model.errors import BlobNotFound, StoreDenied, StoreFull
from ferrotype.offload import ThreadPools
from ferrotype.stores.driver import READ_SIZE, Batch, Health, Listed, LocalFile, Noted


class MemorySource:
    """One object in memory."""

    local_file: LocalFile | None = None

    def __init__(self, data: bytes):
        self._data: bytes | None = data
        self.size: int | None = len(data)

    async def read(self, offset: int, count: int | None) -> AsyncIterator[bytes]:
        """Yield a part of the data."""
        data = memoryview(self._data or b"")
        end = len(data) if count is None else min(len(data), offset + count)
        for start in range(offset, end, READ_SIZE):
            yield bytes(data[start : min(end, start + READ_SIZE)])

    async def close(self) -> None:
        """Let go of the data."""
        self._data = None


class MemoryDriver:
    """Objects by name; at most ``max_bytes`` of data, unfinished objects included."""

    def __init__(self, store: str, options: MemoryStore, pools: ThreadPools):
        self._store = store
        self._max_bytes = options.max_bytes
        self._objects: dict[str, bytes] = {}
        self._unfinished: dict[str, int] = {}
        self.properties: Mapping[str, Any] = options.properties

    async def put(self, object: ObjectRef, batches: AsyncIterator[Batch], size: int | None, noted: Noted) -> str:
        name = object.name
        if name in self._objects or name in self._unfinished:
            raise StoreDenied(f"object {name} exists already")
        self._unfinished[name] = 0
        try:
            self._check_space(size or 0)
            chunks: list[bytes] = []
            async for batch in batches:
                added = sum(map(len, batch))
                self._check_space(added)
                self._unfinished[name] += added
                chunks += batch
            self._objects[name] = b"".join(chunks)
        finally:
            del self._unfinished[name]
        return name

    def _check_space(self, size: int) -> None:
        used = sum(map(len, self._objects.values())) + sum(self._unfinished.values())
        if used + size > self._max_bytes:
            raise StoreFull(f"{used} of {self._max_bytes} bytes are in use, {size} more do not fit")

    async def open(self, handle: str) -> MemorySource:
        return MemorySource(self._data(handle))

    async def stat(self, handle: str) -> int | None:
        return len(self._data(handle))

    async def register(self, url: str) -> Registered:
        handle = self.parse(url)
        if handle is None:
            raise StoreDenied("the URL is not one of this store")
        return Registered(handle, len(self._data(handle)), name=handle)

    def _data(self, handle: str) -> bytes:
        try:
            return self._objects[handle]
        except KeyError:
            raise BlobNotFound(f"object {handle} does not exist") from None

    async def delete(self, name: str, handle: str | None) -> None:
        self._objects.pop(handle or name, None)

    async def list(self) -> AsyncIterator[Listed]:
        for name, data in list(self._objects.items()):
            yield Listed(name, name, len(data))
        for name, size in list(self._unfinished.items()):
            yield Listed(name, None, size)

    async def probe(self) -> Health:
        try:
            self._check_space(1)
        except StoreFull as error:
            return Health(False, f"{error}. Delete images, or raise memory_store_max_bytes.", full=True)
        return Health(True)

    def url(self, handle: str) -> str:
        return f"memory://{quote(self._store, safe='')}/{handle}"

    def parse(self, url: str) -> str | None:
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        name = parts.path.removeprefix("/")
        ours = parts.scheme == "memory" and unquote(parts.netloc) == self._store and url == self.url(name)
        return name if ours and name and "/" not in name else None
