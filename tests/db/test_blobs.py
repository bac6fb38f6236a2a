"""The ledger and its counters, in both databases: every change names what it expects."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.db import blobs, ledger_check, schema, workers
from ferrotype.db import images as rows
from ferrotype.db.backends.connect import connect
from ferrotype.db.engine import Database, Duplicate, Statement
from ferrotype.model.blob import Blob, Stored, is_object_name, object_name
from ferrotype.model.errors import OverLimit
from ferrotype.model.image import Image
from ferrotype.model.quota import Quota

IMAGE = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
#: of a worker, in microseconds
LEASE = 30_000_000
STORED = Stored(
    handle="x", size=30, checksum="c", hash_algo="sha512", hash_value="h", findings="{}", virtual_size=None
)


@pytest.fixture
def run(database_url: str) -> Callable[[Callable[[Database], Awaitable[None]]], None]:
    """Run work on a new database that has one image and two workers that live, ``w`` and ``other``."""
    kind = database_url.partition(":")[0]
    path = Path(database_url.removeprefix("sqlite:///")) if kind == "sqlite" else None
    config = DatabaseConfig(url=database_url, kind=kind, path=path)
    schema.sync(config)

    async def with_database(work: Callable[[Database], Awaitable[None]]) -> None:
        db = await connect(config)
        try:
            async with db.begin() as tx:
                await rows.insert_image(tx, Image(id=IMAGE, owner="p"))
                await workers.register(tx, "w", "", LEASE)
                await workers.register(tx, "other", "", LEASE)
            await work(db)
        finally:
            await db.close()

    return lambda work: asyncio.run(with_database(work))


def blob(number: int = 0, **changes: Any) -> Blob:
    defaults = Blob(
        id=f"b{number}", store="s", name=f"{IMAGE}-{number:08}", image_id=IMAGE, project="p", purpose="data",
        state="writing", charged=10, writer="w",
    )  # fmt: skip
    return replace(defaults, **changes)


def quota(most: int = -1) -> Quota:
    return Quota("bytes", most, "bytes")


async def write(db: Database, each: Blob, most: int = -1) -> Blob:
    async with db.begin() as tx:
        return await blobs.reserve(tx, each, quota(most))


async def tell(db: Database, statement: str) -> None:
    async with db.begin() as tx:
        await tx.run(Statement(text(statement)))


async def charged(db: Database) -> int:
    """Return what project p is charged; the counter and the sum must say the same."""
    counted, summed = await ledger_check.usage_vs_ledger(db)
    assert counted.get("p", 0) == summed.get("p", 0)
    return counted.get("p", 0)


@asynccontextmanager
async def nothing_changes(db: Database) -> AsyncIterator[None]:
    before = await blobs.all_blobs(db), await charged(db)
    yield
    assert (await blobs.all_blobs(db), await charged(db)) == before


def test_a_blob_goes_from_writing_to_live_and_is_charged_what_it_has(run: Any) -> None:
    async def work(db: Database) -> None:
        ours = await write(db, blob())
        assert (await blobs.all_blobs(db), await charged(db)) == ([ours], 10)
        async with db.begin() as tx:
            grown = await blobs.grow(tx, ours, 40, quota())
        assert grown and (grown.charged, await charged(db)) == (50, 50)
        async with db.begin() as tx:
            assert await blobs.mark_live(tx, grown, STORED, grown.project)
        (live,) = await blobs.all_blobs(db)
        assert (live.state, live.writer, live.size, live.charged) == ("live", None, 30, 30)
        assert (live.checksum, live.hash_algo, live.hash_value, live.findings) == ("c", "sha512", "h", "{}")
        assert await charged(db) == 30

    run(work)


def test_a_quota_is_filled_to_the_byte_and_a_refusal_changes_nothing(run: Any) -> None:
    async def work(db: Database) -> None:
        ours = await write(db, blob(charged=60), 100)
        async with nothing_changes(db):
            for over in (blob(1, charged=41), blob(2, charged=10**15)):
                with pytest.raises(OverLimit):
                    await write(db, over, 100)
            with pytest.raises(OverLimit):
                async with db.begin() as tx:
                    await blobs.grow(tx, ours, 41, quota(100))
        async with db.begin() as tx:
            assert await blobs.grow(tx, ours, 40, quota(100))
        assert await charged(db) == 100
        await write(db, blob(3, charged=0), 100)
        await write(db, blob(4, charged=1000))  # no quota
        await write(db, blob(5, project=None, charged=5), 100)
        await write(db, blob(6, project="", charged=5), 100)
        assert (await ledger_check.usage_vs_ledger(db))[0] == {"p": 1100, "": 10}

    run(work)


def test_concurrent_transactions_never_exceed_the_quota(run: Any) -> None:
    async def work(db: Database) -> None:
        outcomes = await asyncio.gather(
            *(write(db, blob(number, charged=30), 100) for number in range(8)), return_exceptions=True
        )
        # SEC-87
        assert sorted(type(each).__name__ for each in outcomes) == ["Blob"] * 3 + ["OverLimit"] * 5
        assert await charged(db) == 90

    run(work)


def test_a_name_is_used_once_in_a_store(run: Any) -> None:
    async def work(db: Database) -> None:
        await write(db, blob())
        async with nothing_changes(db):
            with pytest.raises(Duplicate):
                await write(db, blob(id="b9"))
        await write(db, blob(id="b9", store="t"))

    run(work)
    # SEC-59, STOR-46
    names = {object_name(IMAGE.upper()) for _ in range(1000)}
    assert len(names) == 1000
    assert all(is_object_name(name) and name.startswith(IMAGE) for name in names)
    for foreign in ("", "lost+found", IMAGE, f"{IMAGE}-0123abc", f"{IMAGE}-0123ABCD", f"../{IMAGE}-0123abcd"):
        assert not is_object_name(foreign)


def test_only_the_writer_can_change_a_row(run: Any) -> None:
    async def work(db: Database) -> None:
        ours = await write(db, blob())
        for stranger in (replace(ours, writer="other"), replace(ours, id="b7"), replace(ours, writer="")):
            async with nothing_changes(db), db.begin() as tx:
                assert await blobs.grow(tx, stranger, 5, quota()) is None
                assert not await blobs.mark_live(tx, stranger, STORED, stranger.project)
                assert not await blobs.abandon(tx, stranger)
                assert not await blobs.reclaim(tx, stranger)
        async with db.begin() as tx:
            assert await blobs.mark_live(tx, ours, STORED, ours.project)
        async with nothing_changes(db), db.begin() as tx:  # it is live now and has no writer
            assert not await blobs.mark_live(tx, ours, STORED, ours.project)
            assert not await blobs.abandon(tx, ours)
            assert not await blobs.reclaim(tx, ours)
            await blobs.delete_row(tx, ours)

    run(work)


def test_abandoning_releases_the_charge_and_schedules_deletion(run: Any) -> None:
    async def work(db: Database) -> None:
        ours = await write(db, blob())
        async with db.begin() as tx:
            assert await blobs.abandon(tx, ours)
        assert await charged(db) == 0
        assert [each.id for each, attempts in await blobs.due_for_deletion(db, "s") if attempts == 0] == ["b0"]
        assert await blobs.due_for_deletion(db, "t") == []
        async with db.begin() as tx:
            await blobs.postpone(tx, ours, 10**15)
        assert await blobs.due_for_deletion(db, "s") == []
        await tell(db, "UPDATE blobs SET remove_at = 0")
        assert [attempts for _, attempts in await blobs.due_for_deletion(db, "s")] == [1]
        async with db.begin() as tx:
            await blobs.delete_row(tx, ours)
        assert await blobs.all_blobs(db) == []

    run(work)


def test_a_lapsed_writers_object_is_removed_one_lease_later(run: Any) -> None:
    async def work(db: Database) -> None:
        ours = await write(db, blob())
        assert await blobs.orphaned(db) == []
        await tell(db, "UPDATE workers SET state = 'expired' WHERE id = 'w'")
        assert [each.id for each in await blobs.orphaned(db)] == ["b0"]
        async with db.begin() as tx:
            assert await blobs.reclaim(tx, ours)
            assert not await blobs.reclaim(tx, ours)
        assert (await charged(db), await blobs.orphaned(db)) == (0, [])
        assert await blobs.due_for_deletion(db, "s") == []  # its writer could still write for a moment
        async with db.begin() as tx:
            assert not await blobs.mark_live(tx, ours, STORED, ours.project)
        await tell(db, "UPDATE workers SET state = 'gone' WHERE id = 'w'")
        assert [each.id for each, _ in await blobs.due_for_deletion(db, "s")] == ["b0"]
        async with db.begin() as tx:  # or the writer notices by itself
            assert await blobs.abandon(tx, ours)
            await blobs.delete_row(tx, ours)
        assert await charged(db) == 0

    run(work)


def test_an_unknown_writer_counts_as_dead(run: Any) -> None:
    async def work(db: Database) -> None:
        await write(db, blob(writer="never-was"))
        (found,) = await blobs.orphaned(db)
        async with db.begin() as tx:
            assert await blobs.reclaim(tx, found)
        assert [each.id for each, _ in await blobs.due_for_deletion(db, "s")] == ["b0"]

    run(work)


def test_deleting_an_image_marks_all_its_objects(run: Any) -> None:
    async def work(db: Database) -> None:
        live = [await write(db, blob(number, state="live", writer=None, charged=7)) for number in range(3)]
        writing = await write(db, blob(3, charged=5))
        await write(db, blob(4, image_id="another", state="live", writer=None, charged=1))
        foreign = await write(db, blob(5, project="q", state="live", writer=None, charged=2))
        async with db.begin() as tx:
            removable = await blobs.mark_image_for_deletion(tx, IMAGE)
            assert {each.id for each in removable} == {each.id for each in (*live, foreign)}
            assert await blobs.mark_image_for_deletion(tx, IMAGE) == []
        assert await charged(db) == 5 + 1  # SEC-86: bytes still come
        assert (await ledger_check.usage_vs_ledger(db))[0]["q"] == 0
        async with db.begin() as tx:
            assert await blobs.grow(tx, writing, 1, quota()) is None
            assert not await blobs.mark_live(tx, writing, STORED, writing.project)
        assert {each.id for each, _ in await blobs.due_for_deletion(db, "s")} == {
            each.id for each in (*live, foreign)
        }
        async with db.begin() as tx:
            assert await blobs.abandon(tx, writing)
        assert await charged(db) == 1

    run(work)


def test_only_named_copies_are_marked_for_deletion(run: Any) -> None:
    async def work(db: Database) -> None:
        for number in range(3):
            await write(db, blob(number, state="live", writer=None, charged=7))
        await write(db, blob(3, image_id="another", state="live", writer=None, charged=1))
        async with db.begin() as tx:
            marked = await blobs.mark_for_deletion(tx, {"b0", "b1", "b3", "b9"}, IMAGE)
        assert {each.id for each in marked} == {"b0", "b1"}
        assert await charged(db) == 8

    run(work)


def test_data_kept_after_deletion_is_not_charged(run: Any) -> None:
    async def work(db: Database) -> None:
        await write(db, blob(0, state="live", writer=None, charged=7))
        for _ in range(2):
            async with db.begin() as tx:
                await blobs.uncharge_image(tx, IMAGE)
            assert await charged(db) == 0
        assert (await blobs.all_blobs(db))[0].state == "live"

    run(work)


def test_a_counter_is_corrected_from_the_ledger(run: Any) -> None:
    async def work(db: Database) -> None:
        await write(db, blob(0, charged=7))
        await tell(db, "UPDATE usage SET stored = 99")
        await write(db, blob(1, project="q", charged=3))
        assert (await ledger_check.usage_vs_ledger(db)) == ({"p": 99, "q": 3}, {"p": 7, "q": 3})
        for project in ("p", "q", "r"):
            async with db.begin() as tx:
                await ledger_check.correct_usage(tx, project)
        assert (await ledger_check.usage_vs_ledger(db)) == ({"p": 7, "q": 3, "r": 0}, {"p": 7, "q": 3})

    run(work)


def test_a_counter_that_is_corrected_while_it_changes_is_right(run: Any) -> None:
    async def work(db: Database) -> None:
        async def correct() -> None:
            async with db.begin() as tx:
                await ledger_check.correct_usage(tx, "p")

        await write(db, blob(99, charged=1))
        await asyncio.gather(
            *(write(db, blob(number, charged=10)) for number in range(30)), *(correct() for _ in range(30))
        )
        assert await charged(db) == 301

    run(work)


def test_a_damage_mark_is_set_once_and_can_be_removed(run: Any) -> None:
    async def work(db: Database) -> None:
        await write(db, blob(0, state="live", writer=None))
        for _ in range(2):
            async with db.begin() as tx:
                await ledger_check.mark_damaged(tx, "b0")
        assert await ledger_check.damaged(db) == {"b0"}
        async with db.begin() as tx:
            await ledger_check.unmark_damaged(tx, "b0")
        assert await ledger_check.damaged(db) == set()

    run(work)


def test_a_lapsed_lease_is_not_prolonged(run: Any) -> None:
    async def work(db: Database) -> None:
        async with db.begin() as tx:
            await workers.register(tx, "new", "", LEASE)
            assert await workers.renew(tx, "new")
            assert await workers.renew(tx, "w")
            assert not await workers.renew(tx, "unknown")
        await tell(db, "UPDATE workers SET state = 'gone' WHERE id = 'w'")
        async with db.begin() as tx:
            assert not await workers.renew(tx, "w")
            assert await workers.renew(tx, "other")
        before = next(each for each in await workers.present(db) if each.id == "other")
        async with db.begin() as tx:
            assert await workers.renew(tx, "other")
            assert not await workers.expire(tx, before)  # it lives
        now = next(each for each in await workers.present(db) if each.id == "other")
        async with db.begin() as tx:
            assert await workers.expire(tx, now)
            assert not await workers.renew(tx, "other")

    run(work)


def test_workers_without_objects_are_deleted(run: Any) -> None:
    async def work(db: Database) -> None:
        await write(db, blob())
        await tell(db, "UPDATE workers SET state = 'gone'")
        async with db.begin() as tx:
            await workers.register(tx, "young", "process", LEASE)
            await workers.delete_gone(tx)
        assert {row[0] for row in await db.rows(Statement(text("SELECT id FROM workers")))} == {"w", "young"}
        assert await workers.present(db) == [workers.Worker("young", "process", LEASE, 0, "running")]

    run(work)
