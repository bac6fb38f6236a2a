"""The locations of all images, image by image, and changing them without changing anything else."""

from msgspec import json
from sqlalchemy import BigInteger, Text, bindparam, select, update

from ferrotype.db.engine import Connection, Statement, Transaction
from ferrotype.db.tables import images
from ferrotype.model.image import Location

_c = images.c
_PAGE = Statement(
    select(_c.id, _c.locations)
    .where(_c.id > bindparam("after", type_=Text), _c.locations != "[]")
    .order_by(_c.id)
    .limit(bindparam("limit", type_=BigInteger))
)
# Compare-and-set: an image that a request changed meanwhile is left alone, and no row stays locked.
_REPLACE = Statement(
    update(images)
    .where(_c.id == bindparam("of", type_=Text), _c.locations == bindparam("old", type_=Text))
    .values(locations=bindparam("new", type_=Text))
)
_decode = json.Decoder(tuple[Location, ...]).decode


async def page(connection: Connection, after: str, limit: int = 100) -> list[tuple[str, str, tuple[Location, ...]]]:
    """Return id, stored text and locations of the images with locations whose id follows ``after``, in order."""
    return [(row[0], row[1], _decode(row[1])) for row in await connection.rows(_PAGE, after=after, limit=limit)]


async def replace(tx: Transaction, image_id: str, old: str, new: tuple[Location, ...]) -> bool:
    """Replace the locations of an image whose stored text is ``old``, and nothing else; False when it is not."""
    return await tx.run(_REPLACE, of=image_id, old=old, new=json.encode(new).decode()) == 1
