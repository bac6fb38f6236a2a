"""The worker processes, each with a lease by the database's clock."""

from sqlalchemy import Text, bindparam, delete, insert, literal_column, select, update

from ferrotype.db.blobs import LEASE
from ferrotype.db.engine import Connection, Statement, Transaction, now
from ferrotype.db.tables import blobs, workers

_w = workers.c
_id = bindparam("of", type_=Text)
_REGISTER = Statement(
    insert(workers).values(
        id=bindparam("id", type_=Text),
        process=bindparam("process", type_=Text),
        started_at=now(),
        lease_until=now() + LEASE,
    )
)
_RENEW = Statement(update(workers).where(_w.id == _id, _w.lease_until > now()).values(lease_until=now() + LEASE))
# A whole lease ago: a process that is known to be gone cannot write any more.
_EXPIRE = Statement(update(workers).where(_w.id == _id).values(lease_until=now() - LEASE))
_RECENT = Statement(select(_w.id, _w.process).where(_w.lease_until > now() - LEASE))
# A scalar subquery is run for each old worker, by the index of writers. PostgreSQL turns NOT EXISTS into a
# join, which without statistics reads the whole ledger.
_a_blob = select(blobs.c.id).where(blobs.c.writer == _w.id).limit(literal_column("1")).correlate(workers)
_DELETE_OLD = Statement(
    delete(workers).where(_w.lease_until < now() - 10 * LEASE, _a_blob.scalar_subquery().is_(None))
)


async def register(tx: Transaction, worker: str, process: str) -> None:
    """Add a worker with a new lease."""
    await tx.run(_REGISTER, id=worker, process=process)


async def renew(tx: Transaction, worker: str) -> bool:
    """Renew a lease. False: it has expired, and others may have taken over the worker's uploads."""
    return await tx.run(_RENEW, of=worker) == 1


async def expire(tx: Transaction, worker: str) -> None:
    """End the lease of a worker whose process is known to be gone."""
    await tx.run(_EXPIRE, of=worker)


async def recent(connection: Connection) -> list[tuple[str, str]]:
    """Return (worker, process) of all that may still be running."""
    return [(row[0], row[1]) for row in await connection.rows(_RECENT)]


async def forget_old(tx: Transaction) -> None:
    """Delete workers that ended long ago and that no object names."""
    await tx.run(_DELETE_OLD)
