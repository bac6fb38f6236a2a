"""One stored object: taking back an upload, and removing the data of what is marked for deletion."""

import logging

from ferrotype.db import blobs
from ferrotype.db import images as rows
from ferrotype.db.engine import DatabaseUnavailable
from ferrotype.model.blob import Blob
from ferrotype.model.errors import StoreError
from ferrotype.model.image import transition
from ferrotype.service.context import ServiceContext

log = logging.getLogger("ferrotype.objects")

SECOND = 1_000_000
#: Longest pause between two attempts to remove an object's bytes.
LONGEST_PAUSE = 3600 * SECOND


async def give_up(ctx: ServiceContext, blob: Blob) -> None:
    """Take back an upload of ours: the image is queued again, the object is doomed, its bytes are removed."""
    async with ctx.db.begin() as tx:
        found = await rows.get(tx, blob.image_id, None, lock=True)
        was = await blobs.give_up(tx, blob)
        if was is None:
            return
        if found and found[0].status == "saving" and was.state == "writing":
            await rows.save(tx, found[0], transition(found[0], "queued"))
    await remove_bytes(ctx, was)


async def remove_bytes(ctx: ServiceContext, blob: Blob, attempts: int = 0) -> None:
    """Remove the bytes of a doomed object and then its row; what cannot be done now is tried again later.

    ``attempts`` have failed before. Never fails: whoever doomed the object has done what he was asked to do.
    """
    store = ctx.stores.get(blob.store)
    if store is None:  # Another node has it, and removes the bytes.
        return
    try:
        try:
            await store.delete(blob.name)
        except StoreError as error:
            pause = min(SECOND * 2 ** min(attempts, 30), LONGEST_PAUSE)
            log.warning(
                "Object %s is not needed any more and cannot be removed from store %s; next try in %d s: %s",
                blob.name, blob.store, pause // SECOND, error,
            )  # fmt: skip
            async with ctx.db.begin() as tx:
                await blobs.postpone(tx, blob, pause)
            return
        async with ctx.db.begin() as tx:
            await blobs.drop(tx, blob)
    except DatabaseUnavailable as error:
        log.warning("The row of object %s stays for the next round of upkeep: %s", blob.name, error)
