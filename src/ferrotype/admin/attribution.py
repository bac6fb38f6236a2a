"""Write into locations which store holds them, where only their URL tells, and take credentials out of URLs.

A service that reads such locations finds the store each time and writes nothing (RUL-19). After a store was renamed,
or a deployment with one store became one with several, this makes it permanent (STOR-75).
"""

from collections.abc import AsyncIterator

from msgspec import Struct
from msgspec.structs import replace

from ferrotype.db import locations as rows
from ferrotype.model.errors import Invalid
from ferrotype.model.image import Location
from ferrotype.model.urls import without_credentials
from ferrotype.service.context import ServiceContext


class Attributed(Struct, frozen=True):
    """What became of one location. ``store`` is None where no store of the configuration has its URL.

    ``url`` is shown without credentials; ``rewritten``: they were taken out of the stored URL too. ``changed``: the
    location was written, or would be; False for one of an image that was changed at the same moment.
    """

    image: str
    url: str
    store: str | None
    rewritten: bool = False
    changed: bool = True


async def attribute(ctx: ServiceContext, dry_run: bool, after: str = "") -> AsyncIterator[Attributed]:
    """Yield every location that does not name its store, or has credentials, and change it unless ``dry_run``.

    Images are visited in the order of their ids, those after ``after`` only, so an interrupted run can continue where
    it was; running it again from the start does no harm. Their ``updated_at`` stays. Raises Invalid in single-store
    mode.
    """
    if not ctx.stores.multi:
        raise Invalid("Locations name their stores where there are several; set enabled_backends first.")
    while page := await rows.page(ctx.db, after):
        for image_id, stored, before in page:
            wanted = tuple(_without_credentials(ctx, each) for each in ctx.stores.attribute(before))
            written = wanted == before or dry_run
            if not written:
                async with ctx.db.begin() as tx:
                    written = await rows.replace(tx, image_id, stored, wanted)
            for old, new in zip(before, wanted, strict=True):
                unknown = ctx.stores.get(new.store) is None
                if old != new or unknown:
                    yield Attributed(
                        image_id,
                        without_credentials(new.url),
                        None if unknown else new.store,
                        rewritten=new.url != old.url,
                        changed=written and old != new,
                    )
            after = image_id


def _without_credentials(ctx: ServiceContext, location: Location) -> Location:
    """Return the location with its URL as clients see it, if its store finds the same object by that."""
    store, url = ctx.stores.get(location.store), without_credentials(location.url)
    return replace(location, url=url) if store is not None and store.is_same(location.url, url) else location
