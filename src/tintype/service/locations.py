"""Where an image's data are: for those who may know, and for those who may take a copy away."""

from msgspec.structs import replace

from tintype.db import blobs
from tintype.db import images as rows
from tintype.model.caller import Caller
from tintype.model.errors import Conflict, Forbidden, NotFound
from tintype.model.image import Location
from tintype.service.core import Service, fetch
from tintype.service.upkeep import remove_bytes


async def list_locations(svc: Service, caller: Caller, image_id: str) -> tuple[Location, ...]:
    """Return the locations of an image, those in the preferred stores first."""
    image, _ = await fetch(svc, svc.db, caller, image_id, "fetch_image_location")
    return svc.view.ordered(image)


async def add_location(svc: Service, caller: Caller, image_id: str, url: str) -> None:
    """Refuse a location, for the reason that comes first: no store of this version takes locations from outside."""
    image, _ = await fetch(svc, svc.db, caller, image_id, "get_image")
    if image.status != "queued":
        raise Conflict(f"Image {image_id} is {image.status}; only a queued image takes a location.")
    await fetch(svc, svc.db, caller, image_id, "add_image_location")
    raise Forbidden("No store of this deployment takes locations that somebody names.")


async def delete_from_store(svc: Service, caller: Caller, store_id: str, image_id: str) -> None:
    """Remove the copy of an image that one store holds; the last copy stays."""
    if not svc.stores.multi:
        raise NotFound("Multi backend is not supported at this site.")
    if svc.stores.get(store_id) is None:
        raise Conflict(f"The selected store {store_id[:64]} is not available on this node.")
    async with svc.db.begin() as tx:
        image, _ = await fetch(svc, tx, caller, image_id, "get_image_location", lock=True)
        await fetch(svc, tx, caller, image_id, "delete_image_location")
        if image.status != "active":
            raise Conflict(f"Image {image_id} is {image.status}; only an active image has copies to remove.")
        if len(image.locations) == 1:
            raise Forbidden(f"Cannot delete image data from the only store containing it. Image {image_id} stays.")
        gone = [each for each in image.locations if each.store == store_id]
        if not gone:
            raise NotFound(f"Image {image_id} has no copy in store {store_id[:64]}.")
        kept = tuple(each for each in image.locations if each.store != store_id)
        await rows.save(tx, image, replace(image, locations=kept))
        doomed = [await blobs.doom(tx, each.blob, image_id) for each in gone if each.blob]
    for blob in doomed:
        if blob:
            await remove_bytes(svc, blob)
