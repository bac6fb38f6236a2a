"""Images and members in both databases: what a save writes, and what it refuses to write."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.db import images as rows
from ferrotype.db import members, schema
from ferrotype.db.backends.connect import connect
from ferrotype.db.engine import Database, Statement, Transaction
from ferrotype.db.tables import image_members, image_properties, image_tags
from ferrotype.model.errors import Conflict
from ferrotype.model.image import Image, Location

ID = "5f1c4a52-6f1a-4b0e-9c38-0d8f3f6f2a11"
IMAGE = Image(
    id=ID, name="n", owner="p1", tags=("t", "\u00e9"), properties={"a": "x", "n": None, "five": 5, "yes": True},
    system={"os_glance_import_task": "z"}, min_ram=2**31 - 1,
)  # fmt: skip
_FOUND = [
    Statement(image_properties.select().with_only_columns(image_properties.c.name)),
    Statement(image_tags.select().with_only_columns(image_tags.c.tag)),
]
_WAITING = Statement(text("SELECT 1 FROM pg_locks WHERE NOT granted"))
_LISTED = Statement(image_members.select().with_only_columns(image_members.c.member, image_members.c.listed_at))

Do = Callable[[Callable[[Transaction], Awaitable[Any]]], Any]
Base = tuple[Do, Database, Callable[[Coroutine[Any, Any, Any]], Any]]


@pytest.fixture
def db(database_url: str, tmp_path: Any) -> Iterator[Base]:
    """A way to run something in a transaction, the database, and a way to run anything."""
    kind = database_url.partition(":")[0]
    path = tmp_path / "t.sqlite" if kind == "sqlite" else None
    config = DatabaseConfig(url=database_url, kind=kind, path=path)
    schema.sync(config)
    with asyncio.Runner() as runner:
        database = runner.run(connect(config))

        async def transact(work: Callable[[Transaction], Awaitable[Any]]) -> Any:
            async with database.begin() as tx:
                return await work(tx)

        yield (lambda work: runner.run(transact(work))), database, runner.run
        runner.run(database.close())


def found(do: Do) -> list[set[str]]:
    """Return the names and the tags by which images are found."""

    async def ask(tx: Transaction) -> list[set[str]]:
        return [{row[0] for row in await tx.rows(statement)} for statement in _FOUND]

    result: list[set[str]] = do(ask)
    return result


def get(do: Do) -> Image:
    image, _ = do(lambda tx: rows.get(tx, ID, None))
    assert isinstance(image, Image)
    return image


def test_an_image_is_read_back_as_it_was_written(db: Base) -> None:
    do, _, _ = db
    made = do(lambda tx: rows.insert_image(tx, IMAGE))
    assert made == replace(IMAGE, created_at=made.created_at, updated_at=made.created_at)
    back = get(do)
    # SCH-22: with the types that its values had
    assert back == made and [type(value) for value in back.properties.values()] == [str, type(None), int, bool]
    assert found(do) == [{"a", "five", "yes"}, {"t", "\u00e9"}]


def test_a_save_writes_changed_columns_only(db: Base) -> None:
    do, _, _ = db
    made = do(lambda tx: rows.insert_image(tx, IMAGE))
    do(lambda tx: rows.save(tx, made, replace(made, name="other", properties={"b": "y"}, tags=("u",))))
    # IMG-CONC-01, IMG-CONC-02: ``made`` is stale by now
    after = do(lambda tx: rows.save(tx, made, replace(made, status="saving", min_disk=3)))
    now = get(do)
    assert (now.name, now.properties, now.tags, now.status, now.min_disk) == (
        "other",
        {"b": "y"},
        ("u",),
        "saving",
        3,
    )
    assert now.updated_at == after.updated_at > made.updated_at and now.created_at == made.created_at
    assert found(do) == [{"b"}, {"u"}]


def test_a_save_without_changes_updates_the_time(db: Base) -> None:
    do, _, _ = db
    made = do(lambda tx: rows.insert_image(tx, IMAGE))
    # IMG-ENT-30
    assert do(lambda tx: rows.save(tx, made, made)).updated_at > made.updated_at


def test_a_save_expects_the_status_that_it_read(db: Base) -> None:
    do, _, _ = db
    made = do(lambda tx: rows.insert_image(tx, IMAGE))
    saving = do(lambda tx: rows.save(tx, made, replace(made, status="saving")))
    # IMG-STM-24
    with pytest.raises(Conflict):
        do(lambda tx: rows.save(tx, made, replace(made, status="uploading", name="late")))
    assert get(do) == saving


def test_a_failed_transaction_leaves_nothing(db: Base) -> None:
    do, _, _ = db

    async def fail(tx: Transaction) -> None:
        made = await rows.insert_image(tx, IMAGE)
        await members.add(tx, made, "p9")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        do(fail)
    assert do(lambda tx: rows.get(tx, ID, None)) is None
    assert found(do) == [set(), set()]
    do(lambda tx: rows.insert_image(tx, IMAGE))


def test_an_id_is_never_reused(db: Base) -> None:
    do, _, _ = db
    made = do(lambda tx: rows.insert_image(tx, IMAGE))
    with pytest.raises(Conflict):
        do(lambda tx: rows.insert_image(tx, IMAGE))
    do(lambda tx: rows.save(tx, made, replace(made, status="deleted")))
    # SEC-92, IMG-ENT-01
    with pytest.raises(Conflict):
        do(lambda tx: rows.insert_image(tx, IMAGE))
    assert do(lambda tx: rows.get(tx, ID, None)) is None
    assert found(do) == [set(), set()]
    with pytest.raises(Conflict):
        do(lambda tx: rows.save(tx, made, replace(made, name="undead")))


def test_a_deleted_image_still_serves_as_a_marker(db: Base) -> None:
    do, _, _ = db
    made = do(lambda tx: rows.insert_image(tx, IMAGE))
    do(lambda tx: rows.save(tx, made, replace(made, status="deleted")))
    tombstone, _ = do(lambda tx: rows.marker(tx, ID, None))
    assert (tombstone.owner, tombstone.created_at, tombstone.updated_at) == ("p1", made.created_at, made.updated_at)


def test_an_image_in_pending_delete_keeps_its_attributes(db: Base) -> None:
    do, _, _ = db
    place = (Location("file:///x", {"store": "fast"}, "blob"),)
    made = do(lambda tx: rows.insert_image(tx, replace(IMAGE, status="active", locations=place)))
    do(lambda tx: rows.save(tx, made, replace(made, status="pending_delete")))
    # IMG-DEL-06, IMG-STM-13: it may come back
    kept, _ = do(lambda tx: rows.marker(tx, ID, None))
    assert (kept.locations, kept.properties, kept.tags) == (place, made.properties, made.tags)
    assert do(lambda tx: rows.get(tx, ID, None)) is None


def test_a_share_is_listed_only_while_the_image_is_shared_and_shown(db: Base) -> None:
    do, _, _ = db
    image = do(lambda tx: rows.insert_image(tx, IMAGE))
    born = image.created_at
    do(lambda tx: members.add(tx, image, "p9"))
    do(lambda tx: members.add(tx, image, "p8"))
    do(lambda tx: members.remove(tx, ID, "p8"))
    for change, listed in [
        # IMG-MEM-06, IMG-PATCH-16
        ({"visibility": "private"}, None), ({"visibility": "shared"}, born), ({"os_hidden": True}, None),
        ({"visibility": "community"}, None), ({"os_hidden": False}, None), ({"visibility": "shared"}, born),
        ({"status": "active"}, born), ({"status": "deleted"}, None),
    ]:  # fmt: skip
        after = replace(image, **change)
        image = do(lambda tx, image=image, after=after: rows.save(tx, image, after))
        assert dict(do(lambda tx: tx.rows(_LISTED))) == {"p9": listed, "p8": None}, change


def test_a_new_member_of_a_hidden_image_is_not_listed(db: Base) -> None:
    do, _, _ = db
    image = do(lambda tx: rows.insert_image(tx, replace(IMAGE, os_hidden=True)))
    do(lambda tx: members.add(tx, image, "p9"))
    assert dict(do(lambda tx: tx.rows(_LISTED))) == {"p9": None}
    assert do(lambda tx: rows.get(tx, ID, "p9"))[1] is True
    assert do(lambda tx: rows.get(tx, ID, "p8"))[1] is False


def test_a_member_added_again_keeps_its_creation_time(db: Base) -> None:
    do, _, _ = db
    image = do(lambda tx: rows.insert_image(tx, IMAGE))
    first = do(lambda tx: members.add(tx, image, "p9"))
    assert do(lambda tx: members.set_status(tx, ID, "p9", "accepted")).status == "accepted"
    assert do(lambda tx: members.remove(tx, ID, "p9")) is True
    # IMG-MEM-04, IMG-MEM-11
    assert do(lambda tx: members.remove(tx, ID, "p9")) is False
    assert do(lambda tx: members.one(tx, ID, "p9")) is None and do(lambda tx: members.of_image(tx, ID)) == []
    assert do(lambda tx: members.set_status(tx, ID, "p9", "accepted")) is None
    again = do(lambda tx: members.add(tx, image, "p9"))
    assert (again.status, again.created_at) == ("pending", first.created_at) and again.updated_at > first.updated_at


def test_a_waiter_for_a_locked_image_sees_the_committed_row(db: Base) -> None:
    do, database, run = db
    made = do(lambda tx: rows.insert_image(tx, IMAGE))

    async def locked() -> Any:
        async with database.begin() as tx:
            return await rows.get(tx, ID, None, lock=True)

    async def both(tx: Transaction) -> Any:
        await rows.get(tx, ID, None, lock=True)
        waiting = asyncio.ensure_future(locked())
        await _until_a_lock_is_waited_for(database)
        assert not waiting.done()
        await rows.save(tx, made, replace(made, name="newer", properties={}))
        return waiting

    # SEC-111
    image, _ = run(_awaited(do(both)))
    assert (image.name, image.properties) == ("newer", {})


async def _until_a_lock_is_waited_for(database: Database) -> None:
    """Return when a transaction waits for what another one holds."""
    if database.kind == "postgresql":
        end = time.monotonic() + 60
        while not await database.rows(_WAITING):
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
    else:  # Nobody can be asked, but whoever did not wait would have ended by now.
        for _ in range(50):
            await rows.get(database, ID, None)


async def _awaited(waiting: Awaitable[Any]) -> Any:
    return await waiting
