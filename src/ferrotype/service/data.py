"""Upload and download of image data."""

import logging
from collections.abc import AsyncIterator

from ferrotype.db import images as rows
from ferrotype.db import usage
from ferrotype.db.engine import Connection
from ferrotype.model.blob import Blob, Stored
from ferrotype.model.caller import Caller
from ferrotype.model.errors import (
    Busy,
    ClientError,
    Conflict,
    ContentRefused,
    Forbidden,
    Gone,
    Invalid,
    StoreError,
    StoreUnavailable,
)
from ferrotype.model.image import Image, Location, transition
from ferrotype.rules import limits, review
from ferrotype.service import copies, objects, quotas
from ferrotype.service.context import ServiceContext, fetch
from ferrotype.service.copies import Download
from ferrotype.service.rollback import rollback_on_error
from ferrotype.stores.store import Store
from ferrotype.streams import inspect
from ferrotype.streams.pipe import Checks

log = logging.getLogger("ferrotype.data")


def chosen_store(ctx: ServiceContext, store_id: str | None) -> Store:
    """Return the store that an upload names, or the default one. In single-store mode names are ignored."""
    if store_id is None or not ctx.stores.multi:
        store_id = ctx.stores.default
    store = ctx.stores.get(store_id)
    if store is None or (store_id.startswith("os_glance_") and ctx.stores.multi):
        raise Invalid(f"Store for identifier {store_id[:64]} not found.")
    return store


async def upload(
    ctx: ServiceContext,
    caller: Caller,
    image_id: str,
    chunks: AsyncIterator[bytes],
    announced: int | None,
    store_id: str | None,
) -> None:
    """Upload data to a queued image and make it active; on any failure it is queued again, with nothing stored."""
    store = chosen_store(ctx, store_id)
    owner = (await fetch(ctx, ctx.db, caller, image_id, "upload_image"))[0].owner if ctx.unified_limits else None
    allowed = await quotas.of(ctx, owner)
    with store.upload_slot(), ctx.lease.track_upload() as blob_id:
        async with rollback_on_error() as on_error:
            async with ctx.db.begin() as tx:
                image, _ = await fetch(ctx, tx, caller, image_id, "upload_image", lock=True)
                review.ready_for_data(image)
                limits.size_fits(announced or 0, ctx.config.limits)
                if ctx.unified_limits and image.owner != owner:
                    raise Conflict(f"The owner of image {image_id} changed during the upload.")
                saving = await rows.save(tx, image, transition(image, "saving"))
                blob = await objects.reserve(ctx, tx, blob_id, image, store, announced, allowed.size)
                await usage.uploading_fits(tx, image.owner, allowed.uploading)
                on_error(abort_upload, ctx, blob)
            writing = objects.Writing(ctx, blob, store, allowed.size, lambda blob: ownership_lost_error(ctx.db, blob))
            checks = Checks(
                most=ctx.config.limits.image_size_cap,
                announced=announced,
                algorithm=ctx.config.api.hashing_algorithm,
                reserve=writing.reserve_up_to,
                check_format=lambda findings: _check_format(ctx, saving, findings),
                before_commit=writing.before_commit,
            )
            stored = await writing.write(chunks, announced, checks)
            await ctx.lease.persist(lambda: _activate(ctx, writing.blob, store, stored))


async def abort_upload(ctx: ServiceContext, blob: Blob) -> None:
    """Roll back an upload of this worker: the image is queued again, the object's data and row are removed."""
    if was := await requeue(ctx, blob):
        await objects.remove(ctx, was)


async def requeue(ctx: ServiceContext, blob: Blob) -> Blob | None:
    """Make the image of an upload of this worker queued again, and mark the object for deletion.

    Return the object's row as it was; None when it is no longer ours.
    """
    async with ctx.db.begin() as tx:
        found = await rows.get(tx, blob.image_id, None, lock=True)
        was = await objects.abandon(ctx, tx, blob)
        if was and found and found[0].status == "saving" and was.state == "writing":
            await rows.save(tx, found[0], transition(found[0], "queued"))
    return was


def _check_format(ctx: ServiceContext, image: Image, findings: inspect.Findings) -> int | None:
    formats = ctx.config.formats
    try:
        verdict = inspect.check_format(
            findings,
            image.disk_format,
            image.container_format,
            require_match=formats.require_match,
            nonfatal=formats.gpt_nonfatal,
        )
    except ContentRefused as refusal:
        log.warning("image data refused: image=%s %s", image.id, inspect.log_context(refusal))
        raise
    for finding in verdict.tolerated:
        log.info("image data accepted although a check failed: image=%s %s", image.id, inspect.log_context(finding))
    return verdict.virtual_size


async def ownership_lost_error(connection: Connection, blob: Blob) -> ClientError:
    """Return the error for an upload that this worker does not own any more."""
    if await rows.get(connection, blob.image_id, None) is None:
        return Gone(f"Image {blob.image_id} was deleted during the upload.")
    return Busy("This node lost its lease on the upload. Please retry.")


async def _activate(ctx: ServiceContext, blob: Blob, store: Store, stored: Stored) -> None:
    """Attach the data and make the image active in one transaction; raise when either is no longer ours.

    Idempotent: nothing is left to do for an image that has the data already (the answer to the commit was lost).
    """
    async with ctx.db.begin() as tx:
        found = await rows.get(tx, blob.image_id, None, lock=True)
        current = found[0] if found else None
        if current and any(location.blob == blob.id for location in current.locations):
            return
        if current is None or current.status != "saving" or not await objects.attach(tx, blob, stored, current.owner):
            raise await ownership_lost_error(tx, blob)
        metadata = {"store": store.id} if ctx.stores.multi else {}
        await rows.save(
            tx,
            current,
            transition(
                current,
                "active",
                size=stored.size,
                virtual_size=stored.virtual_size,
                checksum=stored.checksum,
                os_hash_algo=stored.hash_algo,
                os_hash_value=stored.hash_value,
                locations=(Location(store.url(stored.handle), metadata, blob.id),),
            ),
        )


async def download(
    ctx: ServiceContext, caller: Caller, image_id: str, prefer: tuple[str, ...] = ()
) -> tuple[Image, Download | None]:
    """Return an image and its data, open for reading; None for an image that has no data yet. The caller closes it.

    Copies in the preferred stores are tried first, in the order given; a copy that cannot be opened is skipped.
    """
    image, shared = await fetch(ctx, ctx.db, caller, image_id, "download_image")
    if prefer:
        ctx.authoriser.permit(caller, "download_from_store", image, shared)
    if image.status == "deactivated" and not caller.is_admin:
        raise Forbidden(f"Image {image_id} is deactivated.")
    if not image.locations:
        return image, None
    data = Download(ctx, image, await copies.in_order(ctx, image, prefer))
    try:
        await data.open()
    except StoreError as failure:
        now, _ = await fetch(ctx, ctx.db, caller, image_id, "download_image")
        if now.locations != image.locations:  # Copies were removed or added meanwhile.
            return await download(ctx, caller, image_id, prefer)
        raise StoreUnavailable(f"The data of image {image_id} cannot be read at the moment.") from failure
    return image, data


def preferred(ctx: ServiceContext, text: str) -> tuple[str, ...]:
    """Return the stores that a ``prefer`` parameter names; raise Invalid for one that does not exist."""
    if not ctx.stores.multi:
        raise Invalid("'prefer' requires several stores; this deployment has one.")
    wanted = tuple(each for each in (part.strip() for part in text.split(",")) if each)
    for store_id in wanted:
        if ctx.stores.get(store_id) is None or store_id.startswith("os_glance_"):
            raise Invalid(f"'prefer' names a store that does not exist: {store_id[:64]}.")
    return wanted
