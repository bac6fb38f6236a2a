"""Undo a delayed delete: make a deleted image active again while its data is still kept (RUL-92)."""

from msgspec import Struct

from ferrotype.db import blobs, directory_ids, ledger_check, scrub, usage
from ferrotype.db import images as rows
from ferrotype.model.errors import BlobDamaged, BlobNotFound, Conflict, NotFound, StoreError
from ferrotype.model.image import Image, Location, transition
from ferrotype.service import quotas, verify
from ferrotype.service.context import ServiceContext


class Restored(Struct, frozen=True):
    """An image that is active again. ``unreadable`` has a sentence for each copy that could not be verified."""

    image: Image
    unreadable: tuple[str, ...]


async def restore(ctx: ServiceContext, image_id: str) -> Restored:
    """Make an image that is ``pending_delete`` active again, with its metadata, members and every copy of its data.

    Its data is read and its digest compared first: at least one copy must be what was stored; copies that are missing
    or altered are marked damaged. Then one transaction charges the owner and changes the image, so that the scrubber
    either came before or finds nothing to delete. Raises NotFound, Conflict, OverLimit and StoreErrors.
    """
    for store in ctx.stores:
        store.set_expected_ids(await directory_ids.of_store(ctx.db, store.id))
    image = await scrub.get(ctx.db, image_id)
    if image is None:
        raise NotFound(f"There is no deleted image {image_id} whose data is kept.")
    failures = await _failures(ctx, image)
    if len(failures) == len(image.locations):
        raise StoreError(f"No copy of image {image_id} is what was stored: " + "; ".join(map(str, failures.values())))
    allowed = await quotas.of(ctx, image.owner)
    if ctx.unified_limits is None:
        await ctx.record_quota.check(ctx.db, image.owner, ctx.config.limits.image_count_quota)
    async with ctx.db.begin() as tx:
        kept = await scrub.get(tx, image_id, lock=True)
        if kept is None or kept.locations != image.locations:
            raise Conflict(f"Image {image_id} was restored or its data deleted by another process meanwhile.")
        restored = await rows.save(tx, kept, transition(kept, "active"))
        for number, failure in failures.items():
            blob = image.locations[number].blob
            if blob and isinstance(failure, BlobNotFound | BlobDamaged):
                await ledger_check.mark_damaged(tx, blob)
        await blobs.recharge_image(tx, image_id, allowed.size)
        await usage.images_fit(tx, image.owner, allowed.count)
    return Restored(restored, tuple(map(str, failures.values())))


async def _failures(ctx: ServiceContext, image: Image) -> dict[int, StoreError]:
    """Return why a copy could not be verified, by its number."""
    found: dict[int, StoreError] = {}
    for number, location in enumerate(image.locations):
        try:
            await _verify(ctx, image, location)
        except StoreError as error:
            found[number] = error
    return found


async def _verify(ctx: ServiceContext, image: Image, location: Location) -> None:
    store = ctx.stores.of(location)
    if store is None:
        raise StoreError(f"the store {location.store} of a copy is not configured on this node")
    await verify.check_copy(ctx, image, location, store)
