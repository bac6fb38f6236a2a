"""Drivers of object stores for tests: made for a server, on an event loop that a whole module uses."""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ferrotype.config.s3_store import S3Store
from ferrotype.offload import ThreadPools
from ferrotype.stores.driver import Batch, Driver
from ferrotype.stores.s3 import S3Driver
from ferrotype.testing.object_servers import ObjectServer

T = TypeVar("T")
MIB = 1 << 20
#: The smallest part that S3 allows.
PART = 5 * MIB


class Running:
    """A driver and the loop that runs its calls."""

    def __init__(self, driver: Any, runner: asyncio.Runner):
        self.driver = driver
        self._runner = runner

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of a call."""
        return self._runner.run(work)


def s3_options(server: ObjectServer, **changes: Any) -> S3Store:
    fields: dict[str, Any] = {
        "endpoint": server.endpoint,
        "bucket": server.bucket,
        "access_key": server.access_key,
        "secret_key": server.secret_key,
        "part_size": PART,
        "large_object_size": 2 * PART,
        "parallel_parts": 3,
    }
    return S3Store(**(fields | changes))


@contextmanager
def s3(server: ObjectServer, **changes: Any) -> Iterator[Running]:
    """Run a driver of a server's bucket."""
    pools = ThreadPools(2)
    with asyncio.Runner() as runner:
        yield Running(S3Driver("s3", s3_options(server, **changes), pools), runner)
    pools.close()


async def empty(driver: Driver) -> None:
    """Remove everything from a driver's bucket."""
    for each in [each async for each in driver.list()]:
        await driver.delete(each.name, each.handle)


async def in_batches(data: bytes, size: int = 2 * MIB) -> AsyncIterator[Batch]:
    """Yield data as the pipe does."""
    for start in range(0, len(data), size):
        yield [data[start : start + size]]
        await asyncio.sleep(0)


def content(size: int) -> bytes:
    """Return random data, which differs in every part."""
    return os.urandom(size)
