"""Making, finding, changing and deleting images."""

import uuid
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from ferrotype.db import blobs, pages, usage
from ferrotype.db import images as rows
from ferrotype.db.engine import Transaction
from ferrotype.model.blob import Blob
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Forbidden, Invalid, NotFound
from ferrotype.model.image import Image, move
from ferrotype.model.patch import Patch
from ferrotype.model.query import ImageQuery
from ferrotype.rules import limits, review
from ferrotype.rules.permit import scope, sees
from ferrotype.service import objects, quotas
from ferrotype.service.context import ServiceContext, fetch


async def create_image(ctx: ServiceContext, caller: Caller, document: Mapping[str, Any]) -> Image:
    """Make a queued image from what the caller proposes."""
    ctx.authoriser.admit(caller, "add_image")
    image = review.proposed(document, caller, ctx.schemas)
    if not ctx.authoriser.allows(caller, "add_image", image):
        raise Forbidden("You are not allowed to create this image (add_image).")
    _visibility_is_theirs(ctx, caller, image)
    review.properties_are_open(image, caller, ctx.protection)
    image = review.completed(image, document, ctx.config.limits)
    if not image.id:
        image = replace(image, id=str(uuid.uuid4()))
    room = await quotas.of(ctx, image.owner)
    async with ctx.db.begin() as tx:
        made = await rows.insert_image(tx, image)
        await usage.images_fit(tx, image.owner, room.count)
    return made


def _visibility_is_theirs(ctx: ServiceContext, caller: Caller, image: Image) -> None:
    action = {"public": "publicize_image", "community": "communitize_image"}.get(image.visibility)
    if action and not ctx.authoriser.allows(caller, action, image):
        raise Forbidden(f"You are not allowed to make an image {image.visibility} ({action}).")


async def list_images(ctx: ServiceContext, caller: Caller, query: ImageQuery) -> list[Image]:
    """Return one page of the images that the caller may see and asked for."""
    ctx.authoriser.permit_at_all(caller, "get_images")
    asked = [each.field for each in query.filters if each.op == "property"]
    if ctx.protection and ctx.protection.unreadable(caller, asked):
        return []  # What the caller cannot read matches nothing, whatever it is.
    after = await _marker(ctx, caller, query.marker) if query.marker is not None else None

    def may_be_shown(image: Image) -> bool:
        shared = not caller.is_admin and image.visibility == "shared" and image.owner != caller.project
        return ctx.authoriser.allows(caller, "get_image", image, shared)

    keep = may_be_shown if ctx.authoriser.narrows else None
    return await pages.page(ctx.db, scope(caller, query.visibility), query, after, keep)


async def _marker(ctx: ServiceContext, caller: Caller, image_id: str) -> Image:
    """Return the image that the walk goes on behind; whoever could see it may name it, even when it is gone."""
    found = await rows.marker(ctx.db, image_id, caller.project) if review.could_be_image_id(image_id) else None
    if found is None or not sees(caller, *found):
        raise Invalid(f"'marker' names no image that you can see: {image_id[:64]}")
    return found[0]


async def show_image(ctx: ServiceContext, caller: Caller, image_id: str) -> Image:
    """Return one image."""
    image, _ = await fetch(ctx, ctx.db, caller, image_id, "get_image")
    return image


async def update_image(ctx: ServiceContext, caller: Caller, image_id: str, patch: Patch) -> Image:
    """Apply a patch, all of it or nothing. Attributes that it does not name are left as they are."""
    review.patch_is_legal(patch, ctx.schemas)
    if not patch.operations:
        image, _ = await fetch(ctx, ctx.db, caller, image_id, "modify_image")
        return image
    async with ctx.db.begin() as tx:
        before, _ = await fetch(ctx, tx, caller, image_id, "modify_image", lock=True)

        def may_become(after: Image) -> None:
            _visibility_is_theirs(ctx, caller, after)

        after = review.changed(before, patch, caller, may_become, ctx.config.limits, ctx.schemas, ctx.protection)
        saved = await rows.save(tx, before, after)
        if after.owner != before.owner:
            await blobs.reassign_charges(tx, image_id, after.owner)
        return saved


async def delete_image(ctx: ServiceContext, caller: Caller, image_id: str) -> None:
    """Delete an image in whatever state it is; its bytes go now if their stores let them, else later."""
    async with ctx.db.begin() as tx:
        image, _ = await fetch(ctx, tx, caller, image_id, "delete_image", lock=True)
        if image.protected:
            raise Forbidden(f"Image {image_id} is protected and cannot be deleted.")
        removable = await _delete(ctx, tx, image)
    for blob in removable:
        await objects.remove(ctx, blob)


async def _delete(ctx: ServiceContext, tx: Transaction, image: Image) -> list[Blob]:
    if ctx.config.api.delayed_delete and image.locations and image.status == "active":
        await rows.save(tx, image, move(image, "pending_delete"))
        await blobs.uncharge_image(tx, image.id)
        return []
    await rows.save(tx, image, move(image, "deleted", locations=()))
    return await blobs.mark_image_for_deletion(tx, image.id)


async def set_active(ctx: ServiceContext, caller: Caller, image_id: str, active: bool) -> None:
    """Deactivate or reactivate an image; one that is so already stays as it is."""
    action, wanted, other = (
        ("reactivate", "active", "deactivated") if active else ("deactivate", "deactivated", "active")
    )
    async with ctx.db.begin() as tx:
        image, _ = await fetch(ctx, tx, caller, image_id, action, lock=True)
        if image.status == other:
            await rows.save(tx, image, move(image, wanted))
        elif image.status != wanted:
            raise Forbidden(f"Image {image_id} is {image.status}; only an {other} image can become {wanted}.")


async def add_tag(ctx: ServiceContext, caller: Caller, image_id: str, tag: str) -> None:
    """Give an image a tag; one that it has already is fine."""
    ctx.schemas.check({"tags": [tag]})
    review.is_clean("A tag", tag)
    async with ctx.db.begin() as tx:
        image, _ = await fetch(ctx, tx, caller, image_id, "modify_image", lock=True)
        if tag not in image.tags:
            after = replace(image, tags=(*image.tags, tag))
            limits.tags_fit(image.tags, after.tags, ctx.config.limits)
            await rows.save(tx, image, after)


async def remove_tag(ctx: ServiceContext, caller: Caller, image_id: str, tag: str) -> None:
    """Take a tag from an image."""
    async with ctx.db.begin() as tx:
        image, _ = await fetch(ctx, tx, caller, image_id, "modify_image", lock=True)
        if tag not in image.tags:
            raise NotFound(f"Image {image_id} has no tag '{tag[:64]}'.")
        await rows.save(tx, image, replace(image, tags=tuple(each for each in image.tags if each != tag)))
