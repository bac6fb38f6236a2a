"""Where an image's data are: for those who may know, and for those who may take a copy away."""

import logging

from msgspec.structs import replace

from ferrotype.db import blobs
from ferrotype.db import images as rows
from ferrotype.db.engine import Connection
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Conflict, Forbidden, NotFound, StoreError
from ferrotype.model.image import Image, Location
from ferrotype.service.context import ServiceContext, fetch
from ferrotype.service.objects import remove_bytes

log = logging.getLogger("ferrotype.locations")


async def list_locations(ctx: ServiceContext, caller: Caller, image_id: str) -> tuple[Location, ...]:
    """Return the locations of an image, those in the preferred stores first."""
    image, _ = await fetch(ctx, ctx.db, caller, image_id, "fetch_image_location")
    return ctx.view.ordered(image)


async def add_location(ctx: ServiceContext, caller: Caller, image_id: str, url: str) -> None:
    """Refuse a location, for the reason that comes first: no store of this version takes locations from outside."""
    # The state is told before a refusal, to whoever may see the image; another service need not see it.
    seeing = "add_image_location" if "service" in caller.roles else "get_image"
    image, _ = await fetch(ctx, ctx.db, caller, image_id, seeing)
    if image.status != "queued":
        raise Conflict(f"Image {image_id} is {image.status}; only a queued image takes a location.")
    await fetch(ctx, ctx.db, caller, image_id, "add_image_location")
    raise Forbidden("No store of this deployment takes locations that somebody names.")


async def delete_from_store(ctx: ServiceContext, caller: Caller, store_id: str, image_id: str) -> None:
    """Remove the copy of an image that one store holds; the last copy that can be read stays."""
    if not ctx.stores.multi:
        raise NotFound("Multi backend is not supported at this site.")
    if ctx.stores.get(store_id) is None:
        raise Conflict(f"The selected store {store_id[:64]} is not available on this node.")
    image = await _judged(ctx, ctx.db, caller, store_id, image_id)
    good = await _another_good_copy(ctx, image, store_id)
    async with ctx.db.begin() as tx:
        image = await _judged(ctx, tx, caller, store_id, image_id, lock=True)
        kept = tuple(each for each in image.locations if each.store != store_id)
        if good not in kept:
            raise Conflict(f"The copy in store {store_id} may be the only one of image {image_id} that can be read.")
        await rows.save(tx, image, replace(image, locations=kept))
        gone = {each.blob for each in image.locations if each.store == store_id and each.blob}
        doomed = await blobs.doom(tx, gone, image_id)
    for blob in doomed:
        await remove_bytes(ctx, blob)


async def _judged(
    ctx: ServiceContext, connection: Connection, caller: Caller, store_id: str, image_id: str, lock: bool = False
) -> Image:
    """Return an image whose copy in this store the caller may remove now."""
    await fetch(ctx, connection, caller, image_id, "get_image_location", lock)
    image, _ = await fetch(ctx, connection, caller, image_id, "delete_image_location")
    if image.status != "active":
        raise Conflict(f"Image {image_id} is {image.status}; only an active image has copies to remove.")
    here = [each for each in image.locations if each.store == store_id]
    if len(image.locations) == 1 or len(here) == len(image.locations):
        raise Forbidden(f"Cannot delete image data from the only store containing it. Image {image_id} stays.")
    if not here:
        raise NotFound(f"Image {image_id} has no copy in store {store_id[:64]}.")
    return image


async def _another_good_copy(ctx: ServiceContext, image: Image, store_id: str) -> Location | None:
    """Return a copy elsewhere that can be read, None without one; a copy in a store of another node is believed."""
    for location in image.locations:
        store = ctx.stores.of(location)
        if location.store == store_id:
            continue
        try:
            file = await store.get(location, image.size) if store else None
        except StoreError as error:
            log.error("Image %s cannot be read from store %s: %s", image.id, location.store, error)
            continue
        if file is not None:
            file.close()
        return location
    return None
