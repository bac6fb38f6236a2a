"""The processes that are at work, each with a lease by the database's clock."""

from sqlalchemy import Text, bindparam, delete, exists, insert, select, update

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
# As if it had been silent for a whole lease already: a process that is known to be gone cannot come back.
_EXPIRE = Statement(update(workers).where(_w.id == _id).values(lease_until=now() - LEASE))
_LIVE = Statement(select(_w.id, _w.process).where(_w.lease_until > now() - LEASE))
_named = exists().where(blobs.c.writer == _w.id, blobs.c.writer.is_not(None))
_FORGET = Statement(delete(workers).where(_w.lease_until < now() - 10 * LEASE, ~_named))


async def register(tx: Transaction, worker: str, process: str) -> None:
    """Enter a worker with a fresh lease."""
    await tx.run(_REGISTER, id=worker, process=process)


async def renew(tx: Transaction, worker: str) -> bool:
    """Prolong a lease. False: it has lapsed, and others may have taken the work over."""
    return await tx.run(_RENEW, of=worker) == 1


async def expire(tx: Transaction, worker: str) -> None:
    """End the lease of a worker whose process is known to be gone."""
    await tx.run(_EXPIRE, of=worker)


async def recent(connection: Connection) -> list[tuple[str, str]]:
    """Return (worker, process) of all that may still be at work."""
    return [(row[0], row[1]) for row in await connection.rows(_LIVE)]


async def forget_old(tx: Transaction) -> None:
    """Remove rows of workers that ended long ago and that no object names."""
    await tx.run(_FORGET)
