"""The free space of a directory, less what running uploads have announced.

Two uploads never count on the same bytes: the second is refused before it has written them. This holds for all
workers of a service. What other nodes have written counts, what they are going to write does not.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from ferrotype.model.errors import StoreFull
from ferrotype.offload import Totals

#: Seconds between two looks whether another worker has removed the data of an upload that failed.
REMOVAL_POLL = 0.05
#: An upload of unknown size claims space in steps: bytes at most, and the part of what is available.
LARGEST_STEP, STEP_PART = 64 * 1024 * 1024, 64


class Space:
    """The space of one directory. ``totals`` are the numbers that all workers keep together."""

    def __init__(self, path: Path, totals: Totals):
        self.path, self._totals = path, totals
        #: free when the file system was last asked, and what had been written until then
        self._capacity = 0
        #: bytes that were ever written to the directory
        self.written = totals.column()
        #: claimed and not yet written
        self.claimed = totals.column()
        #: failed uploads whose data is being removed
        self.removing = totals.column()
        self._removed = asyncio.Event()

    @property
    def available(self) -> int:
        """Bytes that were free at the last update, and that no upload has written or claimed since."""
        return self._capacity - self.written.sum - self.claimed.sum

    def locked(self) -> AbstractContextManager[None]:
        """Let no other worker look at the space, and claim some, meanwhile."""
        return self._totals.locked()

    async def update(self, ask: Callable[[], Awaitable[int]]) -> None:
        """Take over what the file system answers; what is written meanwhile counts as if it came after the answer."""
        written = self.written.sum
        self._capacity = await ask() + written

    def claim(self, size: int) -> "Claim | None":
        """Begin an upload that has announced ``size`` bytes; return None when there is not so much."""
        claim = Claim(self)
        return claim if claim.try_add(size, size) else None

    async def wait_for_removal(self) -> bool:
        """Wait until the data of an upload that failed is removed; return False at once when there is none."""
        if not self.removing.sum:
            return False
        with suppress(TimeoutError):  # Another worker is removing it.
            await asyncio.wait_for(self._removed.wait(), REMOVAL_POLL)
        return True

    def end_removal(self) -> None:
        """Wake those who wait for the space of an upload that failed."""
        self.removing.add(-1)
        self._removed.set()
        self._removed.clear()


class Claim:
    """What one upload has claimed of a directory's space."""

    def __init__(self, space: Space):
        self._space = space
        #: claimed and not yet written
        self._left = 0
        self._is_removing = False

    def try_add(self, least: int, most: int) -> bool:
        """Claim from ``least`` to ``most`` bytes more, most of them if so much is available; return False if not."""
        with self._space.locked():
            available = self._space.available
            if available < least:
                return False
            self._add(max(least, min(most, available // STEP_PART)))
            return True

    def _add(self, size: int) -> None:
        self._left += size
        self._space.claimed.add(size)

    async def need(self, size: int, update: Callable[[], Awaitable[None]]) -> None:
        """Claim what is missing for the next ``size`` bytes; raise StoreFull when the directory has not so much.

        While the data of a failed upload is being removed its space is waited for: of several uploads that need the
        last bytes, one after another fails until there is enough for the rest.
        """
        while (missing := size - self._left) > 0:
            await update()
            if not self.try_add(missing, LARGEST_STEP) and not await self._space.wait_for_removal():
                self.begin_removal()
                raise StoreFull(f"No space left for {missing} more bytes in {self._space.path}")

    def written(self, size: int) -> None:
        """Note that ``size`` of the claimed bytes are in the file system."""
        self._add(-size)
        self._space.written.add(size)

    def begin_removal(self) -> None:
        """Let others wait for the space of this upload, which has failed, until ``end``."""
        if not self._is_removing:
            self._is_removing = True
            self._space.removing.add(1)

    def end(self) -> None:
        """Release what was not written."""
        self._add(-self._left)
        if self._is_removing:
            self._space.end_removal()
