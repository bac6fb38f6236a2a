"""The copies of an image's data: which one is read first, and going on from another one when it fails.

A download survives the failure of a copy at any byte: what is missing, from that byte on, comes from another copy,
whatever kind of store has it.
"""

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import NamedTuple

from ferrotype.db import images as rows
from ferrotype.db import ledger_check
from ferrotype.db.engine import DatabaseUnavailable
from ferrotype.model.errors import BlobDamaged, BlobNotFound, StoreError, StoreSlow
from ferrotype.model.image import Image, Location
from ferrotype.offload import SerialQueue, shielded
from ferrotype.service.context import ServiceContext
from ferrotype.stores.driver import READ_SIZE, LocalFile, Source
from ferrotype.stores.store import Store
from ferrotype.streams.pace import Pace

log = logging.getLogger("ferrotype.copies")

#: Digests that cost less than md5, which every image has.
QUICK_DIGESTS = frozenset({"sha1", "sha224", "sha256", "sha384", "sha512", "blake2b"})


class Copy(NamedTuple):
    """One copy of an image's data that this node can read."""

    location: Location
    store: Store


async def in_order(ctx: ServiceContext, image: Image, prefer: tuple[str, ...] = ()) -> list[Copy]:
    """Return the copies in the order in which they are read (RUL-91).

    Undamaged ones come first, among them those in stores whose reads succeed, then those in the preferred stores in
    the order given, then those that can be read in parts, then by weight. Copies in stores that this node does not
    have are left out.
    """
    found = [(location, ctx.stores.of(location)) for location in ctx.view.ordered(image)]
    copies = [Copy(location, store) for location, store in found if store is not None]
    if len(copies) > 1:
        damaged = await ledger_check.damaged_of_image(ctx.db, image.id)
        ranks = {store_id: rank for rank, store_id in enumerate(dict.fromkeys(prefer))}
        copies.sort(
            key=lambda copy: (
                copy.location.blob in damaged,
                not copy.store.readable,
                ranks.get(copy.store.id, len(ranks)),
                not copy.location.reads_ranges,  # It must be read from its start for a range.
            )
        )
    return copies


class Download:
    """The data of one image, open for reading from one of its ``copies``. ``close`` it in the end."""

    def __init__(self, ctx: ServiceContext, image: Image, copies: list[Copy]):
        self._ctx = ctx
        self._image = image
        self._untried = deque(copies)
        #: copies that were too slow while there were others, and are read when all others have failed
        self._slow: deque[Copy] = deque()
        self._copy: Copy | None = None
        self._source: Source | None = None
        #: copies that were opened so far
        self._opened = 0

    async def open(self, failure: StoreError | None = None) -> None:
        """Open the next copy that can be opened; raise the last error, ``failure`` at first, when there is none."""
        while self._untried or self._slow:
            self._copy = (self._untried or self._slow).popleft()
            try:
                self._source = await self._open(self._copy)
                self._opened += 1
                return
            except StoreError as error:
                failure = error
                await self._report(error)
        if failure is not None:
            raise failure
        raise BlobNotFound("this node has none of the stores with a copy")

    async def _open(self, copy: Copy) -> Source:
        pace = self._pace()
        try:
            async with asyncio.timeout(pace.left):
                return await copy.store.open(copy.location.url, self._image.size, copy.location.validators)
        except TimeoutError:
            pace.add(pace.left, 0)
            raise

    async def open_another(self, error: StoreError) -> None:
        """Give up the current copy, which failed with ``error``, and open another one; raise when there is none."""
        await self._report(error)
        await self.close()
        await self.open(error)

    async def close(self) -> None:
        """Close what is open."""
        source, self._source = self._source, None
        if source is not None:
            await shielded(source.close())

    @property
    def size(self) -> int:
        """The size of the data in bytes."""
        size = self._image.size
        return (self._open_source.size or 0) if size is None else size

    @property
    def _open_source(self) -> Source:
        if self._source is None:
            raise RuntimeError("no copy is open")
        return self._source

    @property
    def _open_copy(self) -> Copy:
        if self._copy is None:
            raise RuntimeError("no copy is open")
        return self._copy

    def file(self, offset: int, count: int) -> LocalFile | None:
        """Return the current copy as a file that may be sent as it is; None where it must be read."""
        if self._ctx.config.api.verify_downloads == "always" and self._expected_digest(offset, count):
            return None
        return self._open_source.local_file

    def file_pace(self) -> Pace | None:
        """Return how the speed of the current copy, a file, is judged; None for the last one."""
        return self._pace() if self._untried else None

    def _pace(self) -> Pace:
        return Pace(is_last=not self._untried)

    async def read(self, offset: int, count: int) -> AsyncGenerator[bytes, None]:
        """Yield exactly ``count`` bytes from ``offset`` on, in chunks of at most ``READ_SIZE``, from whatever copy.

        Where all of the data is read, its digest is checked before the last chunk is yielded (RUL-93), whichever
        copies the chunks came from. Raises the last StoreError when no copy is left.
        """
        digest = self._new_digest(offset, count)
        done = 0
        used: set[int] = set()
        while done < count:
            try:
                async with aclosing(self._chunks(offset + done, count - done)) as chunks:
                    async for chunk in chunks:
                        used.add(self._opened)
                        hashed = digest.update(chunk) if digest else None
                        if digest and hashed and done + len(chunk) == count:
                            await hashed
                            digest.check()
                        done += len(chunk)
                        yield chunk
                        if hashed:
                            await hashed
                if done < count:
                    raise BlobDamaged(f"the object ended {count - done} bytes early")
            except DigestMismatch as error:
                if done:  # Some of what the client has may be wrong, and no other copy can correct that.
                    await self._report_mismatch(error, len(used))
                    raise
                await self.open_another(error)
                digest = self._new_digest(offset, count)
                used.clear()
            except StoreError as error:
                await self.open_another(error)

    def _expected_digest(self, offset: int, count: int) -> tuple[str, str] | None:
        """Return algorithm and digest of these bytes; None where they are a part, or are not to be checked."""
        image = self._image
        if self._ctx.config.api.verify_downloads == "never" or offset or not count or count != image.size:
            return None
        if image.os_hash_value and image.os_hash_algo in QUICK_DIGESTS:
            return image.os_hash_algo, image.os_hash_value
        return ("md5", image.checksum) if image.checksum else None

    def _new_digest(self, offset: int, count: int) -> "_Digest | None":
        expected = self._expected_digest(offset, count)
        return _Digest(self._ctx.pools.serial_queue(), *expected) if expected else None

    async def _chunks(self, offset: int, count: int) -> AsyncGenerator[bytes, None]:
        """Yield what the current copy has; raise StoreSlow when it is too slow while another copy is left.

        A chunk counts in the store's share of the memory until the next one is asked for.
        """
        chunks = self._open_source.read(offset, count)
        pace, memory = self._pace(), self._open_copy.store.memory
        while True:
            size = min(READ_SIZE, count)
            await memory.acquire(size)  # Outside of the pace: it waits for the clients of other downloads.
            try:
                chunk = await self._next_chunk(chunks, pace)
                if not chunk:
                    return
                count -= len(chunk)
                yield chunk
            finally:
                memory.release(size)

    async def _next_chunk(self, chunks: AsyncIterator[bytes], pace: Pace) -> bytes:
        began = time.monotonic()
        try:
            async with asyncio.timeout(pace.left):
                chunk = await anext(chunks, b"")
        except TimeoutError:
            pace.add(pace.left, 0)
            raise
        pace.add(time.monotonic() - began, len(chunk))
        return chunk

    async def _report(self, error: StoreError) -> None:
        """Note that the current copy failed: in the log, in the ledger, for its store, and for this download."""
        copy = self._copy
        if copy is None:
            return
        error.store = error.store or copy.store.id
        if isinstance(error, StoreSlow):
            self._slow.append(copy)
        if not isinstance(error, BlobNotFound | BlobDamaged):
            copy.store.on_read_failure()
        if await self._is_current(copy.location):
            await report_unreadable(self._ctx, self._image, copy.location, copy.store, error)

    async def _report_mismatch(self, error: "DigestMismatch", copies: int) -> None:
        """Mark the copy whose data has the wrong digest. Where several were read, none can be named."""
        if copies == 1:
            await self._report(error)
        else:
            log.error("data of several copies does not match the digest: image=%s copies=%d", self._image.id, copies)

    async def _is_current(self, location: Location) -> bool:
        """Return whether the image still has this copy; it may have been deleted meanwhile."""
        try:
            found = await rows.get(self._ctx.db, self._image.id, None)
        except DatabaseUnavailable:
            return True
        return found is not None and location in found[0].locations


async def report_unreadable(
    ctx: ServiceContext, image: Image, location: Location, store: Store, error: StoreError
) -> None:
    """Log that a copy cannot be read. One that is missing or altered is marked damaged; its row and data stay."""
    if isinstance(error, StoreSlow):
        log.warning("copy is too slow, another one is read: image=%s store=%s: %s", image.id, store.id, error)
        return
    if not isinstance(error, BlobNotFound | BlobDamaged):
        log.error("image cannot be read: image=%s store=%s: %s", image.id, store.id, error)
        return
    log.error(
        "copy is missing or damaged: image=%s store=%s: %s. Restore the object from a backup, or delete the copy or"
        " the image; `ferrotype check` lists all of them.",
        image.id, store.id, error,
    )  # fmt: skip
    if not location.blob:
        return
    try:
        async with ctx.db.begin() as tx:
            await ledger_check.mark_damaged(tx, location.blob)
    except DatabaseUnavailable as unavailable:  # The next reader marks it; this one may have another copy.
        log.error("marking a damaged copy failed: image=%s: %s", image.id, unavailable)


class DigestMismatch(BlobDamaged):
    """All of the data was read, and has another digest than what was stored."""


class _Digest:
    """Computes the digest of chunks in the threads for CPU-bound work, and compares it."""

    def __init__(self, queue: SerialQueue, algorithm: str, expected: str):
        self._queue, self._algorithm, self._expected = queue, algorithm, expected
        self._digest = hashlib.new(algorithm, usedforsecurity=False)

    def update(self, chunk: bytes) -> "asyncio.Future[None]":
        """Add a chunk; await the result before the digest is checked."""
        return self._queue.submit(self._digest.update, chunk)

    def check(self) -> None:
        """Raise DigestMismatch when the digest is not the expected one."""
        if self._digest.hexdigest() != self._expected:
            raise DigestMismatch(f"its {self._algorithm} is {self._digest.hexdigest()}, not {self._expected}")
