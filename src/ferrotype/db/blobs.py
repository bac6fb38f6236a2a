"""The ledger: a row for every object, from before its first byte is written until its data is removed.

Lock order: image, then blob, then usage. Following it everywhere prevents deadlocks.
"""

from collections.abc import Collection, Iterable
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    Text,
    bindparam,
    delete,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.sql.elements import ColumnElement

from ferrotype.db.engine import Connection, Row, Statement, Transaction, now, one_of
from ferrotype.db.tables import blobs, usage, workers
from ferrotype.db.usage import lock_account, open_account
from ferrotype.model.blob import Blob, State, Stored
from ferrotype.model.quota import Quota

NO_LIMIT = Quota("bytes")

_b = blobs.c
_COLUMNS = (
    _b.id, _b.store, _b.name, _b.handle, _b.image_id, _b.project, _b.purpose, _b.state, _b.charged, _b.size,
    _b.writer, _b.checksum, _b.hash_algo, _b.hash_value, _b.findings,
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
    .where(_b.charged == bindparam("charged_", type_=BigInteger))
    .values(charged=_b.charged + bindparam("by", type_=BigInteger))
)
_NOTE_HANDLE = Statement(
    update(blobs)
    .where(_b.id == _id, _b.state == "writing", _b.writer == bindparam("writer_", type_=Text))
    .values(handle=bindparam("handle_", type_=Text))
)
_stored: dict[str, ColumnElement[Any]] = {
    "project": bindparam("project_", type_=Text),
    "writer": null(),
    "handle": bindparam("handle_", type_=Text),
    "charged": bindparam("size_", type_=BigInteger),
    "size": bindparam("size_", type_=BigInteger),
    "checksum": bindparam("checksum_", type_=Text),
    "hash_algo": bindparam("hash_algo_", type_=Text),
    "hash_value": bindparam("hash_value_", type_=Text),
    "findings": bindparam("findings_", type_=Text),
}


def _finish(state: State) -> Statement:
    finished = update(blobs).where(_b.id == _id, _b.state == "writing", _b.writer == bindparam("writer_", type_=Text))
    return Statement(finished.values({"state": state, **_stored}))


_FINISH_LIVE, _FINISH_READY = _finish("live"), _finish("ready")
_ATTACH = Statement(
    update(blobs)
    .where(_b.id == _id, _b.state == "ready")
    .values(state="live", purpose="data", project=bindparam("project_", type_=Text))
)
_ABANDON = Statement(
    update(blobs)
    .where(_b.id == _id, _b.writer == bindparam("writer_", type_=Text), one_of(_b.state, "writing", "deleting"))
    .values(state="deleting", writer=bindparam("kept", type_=Text), charged=0, remove_at=now())
)
_DELETE = Statement(
    update(blobs)
    .where(_b.id == _id, one_of(_b.state, "ready", "live"))
    .values(state="deleting", charged=0, remove_at=now() + bindparam("delay", type_=BigInteger))
)
_DELETE_WRITING = Statement(
    update(blobs).where(_b.id == _id, _b.state == "writing").values(state="deleting", remove_at=now())
)
_REASSIGN = Statement(
    update(blobs)
    .where(_b.id == _id, one_of(_b.state, "ready", "live"))
    .values(project=bindparam("project_", type_=Text))
)
_UNCHARGE = Statement(update(blobs).where(_b.id == _id, _b.state == "live").values(charged=0))
_RECHARGE = Statement(
    update(blobs)
    .where(_b.id == _id, _b.state == "live", _b.charged == 0)
    .values(charged=bindparam("size_", type_=BigInteger))
)
_OF_IMAGE = Statement(select(*_COLUMNS).where(_b.image_id == bindparam("image", type_=Text)))
_BY_ID = Statement(select(*_COLUMNS).where(_b.id == _id))
_BY_NAME = Statement(
    select(*_COLUMNS).where(_b.store == bindparam("store_", type_=Text), _b.name == bindparam("name_", type_=Text))
)
_BY_ID_LOCKED = Statement(select(*_COLUMNS).where(_b.id == _id).with_for_update())
_WRITTEN_BY = Statement(
    select(*_COLUMNS).where(_b.writer == bindparam("writer_", type_=Text), one_of(_b.state, "writing", "deleting"))
)
_RECLAIM = Statement(
    update(blobs)
    .where(_b.id == _id, _b.writer == bindparam("writer_", type_=Text), _b.state == "writing")
    .values(state="deleting", charged=0, remove_at=now())
)
_lapsed = or_(workers.c.id.is_(None), one_of(workers.c.state, "expired", "gone"))
# ``writer > ''`` is always true here; it lets the planner use the partial index on writer without statistics.
_ORPHANED = Statement(
    select(*_COLUMNS)
    .select_from(blobs.outerjoin(workers, workers.c.id == _b.writer))
    .where(_b.state == "writing", _b.writer > "", _lapsed)
    .limit(100)
)
# A writer whose lease lapsed may still write for a moment: its object is removed one more lease later, when it is
# gone. A writer that abandoned its object has nothing open.
_no_writer = or_(_b.writer.is_(None), workers.c.id.is_(None), workers.c.state == "gone")
# Written so that the planner uses the index of objects to delete, with statistics and without: the state is a
# literal, and the concatenation hides that the store is an indexed column.
_in_store = bindparam("store_", type_=Text)
_DUE = Statement(
    select(*_COLUMNS, _b.attempts)
    .select_from(blobs.outerjoin(workers, workers.c.id == _b.writer))
    .where(_b.state == literal_column("'deleting'"), _b.store.concat(literal_column("''")) == _in_store)
    .where(_b.remove_at <= now(), _no_writer)
    .order_by(_b.remove_at)
    .limit(bindparam("limit", type_=BigInteger))
)
_DELETE_ROW = Statement(delete(blobs).where(_b.id == _id, _b.state == "deleting").returning(_b.charged))
_POSTPONE = Statement(
    update(blobs)
    .where(_b.id == _id, _b.state == "deleting")
    .values(attempts=_b.attempts + 1, remove_at=now() + bindparam("delay", type_=BigInteger))
)
_ALL = Statement(select(*_COLUMNS))


async def _add_usage(tx: Transaction, project: str | None, by: int, quota: Quota = NO_LIMIT) -> None:
    """Add ``by`` bytes to the project's usage; raise OverLimit when that would exceed the quota."""
    if by == 0:
        return
    account = project or ""
    if await tx.run(_CHARGE, project_=account, by=by, most=quota.most):
        return
    await open_account(tx, account)
    if not await tx.run(_CHARGE, project_=account, by=by, most=quota.most):
        raise quota.exceeded_by(await lock_account(tx, account), by)


async def reserve(tx: Transaction, blob: Blob, quota: Quota) -> Blob:
    """Insert the row of an object that is going to be written, or that others wrote, and charge it."""
    await tx.run(_INSERT, **{name: getattr(blob, name) for name in _FIELDS})
    await _add_usage(tx, blob.project, blob.charged, quota)
    return blob


async def grow(tx: Transaction, blob: Blob, by: int, quota: Quota) -> Blob | None:
    """Reserve ``by`` more bytes; None when the worker no longer owns the row. OverLimit changes nothing.

    Idempotent: a row that was grown before (the answer to the commit was lost) is returned as it is.
    """
    grown = replace(blob, charged=blob.charged + by)
    if await tx.run(_GROW, of=blob.id, writer_=blob.writer, charged_=blob.charged, by=by):
        await _add_usage(tx, blob.project, by, quota)
        return grown
    return grown if await by_id(tx, blob.id) == grown else None


async def note_handle(tx: Transaction, blob: Blob, handle: str) -> bool:
    """Record the handle of an object that is being written; False when the worker no longer owns the row."""
    return await tx.run(_NOTE_HANDLE, of=blob.id, writer_=blob.writer, handle_=handle) == 1


async def mark_live(tx: Transaction, blob: Blob, stored: Stored, project: str | None) -> bool:
    """Record that the data is durable and that an image points to it, and charge it to ``project``.

    False: the worker no longer owns the row, and the transaction must be rolled back.
    """
    return await _finish_writing(tx, _FINISH_LIVE, blob, stored, project)


async def mark_ready(tx: Transaction, blob: Blob, stored: Stored) -> bool:
    """Record that the data is durable and waits to be attached; False when the worker no longer owns the row."""
    return await _finish_writing(tx, _FINISH_READY, blob, stored, blob.project)


async def _finish_writing(
    tx: Transaction, statement: Statement, blob: Blob, stored: Stored, project: str | None
) -> bool:
    finished = await tx.run(
        statement,
        of=blob.id,
        writer_=blob.writer,
        project_=project,
        handle_=stored.handle,
        size_=stored.size,
        checksum_=stored.checksum,
        hash_algo_=stored.hash_algo,
        hash_value_=stored.hash_value,
        findings_=stored.findings,
    )
    if finished:
        await _book(tx, [(blob.project, -blob.charged), (project, stored.size)])
    return finished == 1


async def attach(tx: Transaction, blob: Blob, project: str | None) -> bool:
    """Make a ready object the data of an image that is locked; False when it is not ready any more."""
    attached = await tx.run(_ATTACH, of=blob.id, project_=project)
    if attached:
        await _book(tx, [(blob.project, -blob.charged), (project, blob.charged)])
    return attached == 1


async def abandon(tx: Transaction, blob: Blob, keep_writer: bool = False) -> Blob | None:
    """Mark an object that this worker was writing for deletion, release its charge and return its row as it was.

    None: the worker no longer owns the row, and nothing changed. With ``keep_writer`` it goes on to own the row, and
    the data is not due for deletion until it is abandoned again, or the worker's lease has lapsed.
    """
    was = await by_id(tx, blob.id, lock=True)
    kept = blob.writer if keep_writer else None
    if was is None or not await tx.run(_ABANDON, of=blob.id, writer_=blob.writer, kept=kept):
        return None
    await _add_usage(tx, was.project, -was.charged)
    return was


async def mark_image_for_deletion(tx: Transaction, image_id: str) -> list[Blob]:
    """Mark every object of an image that is locked for deletion, and return those that can be removed now.

    An object that is being written stays charged until its writer has noticed: its data is still arriving.
    """
    removable = []
    for blob in await of_image(tx, image_id):
        if await tx.run(_DELETE, of=blob.id, delay=0):
            removable.append(blob)
        else:
            await tx.run(_DELETE_WRITING, of=blob.id)
    await _release(tx, removable)
    return removable


async def reassign_charges(tx: Transaction, image_id: str, project: str | None) -> None:
    """Charge the finished objects of an image that is locked to its new owner.

    An object that is being written is charged to the new owner when it is finished.
    """
    of_others = [blob for blob in await of_image(tx, image_id) if blob.project != project]
    moved = [blob for blob in of_others if await tx.run(_REASSIGN, of=blob.id, project_=project)]
    await _book(tx, [each for b in moved for each in ((b.project, -b.charged), (project, b.charged))])


async def uncharge_image(tx: Transaction, image_id: str) -> None:
    """Release the charge of a deleted image whose data is kept for a while."""
    held = [blob for blob in await of_image(tx, image_id) if blob.charged]
    await _release(tx, [blob for blob in held if await tx.run(_UNCHARGE, of=blob.id)])


async def recharge_image(tx: Transaction, image_id: str, quota: Quota) -> None:
    """Charge the objects of a deleted image whose data was kept again; raise OverLimit when they do not fit."""
    free = [blob for blob in await of_image(tx, image_id) if blob.size and not blob.charged]
    charged = [blob for blob in free if await tx.run(_RECHARGE, of=blob.id, size_=blob.size)]
    for project in sorted({blob.project or "" for blob in charged}):
        size = sum(blob.size or 0 for blob in charged if (blob.project or "") == project)
        await _add_usage(tx, project, size, quota)


async def mark_for_deletion(tx: Transaction, blob_ids: Collection[str], image_id: str, delay: int = 0) -> list[Blob]:
    """Mark finished objects of an image that is locked for deletion in ``delay`` microseconds; return them."""
    named = [blob for blob in await of_image(tx, image_id) if blob.id in blob_ids]
    marked = [blob for blob in named if await tx.run(_DELETE, of=blob.id, delay=delay)]
    await _release(tx, marked)
    return marked


async def _release(tx: Transaction, marked: Iterable[Blob]) -> None:
    await _book(tx, [(blob.project, -blob.charged) for blob in marked])


async def _book(tx: Transaction, bookings: Iterable[tuple[str | None, int]]) -> None:
    """Change usage without regard to quotas: after all blob rows, projects in order (no deadlock)."""
    sums: dict[str, int] = {}
    for project, amount in bookings:
        sums[project or ""] = sums.get(project or "", 0) + amount
    for account, amount in sorted(sums.items()):
        await _add_usage(tx, account, amount)


async def by_id(connection: Connection, blob_id: str, lock: bool = False) -> Blob | None:
    """Return one object's row, or None when it is gone. With ``lock`` it is locked."""
    row = await connection.row(_BY_ID_LOCKED if lock else _BY_ID, of=blob_id)
    return _blob_from(row) if row else None


async def by_name(connection: Connection, store: str, name: str) -> Blob | None:
    """Return the row of the object of this name in a store, in whatever state; None when there is none."""
    row = await connection.row(_BY_NAME, store_=store, name_=name)
    return _blob_from(row) if row else None


async def written_by(connection: Connection, worker: str) -> list[Blob]:
    """Return the objects that a worker writes according to the ledger, or has yet to stop writing."""
    return [_blob_from(row) for row in await connection.rows(_WRITTEN_BY, writer_=worker)]


async def reclaim(tx: Transaction, blob: Blob) -> bool:
    """Mark an orphaned object for deletion; False when its writer finished it after all.

    The row keeps its writer: the data is removed only once the writer can no longer write (no zombie writes).
    """
    was = await by_id(tx, blob.id, lock=True)
    if was is None or not await tx.run(_RECLAIM, of=blob.id, writer_=blob.writer):
        return False
    await _add_usage(tx, was.project, -was.charged)
    return True


async def of_image(connection: Connection, image_id: str) -> list[Blob]:
    """Return every object of an image in the ledger, those to be deleted included."""
    return [_blob_from(row) for row in await connection.rows(_OF_IMAGE, image=image_id)]


async def orphaned(connection: Connection) -> list[Blob]:
    """Return unfinished objects whose writers' leases lapsed."""
    return [_blob_from(row) for row in await connection.rows(_ORPHANED)]


async def due_for_deletion(connection: Connection, store: str, limit: int = 100) -> list[tuple[Blob, int]]:
    """Return objects in a store whose data is to be removed now, each with the number of failed attempts."""
    found = await connection.rows(_DUE, store_=store, limit=limit)
    return [(_blob_from(row), row[len(_FIELDS)]) for row in found]


async def delete_row(tx: Transaction, blob: Blob) -> None:
    """Delete the row of an object whose data is removed; what it was still charged is released."""
    row = await tx.row(_DELETE_ROW, of=blob.id)
    if row:
        await _add_usage(tx, blob.project, -row[0])


async def postpone(tx: Transaction, blob: Blob, delay: int) -> None:
    """Retry the removal of an object's data in ``delay`` microseconds."""
    await tx.run(_POSTPONE, of=blob.id, delay=delay)


async def all_blobs(connection: Connection) -> list[Blob]:
    """Return the whole ledger."""
    return [_blob_from(row) for row in await connection.rows(_ALL)]
