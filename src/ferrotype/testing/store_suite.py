"""What every store driver must do, as checks that are run on one.

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    def test_the_driver_does_what_every_driver_does(check):
        asyncio.run(check(my_driver))

A check gets a driver with nothing in it and raises AssertionError where the driver does not do its part.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from ferrotype.model.errors import BlobDamaged, BlobNotFound, StoreError
from ferrotype.stores.driver import Batch, Driver

Check = Callable[[Driver], Awaitable[None]]

NAMES = tuple(f"6f9619ff-8b86-4d01-b42d-00cf4fc964{number:02x}-0123abcd" for number in range(16))
MIB = 1024 * 1024

#: Contents as the pipe hands them on: lists of pieces of any length.
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
    """What a source raises that breaks."""


async def source(batches: Sequence[Batch]) -> AsyncIterator[Batch]:
    """Yield batches, and let others run in between."""
    for batch in batches:
        yield batch
        await asyncio.sleep(0)


async def breaking(batches: Sequence[Batch]) -> AsyncIterator[Batch]:
    """Yield batches and break."""
    async for batch in source(batches):
        yield batch
    raise Broken


async def stalling(batches: Sequence[Batch], stalled: asyncio.Event) -> AsyncIterator[Batch]:
    """Yield batches and never end."""
    async for batch in source(batches):
        yield batch
    stalled.set()
    await asyncio.Event().wait()


def expect(holds: bool, text: str) -> None:
    """Raise AssertionError with a sentence about what a driver must do."""
    if not holds:
        raise AssertionError(text)


def _joined(content: Sequence[Batch]) -> bytes:
    return b"".join(b"".join(batch) for batch in content)


async def _content(driver: Driver, url: str, size: int) -> bytes | None:
    """Return the whole content of an object; None from a driver that has no local files."""
    file = await driver.get(url, size)
    if file is None:
        return None
    try:
        expect(file.size == size, "a file says how large it is")
        return os.pread(file.fd, size + 1, 0)
    finally:
        file.close()


async def _names(driver: Driver) -> list[str]:
    return sorted([name async for name in driver.names()])


async def what_is_put_comes_back(driver: Driver) -> None:
    """Whatever the batches, and whether the size is known or not."""
    for known in (True, False):
        for name, content in zip(NAMES, CONTENTS, strict=False):
            data = _joined(content)
            url = await driver.put(name, source(content), len(data) if known else None)
            found = await _content(driver, url, len(data))
            expect(found in (None, data), f"{len(data)} bytes must come back as they were put")
            expect(driver.owns(url) == name, "a driver knows its own URLs")
            expect("@" not in url, "a URL holds no credentials")
        expect(await _names(driver) == sorted(NAMES[: len(CONTENTS)]), "every object is listed once")
        for name in NAMES[: len(CONTENTS)]:
            await driver.delete(name)
        expect(await _names(driver) == [], "what was deleted is not listed")


async def any_part_can_be_read(driver: Driver) -> None:
    """Reading at any place gives what is there, and nothing beyond the end."""
    data = os.urandom(100_000)
    file = await driver.get(await driver.put(NAMES[0], source([[data]]), None), len(data))
    if file is None:
        return
    for offset, count in ((0, 1), (99_999, 1), (50_000, 100), (99_990, 100), (100_000, 1)):
        expect(os.pread(file.fd, count, offset) == data[offset : offset + count], f"{count} bytes from {offset}")
    file.close()
    file.close()
    expect(file.fd == -1, "closing once more does nothing")


async def a_source_that_breaks_leaves_nothing(driver: Driver) -> None:
    """The source's own error comes through, and the name can be forgotten."""
    for content in CONTENTS:
        try:
            await driver.put(NAMES[0], breaking(content), None)
        except Broken:
            expect(await _names(driver) == [], "nothing is left of a broken put")
            continue
        raise AssertionError("the error of the source must come through")


async def a_cancelled_put_leaves_nothing(driver: Driver) -> None:
    """At whatever moment it is cancelled."""
    for content in CONTENTS:
        stalled = asyncio.Event()
        writing = asyncio.ensure_future(driver.put(NAMES[0], stalling(content, stalled), None))
        await stalled.wait()
        if content:
            expect(await _names(driver) == [NAMES[0]], "an unfinished object is listed under its name")
        writing.cancel()
        await asyncio.wait([writing])
        expect(writing.cancelled(), "a cancellation comes through")
        expect(await _names(driver) == [], "nothing is left of a cancelled put")
    for delay in range(12):
        writing = asyncio.ensure_future(driver.put(NAMES[0], source([[bytes(100)]] * 3), None))
        await asyncio.sleep(delay / 4000)
        writing.cancel()
        await asyncio.wait([writing])
        if writing.cancelled():
            expect(await _names(driver) == [], "nothing is left of a cancelled put")
        await driver.delete(NAMES[0])


async def an_object_that_exists_is_left_as_it_is(driver: Driver) -> None:
    """A second put of its name fails and harms nothing."""
    url = await driver.put(NAMES[0], source([[b"the first"]]), None)
    try:
        await driver.put(NAMES[0], source([[b"the second, longer"]]), None)
    except StoreError:
        expect(await _content(driver, url, 9) in (None, b"the first"), "the first object stays")
        expect(await _names(driver) == [NAMES[0]], "the first object stays listed")
        return
    raise AssertionError("a name that is taken must be refused")


async def deleting_what_is_absent_is_fine(driver: Driver) -> None:
    """Once, twice, and of names that never were."""
    await driver.put(NAMES[0], source([[b"x"]]), None)
    await driver.put(NAMES[1], source([[b"y"]]), None)
    for name in (NAMES[0], NAMES[0], NAMES[2]):
        await driver.delete(name)
    expect(await _names(driver) == [NAMES[1]], "only the one that was named is deleted")


async def many_at_once_do_not_meet(driver: Driver) -> None:
    """Objects that are written side by side keep apart."""
    contents = [[[bytes([number]) * 50_000] for _ in range(4)] for number in range(len(NAMES))]
    urls = await asyncio.gather(
        *(driver.put(name, source(content), None) for name, content in zip(NAMES, contents, strict=True))
    )
    for url, content in zip(urls, contents, strict=True):
        expect(await _content(driver, url, 200_000) in (None, _joined(content)), "each has its own bytes")
    await asyncio.gather(*(driver.delete(name) for name in NAMES))
    expect(await _names(driver) == [], "all of them go")


async def what_is_not_there_or_not_right_is_told_apart(driver: Driver) -> None:
    """BlobNotFound, and BlobDamaged for another size than was stored."""
    url = await driver.put(NAMES[0], source([[b"content"]]), 7)
    for size in (6, 8, 0):
        try:
            file = await driver.get(url, size)
        except BlobDamaged:
            continue
        expect(file is None, "an object of another size is damaged")
    await driver.delete(NAMES[0])
    try:
        file = await driver.get(url, 7)
    except BlobNotFound:
        return
    expect(file is None, "an object that is gone is not found")


async def foreign_urls_are_not_its_own(driver: Driver) -> None:
    """Nor is one that only looks like its own."""
    url = await driver.put(NAMES[0], source([[b"x"]]), None)
    scheme, _, rest = url.partition(":")
    foreign = (
        "", "x", "http://example.org/x", f"{scheme}:", f"{scheme}://", f"{scheme}:///{NAMES[0]}", f"other:{rest}",
        "file:///etc/passwd", f"{url}/{NAMES[1]}", f"{url}/../../{NAMES[1]}",
    )  # fmt: skip
    for each in foreign:
        expect(driver.owns(each) is None, f"{each!r} is nobody's")


async def a_probe_says_that_all_is_well_and_leaves_nothing(driver: Driver) -> None:
    """Also the first thing that is ever asked of the driver."""
    health = await driver.probe()
    expect(health.writable and not health.reason, f"an empty store can be written: {health.reason}")
    expect(await _names(driver) == [], "a probe leaves nothing behind")


CHECKS: tuple[Check, ...] = (
    what_is_put_comes_back,
    any_part_can_be_read,
    a_source_that_breaks_leaves_nothing,
    a_cancelled_put_leaves_nothing,
    an_object_that_exists_is_left_as_it_is,
    deleting_what_is_absent_is_fine,
    many_at_once_do_not_meet,
    what_is_not_there_or_not_right_is_told_apart,
    foreign_urls_are_not_its_own,
    a_probe_says_that_all_is_well_and_leaves_nothing,
)
