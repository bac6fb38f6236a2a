"""The lease of this worker: what it is writing is its own as long as the lease is held."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from ferrotype.db import workers
from ferrotype.db.engine import Database, DatabaseUnavailable
from ferrotype.model.errors import Busy
from ferrotype.service.process import identity

log = logging.getLogger("ferrotype.lease")


class Lease:
    """A lease by the database's clock, renewed while the process lives.

    ``writing`` are the ids of the objects that this worker is writing, or whose upload it is rolling back. An object
    that this worker owns in the ledger and that is not among them was interrupted, and is cleaned up. ``cancelled``
    are those among them whose image was deleted meanwhile: their uploads end before the next byte.
    """

    def __init__(self, db: Database):
        self._db = db
        self.worker = ""
        self.held = False
        self.writing: set[str] = set()
        self.cancelled: set[str] = set()

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
        self.worker = uuid.uuid4().hex
        async with self._db.begin(reserved=True) as tx:
            await workers.register(tx, self.worker, identity())
        self.held = True

    async def renew(self) -> None:
        """Renew the lease; when it has lapsed, running uploads end with an error and a new lease begins."""
        worker = self.worker
        try:
            async with self._db.begin(reserved=True) as tx:
                kept = await workers.renew(tx, worker)
        except Exception as error:
            # Other nodes may take our work over from now on, and we could not know: nothing may be finished.
            if self.held:
                log.error("lease renewal failed; uploads are refused until it succeeds: %s", error)
            self.held = False
            if not isinstance(error, DatabaseUnavailable):
                raise
            return
        if worker != self.worker:  # A concurrent renewal found that it had lapsed, and began another one.
            return
        if kept:
            if not self.held:
                log.warning("lease renewed; uploads are accepted again")
            self.held = True
            return
        self.held = False
        log.error("lease lapsed before it was renewed; the uploads of this worker end with an error")
        await self.begin()

    async def retry(self) -> None:
        """Renew at once a lease whose last renewal failed."""
        if not self.held:
            await self.renew()

    def held_by(self, worker: str) -> bool:
        """Return whether ``worker`` is this process with a lease that is held."""
        return self.held and worker == self.worker

    async def ensure_held(self, worker: str) -> None:
        """Renew now, before something becomes final; raise Busy when ``worker``'s lease is lost."""
        if worker == self.worker:
            await self.renew()
        if not self.held_by(worker):
            raise Busy("This node lost its lease on the upload, or its database. Please retry.")

    async def end(self) -> None:
        """End the lease. No upload runs any more."""
        async with self._db.begin(reserved=True) as tx:
            await workers.expire(tx, self.worker)
        self.held = False
