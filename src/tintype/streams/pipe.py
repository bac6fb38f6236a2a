"""The one way for bytes: source -> watched (size, digests, inspector) -> sink.

Bytes move in batches of a mebibyte or more, lists of the chunks as they came, never joined. While a sink
writes one batch the digests of it are made in other threads and the next one is being read. Whatever is
wrong with the data is said inside the source, before the sink sees its end: a sink never finishes bad bytes.
"""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from tintype.model.blob import Stored
from tintype.model.errors import Invalid, OverLimit
from tintype.offload import Crew
from tintype.streams.inspect import Findings, Inspector

Batch = Sequence[bytes]

BATCH = 1024 * 1024
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
    watchers: list[Watcher] = [_hashing(md5), inspector.feed]
    if digest is not md5:
        watchers.append(_hashing(digest))
    size = 0
    virtual_size: int | None = None
    findings: Findings | None = None

    async def source() -> AsyncIterator[Batch]:
        nonlocal size, virtual_size, findings
        async for batch in _watched(_sized(_gathered(chunks), checks), watchers, crew):
            size += sum(map(len, batch))
            yield batch
        if checks.announced is not None and size != checks.announced:
            raise Invalid(f"{size} bytes came where {checks.announced} were announced.")
        findings = await crew.offload(inspector.finish)
        virtual_size = checks.judge(findings)
        await checks.last()

    url = await sink(source())
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


async def _gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[Batch]:
    """Yield the chunks in lists of at least ``BATCH`` bytes; smaller ones at the end or from a slow source."""
    batch: list[bytes] = []
    size, began = 0, 0.0
    async for chunk in chunks:
        if not chunk:
            continue
        if not batch:
            began = time.monotonic()
        batch.append(chunk)
        size += len(chunk)
        if size >= BATCH or time.monotonic() - began > PATIENCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def _sized(batches: AsyncIterator[Batch], checks: Checks) -> AsyncIterator[Batch]:
    """Pass batches on while they are within every limit."""
    total = 0
    async for batch in batches:
        total += sum(map(len, batch))
        if checks.announced is not None and total > checks.announced:
            raise Invalid(f"More bytes came than the {checks.announced} that were announced.")
        if total > checks.most:
            raise OverLimit(f"The data are larger than the limit of {checks.most} bytes for one image.")
        await checks.room(total)
        yield batch


async def _watched(batches: AsyncIterator[Batch], watchers: list[Watcher], crew: Crew) -> AsyncIterator[Batch]:
    """Yield every batch while the watchers see it in their threads; end when they have seen all."""
    chains = [crew.chain() for _ in watchers]
    ahead: asyncio.Queue[Batch | Exception | None] = asyncio.Queue(1)
    pending: deque[tuple[int, list[asyncio.Future[None]]]] = deque()
    held = 0

    async def read_ahead() -> None:
        nonlocal held
        try:
            async for batch in batches:
                amount = sum(map(len, batch))
                await crew.budget.take(amount)
                held += amount
                await ahead.put(batch)
            await ahead.put(None)
        except Exception as error:  # Raised again where the sink is waiting for bytes.
            await ahead.put(error)

    async def seen() -> None:
        nonlocal held
        amount, outcomes = pending.popleft()
        for outcome in outcomes:
            await outcome
        held -= amount
        crew.budget.give(amount)

    reader = asyncio.ensure_future(read_ahead())
    try:
        while (batch := await ahead.get()) is not None:
            if isinstance(batch, Exception):
                raise batch
            outcomes = [chain.submit(watch, batch) for chain, watch in zip(chains, watchers, strict=True)]
            pending.append((sum(map(len, batch)), outcomes))
            yield batch
            while len(pending) >= WINDOW:
                await seen()
        while pending:
            await seen()
    finally:
        reader.cancel()
        await asyncio.wait([reader])
        unseen = [outcome for _, outcomes in pending for outcome in outcomes]
        if unseen:
            await asyncio.wait(unseen)
        if held:
            crew.budget.give(held)
