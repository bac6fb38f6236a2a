"""Filling an image with data, and giving the data out."""

import logging
from collections.abc import AsyncIterator

from ferrotype.db import blobs, usage
from ferrotype.db import images as rows
from ferrotype.db.engine import Connection, DatabaseUnavailable
from ferrotype.model.blob import Blob, Stored, object_name
from ferrotype.model.caller import Caller
from ferrotype.model.errors import (
    BlobDamaged,
    BlobNotFound,
    Busy,
    Conflict,
    ContentRefused,
    Forbidden,
    Gone,
    Invalid,
    OverLimit,
    Refusal,
    StoreError,
    StoreUnavailable,
)
from ferrotype.model.image import Image, Location, move
from ferrotype.model.quota import Quota
from ferrotype.rules import limits, review
from ferrotype.service import quotas
from ferrotype.service.context import Service, fetch
from ferrotype.service.objects import give_up
from ferrotype.service.rollback import undoing
from ferrotype.stores.driver import LocalFile
from ferrotype.stores.store import Store
from ferrotype.streams import inspect
from ferrotype.streams.pipe import Checks, transfer

log = logging.getLogger("ferrotype.data")

#: Bytes that an upload of unknown size reserves at first; doubled each time up to the last.
FIRST_STEP = 8 * 1024 * 1024
LAST_STEP = 1024 * 1024 * 1024


def chosen_store(svc: Service, store_id: str | None) -> Store:
    """Return the store that an upload names, or the default one. In single-store mode names mean nothing."""
    if store_id is None or not svc.stores.multi:
        store_id = svc.stores.default
    store = svc.stores.get(store_id)
    if store is None or (store_id.startswith("os_glance_") and svc.stores.multi):
        raise Invalid(f"Store for identifier {store_id[:64]} not found.")
    return store


async def upload(
    svc: Service,
    caller: Caller,
    image_id: str,
    chunks: AsyncIterator[bytes],
    announced: int | None,
    store_id: str | None,
) -> None:
    """Fill a queued image with data and make it active; or leave it queued, with nothing stored."""
    store = chosen_store(svc, store_id)
    owner = (await fetch(svc, svc.db, caller, image_id, "upload_image"))[0].owner if svc.unified_limits else None
    room = await quotas.of(svc, owner)
    with svc.lease.under_way() as blob_id:
        async with undoing() as undo:
            async with svc.db.begin() as tx:
                image, _ = await fetch(svc, tx, caller, image_id, "upload_image", lock=True)
                review.ready_for_data(image)
                limits.size_fits(announced or 0, svc.config.limits)
                if svc.unified_limits and image.owner != owner:
                    raise Conflict(f"Image {image_id} was given to another project meanwhile.")
                saving = await rows.save(tx, image, move(image, "saving"))
                blob = await blobs.reserve(tx, _new_blob(svc, blob_id, image, store, announced, room.size), room.size)
                await usage.uploading_fits(tx, image.owner, room.uploading)
                undo(give_up, svc, blob)
            reserved = _Reservation(svc, blob, room.size)
            checks = Checks(
                most=svc.config.limits.image_size_cap,
                announced=announced,
                algorithm=svc.config.api.hashing_algorithm,
                room=reserved.room,
                judge=lambda findings: _judge(svc, saving, findings),
                last=reserved.last,
            )
            stored = await transfer(
                chunks, lambda batches: store.put(blob.name, batches, announced), svc.crew, checks
            )
            await _activate(svc, reserved.blob, store, stored)


def _new_blob(svc: Service, blob_id: str, image: Image, store: Store, announced: int | None, quota: Quota) -> Blob:
    # Of an unknown size at least the first byte is reserved: with nothing left it is refused before it is read.
    first = 1 if quota.counts else 0
    return Blob(
        id=blob_id,
        store=store.id,
        name=object_name(image.id),
        image_id=image.id,
        project=image.owner,
        purpose="data",
        state="writing",
        charged=first if announced is None else announced,
        writer=svc.lease.worker,
    )


def _judge(svc: Service, image: Image, findings: inspect.Findings) -> int | None:
    formats = svc.config.formats
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


class _Reservation:
    """What one upload has reserved: ahead of the stream when a quota counts it and its size is unknown."""

    def __init__(self, svc: Service, blob: Blob, quota: Quota):
        self._svc, self.blob, self._quota = svc, blob, quota
        self._step = FIRST_STEP

    async def room(self, total: int) -> None:
        """Make sure that ``total`` bytes are reserved, and that the work is still ours."""
        lease = self._svc.lease
        if self.blob.id in lease.unwanted or not lease.held_by(self.blob.writer or ""):
            raise await _taken(self._svc.db, self.blob)
        if not self._quota.counts or total <= self.blob.charged:
            return
        missing = total - self.blob.charged
        try:
            await self._grow(max(missing, self._step))
        except OverLimit:  # There is no room for a whole step, but there may be for what is here.
            await self._grow(missing)
        self._step = min(self._step * 2, LAST_STEP)

    async def _grow(self, by: int) -> None:
        async with self._svc.db.begin() as tx:
            grown = await blobs.grow(tx, self.blob, by, self._quota)
        if grown is None:
            raise await _taken(self._svc.db, self.blob)
        self.blob = grown

    async def last(self) -> None:
        """Every byte is there: make sure that the work is still ours before it becomes final."""
        await self._svc.lease.assure(self.blob.writer or "")


async def _taken(connection: Connection, blob: Blob) -> Refusal:
    """Return the reason why an upload of ours is not ours any more."""
    if await rows.get(connection, blob.image_id, None) is None:
        return Gone(f"Image {blob.image_id} was deleted during the upload.")
    return Busy("This node lost its hold on the transfer; please repeat it.")


async def _activate(svc: Service, blob: Blob, store: Store, stored: Stored) -> None:
    """Commit the bytes and the image together; raise when either is no longer ours."""
    async with svc.db.begin() as tx:
        found = await rows.get(tx, blob.image_id, None, lock=True)
        current = found[0] if found else None
        if current is None or current.status != "saving" or not await blobs.keep(tx, blob, stored, current.owner):
            raise await _taken(tx, blob)
        metadata = {"store": store.id} if svc.stores.multi else {}
        await rows.save(
            tx,
            current,
            move(
                current,
                "active",
                size=stored.size,
                virtual_size=stored.virtual_size,
                checksum=stored.checksum,
                os_hash_algo=stored.hash_algo,
                os_hash_value=stored.hash_value,
                locations=(Location(stored.url, metadata, blob.id),),
            ),
        )


async def download(
    svc: Service, caller: Caller, image_id: str, prefer: tuple[str, ...] = ()
) -> tuple[Image, LocalFile | None]:
    """Return an image and its data as an open file; None for an image that has no data yet.

    Copies in the preferred stores are tried first, in the order given; a copy that cannot be read is passed over.
    """
    image, shared = await fetch(svc, svc.db, caller, image_id, "download_image")
    if prefer:
        svc.authoriser.permit(caller, "download_from_store", image, shared)
    if image.status == "deactivated" and not caller.is_admin:
        raise Forbidden(f"Image {image_id} is deactivated.")
    failure: StoreError | None = None
    for location in _in_order(svc, image, prefer):
        store = svc.stores.of(location)
        if store is None:  # A copy in a store that this node does not have: another node can read it.
            continue
        try:
            file = await store.get(location, image.size)
        except StoreError as error:
            now, _ = await fetch(svc, svc.db, caller, image_id, "download_image")
            if now.locations != image.locations:  # It went because somebody had it removed, and nothing is wrong.
                return await download(svc, caller, image_id, prefer)
            failure = error
            await _report(svc, image, location, store, error)
            continue
        if file is not None:
            return image, file
    if image.locations:
        raise StoreUnavailable(f"The data of image {image_id} cannot be read at present.") from failure
    return image, None


def _in_order(svc: Service, image: Image, prefer: tuple[str, ...]) -> list[Location]:
    ordered = list(svc.view.ordered(image))
    ranks = {store_id: rank for rank, store_id in enumerate(dict.fromkeys(prefer))}
    ordered.sort(key=lambda location: ranks.get(location.store or "", len(ranks)))
    return ordered


async def _report(svc: Service, image: Image, location: Location, store: Store, error: StoreError) -> None:
    """Say that a copy cannot be read. One that is not what was stored is marked, and its row and bytes stay."""
    if not isinstance(error, BlobNotFound | BlobDamaged):
        log.error("Image %s cannot be read from store %s: %s", image.id, store.id, error)
        return
    log.error(
        "The copy of image %s in store %s is lost or damaged: %s. Bring the object back from a backup, or delete"
        " the copy or the image; `ferrotype check` lists all of them.",
        image.id, store.id, error,
    )  # fmt: skip
    if not location.blob:
        return
    try:
        async with svc.db.begin() as tx:
            await blobs.mark_damaged(tx, location.blob)
    except DatabaseUnavailable as unavailable:  # The next reader marks it; this one may have another copy.
        log.error("The damaged copy could not be marked: %s", unavailable)


def preferred(svc: Service, text: str) -> tuple[str, ...]:
    """Return the stores that a ``prefer`` parameter names; raise Invalid for one that there is none of."""
    if not svc.stores.multi:
        raise Invalid("'prefer' needs more than one store, and this deployment has one.")
    wanted = tuple(each for each in (part.strip() for part in text.split(",")) if each)
    for store_id in wanted:
        if svc.stores.get(store_id) is None or store_id.startswith("os_glance_"):
            raise Invalid(f"'prefer' names a store that does not exist: {store_id[:64]}")
    return wanted
