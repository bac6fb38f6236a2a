"""Background cleanup on every node: orphaned uploads, data to delete, health of stores. It is the crash recovery too.

Each step is idempotent, and several nodes may run it at once. Data is deleted for each store apart, so that a store
that is slow or hangs delays no other and no take-over of orphaned uploads.
"""

import asyncio
import logging

from ferrotype.background.scrub import scrub_deleted
from ferrotype.db import blobs, directory_ids, workers
from ferrotype.db import images as rows
from ferrotype.db.engine import DatabaseUnavailable
from ferrotype.model.blob import Blob
from ferrotype.model.errors import FerrotypeError
from ferrotype.model.image import transition
from ferrotype.service import objects
from ferrotype.service.context import ServiceContext
from ferrotype.service.data import requeue
from ferrotype.service.process import is_gone
from ferrotype.stores.store import Store

log = logging.getLogger("ferrotype.cleanup")


async def expire_dead_workers(ctx: ServiceContext) -> None:
    """Expire the leases of workers that have not renewed them, and find out which can write nothing any more.

    Those of this host whose process has ended are gone at once, so that recovery need not wait.
    """
    others = [worker for worker in await workers.present(ctx.db) if worker.id != ctx.lease.worker]
    stalled = {worker.id for worker in ctx.lease.watch.stalled(others)}
    for worker in others:
        if is_gone(worker.process) or (worker.state == "expired" and worker.id in stalled):
            async with ctx.db.begin() as tx:
                await workers.mark_gone(tx, worker.id)
        elif worker.id in stalled:
            async with ctx.db.begin() as tx:
                expired = await workers.expire(tx, worker)
            if expired:
                log.warning("a worker did not renew its lease; its work is taken over: worker=%s", worker.id)


async def abort_own_stale_uploads(ctx: ServiceContext) -> None:
    """Abort uploads of this worker whose rollback failed, and cancel running uploads to deleted images."""
    for blob in await blobs.written_by(ctx.db, ctx.lease.worker):
        if blob.id not in ctx.lease.writing:  # Its rollback failed, or the store hung when it was given up.
            try:
                await _requeue(ctx, blob)
            except DatabaseUnavailable as error:
                log.warning("aborting an upload failed; will retry: image=%s: %s", blob.image_id, error)
        elif blob.state == "deleting":
            ctx.lease.cancelled.add(blob.id)


async def _requeue(ctx: ServiceContext, blob: Blob) -> None:
    store = ctx.stores.get(blob.store)
    if blob.state == "writing" or store is None or not store.is_writing(blob.name):
        await requeue(ctx, blob)


async def reclaim_orphaned_uploads(ctx: ServiceContext) -> None:
    """Mark objects whose writers' leases lapsed for deletion, and make their images queued again."""
    for blob in await blobs.orphaned(ctx.db):
        try:
            async with ctx.db.begin() as tx:
                found = await rows.get(tx, blob.image_id, None, lock=True)
                if not await blobs.reclaim(tx, blob):
                    continue
                if found and found[0].status == "saving":
                    await rows.save(tx, found[0], transition(found[0], "queued"))
        except DatabaseUnavailable as error:  # Its image is locked: the others must not wait for that.
            log.warning("reclaiming an orphaned upload failed; will retry: image=%s: %s", blob.image_id, error)
        else:
            log.warning("reclaimed an upload whose worker died; the image is queued again: image=%s", blob.image_id)


async def delete_marked_objects(ctx: ServiceContext, store: str) -> None:
    """Delete the data of objects of one store that are marked for deletion and due."""
    for blob, attempts in await blobs.due_for_deletion(ctx.db, store):
        await objects.remove(ctx, blob, attempts)


async def delete_gone_workers(ctx: ServiceContext) -> None:
    """Delete the rows of workers that are gone and that no object names."""
    async with ctx.db.begin() as tx:
        await workers.delete_gone(tx)


#: One round, in this order.
_STEPS = (
    expire_dead_workers,
    abort_own_stale_uploads,
    reclaim_orphaned_uploads,
    scrub_deleted,
    delete_gone_workers,
)


async def run_cleanup(ctx: ServiceContext) -> None:
    """Run every step once; none waits for a store.

    A step that fails is retried in the next round; the others still run.
    """
    for step in _STEPS:
        try:
            await step(ctx)
        except FerrotypeError as error:
            what = step.__name__.replace("_", " ")
            log.error("cleanup step failed; will retry: step=%s: %s", what, error)


async def probe_stores(ctx: ServiceContext) -> None:
    """Have the stores initialize new directories, and find out their health. One that hangs delays no other."""
    await asyncio.gather(*(_probe_store(ctx, store) for store in ctx.stores))


async def _probe_store(ctx: ServiceContext, store: Store) -> None:
    try:
        known = await directory_ids.of_store(ctx.db, store.id)
        if new := await store.initialize(known):
            async with ctx.db.begin() as tx:
                for path, directory_id in sorted(new.items()):
                    await directory_ids.record(tx, store.id, path, known.get(path), directory_id)
            # What is recorded decides: another node may have been faster, with another directory at that path.
            store.set_expected_ids(await directory_ids.of_store(ctx.db, store.id))
    except FerrotypeError as error:
        log.warning("initializing a store failed; will retry: store=%s: %s", store.id, error)
    await store.probe()
