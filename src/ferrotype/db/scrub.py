"""Delayed delete: images that are deleted and whose data is kept for a while (``pending_delete``)."""

from sqlalchemy import BigInteger, bindparam, literal_column, select

from ferrotype.db.engine import Connection, Statement, now
from ferrotype.db.images import COLUMNS, image_from
from ferrotype.db.tables import images
from ferrotype.model.image import Image

_c = images.c
# A literal lets the planner use the partial index images_pending_delete; with a bound value it cannot.
_pending = _c.status == literal_column("'pending_delete'")
_PENDING = Statement(
    select(*COLUMNS)
    .where(_pending, _c.deleted_at <= now() - bindparam("age", type_=BigInteger))
    .order_by(_c.deleted_at)
    .limit(bindparam("limit", type_=BigInteger))
)


async def pending(connection: Connection, age: int, limit: int = 100) -> list[Image]:
    """Return images that were deleted at least ``age`` microseconds ago and whose data is kept, oldest first."""
    return [image_from(row) for row in await connection.rows(_PENDING, age=age, limit=limit)]
