"""Images that are deleted and whose data are kept for a while."""

from sqlalchemy import BigInteger, bindparam, literal_column, select

from ferrotype.db.engine import Connection, Statement, now
from ferrotype.db.images import COLUMNS, image_from
from ferrotype.db.tables import images
from ferrotype.model.image import Image

_c = images.c
# Written out: a bound value would not tell the databases that the index of these images has them all.
_pending = _c.status == literal_column("'pending_delete'")
_KEPT = Statement(
    select(*COLUMNS)
    .where(_pending, _c.deleted_at <= now() - bindparam("age", type_=BigInteger))
    .order_by(_c.deleted_at)
    .limit(bindparam("limit", type_=BigInteger))
)


async def kept(connection: Connection, age: int, limit: int = 100) -> list[Image]:
    """Return images that were deleted ``age`` microseconds ago or earlier and whose data are kept, oldest first."""
    return [image_from(row) for row in await connection.rows(_KEPT, age=age, limit=limit)]
