"""The one way for bytes: source -> watched (size, digests, inspector) -> sink.

Bytes move in batches of two mebibytes or more, lists of the chunks as they came, never joined. While a sink
writes one batch the digests of it are made in other threads and the next one is being read. Whatever is
wrong with the data is said inside the source, before the sink sees its end: a sink never finishes bad bytes.
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
from ferrotype.offload import Budget, Crew, undisturbed
from ferrotype.streams.inspect import Findings, Inspector

Batch = Sequence[bytes]

#: Smaller ones cost more switches between threads, larger ones fall out of the processor's cache.
BATCH = 2 * 1024 * 1024
#: Batches that may be on their way through watchers at once, for one transfer.
WINDOW = 4
#: Seconds after which a batch that a slow source has not filled is passed on.
PATIENCE = 1.0


class Watcher(Protocol):
    """Sees every batch, in a thread; never waits, never changes it."""

    def __call__(self, batch: Batch, /) -> None:
        """Take note of a batch."""


class Checks(msgspec.Struct, frozen=True):
    """What one transfer is held to.

    ``most``: bytes that are too many come as OverLimit. ``announced``: another size than this is Invalid.
    ``algorithm``: the digest beside md5. ``room(total)`` is asked before so many bytes are passed on.
    ``judge`` says what the inspected bytes are good for, or raises. ``last`` is awaited when every byte
    has passed and before the sink may finish.
    """

    most: int
    announced: int | None
    algorithm: str
    room: Callable[[int], Awaitable[None]]
    judge: Callable[[Findings], int | None]
    last: Callable[[], Awaitable[None]]


async def transfer(
    chunks: AsyncIterator[bytes],
    sink: Callable[[AsyncIterator[Batch]], Awaitable[str]],
    crew: Crew,
    checks: Checks,
) -> Stored:
    """Move all of ``chunks`` into ``sink`` and return what is known of them; or raise, and nothing is kept."""
    md5 = hashlib.md5(usedforsecurity=False)
    digest = md5 if checks.algorithm == "md5" else hashlib.new(checks.algorithm, usedforsecurity=False)
    inspector = Inspector()
    watchers: list[Watcher] = [_both(inspector.feed, _hashing(digest))]
    if digest is not md5:
        watchers.append(_hashing(md5))
    size = 0
    virtual_size: int | None = None
    findings: Findings | None = None

    async def source() -> AsyncGenerator[Batch, None]:
        nonlocal size, virtual_size, findings
        async with (
            aclosing(_gathered(chunks, checks, crew.budget)) as gathered,
            aclosing(_roomy(gathered, checks)) as roomy,
            aclosing(_watched(roomy, watchers, crew)) as watched,
        ):
            async for batch in watched:
                size += _bytes_in(batch)
                yield batch
        if checks.announced is not None and size != checks.announced:
            raise Invalid(f"{size} bytes came where {checks.announced} were announced.")
        findings = await crew.offload(inspector.finish)
        virtual_size = checks.judge(findings)
        await checks.last()

    # Closed here, not whenever the collector comes by: nothing is read any more once we have ended.
    async with aclosing(source()) as batches:
        url = await sink(batches)
    if findings is None:
        raise RuntimeError("the sink was content before the data had ended")
    return Stored(
        url=url,
        size=size,
        checksum=md5.hexdigest(),
        hash_algo=checks.algorithm,
        hash_value=digest.hexdigest(),
        findings=msgspec.json.encode(findings).decode(),
        virtual_size=virtual_size,
    )


def _hashing(digest: Any) -> Watcher:
    def feed(batch: Batch, /) -> None:
        for chunk in batch:
            digest.update(chunk)

    return feed


def _both(first: Watcher, second: Watcher) -> Watcher:
    def feed(batch: Batch, /) -> None:
        first(batch)
        second(batch)

    return feed


async def _gathered(chunks: AsyncIterator[bytes], checks: Checks, budget: Budget) -> AsyncGenerator[Batch, None]:
    """Yield the chunks in lists of at least ``BATCH`` bytes; smaller ones at the end, from a slow source, or when
    memory is scarce.

    The first byte that is too much ends it at once, whatever else may still come.
    """
    batch: list[bytes] = []
    total, size, began = 0, 0, 0.0
    try:
        async for chunk in chunks:
            if not chunk:
                continue
            total += len(chunk)
            if checks.announced is not None and total > checks.announced:
                raise Invalid(f"More bytes came than the {checks.announced} that were announced.")
            if total > checks.most:
                raise OverLimit(f"The data are larger than the limit of {checks.most} bytes for one image.")
            if not batch:
                began = time.monotonic()
            batch.append(chunk)
            size += len(chunk)
            budget.coming += len(chunk)
            if size >= BATCH or not budget.plenty or time.monotonic() - began > PATIENCE:
                yield batch
                budget.coming -= size
                batch, size = [], 0
        if batch:
            yield batch
    finally:
        budget.coming -= size


async def _roomy(batches: AsyncIterator[Batch], checks: Checks) -> AsyncGenerator[Batch, None]:
    """Pass batches on when there is room for them."""
    total = 0
    async for batch in batches:
        total += _bytes_in(batch)
        await checks.room(total)
        yield batch


async def _watched(batches: AsyncIterator[Batch], watchers: list[Watcher], crew: Crew) -> AsyncGenerator[Batch, None]:
    """Yield every batch while the watchers see it in their threads; end when they have seen all.

    The next batch is read meanwhile. A batch leaves the budget when everybody is done with it, whatever becomes
    of the others: a transfer that waits for memory must never hold any that it does not use.
    """
    chains = [crew.chain() for _ in watchers]
    under_way: deque[asyncio.Task[None]] = deque()

    async def next_batch() -> Batch | None:
        batch = await anext(batches, None)
        if batch is not None:
            await crew.budget.take(_bytes_in(batch))
        return batch

    async def seen(batch: Batch, outcomes: list[asyncio.Future[None]]) -> None:
        await asyncio.wait(outcomes)
        crew.budget.give(_bytes_in(batch))
        for outcome in outcomes:
            outcome.result()

    async def wind_up() -> None:
        reading.cancel()
        await asyncio.wait([reading, *under_way])
        for each in under_way:
            if not each.cancelled():
                each.exception()  # Looked at, so that nobody complains: what ended us is more to the point.
        if not reading.cancelled() and reading.exception() is None and (unused := reading.result()):
            crew.budget.give(_bytes_in(unused))

    reading = asyncio.create_task(next_batch())
    try:
        while (batch := await reading) is not None:
            outcomes = [chain.submit(watch, batch) for chain, watch in zip(chains, watchers, strict=True)]
            reading = asyncio.create_task(next_batch())
            try:
                yield batch
            finally:
                under_way.append(asyncio.create_task(seen(batch, outcomes)))
            while len(under_way) >= WINDOW:
                await _oldest(under_way)
        while under_way:
            await _oldest(under_way)
    finally:
        await undisturbed(wind_up())


async def _oldest(under_way: deque[asyncio.Task[None]]) -> None:
    """Wait for the first of the tasks without passing a cancellation on to it, and take it away."""
    await asyncio.wait([under_way[0]])
    under_way.popleft().result()


def _bytes_in(batch: Batch) -> int:
    return sum(map(len, batch))
