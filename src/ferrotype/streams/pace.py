"""Find out whether a store delivers too slowly to be waited for.

Only the time spent waiting for the store counts: a slow client does not make a store slow.
"""

import asyncio
import time
from typing import Any

from ferrotype.model.errors import StoreSlow, StoreUnavailable

#: While another copy of the data is left, so many bytes may take so many seconds of waiting.
SLOW_BYTES = 1 << 20
SLOW_SECONDS = 10.0
#: Seconds of waiting in which the last copy must deliver something.
STALL_SECONDS = 60.0


class Pace:
    """How fast one object comes from its store. ``is_last``: no other copy is left, so any progress will do."""

    def __init__(self, is_last: bool):
        self._is_last = is_last
        self._seconds = STALL_SECONDS if is_last else SLOW_SECONDS
        self._enough = 1 if is_last else SLOW_BYTES
        #: since enough bytes had come
        self._waited = 0.0
        self._bytes = 0

    @property
    def left(self) -> float:
        """The seconds for which the store may still be waited for."""
        return max(0.0, self._seconds - self._waited)

    def add(self, seconds: float, size: int) -> None:
        """Count ``size`` bytes that took ``seconds``; raise StoreSlow, or StoreUnavailable for the last copy."""
        self._waited += seconds
        self._bytes += size
        if self._bytes >= self._enough:
            self._waited, self._bytes = 0.0, 0
        elif self._waited >= self._seconds:
            text = f"the store delivered {self._bytes} bytes in {self._waited:.0f} s"
            raise StoreUnavailable(text) if self._is_last else StoreSlow(text)

    async def wait(self, answer: "asyncio.Future[Any]") -> float:
        """Wait for ``answer``, at most a tenth of what the store may take, and return the seconds that it took.

        The caller then counts what has come so far: within a longer wait the last bytes could hide a stall.
        """
        began = time.monotonic()
        await asyncio.wait([answer], timeout=min(self.left, self._seconds / 10))
        return time.monotonic() - began
