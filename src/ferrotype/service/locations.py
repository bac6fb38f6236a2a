"""The locations of an image: listing them, registering data of others, and removing a copy from one store."""

import logging
from collections.abc import Collection, Iterable, Mapping

from msgspec.structs import replace

from ferrotype.db import blobs
from ferrotype.db import images as rows
from ferrotype.db.engine import Connection
from ferrotype.model.blob import Registered
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Conflict, Forbidden, Invalid, NotFound, StoreError, URLRefused
from ferrotype.model.image import Image, Location
from ferrotype.rules import limits
from ferrotype.rules.locations import Found, check_url
from ferrotype.service import objects, verify
from ferrotype.service.context import ServiceContext, fetch

log = logging.getLogger("ferrotype.locations")

SECOND = 1_000_000


async def list_locations(ctx: ServiceContext, caller: Caller, image_id: str) -> tuple[Location, ...]:
    """Return the locations of an image, those in the preferred stores first."""
    image, _ = await fetch(ctx, ctx.db, caller, image_id, "fetch_image_location")
    return ctx.view.ordered(image)


async def add_location(ctx: ServiceContext, caller: Caller, image_id: str, url: str) -> None:
    """Refuse a location with the first error that applies: this version does not hash data of others."""
    # The status is reported before a refusal to callers that see the image; another service need not see it.
    seeing = "add_image_location" if "service" in caller.roles else "get_image"
    image, _ = await fetch(ctx, ctx.db, caller, image_id, seeing)
    if image.status != "queued":
        raise Conflict(f"Image {image_id} is {image.status}; locations can be added to a queued image only.")
    await fetch(ctx, ctx.db, caller, image_id, "add_image_location")
    raise Forbidden("No store of this deployment accepts external locations.")


# -- registering data of others -----------------------------------------------------------------


async def find(ctx: ServiceContext, url: str) -> Found:
    """Return the data that a URL names: the one way in for every URL of a location.

    Raises Invalid, which does not tell why a store refuses the URL (SEC-45), and OverLimit. The object of a store of
    ours must not be one that the service wrote: it belongs to an image (SEC-51).
    """
    check_url(url)
    store = ctx.stores.registrar(url)
    if store is None:
        raise Invalid("No store of this deployment takes locations with such a URL.")
    try:
        found = await store.register(url)
    except URLRefused as error:  # The client may know why, the operator what its host resolves to.
        log.info("location refused: store=%s: %s", store.id, error.detail)
        raise
    except StoreError as error:
        log.info("location refused: store=%s: %s", store.id, error)
        raise _unusable() from error
    if found.name is not None and await _is_ours(ctx, store.id, found):
        log.warning("location refused: it names the data of an image: store=%s object=%s", store.id, found.name)
        raise _unusable()
    if found.size < 1:
        raise _unusable()
    limits.size_fits(found.size, ctx.config.limits)
    return Found(store.id, found.handle, found.size, found.validators)


async def _is_ours(ctx: ServiceContext, store_id: str, found: Registered) -> bool:
    blob = await blobs.by_name(ctx.db, store_id, found.name or "")
    return blob is not None and blob.purpose != "external"


def _unusable() -> Invalid:
    return Invalid("The data of the location cannot be used: it is not there, is empty, or must not be read.")


async def check_same_data(ctx: ServiceContext, image: Image, found: Mapping[str, Found]) -> None:
    """Raise Conflict unless the data of new locations is that of the image, and all of them have the same (SEC-52).

    The data is read, except for the only location of a queued image: nothing is known that it could differ from.
    """
    if not found or (image.status == "queued" and len(found) == 1):
        return
    size = next(iter(found.values())).size if image.status == "queued" else image.size
    if any(each.size != size for each in found.values()):
        raise Conflict("The data of a location differs in size from that of the image.")
    expected: str | None = None
    algorithm = verify.ALGORITHM
    if image.status != "queued":
        algorithm, expected = await verify.data_digest(ctx, image)
    for url, each in found.items():
        store, new = ctx.stores.get(each.store), Location(url, {}, validators=each.validators)
        try:
            digest = await verify.digest(ctx, store, new, size, algorithm) if store else None
        except StoreError as error:
            log.info("location refused: store=%s: %s", each.store, error)
            raise _unusable() from error
        if digest != (expected or digest):
            raise Conflict("The data of a location differs from that of the image.")
        expected = digest


# -- removing copies ----------------------------------------------------------------------------


async def check_removable(ctx: ServiceContext, image: Image, removed: Collection[Location]) -> Location:
    """Return a copy that stays and can be read; raise Conflict without one, or if a removed one is in use.

    Asked before anything changes. Raises StoreUnavailable when a store that knows its users does not answer.
    """
    good = await _good_copy(ctx, image, [each for each in image.locations if each not in removed])
    if good is None:
        raise Conflict(f"The copy may be the only readable one of image {image.id}.")
    await check_not_in_use(ctx, image, removed)
    return good


async def check_not_in_use(ctx: ServiceContext, image: Image, removed: Iterable[Location]) -> None:
    """Raise Conflict if a back end knows other users of data that would be deleted (STOR-88)."""
    if not ctx.stores.report_use:
        return
    external = {blob.id for blob in await blobs.of_image(ctx.db, image.id) if blob.purpose == "external"}
    for location in removed:
        store = ctx.stores.of(location)
        if store is None or location.blob is None or location.blob in external:
            continue
        if users := await store.in_use(location.url):
            raise Conflict(f"The data of image {image.id} in store {store.id} is in use: {users}.")


async def _good_copy(ctx: ServiceContext, image: Image, kept: Iterable[Location]) -> Location | None:
    """Return a copy whose last byte was just read, or None; a copy in another node's store is trusted."""
    for location in kept:
        store = ctx.stores.of(location)
        try:
            if store:
                await store.check(location.url, image.size, location.validators)
        except StoreError as error:
            log.error("image cannot be read: image=%s store=%s: %s", image.id, location.store, error)
            continue
        return location
    return None


def delay(ctx: ServiceContext) -> int:
    """Return the microseconds for which the data of a copy that is removed from an image is kept (STOR-90)."""
    return ctx.config.api.scrub_time * SECOND if ctx.config.api.delayed_delete else 0


async def delete_from_store(ctx: ServiceContext, caller: Caller, store_id: str, image_id: str) -> None:
    """Remove the copy of an image that one store holds; the last copy that can be read stays."""
    if not ctx.stores.multi:
        raise NotFound("Multi backend is not supported at this site.")
    if ctx.stores.get(store_id) is None:
        raise Conflict(f"The selected store {store_id[:64]} is not available on this node.")
    image = await fetch_removable_copy(ctx, ctx.db, caller, store_id, image_id)
    good = await check_removable(ctx, image, [each for each in image.locations if each.store == store_id])
    async with ctx.db.begin() as tx:
        image = await fetch_removable_copy(ctx, tx, caller, store_id, image_id, lock=True)
        kept = tuple(each for each in image.locations if each.store != store_id)
        if good not in kept:
            raise Conflict(f"The copy in store {store_id} may be the only readable one of image {image_id}.")
        await rows.save(tx, image, replace(image, locations=kept))
        gone = {each.blob for each in image.locations if each.store == store_id and each.blob}
        marked = await blobs.mark_for_deletion(tx, gone, image_id, delay(ctx))
    if not delay(ctx):
        for blob in marked:
            await objects.remove(ctx, blob)


async def fetch_removable_copy(
    ctx: ServiceContext, connection: Connection, caller: Caller, store_id: str, image_id: str, lock: bool = False
) -> Image:
    """Return an image whose copy in this store the caller may remove; its locations name their stores."""
    await fetch(ctx, connection, caller, image_id, "get_image_location", lock)
    image, _ = await fetch(ctx, connection, caller, image_id, "delete_image_location")
    if image.status != "active":
        raise Conflict(f"Image {image_id} is {image.status}; copies can be removed from an active image only.")
    image = replace(image, locations=ctx.stores.attribute(image.locations))
    here = [each for each in image.locations if each.store == store_id]
    if len(image.locations) == 1 or len(here) == len(image.locations):
        raise Forbidden(
            f"Cannot delete image data from the only store containing it. Image {image_id} has no other copy."
        )
    if not here:
        raise NotFound(f"Image {image_id} has no copy in store {store_id[:64]}.")
    return image
