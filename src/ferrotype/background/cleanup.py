"""What keeps the ledger and the stores the same, every few seconds, on every node: crash recovery included.

Each step is safe to repeat and safe to be done by several nodes at once.
"""

import logging

from ferrotype.background.scrub import scrub_deleted
from ferrotype.db import blobs, directory_ids, workers
from ferrotype.db import images as rows
from ferrotype.db.engine import DatabaseUnavailable
from ferrotype.model.errors import FerrotypeError
from ferrotype.model.image import move
from ferrotype.service.context import ServiceContext
from ferrotype.service.objects import give_up, remove_bytes
from ferrotype.service.process import is_gone

log = logging.getLogger("ferrotype.upkeep")


async def expire_the_dead(ctx: ServiceContext) -> None:
    """End the leases of processes of this machine that are gone: their work need not wait."""
    for worker, process in await workers.recent(ctx.db):
        if worker != ctx.lease.worker and is_gone(process):
            async with ctx.db.begin() as tx:
                await workers.expire(tx, worker)


async def look_after_ours(ctx: ServiceContext) -> None:
    """Take back what we broke off without a proper end, and have transfers to deleted images end."""
    for blob in await blobs.written_by(ctx.db, ctx.lease.worker):
        if blob.id not in ctx.lease.writing:  # Its undo failed, perhaps because the database was away.
            try:
                await give_up(ctx, blob)
            except DatabaseUnavailable as error:
                log.warning("The upload of image %s is taken back in the next round: %s", blob.image_id, error)
        elif blob.state == "doomed":
            ctx.lease.unwanted.add(blob.id)


async def take_over_abandoned(ctx: ServiceContext) -> None:
    """Doom objects whose writers fell silent and give their images back."""
    for blob in await blobs.abandoned(ctx.db):
        try:
            async with ctx.db.begin() as tx:
                found = await rows.get(tx, blob.image_id, None, lock=True)
                if not await blobs.abandon(tx, blob):
                    continue
                if found and found[0].status == "saving":
                    await rows.save(tx, found[0], move(found[0], "queued"))
        except DatabaseUnavailable as error:  # Somebody holds its image: the others must not wait for that.
            log.warning("The broken-off upload of image %s stays for the next round: %s", blob.image_id, error)
        else:
            log.warning("The upload of image %s was broken off with its worker; it can be repeated.", blob.image_id)


async def remove_doomed(ctx: ServiceContext) -> None:
    """Remove the bytes of doomed objects whose time has come, in the stores that this node has."""
    for blob, attempts in await blobs.due(ctx.db, [store.id for store in ctx.stores]):
        await remove_bytes(ctx, blob, attempts)


async def forget_old_workers(ctx: ServiceContext) -> None:
    """Forget workers that nothing in the ledger speaks of any more."""
    async with ctx.db.begin() as tx:
        await workers.forget_old(tx)


#: One round, in this order.
_STEPS = (expire_the_dead, look_after_ours, take_over_abandoned, scrub_deleted, remove_doomed, forget_old_workers)


async def tidy(ctx: ServiceContext) -> None:
    """One round of upkeep. A step that cannot be done is left for the next one, and the others are done."""
    for step in _STEPS:
        try:
            await step(ctx)
        except FerrotypeError as error:
            what = step.__name__.replace("_", " ")
            log.error("The upkeep could not %s and tries it again in the next round: %s", what, error)


async def look_at_stores(ctx: ServiceContext) -> None:
    """Have the stores settle in what is new to them, and find out how they are."""
    for store in ctx.stores:
        try:
            known, fresh = await directory_ids.of_store(ctx.db, store.id), not await blobs.any_in(ctx.db, store.id)
            if new := await store.settle(known, fresh):
                async with ctx.db.begin() as tx:
                    await directory_ids.remember(tx, store.id, new)
        except FerrotypeError as error:
            log.warning("Store %s could not settle in and tries it again: %s", store.id, error)
    await ctx.stores.probe()
