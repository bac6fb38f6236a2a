"""The periodic work of every worker: which, and how often."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from ferrotype.background import cleanup
from ferrotype.model.errors import FerrotypeError
from ferrotype.service.context import ServiceContext

log = logging.getLogger("ferrotype.background")

#: Parts of a lease between two renewals, two attempts after one that failed, and two rounds of cleanup.
RENEW_PART, RETRY_PART, CLEANUP_PART = 0.3, 0.03, 0.15
#: Seconds between two probes of the stores, and two checks of policy and account files.
PROBE_PERIOD, REFRESH_PERIOD = 30.0, 2.0


class Periodic(NamedTuple):
    """Work that is repeated every ``seconds``, measured from its end. ``name`` is for the log.

    ``at_once``: the first run is at the start, and not after the first period.
    """

    name: str
    seconds: float
    run: Callable[[], Awaitable[None]]
    at_once: bool = False


def schedule(current: Callable[[], ServiceContext], refresh_files: Callable[[], Awaitable[None]]) -> list[Periodic]:
    """Return the periodic work of one process. ``current`` returns the context in force; each run takes it anew."""
    lease = current().lease

    def deletion(store: str) -> Callable[[], Awaitable[None]]:
        return lambda: cleanup.delete_marked_objects(current(), store)

    return [
        Periodic("lease renewal", lease.seconds * RENEW_PART, lease.renew),
        Periodic("lease renewal", lease.seconds * RETRY_PART, lease.retry),
        Periodic("cleanup", lease.seconds * CLEANUP_PART, lambda: cleanup.run_cleanup(current())),
        *(
            Periodic(f"deletion in store {each.id}", lease.seconds * CLEANUP_PART, deletion(each.id), at_once=True)
            for each in current().stores
        ),
        Periodic("store probe", PROBE_PERIOD, lambda: cleanup.probe_stores(current())),
        Periodic("check of policy and account files", REFRESH_PERIOD, refresh_files),
    ]


def start(work: Iterable[Periodic]) -> list[asyncio.Task[None]]:
    """Start each piece of work in a task of its own."""
    return [asyncio.create_task(_repeat(each)) for each in work]


async def stop(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel the tasks and wait until they have ended."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _repeat(work: Periodic) -> None:
    """Run ``work`` periodically; log an error and go on."""
    if not work.at_once:
        await asyncio.sleep(work.seconds)
    while True:
        try:
            await work.run()
        except FerrotypeError as error:
            log.error("background work failed; will retry: work=%s: %s", work.name, error)
        except Exception:
            log.exception("background work failed; will retry: work=%s", work.name)
        await asyncio.sleep(work.seconds)
