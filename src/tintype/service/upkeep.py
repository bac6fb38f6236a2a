"""What keeps the ledger and the stores the same, every few seconds, on every node: crash recovery included.

Each step is safe to repeat and safe to be done by several nodes at once.
"""

import logging

from tintype.db import blobs, workers
from tintype.db import images as rows
from tintype.model.blob import Blob
from tintype.model.errors import StoreError
from tintype.model.image import move
from tintype.service.core import Service
from tintype.service.process import is_gone

log = logging.getLogger("tintype.upkeep")

SECOND = 1_000_000
#: Longest pause between two attempts to remove an object's bytes.
LONGEST_PAUSE = 3600 * SECOND


async def give_up(svc: Service, blob: Blob) -> None:
    """Take back an upload of ours: the image is queued again, the object is doomed, its bytes are removed."""
    async with svc.db.begin() as tx:
        found = await rows.get(tx, blob.image_id, None, lock=True)
        current = await blobs.by_id(tx, blob.id)
        if current is None or current.writer != blob.writer or not await blobs.give_up(tx, current):
            svc.lease.writing.discard(blob.id)
            return
        if found and found[0].status == "saving" and current.state == "writing":
            await rows.save(tx, found[0], move(found[0], "queued"))
    svc.lease.writing.discard(blob.id)
    await remove_bytes(svc, current)


async def remove_bytes(svc: Service, blob: Blob, attempts: int = 0) -> None:
    """Remove the bytes of a doomed object and then its row; what its store refuses is tried again later."""
    store = svc.stores.get(blob.store)
    try:
        if store is None:
            raise StoreError("this node has no such store")
        await store.delete(blob.name)
    except StoreError as error:
        pause = min(SECOND * 2 ** min(attempts, 30), LONGEST_PAUSE)
        log.warning(
            "Object %s of a deleted image cannot be removed from store %s, next try in %d s: %s",
            blob.name, blob.store, pause // SECOND, error,
        )  # fmt: skip
        async with svc.db.begin() as tx:
            await blobs.postpone(tx, blob, pause)
        return
    async with svc.db.begin() as tx:
        await blobs.drop(tx, blob)


async def expire_the_dead(svc: Service) -> None:
    """End the leases of processes of this machine that are gone: their work need not wait."""
    for worker, process in await workers.recent(svc.db):
        if worker != svc.lease.worker and is_gone(process):
            async with svc.db.begin() as tx:
                await workers.expire(tx, worker)


async def take_over_abandoned(svc: Service) -> None:
    """Doom objects whose writers fell silent and give their images back; also what we broke off ourselves."""
    for blob in await blobs.written_by(svc.db, svc.lease.worker):
        if blob.id not in svc.lease.writing:  # Its undo failed, perhaps because the database was away.
            await give_up(svc, blob)
    for blob in await blobs.abandoned(svc.db):
        async with svc.db.begin() as tx:
            found = await rows.get(tx, blob.image_id, None, lock=True)
            if not await blobs.abandon(tx, blob):
                continue
            if found and found[0].status == "saving":
                await rows.save(tx, found[0], move(found[0], "queued"))
        log.warning("The upload of image %s was broken off with its worker; it can be repeated.", blob.image_id)


async def remove_doomed(svc: Service) -> None:
    """Remove the bytes of doomed objects whose time has come."""
    for blob, attempts in await blobs.due(svc.db):
        await remove_bytes(svc, blob, attempts + 1)


async def tidy(svc: Service) -> None:
    """One round of upkeep."""
    await expire_the_dead(svc)
    await take_over_abandoned(svc)
    await remove_doomed(svc)
    async with svc.db.begin() as tx:
        await workers.forget_old(tx)
