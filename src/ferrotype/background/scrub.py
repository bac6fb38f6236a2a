"""The end of images that were deleted with delay: their data are kept for a while, and go when it is over."""

from ferrotype.db import blobs, scrub
from ferrotype.db import images as rows
from ferrotype.model.errors import Conflict
from ferrotype.model.image import move
from ferrotype.service.context import ServiceContext


async def scrub_deleted(ctx: ServiceContext) -> None:
    """Doom the data of the images whose time is over, a page of them; ``remove_doomed`` removes the bytes.

    Safe to repeat and safe to be done by several nodes at once.
    """
    for image in await scrub.pending(ctx.db, ctx.config.api.scrub_time * 1_000_000):
        try:
            async with ctx.db.begin() as tx:
                await rows.save(tx, image, move(image, "deleted", locations=()))
                await blobs.doom_of_image(tx, image.id)
        except Conflict:  # Another node was quicker, and has done all of it.
            continue
