"""The locations of an image: listing them, and removing a copy from one store."""

import logging

from msgspec.structs import replace

from ferrotype.db import blobs
from ferrotype.db import images as rows
from ferrotype.db.engine import Connection
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Conflict, Forbidden, NotFound, StoreError
from ferrotype.model.image import Image, Location
from ferrotype.service import objects
from ferrotype.service.context import ServiceContext, fetch

log = logging.getLogger("ferrotype.locations")


async def list_locations(ctx: ServiceContext, caller: Caller, image_id: str) -> tuple[Location, ...]:
    """Return the locations of an image, those in the preferred stores first."""
    image, _ = await fetch(ctx, ctx.db, caller, image_id, "fetch_image_location")
    return ctx.view.ordered(image)


async def add_location(ctx: ServiceContext, caller: Caller, image_id: str, url: str) -> None:
    """Refuse a location with the first error that applies: no store of this version accepts external locations."""
    # The status is reported before a refusal to callers that see the image; another service need not see it.
    seeing = "add_image_location" if "service" in caller.roles else "get_image"
    image, _ = await fetch(ctx, ctx.db, caller, image_id, seeing)
    if image.status != "queued":
        raise Conflict(f"Image {image_id} is {image.status}; locations can be added to a queued image only.")
    await fetch(ctx, ctx.db, caller, image_id, "add_image_location")
    raise Forbidden("No store of this deployment accepts external locations.")


async def delete_from_store(ctx: ServiceContext, caller: Caller, store_id: str, image_id: str) -> None:
    """Remove the copy of an image that one store holds; the last copy that can be read stays."""
    if not ctx.stores.multi:
        raise NotFound("Multi backend is not supported at this site.")
    if ctx.stores.get(store_id) is None:
        raise Conflict(f"The selected store {store_id[:64]} is not available on this node.")
    image = await fetch_removable_copy(ctx, ctx.db, caller, store_id, image_id)
    good = await _another_good_copy(ctx, image, store_id)
    async with ctx.db.begin() as tx:
        image = await fetch_removable_copy(ctx, tx, caller, store_id, image_id, lock=True)
        kept = tuple(each for each in image.locations if each.store != store_id)
        if good not in kept:
            raise Conflict(f"The copy in store {store_id} may be the only readable one of image {image_id}.")
        await rows.save(tx, image, replace(image, locations=kept))
        gone = {each.blob for each in image.locations if each.store == store_id and each.blob}
        marked = await blobs.mark_for_deletion(tx, gone, image_id)
    for blob in marked:
        await objects.remove(ctx, blob)


async def fetch_removable_copy(
    ctx: ServiceContext, connection: Connection, caller: Caller, store_id: str, image_id: str, lock: bool = False
) -> Image:
    """Return an image whose copy in this store the caller may remove."""
    await fetch(ctx, connection, caller, image_id, "get_image_location", lock)
    image, _ = await fetch(ctx, connection, caller, image_id, "delete_image_location")
    if image.status != "active":
        raise Conflict(f"Image {image_id} is {image.status}; copies can be removed from an active image only.")
    here = [each for each in image.locations if each.store == store_id]
    if len(image.locations) == 1 or len(here) == len(image.locations):
        raise Forbidden(
            f"Cannot delete image data from the only store containing it. Image {image_id} has no other copy."
        )
    if not here:
        raise NotFound(f"Image {image_id} has no copy in store {store_id[:64]}.")
    return image


async def _another_good_copy(ctx: ServiceContext, image: Image, store_id: str) -> Location | None:
    """Return another copy whose last byte was just read, or None; a copy in another node's store is trusted."""
    for location in image.locations:
        store = ctx.stores.of(location)
        if location.store == store_id:
            continue
        try:
            if store:
                await store.check(location.url, image.size, location.validators)
        except StoreError as error:
            log.error("image cannot be read: image=%s store=%s: %s", image.id, location.store, error)
            continue
        return location
    return None
