"""An upload as its supervisor sees it: which batch the driver works on, and for how long."""

import math
import time
from collections.abc import AsyncIterator

from ferrotype.model.errors import StoreUnavailable
from ferrotype.stores.driver import Batch


class Upload:
    """The batches of an upload on their way to a driver, and what it is doing with them."""

    def __init__(self, batches: AsyncIterator[Batch]):
        self._batches = batches
        #: bytes of the batch that the driver works on
        self.held = 0
        #: since when it works; infinite while it waits for the next batch
        self.since = time.monotonic()
        self.is_abandoned = False

    @property
    def is_reading(self) -> bool:
        """Whether the driver waits for the next batch."""
        return self.since == math.inf

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        if self.is_abandoned:  # An end of the data would let the driver finish the object.
            raise StoreUnavailable("the upload was given up")
        self.held, self.since = 0, math.inf
        try:
            batch = await anext(self._batches)
            self.held = sum(map(len, batch))
            return batch
        finally:
            self.since = time.monotonic()
