"""Run blocking or CPU-bound work in threads, with bounds and in order; share memory between stores and workers."""

import asyncio
import fcntl
import mmap
import os
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


async def shielded(work: Awaitable[T]) -> T:
    """Await ``work`` to its end even when the caller is cancelled, and only then let the cancellation through.

    For what must not be abandoned half-way: a commit that was sent, a thread that is writing, a rollback.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _end_of(task)
        raise


async def _end_of(work: "asyncio.Future[Any]") -> None:
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:  # Cancelled again: keep waiting.
            continue


#: Bytes that threads may use which a hanging back end keeps, without the stores lacking them.
MAX_DETACHED = 64 * 1024 * 1024


class Budget:
    """An amount that the stores of a process share: bytes of data in memory, or uploads.

    A quarter of it is kept for stores that use little at the moment, in equal parts. One store can have all the rest,
    so a store that is slow or hangs never takes what the others need.
    """

    def __init__(self, size: int):
        self.size = size
        self._shares: dict[str, Share] = {}
        #: what is used or kept, by all shares
        self._committed = self._kept = 0
        self._detached = 0

    @property
    def used(self) -> int:
        """What all shares use."""
        return sum(share.used for share in self._shares.values())

    def share(self, name: str) -> "Share":
        """Return the share of a store, always the same one."""
        if name not in self._shares:
            self._shares[name] = Share(self)
            self._kept = self.size // (4 * max(1, len(self._shares) - 1)) if len(self._shares) > 1 else 0
            self._committed = sum(max(share.used, self._kept) for share in self._shares.values())
        return self._shares[name]

    def limit(self, share: "Share") -> int:
        """Return how much a share may use now."""
        return self.size - self._committed + max(share.used, self._kept)

    def add(self, share: "Share", amount: int) -> None:
        """Add to what a share uses; a negative amount may let others have their turn."""
        self._committed -= max(share.used, self._kept)
        share.used += amount
        self._committed += max(share.used, self._kept)
        if amount < 0:
            for each in self._shares.values():
                each.grant()

    def detach(self, share: "Share", amount: int) -> Callable[[], None]:
        """See ``Share.detach``."""
        if self._detached + amount > MAX_DETACHED:
            self.add(share, amount)
            return lambda: self.add(share, -amount)
        self._detached += amount

        def end() -> None:
            self._detached -= amount

        return end


class Share:
    """What one store has of a budget."""

    def __init__(self, budget: Budget):
        self._budget = budget
        self.used = 0
        #: what is about to be acquired
        self.pending = 0
        #: amounts, by those who wait
        self._waiting: dict[asyncio.Future[None], int] = {}

    @property
    def has_slack(self) -> bool:
        """Whether less than half is in use or pending, so that larger batches delay no other transfer."""
        return self.used + self.pending < self._budget.limit(self) // 2

    def try_acquire(self, amount: int) -> bool:
        """Acquire ``amount`` if it fits now. Any amount fits when nothing of the share is in use."""
        if self._waiting or not self._fits(amount):
            return False
        self._budget.add(self, amount)
        return True

    async def acquire(self, amount: int) -> None:
        """Wait until ``amount`` more fits, behind those who wait already."""
        if self.try_acquire(amount):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = amount
        try:
            await turn
        except asyncio.CancelledError:
            if self._waiting.pop(turn, None) is None:  # It was granted just before.
                self.release(amount)
            else:
                self.grant()
            raise

    def release(self, amount: int) -> None:
        """Return what was acquired."""
        self._budget.add(self, -amount)

    def detach(self, amount: int) -> Callable[[], None]:
        """Count apart what a hanging back end keeps, until the returned function is called.

        Other stores lack nothing meanwhile. Beyond ``MAX_DETACHED`` of all stores, it counts as used.
        """
        return self._budget.detach(self, amount)

    def grant(self) -> None:
        """Let those have their turn for whom there is enough, in order."""
        for turn, amount in list(self._waiting.items()):
            if turn.cancelled():  # It leaves in a moment.
                continue
            if not self._fits(amount):
                return
            del self._waiting[turn]
            self._budget.add(self, amount)
            turn.set_result(None)

    def _fits(self, amount: int) -> bool:
        return not self.used or self.used + amount <= self._budget.limit(self)


#: Workers, and numbers that each may have.
ROWS, COLUMNS = 256, 4096


class Totals:
    """Memory that workers inherit by ``fork``: a row for each worker. The parent counts nothing.

    A worker holds a lock on its row as long as it lives, however it ends: what a dead one has left does not count.
    """

    def __init__(self) -> None:
        self._locks = os.memfd_create("totals")
        # Pages that are never written take no memory.
        self._table = memoryview(mmap.mmap(-1, 8 * (ROWS + 1) * COLUMNS)).cast("q", (ROWS + 1, COLUMNS))
        self._columns = 0
        self._row = -1

    def column(self) -> "Column":
        """Return the next column. Every worker must ask for the same ones in the same order."""
        self._columns += 1
        if self._columns > COLUMNS:
            raise RuntimeError(f"more than {COLUMNS} numbers are kept")
        return Column(self, self._columns - 1)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other worker into such a block meanwhile. It must not wait for anything."""
        fcntl.lockf(self._locks, fcntl.LOCK_EX, 1, ROWS)
        try:
            yield
        finally:
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, ROWS)

    def add(self, column: int, amount: int) -> None:
        """Add to this worker's number."""
        if self._row < 0:
            self._row = next(row for row in range(ROWS) if self._take(row))
            self._table[ROWS, 0] = max(self._table[ROWS, 0], self._row + 1)  # Rows that were ever used.
        self._table[self._row, column] += amount

    def sum(self, column: int) -> int:
        """Return the sum of all workers that live."""
        total = 0
        for row in range(self._table[ROWS, 0]):
            if (number := self._table[row, column]) and row != self._row and self._take(row):
                fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, row)
            else:
                total += number
        return total

    def close(self) -> None:
        """End what this worker has counted; what it counts later is lost."""
        os.close(self._locks)

    def _take(self, row: int) -> bool:
        """Lock a row and clear it; return False when it belongs to a worker that lives."""
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row)
        except OSError:
            return False
        for column in range(COLUMNS):
            if self._table[row, column]:
                self._table[row, column] = 0
        return True


class Column:
    """One number of each worker."""

    def __init__(self, totals: Totals, index: int):
        self.totals, self._index = totals, index

    def add(self, amount: int) -> None:
        """Add to this worker's number."""
        self.totals.add(self._index, amount)

    @property
    def sum(self) -> int:
        """The sum of all workers that live."""
        return self.totals.sum(self._index)


def _lower_priority() -> None:
    """Let the event loop run before this thread: answers to requests come before moving gibibytes."""
    if sys.platform == "linux":  # Elsewhere it would be the priority of the whole process.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.nice(0) + 10)


class ThreadPool:
    """A bounded number of threads for blocking calls. A back end that may hang has a pool of its own, so that only
    the requests that need it wait with it."""

    def __init__(self, count: int, name: str):
        self.executor = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=_lower_priority)

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        """Run one blocking call in a thread. A cancelled caller waits for its end, unless it has not begun: then it
        never does."""
        call = self.executor.submit(work, *args)
        outcome = asyncio.wrap_future(call)
        try:
            return await asyncio.shield(outcome)
        except asyncio.CancelledError:
            if not call.cancel():
                await _end_of(outcome)
            raise

    def close(self) -> None:
        """Start no more calls. A call that hangs is not waited for."""
        self.executor.shutdown(wait=False, cancel_futures=True)


class ThreadPools:
    """All threads of a process, and the bytes of data that its transfers may have in memory.

    CPU-bound work has as many threads as the process may use CPUs: more would only delay the event loop. ``totals``
    are what all workers of the service count together; default is a process that is alone.
    """

    def __init__(self, threads: int = 32, memory: int = 128 * 1024 * 1024, totals: Totals | None = None):
        self.budget = Budget(memory)
        self.totals = totals or Totals()
        self._pools: list[ThreadPool] = []
        self._common = self.new_pool(threads, "common")
        self._ready: SimpleQueue[SerialQueue | None] = SimpleQueue()
        self._computing: list[threading.Thread] = []

    def new_pool(self, count: int, name: str) -> ThreadPool:
        """Return a new pool, which is closed with the others."""
        self._pools.append(ThreadPool(count, name))
        return self._pools[-1]

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        """Run one blocking call in the common pool."""
        return await self._common.offload(work, *args)

    def serial_queue(self) -> "SerialQueue":
        """Return a new queue for CPU-bound work."""
        while len(self._computing) < len(os.sched_getaffinity(0)):
            thread = threading.Thread(target=self._compute, name="computing", daemon=True)
            thread.start()
            self._computing.append(thread)
        return SerialQueue(self._ready)

    def _compute(self) -> None:
        _lower_priority()
        while (queue := self._ready.get()) is not None:
            queue.step()

    def close(self) -> None:
        """End the threads; those for CPU-bound work after their current piece. Nothing is counted any more."""
        self.totals.close()
        for pool in self._pools:
            pool.close()
        for _ in self._computing:
            self._ready.put(None)
        for thread in self._computing:
            thread.join()


class SerialQueue:
    """Pieces of CPU-bound work that run one after another, in order, on whichever thread is free.

    Queues that have more to do than there are threads take turns.
    """

    def __init__(self, ready: "SimpleQueue[SerialQueue | None]"):
        self._ready = ready
        self._loop = asyncio.get_running_loop()
        self._work: deque[tuple[Callable[..., Any], tuple[Any, ...], asyncio.Future[Any]]] = deque()
        self._lock = threading.Lock()
        self._scheduled = False

    def submit(self, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Add a piece of work and return its outcome to be awaited."""
        outcome: asyncio.Future[T] = self._loop.create_future()
        with self._lock:
            self._work.append((work, args, outcome))
            if self._scheduled:
                return outcome
            self._scheduled = True
        self._ready.put(self)
        return outcome

    def step(self) -> None:
        """Run the next piece of work, and schedule the queue again if there is more."""
        work, args, outcome = self._work.popleft()
        try:
            result, error = work(*args), None
        except Exception as failure:  # Passed on to the caller that awaits the outcome.
            result, error = None, failure
        with suppress(RuntimeError):  # The loop is closed: nothing awaits the outcome any more.
            self._loop.call_soon_threadsafe(_set_outcome, outcome, result, error)
        with self._lock:
            self._scheduled = more = bool(self._work)
        if more:  # Not ``_scheduled``: ``submit`` may have set it again, and has put the queue into ``_ready``.
            self._ready.put(self)


def _set_outcome(outcome: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if outcome.done():
        return
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(result)
