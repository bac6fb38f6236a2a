"""Two processes on one SQLite file: who waits for the other goes on soon after it, and not for ever."""

import asyncio
import time
from pathlib import Path

import pytest

from tintype.config.model import Database
from tintype.db.engine import DatabaseUnavailable
from tintype.db.sqlite import SQLite


def two(tmp_path: Path, patience: float) -> tuple[SQLite, SQLite]:
    config = Database(url="", kind="sqlite", path=tmp_path / "t.sqlite", busy_timeout=patience)
    return SQLite(config), SQLite(config)


def test_a_writer_goes_on_soon_after_the_other_has_ended(tmp_path: Path) -> None:
    async def work() -> float:
        first, second = two(tmp_path, 30.0)
        delays = []

        async def wait() -> None:
            async with second.begin():
                delays.append(time.monotonic() - ended)

        for held in (0.05, 0.35, 0.41, 0.47, 0.53):  # by then SQLite itself would look every tenth of a second
            async with first.begin():
                waiting = asyncio.ensure_future(wait())
                await asyncio.sleep(held)
            ended = time.monotonic()
            await waiting
        await first.close()
        await second.close()
        return sorted(delays)[len(delays) // 2]

    assert asyncio.run(work()) < 0.02


def test_a_writer_does_not_wait_longer_than_it_may(tmp_path: Path) -> None:
    async def work() -> float:
        first, second = two(tmp_path, 0.3)
        async with first.begin():
            began = time.monotonic()
            with pytest.raises(DatabaseUnavailable, match="locked"):
                async with second.begin():
                    pass
            waited = time.monotonic() - began
        async with second.begin():  # and is as good as before
            pass
        await first.close()
        await second.close()
        return waited

    assert 0.3 <= asyncio.run(work()) < 2
