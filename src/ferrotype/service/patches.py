"""Apply a patch to an image: its attributes and properties in one transaction, its locations after asking stores."""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from ferrotype.db import blobs
from ferrotype.db import images as rows
from ferrotype.db.engine import Connection, Transaction
from ferrotype.model.blob import Blob, Registered
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Conflict, Forbidden
from ferrotype.model.image import Image, Location
from ferrotype.model.patch import Operation, Patch
from ferrotype.model.quota import Quota
from ferrotype.rules import review
from ferrotype.rules.locations import Change, Found
from ferrotype.service import locations, objects, quotas
from ferrotype.service.context import ServiceContext, fetch
from ferrotype.service.images import check_visibility

#: Attempts to change locations while other requests change them too.
ATTEMPTS = 5


async def update_image(ctx: ServiceContext, caller: Caller, image_id: str, patch: Patch) -> Image:
    """Apply a patch atomically and return the image. Attributes that the patch does not name keep their values."""
    review.check_patch(patch, ctx.schemas)
    if not patch.operations:
        image, _ = await fetch(ctx, ctx.db, caller, image_id, "modify_image")
        return image
    if patch.changes_locations:
        return await _change_locations(ctx, caller, image_id, patch)
    async with ctx.db.begin() as tx:
        before, after = await _patched(ctx, tx, caller, image_id, patch, None, lock=True)
        return await _save(tx, before, after)


async def _patched(
    ctx: ServiceContext,
    connection: Connection,
    caller: Caller,
    image_id: str,
    patch: Patch,
    found: Mapping[str, Found] | None,
    wanted: Callable[[str], None] = lambda url: None,
    lock: bool = False,
) -> tuple[Image, Image]:
    """Return an image before and after a patch; raise what refuses the patch. ``wanted`` gets the URLs it adds.

    Where the patch changes locations, those of both images name their stores and are in the order that clients see.
    """
    first, *others = review.actions_of(patch)
    before, shared = await fetch(ctx, connection, caller, image_id, first, lock)
    for action in others:
        ctx.authoriser.permit(caller, action, before, shared)
    if patch.changes_locations:
        before = replace(before, locations=ctx.view.ordered(before))
    change = Change(found, wanted, ctx.stores.multi, ctx.config.api.hashing_algorithm)

    def change_locations(image: Image, operation: Operation) -> Image:
        if not ctx.config.api.show_locations:
            raise Forbidden("Locations cannot be changed: this deployment does not show them.")
        return change.apply(image, operation)

    after = review.apply_patch(
        before,
        patch,
        caller,
        lambda image: check_visibility(ctx, caller, image),
        change_locations,
        ctx.config.limits,
        ctx.schemas,
        ctx.protection,
    )
    return before, after


async def _save(tx: Transaction, before: Image, after: Image) -> Image:
    saved = await rows.save(tx, before, after)
    if after.owner != before.owner:
        await blobs.reassign_charges(tx, after.id, after.owner)
    return saved


async def _change_locations(ctx: ServiceContext, caller: Caller, image_id: str, patch: Patch) -> Image:
    """Apply a patch that changes locations.

    Everything that can be refused without a store is refused first; then stores are asked for new data and about
    removed data, outside of any transaction; then the patch is applied to the image as it was seen.
    """
    found: dict[str, Found] = {}
    for _ in range(ATTEMPTS):
        wanted: set[str] = set()
        seen, planned = await _patched(ctx, ctx.db, caller, image_id, patch, None, wanted.add)
        found = {url: found.get(url) or await locations.find(ctx, url) for url in sorted(wanted)}
        await locations.check_same_data(ctx, seen, found)
        if removed := _missing(seen, planned):
            await locations.check_removable(ctx, seen, removed)
        quota = (await quotas.of(ctx, planned.owner)).size if found else blobs.NO_LIMIT
        async with ctx.db.begin() as tx:
            before, after = await _patched(ctx, tx, caller, image_id, patch, found, lock=True)
            if _data_of(before) == _data_of(seen) and after.owner == planned.owner:
                saved = await _save(tx, before, after)
                marked = await _record(ctx, tx, before, after, found, quota)
                break
    else:
        raise Conflict(f"Other requests are changing the locations of image {image_id}; please repeat the request.")
    if not locations.delay(ctx):
        for blob in marked:
            await objects.remove(ctx, blob)
    return saved


def _data_of(image: Image) -> tuple[object, ...]:
    """Return what the checks of stores depend on."""
    return image.status, image.size, image.os_hash_value, image.locations


def _missing(before: Image, after: Image) -> list[Location]:
    kept = {each.blob or each.url for each in after.locations}
    return [each for each in before.locations if (each.blob or each.url) not in kept]


async def _record(
    ctx: ServiceContext, tx: Transaction, before: Image, after: Image, found: Mapping[str, Found], quota: Quota
) -> list[Blob]:
    """Write the rows of new locations into the ledger, and return those of removed ones, marked for deletion."""
    gone = {each.blob for each in _missing(before, after) if each.blob}
    marked = await blobs.mark_for_deletion(tx, gone, after.id, locations.delay(ctx))
    for location in _missing(after, before):
        data = found[location.url]
        if location.blob:
            await objects.register(tx, location.blob, after, data.store, Registered(data.handle, data.size), quota)
    return marked
