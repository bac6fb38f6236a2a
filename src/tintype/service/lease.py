"""This process's place among the workers: whatever it has under way is its own as long as its lease lives."""

import logging
import uuid

from tintype.db import workers
from tintype.db.engine import Database, DatabaseUnavailable
from tintype.model.errors import Busy
from tintype.service.process import identity

log = logging.getLogger("tintype.lease")


class Lease:
    """A lease by the database's clock, renewed while the process lives.

    ``writing`` are the ids of the objects that this process is writing now. What the ledger says is ours to
    write and is not in there was broken off, and is cleaned up.
    """

    def __init__(self, db: Database):
        self._db = db
        self.worker = ""
        self.lost = True
        self.writing: set[str] = set()

    async def begin(self) -> None:
        """Enter this process among the workers, under a name that was never used before."""
        self.worker = uuid.uuid4().hex
        async with self._db.begin() as tx:
            await workers.register(tx, self.worker, identity())
        self.lost = False

    async def renew(self) -> None:
        """Prolong the lease; when it has lapsed, everything under way is ended and a new one begins."""
        try:
            async with self._db.begin() as tx:
                kept = await workers.renew(tx, self.worker)
        except DatabaseUnavailable as error:
            # Others may take our work over from now on, and we could not know: nothing may be finished.
            self.lost = True
            log.error("The lease of this worker could not be renewed: %s", error)
            return
        if kept:
            self.lost = False
            return
        self.lost = True
        log.error("This worker was silent for too long and lost its lease; its transfers end with an error.")
        await self.begin()

    def held_by(self, worker: str) -> bool:
        """Tell whether ``worker`` is still this process under a living lease."""
        return not self.lost and worker == self.worker

    async def assure(self, worker: str) -> None:
        """Renew now, before something becomes final; raise Busy when ``worker``'s lease is gone."""
        if worker == self.worker:
            await self.renew()
        if not self.held_by(worker):
            raise Busy("The transfer took too long to be kept safe; please repeat it.")

    async def end(self) -> None:
        """Leave: nothing is under way any more."""
        async with self._db.begin() as tx:
            await workers.expire(tx, self.worker)
        self.lost = True
