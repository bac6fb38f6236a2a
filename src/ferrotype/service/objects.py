"""The life cycle of one stored object, whatever becomes of the image that it is for.

    reserve    a row in the ledger, and its charge, before the first byte        (nothing) -> writing
    write      data to the store; durable when this returns                       writing
    finish     durable and waiting, such as staged data                           writing -> ready
    attach     data of an image, in the transaction that changes the image        writing or ready -> live
    abandon    the worker gives up an object that it was writing                  writing -> deleting
    remove     delete the data, then the row; retried until it succeeds           deleting -> gone
    register   an object of others that a location names; never written           (nothing) -> live

``service.data`` puts the status of the image on top.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from msgspec.structs import replace

from ferrotype.db import blobs
from ferrotype.db.engine import DatabaseUnavailable, Transaction
from ferrotype.model.blob import Blob, Purpose, Registered, Stored, object_name
from ferrotype.model.errors import Busy, OverLimit, StoreError
from ferrotype.model.image import Image
from ferrotype.model.quota import Quota
from ferrotype.service.context import ServiceContext
from ferrotype.stores.driver import Batch
from ferrotype.stores.store import Store
from ferrotype.streams.pipe import Checks, transfer

log = logging.getLogger("ferrotype.objects")

SECOND = 1_000_000
#: Longest pause between two attempts to remove an object's data, in microseconds.
LONGEST_PAUSE = 3600 * SECOND
#: Bytes that an object of unknown size reserves at first; doubled each time up to the last.
FIRST_STEP = 8 * 1024 * 1024
LAST_STEP = 1024 * 1024 * 1024

#: Makes the error for an object that the worker does not own any more.
OwnershipLost = Callable[[Blob], Awaitable[Exception]]


async def reserve(
    ctx: ServiceContext,
    tx: Transaction,
    blob_id: str,
    image: Image,
    store: Store,
    announced: int | None,
    quota: Quota,
    purpose: Purpose = "data",
) -> Blob:
    """Insert the row of an object that this worker is going to write, and charge its size to the image's owner.

    Of an unknown size at least the first byte is reserved, so that a project with nothing left is refused before any
    data is read. Raises OverLimit.
    """
    first = 1 if quota.counts else 0
    blob = Blob(
        id=blob_id,
        store=store.id,
        name=object_name(image.id),
        image_id=image.id,
        project=image.owner,
        purpose=purpose,
        state="writing",
        charged=first if announced is None else announced,
        writer=ctx.lease.worker,
    )
    return await blobs.reserve(tx, blob, quota)


async def register(
    tx: Transaction, blob_id: str, image: Image, store_id: str, found: Registered, quota: Quota
) -> None:
    """Insert the row of an object that others wrote, for a location of an image that is locked; raise OverLimit."""
    blob = Blob(
        id=blob_id,
        store=store_id,
        name=object_name(image.id),
        handle=found.handle,
        image_id=image.id,
        project=image.owner,
        purpose="external",
        state="live",
        charged=found.size,
        size=found.size,
    )
    await blobs.reserve(tx, blob, quota)


class Writing:
    """An object that this worker is writing. ``blob`` is its row as far as this worker has changed it."""

    def __init__(self, ctx: ServiceContext, blob: Blob, store: Store, quota: Quota, ownership_lost: OwnershipLost):
        self._ctx, self.blob, self._store, self._quota = ctx, blob, store, quota
        self._ownership_lost = ownership_lost
        self._step = FIRST_STEP

    async def write(self, chunks: AsyncIterator[bytes], announced: int | None, checks: Checks) -> Stored:
        """Store the data durably and return what is known of it; or raise, and ``remove`` finds what is left."""

        async def put(batches: AsyncIterator[Batch]) -> str:
            return await self._store.put(self.blob.ref, batches, announced, self._note_handle)

        return await transfer(chunks, put, self._ctx.pools, self._store.memory, checks)

    async def reserve_up_to(self, total: int) -> None:
        """Reserve ``total`` bytes ahead of the stream; raise OverLimit, or when the worker lost the object."""
        lease = self._ctx.lease
        if self.blob.id in lease.cancelled or not lease.held_by(self.blob.writer or ""):
            raise await self._ownership_lost(self.blob)
        if not self._quota.counts or total <= self.blob.charged:
            return
        missing = total - self.blob.charged
        try:
            await self._reserve_more(max(missing, self._step))
        except OverLimit:  # A whole step does not fit, but what has arrived may.
            await self._reserve_more(missing)
        self._step = min(self._step * 2, LAST_STEP)

    async def _reserve_more(self, size: int) -> None:
        async def grow() -> Blob | None:
            async with self._ctx.db.begin() as tx:
                return await blobs.grow(tx, self.blob, size, self._quota)

        grown = await self._ctx.lease.persist(grow)
        if grown is None:
            raise await self._ownership_lost(self.blob)
        self.blob = grown

    async def before_commit(self) -> None:
        """Renew the lease before the data becomes final; raise Busy when it is lost."""
        await self._ctx.lease.ensure_held(self.blob.writer or "")

    async def _note_handle(self, handle: str) -> None:
        async def note() -> bool:
            async with self._ctx.db.begin() as tx:
                return await blobs.note_handle(tx, self.blob, handle)

        if not await self._ctx.lease.persist(note):
            raise await self._ownership_lost(self.blob)
        self.blob = replace(self.blob, handle=handle)


async def finish(tx: Transaction, blob: Blob, stored: Stored) -> bool:
    """Make an object that was written ready to be attached; False when the worker no longer owns it."""
    return await blobs.mark_ready(tx, blob, stored)


async def attach(tx: Transaction, blob: Blob, stored: Stored | None, owner: str | None) -> bool:
    """Make an object the data of an image, charged to ``owner``, in the transaction that changes the image.

    ``stored`` is given for an object that was just written, None for one that is ready. False: it is no longer ours,
    and the transaction must be rolled back.
    """
    if stored is None:
        return await blobs.attach(tx, blob, owner)
    return await blobs.mark_live(tx, blob, stored, owner)


async def abandon(ctx: ServiceContext, tx: Transaction, blob: Blob) -> Blob | None:
    """Give up an object that this worker was writing and return its row as it was; None when it is no longer ours.

    As long as a thread that hangs may still write to the object it stays ours: no node removes it before that ends.
    """
    store = ctx.stores.get(blob.store)
    return await blobs.abandon(tx, blob, keep_writer=store is not None and store.is_writing(blob.name))


async def remove(ctx: ServiceContext, blob: Blob, attempts: int = 0) -> None:
    """Delete the data of an object that is marked for deletion, and then its row; on failure it is retried later.

    ``attempts`` have failed before. Never raises a store's or the database's error: the caller's part is done.
    """
    store = ctx.stores.get(blob.store)
    if store is None or store.is_writing(blob.name):  # A node that has the store removes the data, or a later call.
        return
    try:
        try:
            if blob.purpose != "external":  # The data of others is not ours to delete (SEC-51).
                await store.delete(blob.name, blob.handle)
        except (StoreError, Busy) as error:
            pause = min(SECOND * 2 ** min(attempts, 30), LONGEST_PAUSE)
            log.warning(
                "deleting an object failed; will retry in %d s: object=%s store=%s: %s",
                pause // SECOND, blob.name, blob.store, error,
            )  # fmt: skip
            async with ctx.db.begin() as tx:
                await blobs.postpone(tx, blob, pause)
            return
        async with ctx.db.begin() as tx:
            await blobs.delete_row(tx, blob)
    except DatabaseUnavailable as error:
        log.warning("the row of a deleted object stays for the next cleanup: object=%s: %s", blob.name, error)
