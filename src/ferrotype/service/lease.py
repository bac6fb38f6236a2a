"""This process's place among the workers: whatever it has under way is its own as long as its lease lives."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from ferrotype.db import workers
from ferrotype.db.engine import Database, DatabaseUnavailable
from ferrotype.model.errors import Busy
from ferrotype.service.process import identity

log = logging.getLogger("ferrotype.lease")

#: Transfers that one process takes on at once.
SLOTS = 512


class Lease:
    """A lease by the database's clock, renewed while the process lives.

    ``writing`` are the ids of the objects that this process is writing now, or whose writing it is taking back.
    What the ledger says is ours to write and is not in there was broken off, and is cleaned up. ``unwanted`` are
    those among them whose image was deleted meanwhile: their transfers end before the next byte.
    """

    def __init__(self, db: Database):
        self._db = db
        self.worker = ""
        self.lost = True
        self.writing: set[str] = set()
        self.unwanted: set[str] = set()

    @contextmanager
    def under_way(self) -> Iterator[str]:
        """Yield the id of an object that is going to be written; when the block ends, it is not any more.

        Raises Busy when nothing can be begun now.
        """
        if self.lost:
            raise Busy("This node cannot reach its database; please repeat the transfer later.")
        if len(self.writing) >= SLOTS:
            raise Busy("This node has as many transfers as it can take; please repeat this one later.")
        blob_id = uuid.uuid4().hex
        self.writing.add(blob_id)
        try:
            yield blob_id
        finally:
            self.writing.discard(blob_id)
            self.unwanted.discard(blob_id)

    async def begin(self) -> None:
        """Enter this process among the workers, under a name that was never used before."""
        self.worker = uuid.uuid4().hex
        async with self._db.begin(reserved=True) as tx:
            await workers.register(tx, self.worker, identity())
        self.lost = False

    async def renew(self) -> None:
        """Prolong the lease; when it has lapsed, everything under way is ended and a new one begins."""
        worker = self.worker
        try:
            async with self._db.begin(reserved=True) as tx:
                kept = await workers.renew(tx, worker)
        except Exception as error:
            # Others may take our work over from now on, and we could not know: nothing may be finished.
            if not self.lost:
                log.error("The lease of this worker could not be renewed, so nothing is uploaded: %s", error)
            self.lost = True
            if not isinstance(error, DatabaseUnavailable):
                raise
            return
        if worker != self.worker:  # Somebody else found that it had lapsed, and began another one.
            return
        if kept:
            if self.lost:
                log.warning("The lease of this worker is renewed again.")
            self.lost = False
            return
        self.lost = True
        log.error("This worker was silent for too long and lost its lease; its transfers end with an error.")
        await self.begin()

    async def regain(self) -> None:
        """Renew a lease that could not be renewed: what is refused meanwhile need not wait for the usual time."""
        if self.lost:
            await self.renew()

    def held_by(self, worker: str) -> bool:
        """Tell whether ``worker`` is still this process under a living lease."""
        return not self.lost and worker == self.worker

    async def assure(self, worker: str) -> None:
        """Renew now, before something becomes final; raise Busy when ``worker``'s lease is gone."""
        if worker == self.worker:
            await self.renew()
        if not self.held_by(worker):
            raise Busy("This node lost its hold on the transfer, or its database; please repeat it.")

    async def end(self) -> None:
        """Leave: nothing is under way any more."""
        async with self._db.begin(reserved=True) as tx:
            await workers.expire(tx, self.worker)
        self.lost = True
