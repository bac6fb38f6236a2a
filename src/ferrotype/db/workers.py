"""The worker processes of all nodes, and whether each of them still lives (RUL-75).

    running    the worker renews its counter
    expired    the counter did not move for a lease: others take over what the worker was writing
    gone       one more lease later, or its process is known to have ended: nothing of it can still be written

No clock of the database is compared, so a jump of it is harmless: others watch the counter by their own clocks.
"""

from msgspec import Struct
from sqlalchemy import BigInteger, Text, bindparam, delete, insert, literal_column, select, update

from ferrotype.db.engine import Connection, Statement, Transaction, now, one_of
from ferrotype.db.tables import blobs, workers

_w = workers.c
_id = bindparam("of", type_=Text)
_REGISTER = Statement(
    insert(workers).values(
        id=bindparam("id", type_=Text),
        process=bindparam("process", type_=Text),
        started_at=now(),
        lease=bindparam("lease", type_=BigInteger),
        renewals=0,
        state="running",
    )
)
_RENEW = Statement(update(workers).where(_w.id == _id, _w.state == "running").values(renewals=_w.renewals + 1))
_EXPIRE = Statement(
    update(workers)
    .where(_w.id == _id, _w.state == "running", _w.renewals == bindparam("renewals_", type_=BigInteger))
    .values(state="expired")
)
_MARK_GONE = Statement(update(workers).where(_w.id == _id).values(state="gone"))
_PRESENT = Statement(
    select(_w.id, _w.process, _w.lease, _w.renewals, _w.state).where(one_of(_w.state, "running", "expired"))
)
# A scalar subquery is run for each old worker, by the index of writers. PostgreSQL turns NOT EXISTS into a
# join, which without statistics reads the whole ledger.
_a_blob = select(blobs.c.id).where(blobs.c.writer == _w.id).limit(literal_column("1")).correlate(workers)
_DELETE_GONE = Statement(delete(workers).where(_w.state == "gone", _a_blob.scalar_subquery().is_(None)))


class Worker(Struct, frozen=True):
    """One that is running or expired. ``lease`` is how long it may not renew its counter, in microseconds."""

    id: str
    process: str
    lease: int
    renewals: int
    state: str


async def register(tx: Transaction, worker: str, process: str, lease: int) -> None:
    """Add a running worker."""
    await tx.run(_REGISTER, id=worker, process=process, lease=lease)


async def renew(tx: Transaction, worker: str) -> bool:
    """Renew a lease. False: it has expired, and others may have taken over the worker's uploads."""
    return await tx.run(_RENEW, of=worker) == 1


async def expire(tx: Transaction, worker: Worker) -> bool:
    """End a lease that was not renewed for its time; False if it was renewed after all."""
    return await tx.run(_EXPIRE, of=worker.id, renewals_=worker.renewals) == 1


async def mark_gone(tx: Transaction, worker: str) -> None:
    """Record that a worker can write nothing any more."""
    await tx.run(_MARK_GONE, of=worker)


async def present(connection: Connection) -> list[Worker]:
    """Return all that are running or expired."""
    return [Worker(*row) for row in await connection.rows(_PRESENT)]


async def delete_gone(tx: Transaction) -> None:
    """Delete workers that are gone and that no object names."""
    await tx.run(_DELETE_GONE)
