"""The ledger: a row for every object before its first byte is written, until its last byte is gone.

Locks are always taken in the order image, blob, usage; so transactions can wait for each other, never in a ring.
"""

from collections.abc import Collection, Iterable

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    union_all,
    update,
)

from ferrotype.db.engine import Connection, Row, Statement, Transaction, any_of, now, one_of
from ferrotype.db.tables import blobs, usage, workers
from ferrotype.db.usage import lock_account, open_account
from ferrotype.model.blob import Blob, Stored
from ferrotype.model.quota import Quota

#: How long a process may be silent before its work is taken from it, in microseconds.
LEASE = 30_000_000
NO_LIMIT = Quota("bytes")

_b = blobs.c
_COLUMNS = (
    _b.id, _b.store, _b.name, _b.image_id, _b.project, _b.purpose, _b.state, _b.charged, _b.size, _b.writer,
    _b.checksum, _b.hash_algo, _b.hash_value, _b.findings,
)  # fmt: skip
_FIELDS = tuple(column.name for column in _COLUMNS)


def _blob_from(row: Row) -> Blob:
    return Blob(**dict(zip(_FIELDS, row[: len(_FIELDS)], strict=True)))


_id = bindparam("of", type_=Text)
_INSERT = Statement(
    insert(blobs).values(
        {
            **{name: bindparam(name, type_=_b[name].type) for name in _FIELDS},
            "created_at": now(),
            "attempts": 0,
        }
    )
)
_CHARGE = Statement(
    update(usage)
    .where(usage.c.project == bindparam("project_", type_=Text))
    .where(
        or_(
            bindparam("most", type_=BigInteger) < 0,
            usage.c.stored + bindparam("by", type_=BigInteger) <= bindparam("most", type_=BigInteger),
        )
    )
    .values(stored=usage.c.stored + bindparam("by", type_=BigInteger))
)
_GROW = Statement(
    update(blobs)
    .where(_b.id == _id, _b.state == "writing", _b.writer == bindparam("writer_", type_=Text))
    .values(charged=_b.charged + bindparam("by", type_=BigInteger))
)
_KEEP = Statement(
    update(blobs)
    .where(_b.id == _id, _b.state == "writing", _b.writer == bindparam("writer_", type_=Text))
    .values(
        state="live",
        project=bindparam("project_", type_=Text),
        writer=null(),
        charged=bindparam("size_", type_=BigInteger),
        size=bindparam("size_", type_=BigInteger),
        checksum=bindparam("checksum_", type_=Text),
        hash_algo=bindparam("hash_algo_", type_=Text),
        hash_value=bindparam("hash_value_", type_=Text),
        findings=bindparam("findings_", type_=Text),
    )
)
_GIVE_UP = Statement(
    update(blobs)
    .where(_b.id == _id, _b.writer == bindparam("writer_", type_=Text), one_of(_b.state, "writing", "doomed"))
    .values(state="doomed", writer=null(), charged=0, remove_at=now())
)
_DOOM = Statement(
    update(blobs)
    .where(_b.id == _id, one_of(_b.state, "ready", "live"))
    .values(state="doomed", charged=0, remove_at=now())
)
_DOOM_WRITING = Statement(
    update(blobs).where(_b.id == _id, _b.state == "writing").values(state="doomed", remove_at=now())
)
_GIVE = Statement(
    update(blobs)
    .where(_b.id == _id, one_of(_b.state, "ready", "live"))
    .values(project=bindparam("project_", type_=Text))
)
_UNCHARGE = Statement(update(blobs).where(_b.id == _id, _b.state == "live").values(charged=0))
_OF_IMAGE = Statement(select(*_COLUMNS).where(_b.image_id == bindparam("image", type_=Text)))
_BY_ID = Statement(select(*_COLUMNS).where(_b.id == _id))
_BY_ID_LOCKED = Statement(select(*_COLUMNS).where(_b.id == _id).with_for_update())
_WRITTEN_BY = Statement(
    select(*_COLUMNS).where(_b.writer == bindparam("writer_", type_=Text), one_of(_b.state, "writing", "doomed"))
)
_ABANDON = Statement(
    update(blobs)
    .where(_b.id == _id, _b.writer == bindparam("writer_", type_=Text), _b.state == "writing")
    .values(state="doomed", charged=0, remove_at=now())
)
_lapsed = or_(workers.c.id.is_(None), workers.c.lease_until <= now())
# Who writes has a name; said so, it is found through the index of writers whatever the database knows of the table.
_ABANDONED = Statement(
    select(*_COLUMNS)
    .select_from(blobs.outerjoin(workers, workers.c.id == _b.writer))
    .where(_b.state == "writing", _b.writer > "", _lapsed)
    .limit(100)
)
# A writer that fell silent may still write for a moment: its object is removed one more lease later, when
# it cannot come back. A writer that gave up by itself has left nothing open.
_no_writer = or_(_b.writer.is_(None), workers.c.id.is_(None), workers.c.lease_until + LEASE <= now())
# Written so that it is found through the index of doomed objects alone, with statistics and without: the state is no
# bound value, and the store no column that has an index.
_DUE = Statement(
    select(*_COLUMNS, _b.attempts)
    .select_from(blobs.outerjoin(workers, workers.c.id == _b.writer))
    .where(_b.state == literal_column("'doomed'"), any_of(_b.store.concat(literal_column("''")), "stores"))
    .where(_b.remove_at <= now(), _no_writer)
    .order_by(_b.remove_at)
    .limit(bindparam("limit", type_=BigInteger))
)
_DROP = Statement(delete(blobs).where(_b.id == _id, _b.state == "doomed").returning(_b.charged))
_POSTPONE = Statement(
    update(blobs)
    .where(_b.id == _id, _b.state == "doomed")
    .values(attempts=_b.attempts + 1, remove_at=now() + bindparam("delay", type_=BigInteger))
)
_MARK_DAMAGED = Statement(update(blobs).where(_b.id == _id, _b.damaged_at.is_(None)).values(damaged_at=now()))
_UNMARK_DAMAGED = Statement(update(blobs).where(_b.id == _id).values(damaged_at=null()))
_DAMAGED = Statement(select(_b.id).where(_b.damaged_at.is_not(None)))
_ALL = Statement(select(*_COLUMNS))
_ANY_IN = Statement(select(literal_column("1")).where(_b.store == bindparam("store_", type_=Text)).limit(1))
# Written out: two bound values would be two expressions to PostgreSQL, and it would refuse the grouping.
_account = func.coalesce(_b.project, literal_column("''"))
# One statement sees one moment: otherwise a busy project would seem to differ.
_ACCOUNTS = Statement(
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


async def _charge(tx: Transaction, project: str | None, by: int, quota: Quota = NO_LIMIT) -> None:
    """Add ``by`` bytes to what the project uses, unless that would exceed the quota."""
    if by == 0:
        return
    account = project or ""
    if await tx.run(_CHARGE, project_=account, by=by, most=quota.most):
        return
    await open_account(tx, account)
    if not await tx.run(_CHARGE, project_=account, by=by, most=quota.most):
        raise quota.exceeded_by(await lock_account(tx, account), by)


async def reserve(tx: Transaction, blob: Blob, quota: Quota) -> Blob:
    """Write the row of an object that is going to be written, and charge what it reserves."""
    await tx.run(_INSERT, **{name: getattr(blob, name) for name in _FIELDS})
    await _charge(tx, blob.project, blob.charged, quota)
    return blob


async def grow(tx: Transaction, blob: Blob, by: int, quota: Quota) -> Blob | None:
    """Reserve ``by`` more bytes; None when the object is no longer ours. OverLimit changes nothing."""
    if not await tx.run(_GROW, of=blob.id, writer_=blob.writer, by=by):
        return None
    await _charge(tx, blob.project, by, quota)
    return replace(blob, charged=blob.charged + by)


async def keep(tx: Transaction, blob: Blob, stored: Stored, project: str | None) -> bool:
    """Record that the bytes are durable, and charge them to ``project``, whoever their room was reserved for.

    False: the row was taken from us, and nothing may follow.
    """
    kept = await tx.run(
        _KEEP,
        of=blob.id,
        writer_=blob.writer,
        project_=project,
        size_=stored.size,
        checksum_=stored.checksum,
        hash_algo_=stored.hash_algo,
        hash_value_=stored.hash_value,
        findings_=stored.findings,
    )
    if kept:
        await _settle(tx, [(blob.project, -blob.charged), (project, stored.size)])
    return kept == 1


async def give_up(tx: Transaction, blob: Blob) -> Blob | None:
    """Doom an object that we were writing, give back what it was charged and return its row as it was.

    None: it was not ours any more, and nothing changed.
    """
    was = await by_id(tx, blob.id, lock=True)
    if was is None or not await tx.run(_GIVE_UP, of=blob.id, writer_=blob.writer):
        return None
    await _charge(tx, was.project, -was.charged)
    return was


async def doom_of_image(tx: Transaction, image_id: str) -> list[Blob]:
    """Doom every object of an image that is locked, and return those whose bytes can be removed now.

    An object that is being written stays charged until its writer has noticed: its bytes are still coming.
    """
    removable = []
    for blob in await of_image(tx, image_id):
        if await tx.run(_DOOM, of=blob.id):
            removable.append(blob)
        else:
            await tx.run(_DOOM_WRITING, of=blob.id)
    await _give_back(tx, removable)
    return removable


async def give(tx: Transaction, image_id: str, project: str | None) -> None:
    """Charge ``project`` for the finished objects of an image that is locked: it has a new owner.

    An object that is being written follows when it is finished.
    """
    of_others = [blob for blob in await of_image(tx, image_id) if blob.project != project]
    given = [blob for blob in of_others if await tx.run(_GIVE, of=blob.id, project_=project)]
    await _settle(tx, [each for b in given for each in ((b.project, -b.charged), (project, b.charged))])


async def uncharge_image(tx: Transaction, image_id: str) -> None:
    """Stop counting what an image holds, though its bytes stay: it is deleted, and only kept for a while."""
    held = [blob for blob in await of_image(tx, image_id) if blob.charged]
    await _give_back(tx, [blob for blob in held if await tx.run(_UNCHARGE, of=blob.id)])


async def doom(tx: Transaction, blob_ids: Collection[str], image_id: str) -> list[Blob]:
    """Doom finished objects of an image that is locked, and return those that were there."""
    named = [blob for blob in await of_image(tx, image_id) if blob.id in blob_ids]
    doomed = [blob for blob in named if await tx.run(_DOOM, of=blob.id)]
    await _give_back(tx, doomed)
    return doomed


async def _give_back(tx: Transaction, given_up: Iterable[Blob]) -> None:
    await _settle(tx, [(blob.project, -blob.charged) for blob in given_up])


async def _settle(tx: Transaction, bookings: Iterable[tuple[str | None, int]]) -> None:
    """Book amounts without regard to quotas: after all the objects' rows, and one account after another in order."""
    sums: dict[str, int] = {}
    for project, amount in bookings:
        sums[project or ""] = sums.get(project or "", 0) + amount
    for account, amount in sorted(sums.items()):
        await _charge(tx, account, amount)


async def mark_damaged(tx: Transaction, blob_id: str) -> None:
    """Note when an object was first found missing or altered."""
    await tx.run(_MARK_DAMAGED, of=blob_id)


async def unmark_damaged(tx: Transaction, blob_id: str) -> None:
    """Note that an object is again what was stored."""
    await tx.run(_UNMARK_DAMAGED, of=blob_id)


async def damaged(connection: Connection) -> set[str]:
    """Return the ids of objects that were found missing or altered."""
    return {row[0] for row in await connection.rows(_DAMAGED)}


async def by_id(connection: Connection, blob_id: str, lock: bool = False) -> Blob | None:
    """Return one object's row, or None when it is gone. With ``lock`` it stays as it is to the transaction's end."""
    row = await connection.row(_BY_ID_LOCKED if lock else _BY_ID, of=blob_id)
    return _blob_from(row) if row else None


async def written_by(connection: Connection, worker: str) -> list[Blob]:
    """Return the objects that the ledger says a worker is writing, or has yet to stop writing."""
    return [_blob_from(row) for row in await connection.rows(_WRITTEN_BY, writer_=worker)]


async def abandon(tx: Transaction, blob: Blob) -> bool:
    """Doom an object whose writer fell silent. False: the writer was quicker.

    Its bytes are removed only when the writer cannot write any more; so the row goes on naming it.
    """
    was = await by_id(tx, blob.id, lock=True)
    if was is None or not await tx.run(_ABANDON, of=blob.id, writer_=blob.writer):
        return False
    await _charge(tx, was.project, -was.charged)
    return True


async def of_image(connection: Connection, image_id: str) -> list[Blob]:
    """Return every object of an image that the ledger knows, doomed ones included."""
    return [_blob_from(row) for row in await connection.rows(_OF_IMAGE, image=image_id)]


async def abandoned(connection: Connection) -> list[Blob]:
    """Return objects that nobody is writing any more: their writers' leases lapsed."""
    return [_blob_from(row) for row in await connection.rows(_ABANDONED)]


async def due(connection: Connection, stores: list[str], limit: int = 100) -> list[tuple[Blob, int]]:
    """Return doomed objects in these stores whose bytes are to be removed now, each with how often that failed."""
    found = await connection.rows(_DUE, stores=stores, limit=limit)
    return [(_blob_from(row), row[len(_FIELDS)]) for row in found]


async def drop(tx: Transaction, blob: Blob) -> None:
    """Forget a doomed object whose bytes are gone; what it was still charged is given back."""
    row = await tx.row(_DROP, of=blob.id)
    if row:
        await _charge(tx, blob.project, -row[0])


async def postpone(tx: Transaction, blob: Blob, delay: int) -> None:
    """Try again to remove a doomed object's bytes in ``delay`` microseconds."""
    await tx.run(_POSTPONE, of=blob.id, delay=delay)


async def everything(connection: Connection) -> list[Blob]:
    """Return the whole ledger."""
    return [_blob_from(row) for row in await connection.rows(_ALL)]


async def any_in(connection: Connection, store: str) -> bool:
    """Say whether the ledger knows an object in a store, in whatever state."""
    return await connection.row(_ANY_IN, store_=store) is not None


async def accounts(connection: Connection) -> tuple[dict[str, int], dict[str, int]]:
    """Return for each project what its counter says and what the ledger adds up to, in bytes."""
    found: dict[str, dict[str, int]] = {"counted": {}, "summed": {}}
    for kind, project, amount in await connection.rows(_ACCOUNTS):
        found[kind][project] = int(amount)
    return found["counted"], found["summed"]


async def correct_account(tx: Transaction, project: str) -> None:
    """Set a project's counter to what the ledger adds up to at this moment."""
    await open_account(tx, project)
    await lock_account(tx, project)  # Whoever changes the ledger now, adds to the sum afterwards.
    await tx.run(_SET_USAGE, project_=project)
