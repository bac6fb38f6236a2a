"""Queries of the consistency check: damaged objects, and usage counters compared with the ledger."""

from sqlalchemy import BigInteger, Text, bindparam, cast, func, literal_column, null, select, union_all, update

from ferrotype.db.engine import Connection, Statement, Transaction, now
from ferrotype.db.tables import blobs, usage
from ferrotype.db.usage import lock_account, open_account

_b = blobs.c
_id = bindparam("of", type_=Text)
_MARK_DAMAGED = Statement(update(blobs).where(_b.id == _id, _b.damaged_at.is_(None)).values(damaged_at=now()))
_UNMARK_DAMAGED = Statement(update(blobs).where(_b.id == _id).values(damaged_at=null()))
_DAMAGED = Statement(select(_b.id).where(_b.damaged_at.is_not(None)))
_DAMAGED_OF_IMAGE = Statement(
    select(_b.id).where(_b.image_id == bindparam("image", type_=Text), _b.damaged_at.is_not(None))
)
# A literal: PostgreSQL takes two bound values for two expressions and refuses the GROUP BY.
_account = func.coalesce(_b.project, literal_column("''"))
# One statement, so that both sums are of the same moment.
_USAGE_VS_LEDGER = Statement(
    union_all(
        select(literal_column("'counted'"), usage.c.project, usage.c.stored),
        select(literal_column("'summed'"), _account, cast(func.sum(_b.charged), BigInteger)).group_by(_account),
    )
)
_sum = select(func.coalesce(func.sum(_b.charged), 0)).where(
    func.coalesce(_b.project, "") == bindparam("project_", type_=Text)
)
_SET_USAGE = Statement(
    update(usage)
    .where(usage.c.project == bindparam("project_", type_=Text))
    .values(stored=cast(_sum.scalar_subquery(), BigInteger))
)


async def mark_damaged(tx: Transaction, blob_id: str) -> None:
    """Record when an object was first found missing or altered."""
    await tx.run(_MARK_DAMAGED, of=blob_id)


async def unmark_damaged(tx: Transaction, blob_id: str) -> None:
    """Record that an object is again what was stored."""
    await tx.run(_UNMARK_DAMAGED, of=blob_id)


async def damaged(connection: Connection) -> set[str]:
    """Return the ids of objects that were found missing or altered."""
    return {row[0] for row in await connection.rows(_DAMAGED)}


async def damaged_of_image(connection: Connection, image_id: str) -> set[str]:
    """Return the ids of an image's objects that were found missing or altered."""
    return {row[0] for row in await connection.rows(_DAMAGED_OF_IMAGE, image=image_id)}


async def usage_vs_ledger(connection: Connection) -> tuple[dict[str, int], dict[str, int]]:
    """Return for each project its usage counter and the ledger's sum, in bytes."""
    found: dict[str, dict[str, int]] = {"counted": {}, "summed": {}}
    for kind, project, amount in await connection.rows(_USAGE_VS_LEDGER):
        found[kind][project] = int(amount)
    return found["counted"], found["summed"]


async def correct_usage(tx: Transaction, project: str) -> None:
    """Set a project's usage counter to the ledger's sum at this moment."""
    await open_account(tx, project)
    await lock_account(tx, project)  # Transactions that change the ledger now add to the counter afterwards.
    await tx.run(_SET_USAGE, project_=project)
