"""The contract of store drivers, as checks to run on a driver.

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    def test_the_driver_does_what_every_driver_does(check):
        asyncio.run(check(my_driver))

A check gets an empty driver and raises AssertionError if the driver breaks the contract. Stored data is read back,
so a driver that discards data fails every check that stores some.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from ferrotype.model.blob import ObjectRef, image_of
from ferrotype.model.errors import BlobNotFound, StoreError
from ferrotype.stores.driver import READ_SIZE, Batch, Driver, Listed

Check = Callable[[Driver], Awaitable[None]]

NAMES = tuple(f"6f9619ff-8b86-4d01-b42d-00cf4fc964{number:02x}-0123abcd" for number in range(16))
MIB = 1024 * 1024

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


def expect(holds: bool, text: str) -> None:
    """Raise AssertionError with the rule that the driver breaks."""
    if not holds:
        raise AssertionError(text)


def _joined(content: Sequence[Batch]) -> bytes:
    return b"".join(b"".join(batch) for batch in content)


async def ignore_handle(handle: str) -> None:
    """Accept a handle without recording it."""


async def put(driver: Driver, name: str, batches: AsyncIterator[Batch], size: int | None = None) -> str:
    """Store an object of an image without owner and return its handle."""
    return await driver.put(ObjectRef(name, image_of(name), None), batches, size, ignore_handle)


async def content_of(driver: Driver, handle: str, offset: int = 0, count: int | None = None) -> bytes:
    """Return a part of an object; by default, all of it."""
    opened = await driver.open(handle)
    try:
        chunks = [chunk async for chunk in opened.read(offset, count)]
    finally:
        await opened.close()
    expect(all(0 < len(chunk) <= READ_SIZE for chunk in chunks), f"a chunk has 1 to {READ_SIZE} bytes")
    return b"".join(chunks)


async def listed(driver: Driver) -> Sequence[Listed]:
    """Return every object that the driver lists, by name."""
    return sorted([each async for each in driver.list()], key=lambda each: each.name)


async def names(driver: Driver) -> Sequence[str]:
    """Return the name of every object that the driver lists."""
    return [each.name for each in await listed(driver)]


async def stored_data_is_read_back(driver: Driver) -> None:
    """For any batches, with the size known and unknown."""
    for known in (True, False):
        stored = []
        for name, content in zip(NAMES, CONTENTS, strict=False):
            data = _joined(content)
            handle = await put(driver, name, source(content), len(data) if known else None)
            stored.append(Listed(name, handle, len(data)))
            expect(
                await content_of(driver, handle) == data, f"{len(data)} bytes must be read back as they were stored"
            )
            expect(await driver.stat(handle) in (None, len(data)), "stat returns the size")
            expect(0 < len(handle) <= 1024, "a handle has 1 to 1,024 characters")
            url = driver.url(handle)
            expect(driver.parse(url) == handle, "a driver parses its own URLs")
            expect("@" not in url, "a URL holds no credentials")
        expect(await listed(driver) == stored, "every object is listed once, with its handle and size")
        for each in stored:
            await driver.delete(each.name, each.handle if known else None)
        expect(await names(driver) == [], "what was deleted is not listed")


async def any_range_can_be_read(driver: Driver) -> None:
    """At any offset; nothing beyond the end."""
    data = os.urandom(2 * READ_SIZE + 1000)
    handle = await put(driver, NAMES[0], source([[data]]))
    end = len(data)
    parts = (
        (0, 1), (end - 1, 1), (50_000, 100), (end - 10, 100), (end, 1), (READ_SIZE - 1, 2), (0, end), (1, end - 2),
        (READ_SIZE, READ_SIZE), (0, 0), (end - 5, None), (end, None), (0, None),
    )  # fmt: skip
    for offset, count in parts:
        wanted = data[offset:] if count is None else data[offset : offset + count]
        expect(await content_of(driver, handle, offset, count) == wanted, f"{count} bytes from {offset}")


async def one_object_can_be_read_concurrently(driver: Driver) -> None:
    """Each read returns the right bytes, one can be cancelled, and closing twice is harmless."""
    data = os.urandom(3 * READ_SIZE)
    opened = await driver.open(await put(driver, NAMES[0], source([[data]])))
    expect(opened.size in (None, len(data)), "a source tells its size")

    async def part(offset: int) -> bytes:
        return b"".join([chunk async for chunk in opened.read(offset, READ_SIZE + 7)])

    cancelled = asyncio.ensure_future(part(0))
    await asyncio.sleep(0)
    cancelled.cancel()
    offsets = [number * 100_003 for number in range(16)]
    found = await asyncio.gather(*(part(offset) for offset in offsets))
    await asyncio.wait([cancelled])
    for offset, each in zip(offsets, found, strict=True):
        expect(each == data[offset : offset + READ_SIZE + 7], f"the right bytes from {offset}")
    await opened.close()
    await opened.close()


async def a_failing_source_leaves_nothing(driver: Driver) -> None:
    """The source's error propagates, and the name can be used again."""
    for content in CONTENTS:
        try:
            await put(driver, NAMES[0], breaking(content))
        except Broken:
            expect(await names(driver) == [], "a failed put leaves nothing")
            continue
        raise AssertionError("the error of the source must propagate")
    handle = await put(driver, NAMES[0], source([[b"whole"]]))
    expect(await content_of(driver, handle) == b"whole", "a failed put does not affect the next one")


async def a_cancelled_put_leaves_nothing(driver: Driver) -> None:
    """At any moment of the cancellation."""
    for content in CONTENTS:
        stalled = asyncio.Event()
        writing = asyncio.ensure_future(put(driver, NAMES[0], stalling(content, stalled)))
        await stalled.wait()
        unfinished = await listed(driver)
        expect({each.name for each in unfinished} <= {NAMES[0]}, "an unfinished object is listed by its name")
        expect(all(each.handle is None for each in unfinished), "an unfinished object is listed without a handle")
        writing.cancel()
        await asyncio.wait([writing])
        expect(writing.cancelled(), "a cancellation propagates")
        expect(await names(driver) == [], "a cancelled put leaves nothing")
    for delay in range(12):
        writing = asyncio.ensure_future(put(driver, NAMES[0], source([[bytes(100)]] * 3)))
        await asyncio.sleep(delay / 4000)
        writing.cancel()
        await asyncio.wait([writing])
        if writing.cancelled():
            expect(await names(driver) == [], "a cancelled put leaves nothing")
        await driver.delete(NAMES[0], None)


async def an_existing_object_is_never_overwritten(driver: Driver) -> None:
    """A second put of its name fails and changes nothing."""
    handle = await put(driver, NAMES[0], source([[b"the first"]]))
    try:
        await put(driver, NAMES[0], source([[b"the second, longer"]]))
    except StoreError:
        expect(await content_of(driver, handle) == b"the first", "the first object stays")
        expect(await names(driver) == [NAMES[0]], "the first object stays listed")
        return
    raise AssertionError("a name that is taken must be refused")


async def deletes_are_idempotent(driver: Driver) -> None:
    """Repeated, with and without the handle, and for names that never existed."""
    first = await put(driver, NAMES[0], source([[b"x"]]))
    second = await put(driver, NAMES[1], source([[b"y"]]))
    for name, handle in ((NAMES[0], first), (NAMES[0], first), (NAMES[0], None), (NAMES[2], None)):
        await driver.delete(name, handle)
    expect(await names(driver) == [NAMES[1]], "only the one that was named is deleted")
    expect(await content_of(driver, second) == b"y", "the others are unchanged")


async def concurrent_puts_do_not_mix(driver: Driver) -> None:
    """Objects that are written concurrently have their own bytes."""
    contents = [[[bytes([number]) * 50_000] for _ in range(4)] for number in range(len(NAMES))]
    handles = await asyncio.gather(
        *(put(driver, name, source(content)) for name, content in zip(NAMES, contents, strict=True))
    )
    for handle, content in zip(handles, contents, strict=True):
        expect(await content_of(driver, handle) == _joined(content), "each has its own bytes")
    await asyncio.gather(*(driver.delete(name, None) for name in NAMES))
    expect(await names(driver) == [], "all of them are deleted")


async def deleted_objects_are_not_found(driver: Driver) -> None:
    """By ``open`` and by ``stat``."""
    handle = await put(driver, NAMES[0], source([[b"content"]]), 7)
    await driver.delete(NAMES[0], handle)
    for work in (driver.open, driver.stat):
        try:
            await work(handle)
        except BlobNotFound:
            continue
        raise AssertionError("a deleted object must not be found")


async def foreign_urls_are_refused(driver: Driver) -> None:
    """Including URLs that resemble the driver's own."""
    url = driver.url(await put(driver, NAMES[0], source([[b"x"]])))
    scheme, _, rest = url.partition(":")
    foreign = (
        "", "x", "http://example.org/x", f"{scheme}:", f"{scheme}://", f"{scheme}:///{NAMES[0]}", f"other:{rest}",
        "file:///etc/passwd", f"{url}/{NAMES[1]}", f"{url}/../../{NAMES[1]}", f"{scheme}://[", "http://[::1",
    )  # fmt: skip
    for each in foreign:
        expect(driver.parse(each) is None, f"{each!r} is no URL of this store")


async def a_probe_reports_health_and_leaves_nothing(driver: Driver) -> None:
    """Also when it is the first call of the driver."""
    health = await driver.probe()
    expect(health.writable and not health.reason, f"an empty store can be written: {health.reason}")
    expect(await names(driver) == [], "a probe leaves nothing behind")


CHECKS: tuple[Check, ...] = (
    stored_data_is_read_back,
    any_range_can_be_read,
    one_object_can_be_read_concurrently,
    a_failing_source_leaves_nothing,
    a_cancelled_put_leaves_nothing,
    an_existing_object_is_never_overwritten,
    deletes_are_idempotent,
    concurrent_puts_do_not_mix,
    deleted_objects_are_not_found,
    foreign_urls_are_refused,
    a_probe_reports_health_and_leaves_nothing,
)
