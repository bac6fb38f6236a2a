"""Delayed delete: images that are deleted and whose data is kept for a while (``pending_delete``)."""

from sqlalchemy import BigInteger, Text, bindparam, literal_column, select

from ferrotype.db.engine import Connection, Statement, now
from ferrotype.db.images import COLUMNS, image_from
from ferrotype.db.tables import images
from ferrotype.model.image import Image

_c = images.c
# A literal lets the planner use the partial index images_pending_delete; with a bound value it cannot.
_pending = _c.status == literal_column("'pending_delete'")
_is_old = _c.deleted_at <= now() - bindparam("age", type_=BigInteger)
_PENDING = Statement(
    select(*COLUMNS).where(_pending, _is_old).order_by(_c.deleted_at).limit(bindparam("limit", type_=BigInteger))
)
_one = select(*COLUMNS).where(_c.id == bindparam("id", type_=Text), _pending)
_BY_ID = Statement(_one)
_OLD_BY_ID_LOCKED = Statement(_one.where(_is_old).with_for_update())
_BY_ID_LOCKED = Statement(_one.with_for_update())


async def pending(connection: Connection, age: int, limit: int = 100) -> list[Image]:
    """Return images that were deleted at least ``age`` microseconds ago and whose data is kept, oldest first."""
    return [image_from(row) for row in await connection.rows(_PENDING, age=age, limit=limit)]


async def get(connection: Connection, image_id: str, lock: bool = False) -> Image | None:
    """Return a deleted image whose data is kept; None when there is none. With ``lock`` its row is locked."""
    row = await connection.row(_BY_ID_LOCKED if lock else _BY_ID, id=image_id)
    return image_from(row) if row else None


async def lock_old(connection: Connection, image_id: str, age: int) -> Image | None:
    """Return an image of ``pending`` and lock it; None when it was restored, deleted anew or scrubbed meanwhile."""
    row = await connection.row(_OLD_BY_ID_LOCKED, id=image_id, age=age)
    return image_from(row) if row else None
