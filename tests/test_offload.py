"""Work in threads: order, bounds, and completion before cancellation."""

import asyncio
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrotype.offload import MAX_DETACHED, ROWS, Budget, Column, ThreadPools, Totals, shielded


@pytest.fixture
def pools() -> Iterator[ThreadPools]:
    pools = ThreadPools(3)
    yield pools
    pools.close()


async def until_set(event: threading.Event) -> None:
    end = time.monotonic() + 60
    while not event.is_set():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


def test_serial_queue_runs_work_in_order_and_one_at_a_time(pools: ThreadPools) -> None:
    done: dict[int, list[int]] = {number: [] for number in range(8)}
    busy = [0] * 8

    def piece(queue: int, number: int) -> int:
        busy[queue] += 1
        assert busy[queue] == 1
        time.sleep(0.0002)
        done[queue].append(number)
        busy[queue] -= 1
        return number

    async def work() -> None:
        queues = [pools.serial_queue() for _ in done]
        outcomes = []
        for number in range(60):
            outcomes += [queue.submit(piece, index, number) for index, queue in enumerate(queues)]
            if number % 20 == 0:
                await asyncio.wait(outcomes)  # every queue becomes empty
        assert await asyncio.gather(*outcomes) == [number for number in range(60) for _ in queues]

    asyncio.run(asyncio.wait_for(work(), 60))
    assert all(numbers == list(range(60)) for numbers in done.values())


class Crossing:
    """A lock that lets ``meanwhile`` happen when it has just been given back by one of the pools's threads."""

    def __init__(self, meanwhile: Callable[[], object]):
        self._lock, self._meanwhile = threading.Lock(), meanwhile

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if threading.current_thread().name == "computing":
            self._meanwhile()


def test_work_submitted_as_a_serial_queue_drains_schedules_it_once(pools: ThreadPools) -> None:
    later: list[asyncio.Future[str]] = []

    async def work() -> None:
        loop, queue, all_came = asyncio.get_running_loop(), pools.serial_queue(), asyncio.Event()

        async def submit() -> None:
            if len(later) < 20:
                later.append(queue.submit(lambda: "later"))
            else:
                all_came.set()

        queue._lock = Crossing(lambda: asyncio.run_coroutine_threadsafe(submit(), loop).result())  # type: ignore[assignment]
        assert await queue.submit(lambda: "first") == "first"
        await all_came.wait()
        assert await asyncio.gather(*later) == ["later"] * 20
        await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(work(), 60))
    # Twice in line for one piece, and the second thread that comes finds nothing and dies of it.
    assert [thread.is_alive() for thread in pools._computing] == [True] * len(os.sched_getaffinity(0))


def test_serial_queue_continues_after_an_error(pools: ThreadPools) -> None:
    def fail() -> None:
        raise ValueError("no")

    async def work() -> None:
        queue = pools.serial_queue()
        first, second = queue.submit(fail), queue.submit(lambda: "fine")
        with pytest.raises(ValueError, match="no"):
            await first
        assert await second == "fine"

    asyncio.run(work())


def test_more_serial_queues_than_threads_all_make_progress(pools: ThreadPools) -> None:
    async def work() -> None:
        queues = [pools.serial_queue() for _ in range(50)]
        for _ in range(5):
            await asyncio.gather(*(queue.submit(time.sleep, 0.0001) for queue in queues))
            await pools.offload(time.sleep, 0)  # other work comes in between, too

    asyncio.run(asyncio.wait_for(work(), 60))


def test_cancellation_waits_for_work_already_running_in_a_thread(pools: ThreadPools) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        may_end.wait()
        ended.append(True)

    async def work() -> None:
        task = asyncio.ensure_future(pools.offload(slow))
        try:
            await until_set(begun)
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0.01)
                assert not task.done()
        finally:
            may_end.set()
        await asyncio.wait([task])
        assert (task.cancelled(), ended) == (True, [True])

    asyncio.run(work())


def test_shielded_work_ends_and_its_own_error_stays_its_own() -> None:
    log = []

    async def steps(error: bool) -> str:
        await asyncio.sleep(0.02)
        log.append("done")
        if error:
            raise ValueError("its own")
        return "result"

    async def work() -> None:
        assert await shielded(steps(False)) == "result"
        with pytest.raises(ValueError, match="its own"):
            await shielded(steps(True))
        for error in (False, True):
            task = asyncio.ensure_future(shielded(steps(error)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    asyncio.run(work())
    assert len(log) == 4


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40))
def test_budget_is_exceeded_only_by_a_single_oversized_request(amounts: list[int]) -> None:
    budget = Budget(10).share("s")
    peak: list[tuple[int, int]] = []
    using = 0

    async def one(amount: int) -> None:
        nonlocal using
        await budget.acquire(amount)
        using += 1
        peak.append((budget.used, using))
        await asyncio.sleep(0)
        using -= 1
        budget.release(amount)

    async def work() -> None:
        await asyncio.wait_for(asyncio.gather(*map(one, amounts)), 60)

    asyncio.run(work())
    assert budget.used == 0
    assert all(used <= 10 or pieces == 1 for used, pieces in peak)


def test_cancelled_waiter_acquires_nothing_from_the_budget() -> None:
    async def work() -> None:
        budget = Budget(10).share("s")
        await budget.acquire(10)
        waiting = [asyncio.ensure_future(budget.acquire(5)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        budget.release(10)
        waiting[1].cancel()
        await asyncio.wait(waiting)
        assert [task.cancelled() for task in waiting] == [True, True, False]
        assert budget.used == 5
        await asyncio.wait_for(budget.acquire(5), 60)

    asyncio.run(work())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.booleans()), max_size=60))
def test_no_share_takes_what_is_kept_for_the_others(steps: list[tuple[str, int, bool]]) -> None:
    """A quarter of 80 is kept for the two others, 10 for each."""
    budget = Budget(80)
    shares = {name: budget.share(name) for name in "abc"}
    for name, amount, is_release in steps:
        share = shares[name]
        if is_release:
            share.release(min(share.used, amount))
        elif not share.try_acquire(amount):
            others = [max(each.used, 10) for each in shares.values() if each is not share]
            assert share.used + amount > 80 - sum(others)
        assert sum(max(each.used, 10) for each in shares.values()) <= 80
        assert budget.used == sum(each.used for each in shares.values())
    for share in shares.values():
        share.release(share.used)
    assert shares["a"].try_acquire(60) and not shares["a"].try_acquire(1)  # Nearly all of it, and no more.
    assert shares["b"].try_acquire(10) and shares["c"].try_acquire(10)


def test_the_only_share_is_all_of_the_budget() -> None:
    assert Budget(80).share("a").try_acquire(80)


def test_those_who_wait_in_one_share_do_not_delay_another() -> None:
    async def work() -> None:
        budget = Budget(80)
        slow, fast = budget.share("slow"), budget.share("fast")
        await slow.acquire(60)
        waiting = [asyncio.ensure_future(slow.acquire(10)) for _ in range(5)]
        await asyncio.sleep(0)
        assert not slow.has_slack and fast.has_slack
        await asyncio.wait_for(fast.acquire(20), 60)
        assert not any(task.done() for task in waiting)
        assert not slow.try_acquire(1)  # Others came before.
        slow.release(30)
        await asyncio.wait(waiting[:3])
        assert [task.done() for task in waiting] == [True, True, True, False, False]
        fast.release(20)
        await asyncio.sleep(0)
        assert slow.used == 60
        slow.release(20)
        await asyncio.gather(*waiting)

    asyncio.run(asyncio.wait_for(work(), 60))


def test_what_a_hanging_store_keeps_counts_apart_up_to_a_limit() -> None:
    budget = Budget(4 * MAX_DETACHED)
    share, other = budget.share("hanging"), budget.share("other")
    first, second = share.detach(MAX_DETACHED - 1), share.detach(2)
    assert (share.used, other.used, budget.used) == (2, 0, 2)
    first()
    third = share.detach(MAX_DETACHED)
    assert budget.used == 2
    second()
    third()
    assert budget.used == 0 and share.detach(MAX_DETACHED) and budget.used == 0


def test_totals_are_those_of_all_workers_that_live() -> None:
    totals, fork = Totals(), multiprocessing.get_context("fork")
    columns = totals.column(), totals.column()
    with fork.Pool(1, _add, columns) as one, fork.Pool(1, _add, columns) as other:
        other.apply(_sums)  # It has begun.
        assert one.apply(_sums) == other.apply(_sums) == (20, 200)
        one.terminate()
        one.join()
        assert other.apply(_sums) == (10, 100)  # However it ended.
        with fork.Pool(1, _add, columns) as third:  # It gets the row of the one that is dead.
            assert third.apply(_sums) == other.apply(_sums) == (20, 200)
            assert totals._table[ROWS, 0] == 2
    totals.close()


_columns: list[Column] = []


def _add(first: Column, second: Column) -> None:
    first.add(10)
    second.add(100)
    _columns[:] = first, second


def _sums() -> tuple[int, ...]:
    return tuple(each.sum for each in _columns)


def test_only_one_worker_is_in_a_locked_block() -> None:
    totals = Totals()
    with multiprocessing.get_context("fork").Pool(4, _totals.append, (totals,)) as pool:
        pool.map(_increment, range(400), chunksize=1)
    assert totals._table[0, 7] == 400
    totals.close()


_totals: list[Totals] = []


def _increment(_: int) -> None:
    with _totals[0].locked():
        number = _totals[0]._table[0, 7]
        time.sleep(0.0005)
        _totals[0]._table[0, 7] = number + 1


def test_cancelled_work_that_has_not_begun_never_runs(pools: ThreadPools) -> None:
    """A caller that leaves does not wait for threads that hang."""
    go, ran = threading.Event(), []

    async def work() -> None:
        busy = [asyncio.ensure_future(pools.offload(go.wait, 60)) for _ in range(3)]
        await asyncio.sleep(0.01)
        queued = asyncio.ensure_future(pools.offload(ran.append, True))
        await asyncio.sleep(0.01)
        queued.cancel()
        await asyncio.wait([queued], timeout=60)
        assert queued.cancelled()
        go.set()
        await asyncio.wait(busy)
        await pools.offload(time.sleep, 0)

    asyncio.run(work())
    assert ran == []


def test_thread_count_is_bounded(pools: ThreadPools) -> None:
    computing, waiting = set[int](), set[int]()

    def note(threads: set[int]) -> None:
        threads.add(threading.get_ident())
        time.sleep(0.001)

    async def work() -> None:
        queues = [pools.serial_queue() for _ in range(20)]
        await asyncio.gather(
            *(queue.submit(note, computing) for queue in queues), *(pools.offload(note, waiting) for _ in range(20))
        )

    asyncio.run(work())
    assert 1 <= len(computing) <= len(os.sched_getaffinity(0))
    assert 1 <= len(waiting) <= 3
    assert not computing & waiting


def test_close_waits_for_running_work_and_ends_all_threads() -> None:
    before, begun, ended = set(threading.enumerate()), threading.Event(), []

    def slow() -> None:
        begun.set()
        time.sleep(0.05)
        ended.append(True)

    async def work() -> asyncio.Future[None]:
        outcome = pools.serial_queue().submit(slow)
        await until_set(begun)
        return outcome  # no loop is left to receive it

    pools = ThreadPools(2)
    asyncio.run(work())
    pools.close()
    assert ended == [True]
    assert set(threading.enumerate()) <= before
