"""The free space of a directory, less what running uploads have announced.

Two uploads never count on the same bytes: the second is refused before it has written them. This holds for the
uploads of one process. What other processes have written counts, what they are going to write does not.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from ferrotype.model.errors import StoreFull

#: An upload of unknown size claims space in steps: bytes at most, and the part of what is available.
LARGEST_STEP, STEP_PART = 64 * 1024 * 1024, 64


class Space:
    """The space of one directory."""

    def __init__(self, path: Path):
        self.path = path
        #: free when the file system was last asked, and what had been written until then
        self._capacity = 0
        #: bytes that this process has written to the directory, ever
        self._written = 0
        #: claimed and not yet written
        self._claimed = 0
        #: failed uploads whose data is being removed
        self._removing = 0
        self._removed = asyncio.Event()

    @property
    def available(self) -> int:
        """Bytes that were free at the last update, and that nobody has written or claimed since."""
        return self._capacity - self._written - self._claimed

    async def update(self, ask: Callable[[], Awaitable[int]]) -> None:
        """Take over what the file system answers; what is written meanwhile counts as if it came after the answer."""
        written = self._written
        self._capacity = await ask() + written

    def claim(self, size: int) -> "Claim":
        """Begin an upload that has announced ``size`` bytes."""
        claim = Claim(self)
        claim.add(size)
        return claim


class Claim:
    """What one upload has claimed of a directory's space."""

    def __init__(self, space: Space):
        self._space = space
        #: claimed and not yet written
        self._left = 0
        self._is_removing = False

    def add(self, size: int) -> None:
        """Claim ``size`` bytes more, or less."""
        self._left += size
        self._space._claimed += size

    async def need(self, size: int, update: Callable[[], Awaitable[None]]) -> None:
        """Claim what is missing for the next ``size`` bytes; raise StoreFull when the directory has not so much.

        While the data of a failed upload is being removed its space is waited for: of several uploads that need the
        last bytes, one after another fails until there is enough for the rest.
        """
        while (missing := size - self._left) > 0:
            await update()
            available = self._space.available
            if available >= missing:
                self.add(max(missing, min(LARGEST_STEP, available // STEP_PART)))
            elif self._space._removing:
                await self._space._removed.wait()
            else:
                self.begin_removal()
                raise StoreFull(f"No space left for {missing} more bytes in {self._space.path}")

    def written(self, size: int) -> None:
        """Note that ``size`` of the claimed bytes are in the file system."""
        self.add(-size)
        self._space._written += size

    def begin_removal(self) -> None:
        """Let others wait for the space of this upload, which has failed, until ``end``."""
        if not self._is_removing:
            self._is_removing = True
            self._space._removing += 1

    def end(self) -> None:
        """Release what was not written."""
        self.add(-self._left)
        if self._is_removing:
            self._space._removing -= 1
            self._space._removed.set()
            self._space._removed.clear()
