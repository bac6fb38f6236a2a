"""A bound on the images of a project where Keystone has no limits: they cost no storage quota (SEC-89, QUO-12)."""

import time
from collections.abc import Callable

from ferrotype.db import usage
from ferrotype.db.engine import Connection
from ferrotype.model.errors import OverLimit

#: Images that a process lets a project create, at most, between two counts.
MOST_UNCOUNTED = 1000
#: Processes that may create images of one project at once without exceeding the quota.
PROCESSES = 16
#: Seconds for which a project that has reached the quota is refused without being counted again.
REFUSED_FOR = 1.0
#: Projects that are remembered.
MOST_PROJECTS = 10_000


class RecordQuota:
    """Counts the images of a project now and then, so that creating one costs no count and no lock.

    Between two counts a process lets through a sixteenth of what is free: up to 16 processes together stay within
    the quota, and more of them exceed it by little.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._uncounted: dict[str, int] = {}
        self._refused_until: dict[str, float] = {}

    async def check(self, connection: Connection, project: str | None, quota: int) -> None:
        """Raise OverLimit when the project has ``quota`` images; 0 is no limit."""
        account = project or ""
        if not quota:
            return
        if (left := self._uncounted.get(account, 0)) > 0:
            self._uncounted[account] = left - 1
            return
        if self._clock() < self._refused_until.get(account, 0):
            raise _over(quota)
        free = quota - await usage.count_images(connection, project, quota)
        if len(self._uncounted) + len(self._refused_until) > MOST_PROJECTS:
            self._uncounted.clear()
            self._refused_until.clear()
        if free <= 0:
            self._refused_until[account] = self._clock() + REFUSED_FOR
            raise _over(quota)
        self._uncounted[account] = min(MOST_UNCOUNTED, max(0, free // PROCESSES - 1))  # and the one of now


def _over(quota: int) -> OverLimit:
    return OverLimit(f"The project has {quota} images, which is its limit (image_count_quota); delete some first.")
