"""Work that would hold up the event loop, done in threads: one door, with an order and a bound.

A *chain* does its pieces of work one after another, in the order they were given, on whichever thread is
free; chains that have more to do than there are threads take turns.
"""

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


async def shielded(work: Awaitable[T]) -> T:
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
        #: bytes that are about to be taken
        self.coming = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def plenty(self) -> bool:
        """Whether most of it is free, so that taking more at once does nobody harm."""
        return self.used + self.coming < self._size // 2

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


class Threads:
    """A bounded number of threads for calls that wait for something. What may hang has some of its own: then only
    those who need it wait with it."""

    def __init__(self, count: int, name: str):
        self.executor = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=_yield_to_the_loop)

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        """Run one blocking call in a thread; when we are cancelled it is finished first."""
        return await shielded(asyncio.get_running_loop().run_in_executor(self.executor, work, *args))

    def close(self) -> None:
        """Begin nothing any more. A call that hangs is not waited for."""
        self.executor.shutdown(wait=False, cancel_futures=True)


class Crew:
    """All threads of a process, and the bytes that its transfers may have in memory.

    What computes has as many threads as there are processors: more would not be quicker, only in the way of the loop.
    """

    def __init__(self, threads: int = 32, memory: int = 128 * 1024 * 1024):
        self.budget = Budget(memory)
        self._rooms: list[Threads] = []
        self._common = self.threads(threads, "crew")
        self._ready: SimpleQueue[Chain | None] = SimpleQueue()
        self._computing: list[threading.Thread] = []

    def threads(self, count: int, name: str) -> Threads:
        """Return new threads, which end with the others."""
        self._rooms.append(Threads(count, name))
        return self._rooms[-1]

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        """Run one blocking call in one of the threads for everything that has none of its own."""
        return await self._common.offload(work, *args)

    def chain(self) -> "Chain":
        """Return a new chain."""
        while len(self._computing) < len(os.sched_getaffinity(0)):
            thread = threading.Thread(target=self._compute, name="computing", daemon=True)
            thread.start()
            self._computing.append(thread)
        return Chain(self._ready)

    def _compute(self) -> None:
        _yield_to_the_loop()
        while (chain := self._ready.get()) is not None:
            chain.step()

    def close(self) -> None:
        """End the threads; those that compute after what they are doing."""
        for room in self._rooms:
            room.close()
        for _ in self._computing:
            self._ready.put(None)
        for thread in self._computing:
            thread.join()


class Chain:
    """Pieces of work that are done in order, never two at a time."""

    def __init__(self, ready: "SimpleQueue[Chain | None]"):
        self._ready = ready
        self._loop = asyncio.get_running_loop()
        self._work: deque[tuple[Callable[..., Any], tuple[Any, ...], asyncio.Future[Any]]] = deque()
        self._lock = threading.Lock()
        self._running = False

    def submit(self, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Add a piece of work and return its outcome to be awaited."""
        outcome: asyncio.Future[T] = self._loop.create_future()
        with self._lock:
            self._work.append((work, args, outcome))
            if self._running:
                return outcome
            self._running = True
        self._ready.put(self)
        return outcome

    def step(self) -> None:
        """Do the next piece of work, and then stand in line again if there is more."""
        work, args, outcome = self._work.popleft()
        try:
            result, error = work(*args), None
        except Exception as failure:  # Handed to whoever awaits the outcome.
            result, error = None, failure
        with suppress(RuntimeError):  # The loop was closed: nobody is there any more to hear it.
            self._loop.call_soon_threadsafe(_settle, outcome, result, error)
        with self._lock:
            self._running = more = bool(self._work)
        if more:  # Not ``_running``: that may be true again because of a piece that has put us in line itself.
            self._ready.put(self)


def _settle(outcome: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if outcome.done():
        return
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(result)
