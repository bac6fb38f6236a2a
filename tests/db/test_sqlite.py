"""Two processes on one SQLite file: who waits for the other goes on soon after it, and not for ever."""

import asyncio
import statistics
import time
from pathlib import Path

import pytest

from ferrotype.config.database import Database
from ferrotype.db.backends.sqlite import SQLite
from ferrotype.db.engine import DatabaseUnavailable, Locked


def two(tmp_path: Path, patience: float) -> tuple[SQLite, SQLite]:
    config = Database(url="", kind="sqlite", path=tmp_path / "t.sqlite", busy_timeout=patience)
    return SQLite(config), SQLite(config)


@pytest.mark.slow
def test_a_writer_continues_soon_after_the_lock_is_released(tmp_path: Path) -> None:
    async def work() -> tuple[float, float]:
        first, second = two(tmp_path, 300.0)
        delays, baseline = [], []

        async def wait() -> None:
            async with second.begin():
                delays.append(time.monotonic() - ended)

        for held in (0.05, 0.35, 0.41, 0.47, 0.53):  # by then SQLite itself would look every tenth of a second
            async with first.begin():
                waiting = asyncio.ensure_future(wait())
                await asyncio.sleep(held)
            ended = time.monotonic()
            await waiting
            began = time.monotonic()
            await asyncio.to_thread(time.sleep, 0.001)
            baseline.append(time.monotonic() - began)
        await first.close()
        await second.close()
        return statistics.median(delays), statistics.median(baseline)

    # It is no later than any thread of a machine as busy as this one may be that looks every millisecond.
    found: list[tuple[float, float]] = []
    while not any(late < 0.01 + 5 * baseline for late, baseline in found):
        assert len(found) < 3, found
        found.append(asyncio.run(work()))


def test_a_writer_waits_no_longer_than_the_lock_timeout(tmp_path: Path) -> None:
    async def work() -> float:
        first, second = two(tmp_path, 0.3)
        async with first.begin():
            began = time.monotonic()
            with pytest.raises(Locked, match="locked"):
                async with second.begin():
                    pass
            waited = time.monotonic() - began
        async with second.begin():  # and is as good as before
            pass
        await first.close()
        await second.close()
        return waited

    assert 0.3 <= asyncio.run(work()) < 20


def test_the_lock_timeout_also_holds_within_a_process(tmp_path: Path) -> None:
    async def work() -> None:
        _, db = two(tmp_path, 0.1)
        async with asyncio.timeout(30):
            async with db.begin():
                with pytest.raises(Locked):
                    async with db.begin():
                        pass
            async with db.begin():  # and is as good as before
                pass

    asyncio.run(work())


@pytest.mark.slow
def test_many_writers_each_have_the_full_timeout(tmp_path: Path) -> None:
    """Eight, one after the other, would wait twice as long as the one that may wait four times as long.

    A machine that stood still until all of them had waited long enough is asked again.
    """

    async def work() -> list[str]:
        holding, many = two(tmp_path, 0.5)
        _, patient = two(tmp_path, 2.0)
        ended = []

        async def wait(db: SQLite, name: str) -> None:
            with pytest.raises(Locked):
                async with db.begin():
                    pass
            ended.append(name)

        async with holding.begin():
            await asyncio.gather(wait(patient, "patient"), *(wait(many, "one of many") for _ in range(8)))
        return ended

    found: list[list[str]] = []
    while ["one of many"] * 8 + ["patient"] not in found:
        assert len(found) < 3, found
        found.append(asyncio.run(work()))


def test_an_invalid_database_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.sqlite").write_text("no database, and longer than the head of one " * 9)
    with pytest.raises(DatabaseUnavailable, match=r"not a database.*t\.sqlite"):
        two(tmp_path, 1.0)
