"""Periodic work goes on after a failure, and takes the context in force at each run."""

import asyncio
import logging
from pathlib import Path

import pytest

from ferrotype.background import periodic
from ferrotype.background.periodic import Periodic
from ferrotype.model.errors import Busy
from ferrotype.testing.client import client


def test_a_failure_is_logged_and_the_work_is_repeated(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Exception] = [Busy("the database is offline"), RuntimeError("a bug")]
    done = asyncio.Event()

    async def run() -> None:
        if failures:
            raise failures.pop(0)
        done.set()

    async def until_done() -> None:
        tasks = periodic.start([Periodic("cleanup", 0.001, run)])
        await asyncio.wait_for(done.wait(), 60)
        await periodic.stop(tasks)
        assert all(task.cancelled() for task in tasks)

    with caplog.at_level(logging.ERROR, "ferrotype.background"):
        asyncio.run(until_done())
    assert caplog.messages == [
        "background work failed; will retry: work=cleanup: the database is offline",
        "background work failed; will retry: work=cleanup",
    ]
    assert "RuntimeError: a bug" in caplog.text


def test_each_run_takes_the_context_in_force(tmp_path: Path) -> None:
    with client(tmp_path, background=False) as api:
        asked = []

        def current() -> object:
            asked.append(True)
            return api.application.ctx

        work = {each.name: each for each in periodic.schedule(current, asyncio.sleep)}
        before = len(asked)
        for name in ("cleanup", "store probe"):
            api.run(work[name].run())
        assert len(asked) == before + 2
