"""The projects with which images are shared. A removed member keeps its row, and so its ``created_at``."""

from sqlalchemy import Text, and_, bindparam, insert, null, select, update

from ferrotype.db.engine import Connection, Row, Statement, Transaction, UpdateReturning, now
from ferrotype.db.tables import image_members
from ferrotype.model.image import Image
from ferrotype.model.member import Member

_m = image_members.c
_image = bindparam("image", type_=Text)
_member = bindparam("who", type_=Text)
_COLUMNS = (_m.image_id, _m.member, _m.status, _m.created_at, _m.updated_at)

ALL = Statement(
    select(*_COLUMNS).where(_m.image_id == _image, _m.removed_at.is_(None)).order_by(_m.created_at, _m.member)
)
ONE = Statement(select(*_COLUMNS, _m.removed_at).where(_m.image_id == _image, _m.member == _member))
_listed_at = bindparam("listed_at", type_=_m.listed_at.type)
_clock = select(now().label("now")).cte("clock")
ADD = Statement(
    insert(image_members)
    .from_select(
        ["image_id", "member", "status", "created_at", "updated_at", "removed_at", "listed_at"],
        select(
            _image.label("image_id"), _member.label("member"), bindparam("status", type_=Text).label("status"),
            _clock.c.now, _clock.c.now, null().label("removed_at"), _listed_at.label("listed_at"),
        ),
    )
    .returning(*_COLUMNS)
)  # fmt: skip
_key = and_(_m.image_id == _image, _m.member == _member)
RESTORE = UpdateReturning(
    update(image_members)
    .where(_m.removed_at.is_not(None))
    .values(status="pending", updated_at=now(), removed_at=null(), listed_at=_listed_at),
    _key,
    _COLUMNS,
)
SET_STATUS = UpdateReturning(
    update(image_members)
    .where(_m.removed_at.is_(None))
    .values(status=bindparam("status", type_=Text), updated_at=now()),
    _key,
    _COLUMNS,
)
REMOVE = Statement(
    update(image_members)
    .where(_key, _m.removed_at.is_(None))
    .values(updated_at=now(), removed_at=now(), listed_at=null())
)


def _member_from(row: Row) -> Member:
    return Member(*row[:5])


async def of_image(connection: Connection, image_id: str) -> list[Member]:
    """Return the image's members, oldest first."""
    return [_member_from(row) for row in await connection.rows(ALL, image=image_id)]


async def one(connection: Connection, image_id: str, member: str) -> Member | None:
    """Return one member, or None."""
    row = await connection.row(ONE, image=image_id, who=member)
    return _member_from(row) if row and row[5] is None else None


async def add(tx: Transaction, image: Image, member: str) -> Member:
    """Add a member, pending. The image must be locked, and the project must not be a member already."""
    listed_at = None if image.os_hidden else image.created_at
    row = await tx.update_returning(RESTORE, image=image.id, who=member, listed_at=listed_at)
    if row is None:
        row = await tx.row(ADD, image=image.id, who=member, status="pending", listed_at=listed_at)
    if row is None:
        raise RuntimeError("the database returned no row for a member that was added")
    return _member_from(row)


async def set_status(tx: Transaction, image_id: str, member: str, status: str) -> Member | None:
    """Change a member's status and return it; None when there is no such member."""
    row = await tx.update_returning(SET_STATUS, image=image_id, who=member, status=status)
    return _member_from(row) if row else None


async def remove(tx: Transaction, image_id: str, member: str) -> bool:
    """Remove a member. False: there is no such member."""
    return await tx.run(REMOVE, image=image_id, who=member) == 1
