"""The lease of this worker: what it is writing is its own as long as the lease is held (RUL-75)."""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from ferrotype.db import workers
from ferrotype.db.engine import Database, DatabaseUnavailable
from ferrotype.db.workers import Worker
from ferrotype.model.errors import Busy
from ferrotype.service.process import identity

T = TypeVar("T")

log = logging.getLogger("ferrotype.lease")

#: Parts of a lease: the time before its end at which its worker gives up, so that clocks may run differently and a
#: commit that was sent may arrive; and the age up to which a renewal is recent.
MARGIN, RECENT = 0.15, 0.15
#: Seconds before failed work on the database is tried again at first, and at most; doubled in between.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


def boot_clock() -> float:
    """Return seconds since the machine started. Time in which it was suspended counts."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class WorkerWatch:
    """For how long the counters of other workers have not moved, by this process's own clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._seen: dict[str, tuple[Worker, float]] = {}

    def stalled(self, others: Iterable[Worker]) -> list[Worker]:
        """Return those of ``others``, as just read, that have been the same for a whole lease."""
        now = self._clock()
        seen = {}
        for worker in others:
            before = self._seen.get(worker.id)
            seen[worker.id] = before if before and before[0] == worker else (worker, now)
        self._seen = seen
        return [worker for worker, since in seen.values() if now - since >= worker.lease / 1e6]


class Lease:
    """A lease of ``seconds``, renewed while the process lives. It is held until shortly before others end it.

    ``writing`` are the ids of the objects that this worker is writing, or whose upload it is rolling back. An object
    that this worker owns in the ledger and that is not among them was interrupted, and is cleaned up. ``cancelled``
    are those among them whose image was deleted meanwhile: their uploads end before the next byte.
    """

    def __init__(self, db: Database, seconds: float, clock: Callable[[], float] = boot_clock):
        self._db, self.seconds, self._clock = db, seconds, clock
        self.worker = ""
        self.writing: set[str] = set()
        self.cancelled: set[str] = set()
        #: the other workers
        self.watch = WorkerWatch()
        #: when the last renewal that succeeded began
        self._renewed_at: float | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._failed = False

    @property
    def remaining(self) -> float:
        """Seconds for which the lease is still held; 0 when it is not."""
        if self._renewed_at is None:
            return 0.0
        return max(0.0, self._renewed_at + self.seconds * (1 - MARGIN) - self._clock())

    @property
    def held(self) -> bool:
        """Whether what this worker writes is its own."""
        return self.remaining > 0

    @contextmanager
    def track_upload(self) -> Iterator[str]:
        """Yield the id of an object that is going to be written; it counts as being written until the block ends.

        Raises Busy without a lease.
        """
        if not self.held:
            raise Busy("This node cannot reach its database. Please retry the upload later.")
        blob_id = uuid.uuid4().hex
        self.writing.add(blob_id)
        try:
            yield blob_id
        finally:
            self.writing.discard(blob_id)
            self.cancelled.discard(blob_id)

    async def begin(self) -> None:
        """Register this process as a worker, under an id that was never used before."""
        began, worker = self._clock(), uuid.uuid4().hex
        async with self._db.begin(reserved=True) as tx:
            await workers.register(tx, worker, identity(), int(self.seconds * 1e6))
        self.worker, self._renewed_at, self._failed = worker, began, False

    async def renew(self) -> None:
        """Renew the lease; one renewal at a time serves all who wait (single-flight).

        A renewal that fails is logged, and means nothing as long as the lease is held. When others have ended the
        lease, running uploads end with an error and a new lease begins.
        """
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew())
        await asyncio.shield(self._renewal)

    async def _renew(self) -> None:
        began = self._clock()
        try:
            async with self._db.begin(reserved=True) as tx:
                kept = await workers.renew(tx, self.worker)
        except DatabaseUnavailable as error:
            if not self._failed:
                log.error("lease renewal failed; uploads end in %d s unless it succeeds: %s", self.remaining, error)
            self._failed = True
            return
        if kept:
            if self._failed:
                log.warning("lease renewed")
            self._renewed_at, self._failed = began, False
            return
        self._renewed_at = None
        log.error("lease lapsed before it was renewed; the uploads of this worker end with an error")
        await self.begin()

    async def retry(self) -> None:
        """Renew at once a lease whose last renewal failed."""
        if self._failed or not self.held:
            await self.renew()

    def held_by(self, worker: str) -> bool:
        """Return whether ``worker`` is this process with a lease that is held."""
        return self.held and worker == self.worker

    async def ensure_held(self, worker: str) -> None:
        """Have a lease that was renewed recently, before something becomes final; raise Busy if it is lost.

        A renewal that fails means nothing while the lease is held; the ledger has the last word.
        """
        if worker == self.worker and self.remaining < self.seconds * (1 - MARGIN - RECENT):
            with suppress(TimeoutError):
                await asyncio.wait_for(self.renew(), max(self.remaining, self.seconds * MARGIN))
        if not self.held_by(worker):
            raise Busy("This node lost its lease on the upload, or its database. Please retry.")

    async def persist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return the outcome of work on the database; retry it while the database fails and the lease is held.

        ``work`` must be idempotent: a commit whose answer was lost may have happened.
        """
        pause, deadline = FIRST_PAUSE, self._clock() + self.seconds
        while True:
            try:
                return await work()
            except DatabaseUnavailable:
                if not self.held or self._clock() >= deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def end(self) -> None:
        """End the lease. No upload runs any more."""
        async with self._db.begin(reserved=True) as tx:
            await workers.mark_gone(tx, self.worker)
        self._renewed_at = None
