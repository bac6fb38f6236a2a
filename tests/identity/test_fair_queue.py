"""Whose turn it is when more work waits than can be done at once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ferrotype.identity.fair_queue import FairQueue, Job, QueueFull


class Work:
    """Pieces of work that end in the order in which they began, and that note when they did."""

    def __init__(self, slots: int = 1, limit: int = 100):
        self.queue: FairQueue[str] = FairQueue(slots, limit)
        self.begun: list[str] = []
        self._running: list[asyncio.Future[str]] = []

    def submit(self, name: str, client: str = "a", kind: str = "") -> Job[str]:
        return self.queue.submit(client, kind, self._start(name))

    def _start(self, name: str) -> Callable[[], Awaitable[str]]:
        def start() -> asyncio.Future[str]:
            self.begun.append(name)
            self._running.append(asyncio.get_running_loop().create_future())
            return self._running[-1]

        return start

    async def end_all(self) -> list[str]:
        while self._running:
            self._running.pop(0).set_result("")
            for _ in range(3):
                await asyncio.sleep(0)
        return self.begun


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


def test_clients_take_turns() -> None:
    async def test() -> None:
        work = Work()
        for number in range(4):
            work.submit(f"a{number}", "a")
        work.submit("b0", "b")
        work.submit("b1", "b")
        work.submit("c0", "c")
        assert await work.end_all() == ["a0", "a1", "b0", "c0", "a2", "b1", "a3"]

    run(test)


def test_kinds_of_a_client_take_turns_and_get_no_more_than_its_turn() -> None:
    async def test() -> None:
        work = Work()
        for number in range(5):
            work.submit(f"a{number}", "a", f"{number % 2}")
        for number in range(2):
            work.submit(f"b{number}", "b", "0")
        assert await work.end_all() == ["a0", "a1", "b0", "a2", "b1", "a3", "a4"]

    run(test)


def test_only_so_much_runs_at_once() -> None:
    async def test() -> None:
        work = Work(slots=3)
        for number in range(5):
            work.submit(str(number))
        assert work.begun == ["0", "1", "2"]
        assert len(await work.end_all()) == 5

    run(test)


def test_a_full_queue_makes_room_for_whoever_has_less() -> None:
    async def test() -> None:
        work = Work(limit=5)
        mine = [work.submit(f"a{number}", "a") for number in range(5)]
        with pytest.raises(QueueFull):
            work.submit("a5", "a")
        work.submit("b0", "b")
        with pytest.raises(QueueFull):
            await mine[-1].outcome
        work.submit("c0", "c")
        with pytest.raises(QueueFull):
            work.submit("a5", "a")
        assert await work.end_all() == ["a0", "a1", "b0", "c0", "a2"]

    run(test)


def test_a_full_queue_makes_room_for_another_kind_of_the_same_client() -> None:
    async def test() -> None:
        work = Work(limit=5)
        guesses = [work.submit(f"guess {number}", "", "alice") for number in range(5)]
        work.submit("bob", "", "bob")
        with pytest.raises(QueueFull):
            await guesses[-1].outcome
        assert await work.end_all() == ["guess 0", "guess 1", "bob", "guess 2", "guess 3"]

    run(test)


def test_work_that_is_withdrawn_does_not_begin() -> None:
    async def test() -> None:
        work = Work()
        jobs = [work.submit(str(number)) for number in range(3)]
        assert work.queue.withdraw(jobs[1])
        assert not work.queue.withdraw(jobs[1]) and not work.queue.withdraw(jobs[0])
        assert await work.end_all() == ["0", "2"]

    run(test)


def test_an_error_of_the_work_is_its_outcome_and_others_go_on() -> None:
    async def fails() -> str:
        raise ZeroDivisionError

    async def test() -> None:
        work = Work()
        broken = work.queue.submit("a", "", fails)
        work.submit("next")
        with pytest.raises(ZeroDivisionError):
            await broken.outcome
        assert await work.end_all() == ["next"]

    run(test)
