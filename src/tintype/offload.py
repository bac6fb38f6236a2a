"""Work that would hold up the event loop, done in threads: one door, with an order and a bound.

A *chain* does its pieces of work one after another, in the order they were given, on whichever thread of
the crew is free. A thread that has nothing to do stays with its chain for a moment, so that a few busy
transfers each keep their own threads, while many share what there is.
"""

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

#: Seconds that an idle thread waits for more work of the same chain.
_LINGER = 0.02


async def undisturbed(work: Awaitable[T]) -> T:
    """Await ``work`` to its end even when we are cancelled, and only then let the cancellation through.

    For what must not be abandoned half-way: a commit that was sent, a thread that is writing, an undo.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:  # Asked once more: the work goes on all the same.
                continue
        raise


class Budget:
    """Bytes that may be in memory at once. Whoever wants more waits until others have given back."""

    def __init__(self, size: int):
        self._size, self.used = size, 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self, amount: int) -> None:
        """Wait until ``amount`` more bytes fit. A single piece always fits when nothing else is in use."""
        while self.used and self.used + amount > self._size:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            finally:
                if turn in self._waiting:
                    self._waiting.remove(turn)
        self.used += amount

    def give(self, amount: int) -> None:
        """Give bytes back and wake those who wait."""
        self.used -= amount
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)


def _yield_to_the_loop() -> None:
    """Let this thread step back: whoever waits for an answer goes before whoever moves a gibibyte."""
    if sys.platform == "linux":  # Elsewhere it would be the priority of the whole process.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.nice(0) + 10)


class Crew:
    """A bounded number of threads and bytes for all transfers of a process."""

    def __init__(self, threads: int = 32, memory: int = 128 * 1024 * 1024):
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="crew", initializer=_yield_to_the_loop)
        self.budget = Budget(memory)
        self._lock = threading.Lock()
        self._waiting = 0
        # As many at once as there are processors: more would not be quicker, only in the way of the loop.
        self.turns = threading.Semaphore(len(os.sched_getaffinity(0)))

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        """Run one blocking call in a thread; when we are cancelled it is finished first."""
        return await undisturbed(asyncio.get_running_loop().run_in_executor(self.executor, work, *args))

    def chain(self) -> "Chain":
        """Return a new chain."""
        return Chain(self)

    @property
    def waiting(self) -> int:
        """How many chains have work and found no thread yet."""
        return self._waiting

    def wait_more(self, by: int) -> None:
        """Count chains that wait for a thread; called from the loop and from the threads."""
        with self._lock:
            self._waiting += by

    def close(self) -> None:
        """End the threads after what they are doing."""
        self.executor.shutdown(cancel_futures=True)


class Chain:
    """Pieces of work that are done in order, never two at a time."""

    def __init__(self, crew: Crew):
        self._crew = crew
        self._loop = asyncio.get_running_loop()
        self._work: deque[tuple[Callable[..., Any], tuple[Any, ...], asyncio.Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._running = False

    def submit(self, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Add a piece of work and return its outcome to be awaited."""
        outcome: asyncio.Future[T] = self._loop.create_future()
        with self._changed:
            self._work.append((work, args, outcome))
            if self._running:
                self._changed.notify()
                return outcome
            self._running = True
            self._crew.wait_more(1)
        self._crew.executor.submit(self._run)
        return outcome

    def _run(self) -> None:
        self._crew.wait_more(-1)
        while True:
            with self._changed:
                if not self._work and not self._crew.waiting:
                    self._changed.wait(_LINGER)
                if not self._work:
                    self._running = False
                    return
                work, args, outcome = self._work.popleft()
            try:
                with self._crew.turns:
                    result, error = work(*args), None
            except Exception as failure:  # Handed to whoever awaits the outcome.
                result, error = None, failure
            self._loop.call_soon_threadsafe(_settle, outcome, result, error)


def _settle(outcome: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if outcome.done():
        return
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(result)
