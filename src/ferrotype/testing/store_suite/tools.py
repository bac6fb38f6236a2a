"""Data for the checks, and short forms of what a driver does."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from ferrotype.model.blob import ObjectRef, image_of
from ferrotype.stores.driver import READ_SIZE, Batch, Driver, Listed

Check = Callable[[Driver], Awaitable[None]]
#: Puts an object into the back end and returns its handle. A read-only driver needs help with that.
Place = Callable[[Driver, str, bytes], Awaitable[str]]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
#: Bytes that move together where the service writes (``streams.pipe.BATCH``).
BATCH = 2 * MIB
#: Seconds after which a call of a driver counts as hanging.
TIMEOUT = 60.0


def object_names(count: int) -> tuple[str, ...]:
    """Return names as the service makes them; all of them begin alike."""
    return tuple(f"6f9619ff-8b86-4d01-b42d-00cf4fc964ff-{number:08x}" for number in range(count))


NAMES = object_names(16)

#: Contents as the pipe hands them on: lists of chunks of any length.
CONTENTS: tuple[tuple[tuple[bytes, ...], ...], ...] = (
    (),
    ((b"x",),),
    ((b"one ", b"batch"), (b" and ", b"another")),
    ((os.urandom(MIB), b"", os.urandom(1)), (bytes(MIB),), (b"end",)),
    (tuple(b"%04d" % number for number in range(3000)),),
    ((bytes(MIB),), (bytes(MIB), b"data in between", bytes(MIB))),
    ((b"ends with nothing",), (bytes(4096),)),
)


def name_of(check: Check) -> str:
    """Return a check's name, for the list of tests."""
    return getattr(check, "__name__", "check")


def named(check: Check, name: str) -> Check:
    """Give a check that a function has made its name."""
    check.__name__ = name
    return check


class Broken(Exception):
    """Raised by a failing source."""


async def source(batches: Sequence[Batch]) -> AsyncIterator[Batch]:
    """Yield batches, and yield to the event loop in between."""
    for batch in batches:
        yield batch
        await asyncio.sleep(0)


async def breaking(batches: Sequence[Batch]) -> AsyncIterator[Batch]:
    """Yield batches, then raise Broken."""
    async for batch in source(batches):
        yield batch
    raise Broken


async def stalling(batches: Sequence[Batch], stalled: asyncio.Event) -> AsyncIterator[Batch]:
    """Yield batches, then block forever."""
    async for batch in source(batches):
        yield batch
    stalled.set()
    await asyncio.Event().wait()


async def repeated(chunk: bytes, size: int) -> AsyncIterator[Batch]:
    """Yield ``size`` bytes in batches as the service makes them; the same chunk again and again, so that they cost no
    memory."""
    left = size
    while left:
        batch = [chunk[: min(len(chunk), left - start)] for start in range(0, min(left, BATCH), len(chunk))]
        left -= sum(map(len, batch))
        yield batch
        await asyncio.sleep(0)


def expect(holds: bool, text: str) -> None:
    """Raise AssertionError with the rule that the driver breaks."""
    if not holds:
        raise AssertionError(text)


def joined(content: Sequence[Batch]) -> bytes:
    """Return the data of some batches."""
    return b"".join(b"".join(batch) for batch in content)


def in_batches(data: bytes) -> list[list[bytes]]:
    """Return data as the service would hand it on."""
    return [
        [data[at : min(at + MIB, start + BATCH)] for at in range(start, min(start + BATCH, len(data)), MIB)]
        for start in range(0, len(data), BATCH)
    ]


async def ignore_handle(handle: str) -> None:
    """Accept a handle without recording it."""


async def put(driver: Driver, name: str, batches: AsyncIterator[Batch], size: int | None = None) -> str:
    """Store an object of an image without owner and return its handle."""
    return await driver.put(ObjectRef(name, image_of(name), None), batches, size, ignore_handle)


async def put_bytes(driver: Driver, name: str, data: bytes) -> str:
    """Store data of known size through the driver; the ``Place`` of a driver that writes."""
    return await put(driver, name, source(in_batches(data)), len(data))


async def content_of(driver: Driver, handle: str, offset: int = 0, count: int | None = None) -> bytes:
    """Return a part of an object; by default, all of it."""
    opened = await driver.open(handle)
    try:
        chunks = [chunk async for chunk in opened.read(offset, count)]
    finally:
        await opened.close()
    expect(all(0 < len(chunk) <= READ_SIZE for chunk in chunks), f"a chunk has 1 to {READ_SIZE} bytes")
    return b"".join(chunks)


async def first_chunk(chunks: AsyncIterator[bytes]) -> bytes:
    """Return the first chunk of a read that must have one."""
    chunk = await anext(chunks, b"")
    expect(chunk != b"", "a read of data yields some")
    return chunk


async def listed(driver: Driver) -> Sequence[Listed]:
    """Return every object that the driver lists, by name."""
    return sorted([each async for each in driver.list()], key=lambda each: each.name)


async def names(driver: Driver) -> Sequence[str]:
    """Return the name of every object that the driver lists."""
    return [each.name for each in await listed(driver)]


async def delete_all(driver: Driver, names: Sequence[str]) -> None:
    """Delete objects by their names, some at a time."""
    for start in range(0, len(names), 16):
        await asyncio.gather(*(driver.delete(name, None) for name in names[start : start + 16]))
