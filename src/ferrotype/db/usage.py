"""What a project uses, counted when it is asked for; a limit is judged while the project's account is locked.

Whoever is about to go beyond a limit waits here for those before him, so that a limit holds whatever happens at
once. The account is locked last of all, after image and blob.
"""

from typing import Any

from sqlalchemy import Text, bindparam, func, literal_column, select, text
from sqlalchemy.sql.elements import ColumnElement

from ferrotype.db.engine import Connection, Statement, Transaction, one_of
from ferrotype.db.tables import blobs, images, usage
from ferrotype.model.quota import Quota, Usage

_c = images.c
_project = bindparam("project", type_=Text)
_live = (_c.deleted_at.is_(None), _c.status != "killed")
_moving = one_of(_c.status, "saving", "uploading", "importing")
_account = usage.c.project == bindparam("account", type_=Text)

_OPEN = Statement(text("INSERT INTO usage (project, stored) VALUES (:account, 0) ON CONFLICT DO NOTHING"))
_LOCK = Statement(select(usage.c.stored).where(_account).with_for_update())


def _counted(*conditions: ColumnElement[bool]) -> Any:
    return select(literal_column("count(*)")).select_from(images).where(*conditions)


def _statements(owned: ColumnElement[bool]) -> tuple[Statement, Statement, Statement]:
    """Return the statements for images with this owner: how many, how many are moving, and all there is to know."""
    count, moving = _counted(owned, *_live), _counted(owned, _moving, *_live)
    staged = select(func.coalesce(func.sum(blobs.c.charged), 0)).where(
        blobs.c.image_id == _c.id, blobs.c.purpose == "staged", owned, _moving, *_live
    )
    stored = select(func.coalesce(func.sum(usage.c.stored), 0)).where(_account)
    everything = select(
        *(part.scalar_subquery().label(f"n{n}") for n, part in enumerate((stored, staged, count, moving)))
    )
    return Statement(count), Statement(moving), Statement(everything)


_OWNED = _statements(_c.owner == _project)
_NOBODYS = _statements(_c.owner.is_(None))


async def open_account(tx: Transaction, account: str) -> None:
    """Make sure that an account has a row."""
    await tx.run(_OPEN, account=account)


async def lock_account(tx: Transaction, account: str) -> int:
    """Return what an account's counter says; nobody else changes it before this transaction ends."""
    row = await tx.row(_LOCK, account=account)
    return int(row[0]) if row else 0


async def images_fit(tx: Transaction, project: str | None, quota: Quota) -> None:
    """Raise OverLimit when the images of a project, one that this transaction made included, are too many."""
    await _fits(tx, project, quota, 0)


async def uploading_fits(tx: Transaction, project: str | None, quota: Quota) -> None:
    """Raise OverLimit when too many images of a project are in motion, one that this transaction moved included."""
    await _fits(tx, project, quota, 1)


async def _fits(tx: Transaction, project: str | None, quota: Quota, which: int) -> None:
    if not quota.counts:
        return
    account = project or ""
    await open_account(tx, account)
    await lock_account(tx, account)
    row = await tx.row((_OWNED if project else _NOBODYS)[which], project=project)
    count = int(row[0]) if row else 0
    if count > quota.most:
        raise quota.exceeded_by(count - 1, 1)


async def of(connection: Connection, project: str | None) -> Usage:
    """Return what a project uses at this moment; without a project, what images without owner use."""
    row = await connection.row((_OWNED if project else _NOBODYS)[2], project=project, account=project or "")
    stored, staged, count, moving = (int(number) for number in row or (0, 0, 0, 0))
    return Usage(size=stored - staged, stage=staged, count=count, uploading=moving)
