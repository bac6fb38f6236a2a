"""Stream data from a source to a sink while checking its size, computing digests and inspecting the format.

Data moves in batches of two mebibytes or more: lists of the chunks as they came, never joined. While the sink writes
one batch, threads compute its digests and the next one is read. Whatever is wrong with the data is raised inside the
source, before the sink sees the end: a sink never finishes bad data.
"""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol

import msgspec

from ferrotype.model.blob import Stored
from ferrotype.model.errors import Invalid, OverLimit
from ferrotype.offload import Share, ThreadPools, shielded
from ferrotype.streams.inspect import Findings, Inspector

Batch = Sequence[bytes]

#: Bytes. Smaller batches cost more thread switches, larger ones fall out of the CPU cache.
BATCH = 2 * 1024 * 1024
#: Batches of one transfer that observers may be working on at once.
WINDOW = 4
#: Seconds after which a batch that a slow source has not filled is passed on.
BATCH_TIMEOUT = 1.0
#: Seconds for which a sink may keep its batch once the source has failed. Then it is cancelled.
FAILURE_TIMEOUT = 1.0


class Observer(Protocol):
    """Gets every batch, in a thread; it never blocks and never changes the data."""

    def __call__(self, batch: Batch, /) -> None:
        """Process a batch."""


class Checks(msgspec.Struct, frozen=True):
    """The limits of one transfer, and what is called during it.

    ``most``: more bytes raise OverLimit. ``announced``: another size raises Invalid. ``algorithm``: the digest beside
    md5. ``reserve(total)`` is awaited before so many bytes are passed on. ``check_format`` returns the virtual size,
    or raises. ``before_commit`` is awaited when every byte has passed and before the sink may finish.
    """

    most: int
    announced: int | None
    algorithm: str
    reserve: Callable[[int], Awaitable[None]]
    check_format: Callable[[Findings], int | None]
    before_commit: Callable[[], Awaitable[None]]


async def transfer(
    chunks: AsyncIterator[bytes],
    sink: Callable[[AsyncIterator[Batch]], Awaitable[str]],
    pools: ThreadPools,
    memory: Share,
    checks: Checks,
) -> Stored:
    """Move all of ``chunks`` into ``sink`` and return what is known of the data; or raise, and nothing is kept.

    ``sink`` stores the batches and returns the handle of the object. They count in ``memory``. When the source fails,
    because the client has left for example, a sink that hangs is cancelled.
    """
    md5 = hashlib.md5(usedforsecurity=False)
    digest = md5 if checks.algorithm == "md5" else hashlib.new(checks.algorithm, usedforsecurity=False)
    inspector = Inspector()
    observers: list[Observer] = [_both(inspector.feed, _hashing(digest))]
    if digest is not md5:
        observers.append(_hashing(md5))
    size = 0
    virtual_size: int | None = None
    findings: Findings | None = None
    deadline = asyncio.timeout(None)
    failure: Exception | None = None

    def on_failure(error: Exception) -> None:
        nonlocal failure
        failure = error
        deadline.reschedule(asyncio.get_running_loop().time() + FAILURE_TIMEOUT)

    async def source() -> AsyncGenerator[Batch, None]:
        nonlocal size, virtual_size, findings
        async with (
            aclosing(_batched(chunks, checks, memory)) as batched,
            aclosing(_reserved(batched, checks)) as reserved,
            aclosing(_observed(reserved, observers, pools, memory, on_failure)) as observed,
        ):
            async for batch in observed:
                size += _bytes_in(batch)
                yield batch
        if checks.announced is not None and size != checks.announced:
            raise Invalid(f"The data has {size} bytes, but {checks.announced} were announced.")
        findings = await pools.offload(inspector.finish)
        virtual_size = checks.check_format(findings)
        await checks.before_commit()

    # Closed here and not by the garbage collector, so that nothing is read after this returns.
    async with aclosing(source()) as batches:
        try:
            async with deadline:
                handle = await sink(batches)
        except TimeoutError:
            if failure is None or not deadline.expired():
                raise
            raise failure from None
    if findings is None:
        raise RuntimeError("the sink returned before it had consumed the whole source")
    return Stored(
        handle=handle,
        size=size,
        checksum=md5.hexdigest(),
        hash_algo=checks.algorithm,
        hash_value=digest.hexdigest(),
        findings=msgspec.json.encode(findings).decode(),
        virtual_size=virtual_size,
    )


def _hashing(digest: Any) -> Observer:
    def feed(batch: Batch, /) -> None:
        for chunk in batch:
            digest.update(chunk)

    return feed


def _both(first: Observer, second: Observer) -> Observer:
    def feed(batch: Batch, /) -> None:
        first(batch)
        second(batch)

    return feed


async def _batched(chunks: AsyncIterator[bytes], checks: Checks, memory: Share) -> AsyncGenerator[Batch, None]:
    """Yield the chunks in lists of at least ``BATCH`` bytes; smaller ones at the end, from a slow source, or when
    memory is scarce.

    The first byte beyond a limit raises at once, whatever else may still come.
    """
    batch: list[bytes] = []
    total, size, began = 0, 0, 0.0
    try:
        async for chunk in chunks:
            if not chunk:
                continue
            total += len(chunk)
            if checks.announced is not None and total > checks.announced:
                raise Invalid(f"The data has more than the {checks.announced} bytes that were announced.")
            if total > checks.most:
                raise OverLimit(f"An image may have at most {checks.most} bytes; the data is larger.")
            if not batch:
                began = time.monotonic()
            batch.append(chunk)
            size += len(chunk)
            memory.pending += len(chunk)
            if size >= BATCH or not memory.has_slack or time.monotonic() - began > BATCH_TIMEOUT:
                yield batch
                memory.pending -= size
                batch, size = [], 0
        if batch:
            yield batch
    finally:
        memory.pending -= size


async def _reserved(batches: AsyncIterator[Batch], checks: Checks) -> AsyncGenerator[Batch, None]:
    """Pass batches on once their size is reserved."""
    total = 0
    async for batch in batches:
        total += _bytes_in(batch)
        await checks.reserve(total)
        yield batch


async def _observed(
    batches: AsyncIterator[Batch],
    observers: list[Observer],
    pools: ThreadPools,
    memory: Share,
    on_failure: Callable[[Exception], None],
) -> AsyncGenerator[Batch, None]:
    """Yield every batch while the observers process it in their threads; end when they have processed all.

    The next batch is read meanwhile; ``on_failure`` gets the error when that fails. A batch leaves the budget once
    the sink and all observers are done with it: a transfer that waits for memory must never hold memory that it does
    not use (deadlock).
    """
    queues = [pools.serial_queue() for _ in observers]
    in_flight: deque[asyncio.Task[None]] = deque()

    async def next_batch() -> Batch | None:
        try:
            batch = await anext(batches, None)
        except Exception as error:
            on_failure(error)
            raise
        if batch is not None:
            await memory.acquire(_bytes_in(batch))
        return batch

    async def finished(batch: Batch, outcomes: list[asyncio.Future[None]]) -> None:
        await asyncio.wait(outcomes)
        memory.release(_bytes_in(batch))
        for outcome in outcomes:
            outcome.result()

    async def wind_up() -> None:
        reading.cancel()
        await asyncio.wait([reading, *in_flight])
        for each in in_flight:
            if not each.cancelled():
                each.exception()  # Retrieved: the error that ended us is the one to report.
        if not reading.cancelled() and reading.exception() is None and (unused := reading.result()):
            memory.release(_bytes_in(unused))

    reading = asyncio.create_task(next_batch())
    try:
        while (batch := await reading) is not None:
            outcomes = [queue.submit(observe, batch) for queue, observe in zip(queues, observers, strict=True)]
            reading = asyncio.create_task(next_batch())
            try:
                yield batch
            finally:
                in_flight.append(asyncio.create_task(finished(batch, outcomes)))
            while len(in_flight) >= WINDOW:
                await _oldest(in_flight)
        while in_flight:
            await _oldest(in_flight)
    finally:
        await shielded(wind_up())


async def _oldest(in_flight: deque[asyncio.Task[None]]) -> None:
    """Wait for the first of the tasks without passing a cancellation on to it, and remove it."""
    await asyncio.wait([in_flight[0]])
    in_flight.popleft().result()


def _bytes_in(batch: Batch) -> int:
    return sum(map(len, batch))
