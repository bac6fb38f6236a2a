"""Delayed delete: the data of a deleted image is kept for ``scrub_time`` and then removed."""

from ferrotype.db import blobs, scrub
from ferrotype.db import images as rows
from ferrotype.model.image import transition
from ferrotype.service.context import ServiceContext


async def scrub_deleted(ctx: ServiceContext) -> None:
    """Mark the data of images whose ``scrub_time`` is over for deletion, a page of them at a time.

    Idempotent, and several nodes may do it at once.
    """
    age = ctx.config.api.scrub_time * 1_000_000
    for found in await scrub.pending(ctx.db, age):
        async with ctx.db.begin() as tx:
            image = await scrub.lock_old(tx, found.id, age)
            if image:  # Otherwise another node was faster, or the image was restored.
                await rows.save(tx, image, transition(image, "deleted", locations=()))
                await blobs.mark_image_for_deletion(tx, image.id)
