"""Memory for parts of objects: an upload in parts holds each one until the server has it.

An upload reserves its memory before it reads the first byte and keeps it to its end. So an upload that waits holds
nothing, and one that does not wait always has what it needs to go on (deadlock).
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ferrotype.model.errors import StoreUnavailable

#: Bytes that the uploads into one store may hold as parts.
PART_MEMORY = 64 * 1024 * 1024
#: Seconds that an upload waits for memory before slow ones are ended, and before it fails.
PATIENCE, MAX_WAIT = 10.0, 60.0
#: An upload that takes longer than this for ``SLOW_BYTES`` is slow.
SLOW_SECONDS = 30.0
SLOW_BYTES = 1024 * 1024


class Reservation:
    """The memory of one upload, and how fast its client makes use of it."""

    def __init__(self, amount: int, limit: asyncio.Timeout):
        self.amount = amount
        self._limit = limit
        self._bytes = 0
        self._since = time.monotonic()

    def moved(self, amount: int) -> None:
        """Count bytes that came from the client."""
        self._bytes += amount
        if self._bytes >= SLOW_BYTES:
            self._bytes, self._since = 0, time.monotonic()

    def end_if_slow(self, seconds: float) -> None:
        """End the upload with StoreUnavailable if its last mebibyte took longer than ``seconds``."""
        if time.monotonic() - self._since > seconds and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())


class PartMemory:
    """The memory for parts of one store."""

    def __init__(self, size: int = PART_MEMORY):
        self.size = self.free = size
        self.patience, self.max_wait, self.slow_seconds = PATIENCE, MAX_WAIT, SLOW_SECONDS
        self._held: set[Reservation] = set()
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    def parallel(self, part: int, most: int) -> int:
        """Return how many parts an upload should have in memory: fewer, the less memory is free."""
        return max(1, min(most, self.free // (2 * part)))

    @asynccontextmanager
    async def reserve(self, amount: int) -> AsyncIterator[Reservation]:
        """Hold ``amount`` bytes during the block; as many as there are, if the amount is larger.

        Raises StoreUnavailable when none become free in time, and when the upload in the block is slow while others
        wait for memory: a few clients that send nothing must not keep all others out (slowloris).
        """
        amount = min(amount, self.size)
        await self._acquire(amount)
        try:
            async with asyncio.timeout(None) as limit:
                held = Reservation(amount, limit)
                self._held.add(held)
                try:
                    yield held
                finally:
                    self._held.discard(held)
        except TimeoutError:
            if not limit.expired():
                raise
            text = "the upload was too slow while others waited for memory. Retry, or use a faster connection"
            raise StoreUnavailable(text) from None
        finally:
            self._release(amount)

    async def _acquire(self, amount: int) -> None:
        if not self._waiting and amount <= self.free:
            self.free -= amount
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, amount))
        began = time.monotonic()
        try:
            while not (await asyncio.wait([turn], timeout=self.patience))[0]:
                for each in self._held:
                    each.end_if_slow(self.slow_seconds)
                if time.monotonic() - began > self.max_wait:
                    raise StoreUnavailable(
                        "too many uploads at once: there is no memory for another one. Retry later"
                    )
        except BaseException:
            if turn.done():  # It was granted just before.
                self._release(amount)
            else:
                self._waiting.remove((turn, amount))
                self._release(0)
            raise

    def _release(self, amount: int) -> None:
        self.free += amount
        while self._waiting and self._waiting[0][1] <= self.free:
            turn, wanted = self._waiting.popleft()
            self.free -= wanted
            turn.set_result(None)
