"""What the stores on obstore have in common: objects in a bucket or container, moved by a library in Rust.

An object of known size up to one part, or one that ends within the first part, is one request, which refuses a name
that exists. All others are uploads in parts: several are sent at once, each is sent again when it fails, and the
object appears when the last one is there. A download is one request that goes on where it broke off. Names are used
once, so an object never changes: one of another size is not the one that was stored.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import obstore

from ferrotype.model.blob import ObjectRef
from ferrotype.model.errors import (
    BlobNotFound,
    FerrotypeError,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from ferrotype.offload import shielded
from ferrotype.stores.driver import Batch, Health, Listed, Noted
from ferrotype.stores.object_client import (
    READ_OPTIONS,
    READ_RETRIES,
    WRITE_RETRIES,
    Bucket,
    ObjectSource,
    write_options,
    write_seconds,
)
from ferrotype.stores.object_errors import BucketMissing, ObjectExists, from_answer, translated
from ferrotype.stores.part_memory import PartMemory, Reservation

#: Bytes of a part, where no option says it.
PART = 16 * 1024 * 1024
#: The most parts that the back ends take for one object.
MAX_PARTS = 10_000
#: Times that an object of one request is sent, while the server answers.
CREATE_ATTEMPTS = 6
#: Seconds; the pauses between them begin with twice that, and double.
CREATE_PAUSE = 0.1
#: Seconds that a failed upload waits for its parts to be removed.
ABORT_SECONDS = 5.0


class _Feed:
    """Hands data to obstore, which asks for it as an iterator; at most one piece waits to be taken."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(1)
        self._closed = False

    async def send(self, item: bytes | Exception | None) -> None:
        """Hand on a piece of data; None for the end, or an error that makes obstore abort the upload."""
        if not self._closed:
            await self._queue.put(item)

    def close(self) -> None:
        """Let ``send`` go on: nothing is taken any more."""
        self._closed = True
        self.clear()

    def clear(self) -> None:
        """Forget what was not taken yet."""
        while not self._queue.empty():
            self._queue.get_nowait()

    def __aiter__(self) -> "_Feed":
        return self

    async def __anext__(self) -> bytes:
        item = await self._queue.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, Exception):
            raise item
        return item


class _Aborted(FerrotypeError):
    """Makes obstore remove the parts of an upload."""


class ObjectStoreDriver:
    """One bucket or container. ``client(options, retries)`` returns an obstore client of it.

    ``prefix`` is what every key begins with; the rest of a key is our name.
    """

    #: most parts of one upload that are sent at once, and bytes of a part
    parallel, part = 4, PART

    def __init__(self, client: Callable[[Any, Any], Bucket], properties: Mapping[str, Any], prefix: str = ""):
        self.properties, self._client, self._prefix = properties, client, prefix
        self._bucket = client(READ_OPTIONS, READ_RETRIES)
        # Repeated here and not by obstore, which would take an object of its own first request for another's.
        self._creator = client(write_options(self.part), {"max_retries": 0})
        self._writers: dict[int, Bucket] = {}
        self._memory = PartMemory()

    def _writer_for(self, part: int) -> Bucket:
        """Return the client that sends parts of this size: larger ones may take longer."""
        seconds = write_seconds(part)
        if seconds not in self._writers:
            self._writers[seconds] = self._client(write_options(part), WRITE_RETRIES)
        return self._writers[seconds]

    async def _prepare(self) -> None:
        """Make sure that the bucket exists, where the driver can create it."""

    async def put(self, object: ObjectRef, batches: AsyncIterator[Batch], size: int | None, noted: Noted) -> str:
        await self._prepare()
        key = self._prefix + object.name
        part = max(self.part, -(-(size or 0) // MAX_PARTS))
        if size is not None and self._is_small(size):
            async with self._memory.reserve(size) as memory:
                whole, _ = await _beginning(batches, memory, size + 1)
                return await self._put_whole(object.name, key, whole)
        parallel = self._memory.parallel(part, self.parallel)
        async with self._memory.reserve(parallel * part) as memory:
            beginning: list[bytes] = []
            if size is None:
                beginning, ended = await _beginning(batches, memory, part)
                if ended:
                    return await self._put_whole(object.name, key, beginning)
            if await self._size_of(key) is not None:
                raise ObjectExists(f"cannot write {key}: an object of this name exists already")
            async with (
                self._discarded_on_failure(object.name, key),
                aclosing(_chained(beginning, batches, memory)) as data,
            ):
                send = self._put_parts if size is not None else self._put_unknown
                await self._verify(key, await send(key, data, part, parallel))
        return key

    def _is_small(self, size: int) -> bool:
        return size <= self.part

    async def _put_whole(self, name: str, key: str, data: Sequence[bytes]) -> str:
        """Store an object with one request. When its answer is lost, the object tells the outcome."""
        size = sum(map(len, data))
        async with self._discarded_on_failure(name, key):
            for attempt in range(1, CREATE_ATTEMPTS + 1):
                try:
                    await self._create(key, data)
                    break
                except ObjectExists:
                    if attempt > 1 and await self._size_of(key) == size:
                        break  # It is ours, by the request before: names are used once.
                    raise
                except BucketMissing:
                    raise
                except StoreUnavailable:
                    if await self._size_of(key) == size:
                        break
                    if attempt == CREATE_ATTEMPTS:
                        raise
                    await asyncio.sleep(CREATE_PAUSE * 2**attempt)
            await self._verify(key, size)
        return key

    async def _create(self, key: str, data: Sequence[bytes]) -> None:
        """Send an object that must not exist yet. When this is cancelled, the server has answered first."""
        payload: Any = data or b""
        request = asyncio.ensure_future(
            obstore.put_async(self._creator, key, payload, mode="create", use_multipart=False)
        )
        try:
            with translated(f"write {key}"):
                await asyncio.shield(request)
        except BlobNotFound:
            raise from_answer(f"write {key}", 404, "NoSuchBucket") from None
        except asyncio.CancelledError:
            await shielded(asyncio.wait([request], timeout=ABORT_SECONDS))
            await _end(request)
            raise

    @asynccontextmanager
    async def _discarded_on_failure(self, name: str, key: str) -> AsyncIterator[None]:
        """Remove what is left of an object when the block fails, unless the name was taken before."""
        try:
            yield
        except ObjectExists:
            raise
        except BaseException:
            removing = asyncio.ensure_future(self.delete(name, key))
            await shielded(asyncio.wait([removing], timeout=ABORT_SECONDS))
            # What cannot be removed now is found by the ledger, which knows the name.
            removing.add_done_callback(retrieved)
            raise

    async def _put_unknown(self, key: str, data: AsyncIterator[Batch], part: int, parallel: int) -> int:
        return await self._put_parts(key, data, part, parallel)

    async def _put_parts(self, key: str, data: AsyncIterator[Batch], part: int, parallel: int) -> int:
        """Send parts and return the number of bytes; when this fails, obstore removes them."""
        feed, sent = _Feed(), 0
        writer = self._writer_for(part)
        upload = asyncio.ensure_future(
            obstore.put_async(writer, key, feed, use_multipart=True, chunk_size=part, max_concurrency=parallel)
        )
        upload.add_done_callback(lambda _: feed.close())
        try:
            async for batch in data:
                piece = b"".join(batch)  # One piece: each costs a switch between threads.
                sent += len(piece)
                if sent > part * MAX_PARTS:
                    raise StoreDenied(f"an object of unknown size has at most {part * MAX_PARTS} bytes in this store")
                if piece:
                    await feed.send(piece)
                if upload.done():
                    break
            await feed.send(None)
            with translated(f"write {key}"):
                await asyncio.shield(upload)
        except BlobNotFound:
            raise from_answer(f"write {key}", 404, "NoSuchBucket") from None
        except StoreUnavailable:
            if not upload.done() or not await self._has(key, sent):
                raise  # Else only the answer to the last request was lost.
        finally:
            if not upload.done():
                feed.clear()
                stopping = asyncio.ensure_future(feed.send(_Aborted()))
                await shielded(asyncio.wait([upload], timeout=ABORT_SECONDS))
                stopping.cancel()
            await _end(upload)
        return sent

    async def _has(self, key: str, size: int) -> bool:
        """Return whether the object is certainly there with this size."""
        try:
            return await self._size_of(key) == size
        except StoreError:  # The server is away: the error before this one is the one to report.
            return False

    async def _verify(self, key: str, size: int) -> None:
        """Raise StoreUnavailable unless the object is there and has this size."""
        found = await self._size_of(key)
        if found != size:
            raise StoreUnavailable(f"cannot write {key}: the server has {found} of {size} bytes")

    async def _size_of(self, key: str) -> int | None:
        """Return the size of an object, None when it does not exist."""
        try:
            with translated(f"look at {key}"):
                return (await obstore.head_async(self._bucket, key))["size"]
        except BlobNotFound:
            return None

    async def open(self, handle: str) -> ObjectSource:
        return ObjectSource(self._bucket, handle, await self.stat(handle))

    async def stat(self, handle: str) -> int:
        size = await self._size_of(handle)
        if size is None:
            # The answer is the same when the bucket does not exist, which says nothing about the object.
            await self._first_listed(handle)
            raise BlobNotFound(f"object {handle} does not exist")
        return size

    async def _first_listed(self, prefix: str) -> None:
        """Raise StoreUnavailable when the bucket cannot be listed, as when it does not exist."""
        with translated("list the objects"):
            async for _ in obstore.list(self._bucket, prefix=prefix, chunk_size=1):
                return

    async def delete(self, name: str, handle: str | None) -> None:
        key = handle or self._prefix + name
        try:
            with translated(f"delete {key}"):
                await obstore.delete_async(self._bucket, key)
        except BlobNotFound:
            await self._first_listed(key)

    async def list(self) -> AsyncIterator[Listed]:
        with translated("list the objects"):
            async for page in obstore.list(self._bucket, prefix=self._prefix or None, chunk_size=1000):
                for each in page:
                    yield Listed(each["path"].removeprefix(self._prefix), each["path"], each["size"])

    async def probe(self) -> Health:
        try:
            await self._first_listed("probe")
        except StoreError as error:
            return Health(False, f"{error}.")
        return Health(True)


async def _beginning(batches: AsyncIterator[Batch], memory: Reservation, size: int) -> tuple[list[bytes], bool]:
    """Return data until it has ``size`` bytes or ends, and whether it ended."""
    data: list[bytes] = []
    have = 0
    async for batch in batches:
        data += [chunk for chunk in batch if chunk]
        got = sum(map(len, batch))
        memory.moved(got)
        have += got
        if have >= size:
            return data, False
    return data, True


async def _chained(
    beginning: list[bytes], batches: AsyncIterator[Batch], memory: Reservation
) -> AsyncGenerator[Batch, None]:
    """Yield the beginning, and the batches that follow."""
    if beginning:
        yield beginning
        beginning.clear()
    async for batch in batches:
        memory.moved(sum(map(len, batch)))
        yield batch


async def _end(request: "asyncio.Future[Any]") -> None:
    """Cancel a request that has not ended, and retrieve its outcome, which is known or does not matter."""
    request.cancel()
    await asyncio.wait([request])
    retrieved(request)


def retrieved(request: "asyncio.Future[Any]") -> None:
    """Take note of an error that does not matter any more, so that it is not logged."""
    if not request.cancelled():
        request.exception()
