"""Create, list, show and delete images; their status, and their tags. ``service.patches`` changes the rest."""

import logging
import uuid

from msgspec.structs import replace

from ferrotype.db import blobs, pages, usage
from ferrotype.db import images as rows
from ferrotype.db.engine import Transaction
from ferrotype.model.blob import Blob
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Forbidden, Invalid, NotFound, StoreError
from ferrotype.model.image import Image, NewImage, Status, transition
from ferrotype.model.query import ImageQuery
from ferrotype.rules import limits, review
from ferrotype.rules.permit import is_owner, is_visible, scope
from ferrotype.service import locations, objects, quotas
from ferrotype.service.context import ServiceContext, fetch

log = logging.getLogger("ferrotype.images")


async def create_image(ctx: ServiceContext, caller: Caller, new: NewImage) -> Image:
    """Create a queued image. Raises Forbidden, Invalid, OverLimit, and Conflict for an id that is taken."""
    ctx.authoriser.check_scope(caller, "add_image")
    image = review.parse_new_image(new, caller, ctx.schemas)
    if not is_owner(caller, image) or not ctx.authoriser.allows(caller, "add_image", image):  # POL-30
        raise Forbidden("You are not allowed to create this image (add_image).")
    check_visibility(ctx, caller, image)
    review.check_property_protection(image, caller, ctx.protection)
    image = review.with_numbers(image, new, ctx.config.limits)
    if not image.id:
        image = replace(image, id=str(uuid.uuid4()))
    if ctx.unified_limits is None:
        await ctx.record_quota.check(ctx.db, image.owner, ctx.config.limits.image_count_quota)
    quota = await quotas.of(ctx, image.owner)
    async with ctx.db.begin() as tx:
        created = await rows.insert_image(tx, image)
        await usage.images_fit(tx, image.owner, quota.count)
    return created


def check_visibility(ctx: ServiceContext, caller: Caller, image: Image) -> None:
    """Raise Forbidden unless the policy allows the caller to give an image its visibility."""
    action = {"public": "publicize_image", "community": "communitize_image"}.get(image.visibility)
    if action and not ctx.authoriser.allows(caller, action, image):
        raise Forbidden(f"You are not allowed to make an image {image.visibility} ({action}).")


async def list_images(ctx: ServiceContext, caller: Caller, query: ImageQuery) -> list[Image]:
    """Return one page of the images that match the query and are visible to the caller."""
    ctx.authoriser.require(caller, "get_images")
    asked = [each.field for each in query.filters if each.op == "property"]
    if ctx.protection and ctx.protection.hidden(caller, asked):
        return []  # A filter on a hidden property must not reveal its value.
    after = await _marker(ctx, caller, query.marker) if query.marker is not None else None

    def allowed(image: Image) -> bool:
        shared = not caller.is_admin and image.visibility == "shared" and image.owner != caller.project
        return ctx.authoriser.allows(caller, "get_image", image, shared)

    keep = allowed if ctx.authoriser.filters_lists else None
    return await pages.page(ctx.db, scope(caller, query.visibility), query, after, keep)


async def _marker(ctx: ServiceContext, caller: Caller, image_id: str) -> Image:
    """Return the last image of the previous page, visible to the caller; it may have been deleted since."""
    found = await rows.marker(ctx.db, image_id, caller.project) if review.could_be_image_id(image_id) else None
    if found is None or not is_visible(caller, *found):
        raise Invalid(f"'marker' must be the ID of an image that you can see; got '{image_id[:64]}'.")
    return found[0]


async def show_image(ctx: ServiceContext, caller: Caller, image_id: str) -> Image:
    """Return one image. Raises NotFound."""
    image, _ = await fetch(ctx, ctx.db, caller, image_id, "get_image")
    return image


async def delete_image(ctx: ServiceContext, caller: Caller, image_id: str) -> None:
    """Delete an image in any state. Its data is removed immediately if possible, otherwise by background cleanup.

    Raises Conflict if a store reports that the data is in use; one that does not answer is not waited for (RUL-05).
    """
    if ctx.stores.report_use and not ctx.config.api.delayed_delete:
        image, _ = await fetch(ctx, ctx.db, caller, image_id, "delete_image")
        try:
            await locations.check_not_in_use(ctx, image, () if image.protected else image.locations)
        except StoreError as error:
            log.warning("use of an object is unknown; it is deleted all the same: image=%s: %s", image_id, error)
    async with ctx.db.begin() as tx:
        image, _ = await fetch(ctx, tx, caller, image_id, "delete_image", lock=True)
        if image.protected:
            raise Forbidden(f"Image {image_id} is protected and cannot be deleted.")
        removable = await _delete(ctx, tx, image)
    for blob in removable:
        await objects.remove(ctx, blob)


async def _delete(ctx: ServiceContext, tx: Transaction, image: Image) -> list[Blob]:
    if ctx.config.api.delayed_delete and image.locations and image.status == "active":
        await rows.save(tx, image, transition(image, "pending_delete"))
        await blobs.uncharge_image(tx, image.id)
        return []
    await rows.save(tx, image, transition(image, "deleted", locations=()))
    return await blobs.mark_image_for_deletion(tx, image.id)


async def set_active(ctx: ServiceContext, caller: Caller, image_id: str, active: bool) -> None:
    """Deactivate or reactivate an image; idempotent."""
    action = "reactivate" if active else "deactivate"
    wanted: Status = "active" if active else "deactivated"
    other: Status = "deactivated" if active else "active"
    async with ctx.db.begin() as tx:
        image, _ = await fetch(ctx, tx, caller, image_id, action, lock=True)
        if image.status == other:
            await rows.save(tx, image, transition(image, wanted))
        elif image.status != wanted:
            raise Forbidden(f"Image {image_id} is {image.status}; only an {other} image can become {wanted}.")


async def add_tag(ctx: ServiceContext, caller: Caller, image_id: str, tag: str) -> None:
    """Add a tag to an image; idempotent."""
    ctx.schemas.check({"tags": [tag]})
    review.reject_control_chars("A tag", tag)
    async with ctx.db.begin() as tx:
        image, _ = await fetch(ctx, tx, caller, image_id, "modify_image", lock=True)
        if tag not in image.tags:
            after = replace(image, tags=(*image.tags, tag))
            limits.tags_fit(image.tags, after.tags, ctx.config.limits)
            await rows.save(tx, image, after)


async def remove_tag(ctx: ServiceContext, caller: Caller, image_id: str, tag: str) -> None:
    """Remove a tag from an image. Raises NotFound if the image does not have it."""
    async with ctx.db.begin() as tx:
        image, _ = await fetch(ctx, tx, caller, image_id, "modify_image", lock=True)
        if tag not in image.tags:
            raise NotFound(f"Image {image_id} has no tag '{tag[:64]}'.")
        await rows.save(tx, image, replace(image, tags=tuple(each for each in image.tags if each != tag)))
