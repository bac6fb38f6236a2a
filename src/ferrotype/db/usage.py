"""What a project uses, counted on demand. A limit is checked while the project's row in ``usage`` is locked.

So requests that would exceed a limit together are checked one after the other. Lock order: image, blob, usage.
"""

from typing import Any

from sqlalchemy import BigInteger, Select, Text, bindparam, func, literal_column, select
from sqlalchemy.sql.elements import ColumnElement

from ferrotype.db.engine import Connection, Statement, Transaction, one_of, upsert
from ferrotype.db.tables import blobs, images, usage
from ferrotype.model.quota import Quota, Usage

_c = images.c
_project = bindparam("project", type_=Text)
_live = (_c.deleted_at.is_(None), _c.status != "killed")
_uploading = one_of(_c.status, "saving", "uploading", "importing")
_account = usage.c.project == bindparam("account", type_=Text)

_OPEN = Statement(upsert(usage))
_LOCK = Statement(select(usage.c.stored).where(_account).with_for_update())


def _count(*conditions: ColumnElement[bool]) -> Any:
    return select(literal_column("count(*)")).select_from(images).where(*conditions)


def _statements(owned: ColumnElement[bool]) -> tuple[Statement, Statement, Statement]:
    """Return the statements for images with this owner: how many, how many are uploading, and the whole usage."""
    count, uploading = _count(owned, *_live), _count(owned, _uploading, *_live)
    staged = select(func.coalesce(func.sum(blobs.c.charged), 0)).where(
        blobs.c.image_id == _c.id, blobs.c.purpose == "staged", owned, _uploading, *_live
    )
    stored = select(func.coalesce(func.sum(usage.c.stored), 0)).where(_account)
    whole = select(
        *(part.scalar_subquery().label(f"n{n}") for n, part in enumerate((stored, staged, count, uploading)))
    )
    return Statement(count), Statement(uploading), Statement(whole)


_OF_PROJECT = _statements(_c.owner == _project)
_WITHOUT_OWNER = _statements(_c.owner.is_(None))


def _at_most(owned: ColumnElement[bool]) -> Statement:
    some: Select[Any] = (
        select(literal_column("1"))
        .select_from(images)
        .where(owned, *_live)
        .limit(bindparam("most", type_=BigInteger))
    )
    return Statement(select(literal_column("count(*)")).select_from(some.subquery()))


_AT_MOST, _AT_MOST_WITHOUT_OWNER = _at_most(_c.owner == _project), _at_most(_c.owner.is_(None))


async def open_account(tx: Transaction, account: str) -> None:
    """Make sure that an account has a row."""
    await tx.run(_OPEN, project=account, stored=0)


async def lock_account(tx: Transaction, account: str) -> int:
    """Return an account's counter in bytes, and lock its row until the transaction ends."""
    row = await tx.row(_LOCK, account=account)
    return int(row[0]) if row else 0


async def images_fit(tx: Transaction, project: str | None, quota: Quota) -> None:
    """Raise OverLimit when the project has too many images, including one that this transaction created."""
    await _fits(tx, project, quota, 0)


async def uploading_fits(tx: Transaction, project: str | None, quota: Quota) -> None:
    """Raise OverLimit when too many of the project's images are uploading, including one of this transaction."""
    await _fits(tx, project, quota, 1)


async def _fits(tx: Transaction, project: str | None, quota: Quota, which: int) -> None:
    if not quota.counts:
        return
    account = project or ""
    await open_account(tx, account)
    await lock_account(tx, account)
    row = await tx.row((_OF_PROJECT if project else _WITHOUT_OWNER)[which], project=project)
    count = int(row[0]) if row else 0
    if count > quota.most:
        raise quota.exceeded_by(count - 1, 1)


async def count_images(connection: Connection, project: str | None, most: int) -> int:
    """Return how many images a project has, counting at most ``most``; for None, images without an owner."""
    row = await connection.row(_AT_MOST if project else _AT_MOST_WITHOUT_OWNER, project=project, most=most)
    return int(row[0]) if row else 0


async def of(connection: Connection, project: str | None) -> Usage:
    """Return what a project uses now; for None, what images without an owner use."""
    statement = (_OF_PROJECT if project else _WITHOUT_OWNER)[2]
    row = await connection.row(statement, project=project, account=project or "")
    stored, staged, count, uploading = (int(number) for number in row or (0, 0, 0, 0))
    return Usage(size=stored - staged, stage=staged, count=count, uploading=uploading)
