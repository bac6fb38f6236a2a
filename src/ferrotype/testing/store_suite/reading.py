"""What every driver does that can read, whoever wrote the objects."""

import asyncio
import os

from ferrotype.model.errors import BlobNotFound
from ferrotype.stores.driver import READ_SIZE, Driver
from ferrotype.testing.store_suite.tools import NAMES, Check, Place, content_of, expect, first_chunk, named


def reading(place: Place) -> tuple[Check, ...]:
    """Return the checks of reading. ``place`` puts the objects into the back end that are read."""

    async def any_range_can_be_read(driver: Driver) -> None:
        """At any offset; nothing beyond the end."""
        data = os.urandom(2 * READ_SIZE + 1000)
        handle = await place(driver, NAMES[0], data)
        end = len(data)
        parts = (
            (0, 1), (end - 1, 1), (50_000, 100), (end - 10, 100), (end, 1), (READ_SIZE - 1, 2), (0, end),
            (1, end - 2), (READ_SIZE, READ_SIZE), (0, 0), (end - 5, None), (end, None), (0, None),
        )  # fmt: skip
        for offset, count in parts:
            wanted = data[offset:] if count is None else data[offset : offset + count]
            expect(await content_of(driver, handle, offset, count) == wanted, f"{count} bytes from {offset}")

    async def one_object_can_be_read_concurrently(driver: Driver) -> None:
        """Each read returns the right bytes, and closing twice is harmless."""
        data = os.urandom(3 * READ_SIZE)
        opened = await driver.open(await place(driver, NAMES[0], data))
        expect(opened.size in (None, len(data)), "a source tells its size")

        async def part(offset: int) -> bytes:
            return b"".join([chunk async for chunk in opened.read(offset, READ_SIZE + 7)])

        offsets = [number * 100_003 for number in range(16)]
        found = await asyncio.gather(*(part(offset) for offset in offsets))
        for offset, each in zip(offsets, found, strict=True):
            expect(each == data[offset : offset + READ_SIZE + 7], f"the right bytes from {offset}")
        await opened.close()
        await opened.close()

    async def a_cancelled_read_leaves_the_others_alone(driver: Driver) -> None:
        """Whenever it is cancelled, or no longer asked for more."""
        data = os.urandom(3 * READ_SIZE)
        opened = await driver.open(await place(driver, NAMES[0], data))

        async def part(offset: int) -> bytes:
            return b"".join([chunk async for chunk in opened.read(offset, None)])

        for delay in (0.0, 0.0005, 0.002, 0.01):
            reads = [asyncio.ensure_future(part(offset)) for offset in (0, 1, 2 * READ_SIZE + 5)]
            await asyncio.sleep(delay)
            reads[0].cancel()
            await asyncio.wait(reads)
            expect(reads[0].cancelled() or reads[0].result() == data, "a cancellation propagates")
            expect(reads[1].result() == data[1:], "another read is complete")
            expect(reads[2].result() == data[2 * READ_SIZE + 5 :], "another read is complete")
        chunks = opened.read(0, None)
        first = await first_chunk(chunks)
        await chunks.aclose()  # type: ignore[attr-defined]
        expect(data.startswith(first), "the first chunk")
        expect(await part(0) == data, "a read that was given up affects no later one")
        await opened.close()

    async def absent_objects_are_not_found(driver: Driver) -> None:
        """By ``open`` and by ``stat``."""
        handle = await place(driver, NAMES[0], b"content")
        other = driver.parse(driver.url(handle).replace(NAMES[0], NAMES[1]))
        expect(other is not None, "a URL of an object that does not exist is a URL of the store")
        for work in (driver.open, driver.stat):
            try:
                await work(other or "")
            except BlobNotFound:
                continue
            raise AssertionError("an absent object must not be found")

    async def an_empty_object_can_be_read(driver: Driver) -> None:
        """It has no chunk."""
        handle = await place(driver, NAMES[0], b"")
        for offset, count in ((0, None), (0, 1), (1, None), (0, 0)):
            expect(await content_of(driver, handle, offset, count) == b"", "an empty object has no data")
        expect(await driver.stat(handle) in (None, 0), "an empty object has the size 0")

    async def foreign_urls_are_refused(driver: Driver) -> None:
        """Including URLs that resemble the driver's own."""
        url = driver.url(await place(driver, NAMES[0], b"x"))
        scheme, _, rest = url.partition(":")
        foreign = (
            "", "x", f"{scheme}:", f"{scheme}://", f"{scheme}:///{NAMES[0]}", f"other:{rest}",
            "file:///etc/passwd", f"{url}/../../{NAMES[1]}", f"{scheme}://[", "http://[::1",
        )  # fmt: skip
        for each in foreign:
            expect(driver.parse(each) is None, f"{each!r} is no URL of this store")

    checks: tuple[Check, ...] = (
        any_range_can_be_read,
        one_object_can_be_read_concurrently,
        a_cancelled_read_leaves_the_others_alone,
        absent_objects_are_not_found,
        an_empty_object_can_be_read,
        foreign_urls_are_refused,
    )
    return tuple(named(check, getattr(check, "__name__", "check")) for check in checks)
