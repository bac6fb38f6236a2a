"""Work that waits for one of a few slots. Clients take turns, so a flood of one client delays that client alone.

Within a client, kinds of work take turns: names whose passwords are checked, or forms of tokens. When too much waits,
the newest work of the client that has the most is given up.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar

from ferrotype.model.errors import FerrotypeError

V = TypeVar("V")


class QueueFull(FerrotypeError):
    """Too much work waits, and most of it comes from the same client."""


class Job(Generic[V]):
    """A piece of work, and its ``outcome``: a result, the error of the work, or QueueFull."""

    __slots__ = ("client", "kind", "outcome", "start")

    def __init__(self, client: str, kind: str, start: Callable[[], Awaitable[V]]):
        self.client, self.kind, self.start = client, kind, start
        self.outcome: asyncio.Future[V] = asyncio.get_running_loop().create_future()


class FairQueue(Generic[V]):
    """Runs at most ``slots`` jobs at once. ``limit`` jobs may run or wait."""

    def __init__(self, slots: int, limit: int):
        self._slots, self._limit = slots, limit
        self._running = self._waiting = 0
        #: client -> kind -> jobs; the first client and its first kind are next
        self._lanes: dict[str, dict[str, deque[Job[V]]]] = {}

    def submit(self, client: str, kind: str, start: Callable[[], Awaitable[V]]) -> Job[V]:
        """Add a job and return it; raise QueueFull. Its work begins with ``start``, when a slot is free."""
        if self._running + self._waiting >= self._limit:
            self._make_room(client, kind)
        job = Job(client, kind, start)
        self._lanes.setdefault(client, {}).setdefault(kind, deque()).append(job)
        self._waiting += 1
        self._start_next()
        return job

    def withdraw(self, job: Job[V]) -> bool:
        """Give up a job that still waits; return whether it did."""
        jobs = self._lanes.get(job.client, {}).get(job.kind)
        if jobs is None or job not in jobs:
            return False
        jobs.remove(job)
        self._waiting -= 1
        kinds = self._lanes[job.client]
        if not jobs:
            del kinds[job.kind]
        if not kinds:
            del self._lanes[job.client]
        return True

    def close(self) -> None:
        """Give up all jobs that still wait."""
        for kinds in self._lanes.values():
            for jobs in kinds.values():
                for job in jobs:
                    job.outcome.cancel()
        self._lanes.clear()
        self._waiting = 0

    def _make_room(self, client: str, kind: str) -> None:
        """Give up the newest job of the client with the most, or of this client's kind with the most.

        Raise QueueFull where no client with less would gain by it.
        """
        own = self._lanes.get(client, {})
        most = max(self._lanes, key=self._count, default=client)
        if self._count(most) <= self._count(client) + 1:
            most = client
        kinds = self._lanes.get(most, {})
        longest = max(kinds, key=lambda each: len(kinds[each]), default=kind)
        if most == client and len(kinds.get(longest, ())) <= len(own.get(kind, ())) + 1:
            raise QueueFull("too much work waits")
        job = kinds[longest][-1]
        self.withdraw(job)
        job.outcome.set_exception(QueueFull("work of others came first"))

    def _count(self, client: str) -> int:
        return sum(map(len, self._lanes.get(client, {}).values()))

    def _start_next(self) -> None:
        while self._waiting and self._running < self._slots:
            client, kinds = next(iter(self._lanes.items()))
            kind, jobs = next(iter(kinds.items()))
            job = jobs.popleft()
            self._waiting -= 1
            # To the end of their rows: the others are next.
            del self._lanes[client], kinds[kind]
            if jobs:
                kinds[kind] = jobs
            if kinds:
                self._lanes[client] = kinds
            self._running += 1
            asyncio.ensure_future(job.start()).add_done_callback(partial(self._end, job))

    def _end(self, job: Job[V], done: "asyncio.Future[V]") -> None:
        self._running -= 1
        if done.cancelled():
            job.outcome.cancel()
        elif error := done.exception():
            job.outcome.set_exception(error)
        else:
            job.outcome.set_result(done.result())
        self._start_next()
