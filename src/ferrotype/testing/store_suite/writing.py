"""What every driver does with the objects that it stores."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from ferrotype.model.errors import BlobNotFound, StoreError
from ferrotype.stores.driver import READ_SIZE, Batch, Driver, Listed
from ferrotype.testing.store_suite.tools import (
    BATCH,
    CONTENTS,
    GIB,
    KIB,
    MIB,
    NAMES,
    Check,
    content_of,
    delete_all,
    expect,
    first_chunk,
    in_batches,
    joined,
    listed,
    named,
    names,
    object_names,
    put,
    put_bytes,
    repeated,
    source,
)

#: More than one page of any list: S3 and its like return 1,000 names at once.
MANY = 1003


async def stored_data_is_read_back(driver: Driver) -> None:
    """For any batches, with the size known and unknown."""
    for known in (True, False):
        stored = []
        for name, content in zip(NAMES, CONTENTS, strict=False):
            data = joined(content)
            handle = await put(driver, name, source(content), len(data) if known else None)
            stored.append(Listed(name, handle, len(data)))
            what = f"{len(data)} bytes must be read back as they were stored"
            expect(await content_of(driver, handle) == data, what)
            expect(await driver.stat(handle) in (None, len(data)), "stat returns the size")
            expect(0 < len(handle) <= 1024, "a handle has 1 to 1,024 characters")
            url = driver.url(handle)
            expect(driver.parse(url) == handle, "a driver parses its own URLs")
            expect("@" not in url, "a URL holds no credentials")
        expect(await listed(driver) == stored, "every object is listed once, with its handle and size")
        for each in stored:
            await driver.delete(each.name, each.handle if known else None)
        expect(await names(driver) == [], "what was deleted is not listed")


def sizes_around(*borders: int) -> Check:
    """Return a check of sizes at which a driver does something else, such as the size of its parts, in bytes."""

    async def sizes_around_borders(driver: Driver) -> None:
        """Of 0 and 1 byte, and one byte less, as much and one byte more than each border, known and unknown."""
        sizes = sorted({0, 1, *(border + each for border in borders for each in (-1, 0, 1))})
        data = os.urandom(MIB) * (sizes[-1] // MIB + 1)
        for number, size in enumerate(sizes):
            name = NAMES[number % len(NAMES)]
            for announced in (size, None):
                content = in_batches(data[:size])
                handle = await put(driver, name, source(content), announced)
                what = f"{size} bytes, {'announced' if announced is not None else 'not announced'}"
                expect(await content_of(driver, handle) == data[:size], what)
                expect(await driver.stat(handle) in (None, size), f"the size of {what}")
                if size > 1:
                    end = data[max(0, size - 10) : size]
                    expect(await content_of(driver, handle, max(0, size - 10)) == end, f"the end of {what}")
                await driver.delete(name, handle)
        expect(await names(driver) == [], "all of them are deleted")

    title = "_".join(f"{border // KIB}_KiB" for border in borders)
    return named(sizes_around_borders, f"sizes_around_{title}")


async def an_existing_object_is_never_overwritten(driver: Driver) -> None:
    """A second put of its name fails and changes nothing.

    A back end of several places may find out too late: then the second object has a handle of its own.
    """
    handle = await put(driver, NAMES[0], source([[b"the first"]]))
    for size in (20, None):
        try:
            other = await put(driver, NAMES[0], source([[b"the second, longer.."]]), size)
        except StoreError:
            other = None
        expect(other != handle, "a name that is taken must be refused")
        expect(await content_of(driver, handle) == b"the first", "the first object stays")
        expect(NAMES[0] in await names(driver), "the first object stays listed")
    await driver.delete(NAMES[0], None)
    expect(await names(driver) == [], "deleting the name deletes every object of this name")


async def two_writers_of_one_name_never_mix(driver: Driver) -> None:
    """A writer that succeeds finds its own data under its own handle."""
    contents = [bytes([number]) * 300_000 for number in (1, 2)]
    for attempt, name in enumerate(NAMES[:4]):
        puts = (
            put(driver, name, source([[data[:150_000]], [data[150_000:]]]), len(data) if attempt % 2 else None)
            for data in contents
        )
        outcomes = await asyncio.gather(*puts, return_exceptions=True)
        kept = {outcome: data for data, outcome in zip(contents, outcomes, strict=True) if isinstance(outcome, str)}
        succeeded = sum(isinstance(outcome, str) for outcome in outcomes)
        strange = [each for each in outcomes if not isinstance(each, str | StoreError)]
        expect(not strange, f"a writer that loses gets a StoreError, not {strange}")
        expect(len(kept) == succeeded, "at most one writer of an object succeeds")
        for handle, data in kept.items():
            expect(await content_of(driver, handle) == data, "the object is the one that was acknowledged")
        await driver.delete(name, None)
        expect(await names(driver) == [], "deleting the name removes whatever the two have left")


async def deletes_are_idempotent(driver: Driver) -> None:
    """Repeated, with and without the handle, and for names that never existed."""
    first = await put(driver, NAMES[0], source([[b"x"]]))
    second = await put(driver, NAMES[1], source([[b"y"]]))
    for name, handle in ((NAMES[0], first), (NAMES[0], first), (NAMES[0], None), (NAMES[2], None)):
        await driver.delete(name, handle)
    expect(await names(driver) == [NAMES[1]], "only the one that was named is deleted")
    expect(await content_of(driver, second) == b"y", "the others are unchanged")


async def names_that_begin_alike_are_different(driver: Driver) -> None:
    """Also where one name is the beginning of another, and up to 200 characters long."""
    whole = NAMES[0]
    alike = ("0", "a", "a-", "a-0", whole[:-1], whole, f"{whole}0", f"{whole}-0", "z" * 200)
    stored = [Listed(name, await put(driver, name, source([[name.encode()]])), len(name)) for name in alike]
    expect(await listed(driver) == sorted(stored, key=lambda each: each.name), "each is listed with its own size")
    for each in stored:
        expect(await content_of(driver, each.handle or "") == each.name.encode(), f"{each.name} has its own data")
    left = list(alike)
    for name in ("a", whole, whole[:-1], *alike):
        await driver.delete(name, None)
        left = [each for each in left if each != name]
        expect(await names(driver) == sorted(left), f"deleting {name!r} deletes no other object")


async def many_objects_are_listed(driver: Driver) -> None:
    """More than a thousand, each once, while others come and go."""
    wanted = object_names(MANY)
    for start in range(0, MANY, 32):
        await asyncio.gather(*(put(driver, name, source([[b"x"]]), 1) for name in wanted[start : start + 32]))
    expect(await names(driver) == list(wanted), f"all of {MANY} objects are listed once")
    found = []
    async for each in driver.list():
        found.append(each.name)
        if len(found) == 500:
            await driver.delete(wanted[-1], None)
            await put(driver, f"{wanted[-1]}f", source([[b"x"]]), 1)
    expect(set(found) >= set(wanted[:-1]), "an object that stays is listed whatever happens to others")
    expect(len(found) == len(set(found)), "no object is listed twice")
    await delete_all(driver, (*wanted, f"{wanted[-1]}f"))
    expect(await names(driver) == [], "all of them are deleted")


async def concurrent_puts_do_not_mix(driver: Driver) -> None:
    """Objects that are written concurrently have their own bytes."""
    contents = [[[bytes([number]) * 50_000] for _ in range(4)] for number in range(len(NAMES))]
    handles = await asyncio.gather(
        *(put(driver, name, source(content)) for name, content in zip(NAMES, contents, strict=True))
    )
    for handle, content in zip(handles, contents, strict=True):
        expect(await content_of(driver, handle) == joined(content), "each has its own bytes")
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


async def deleting_while_reading_never_gives_wrong_bytes(driver: Driver) -> None:
    """A read that goes on ends with all of the data, or with a StoreError."""
    data = os.urandom(4 * READ_SIZE + 77)
    handle = await put_bytes(driver, NAMES[0], data)
    opened = await driver.open(handle)
    chunks = opened.read(0, None)
    found = await first_chunk(chunks)
    await driver.delete(NAMES[0], handle)
    try:
        async for chunk in chunks:
            found += chunk
        complete = True
    except StoreError:
        complete = False
    expect(found == data if complete else data.startswith(found), "the bytes are those that were stored, all of them")
    await opened.close()
    expect(await names(driver) == [], "the object is deleted though it was being read")


async def a_probe_reports_health_and_leaves_nothing(driver: Driver) -> None:
    """Also when it is the first call of the driver."""
    health = await driver.probe()
    expect(health.writable and not health.reason, f"an empty store can be written: {health.reason}")
    expect(await names(driver) == [], "a probe leaves nothing behind")


async def properties_can_be_shown(driver: Driver) -> None:
    """They are values of JSON, and known before anything else is asked."""
    shown = (str, int, float, bool, type(None), list, tuple)
    for key, value in driver.properties.items():
        expect(isinstance(key, str) and isinstance(value, shown), f"{key!r} is {type(value).__name__}")


def bounded_memory(limit: int, size: int = 160 * MIB) -> Check:
    """Return a check that storing and reading ``size`` bytes needs at most ``limit`` bytes more than before."""

    async def memory_is_bounded(driver: Driver) -> None:
        """With the size known and unknown."""
        chunk = os.urandom(MIB)
        for number, announced in enumerate((size, None)):
            expect(size > 2 * limit, "the data must be larger than the limit")
            before = _reset_peak()
            handle = await put(driver, NAMES[number], repeated(chunk, size), announced)
            opened = await driver.open(handle)
            length = 0
            async for each in opened.read(0, None):
                length += len(each)
            await opened.close()
            grown = _peak() - before
            expect(length == size, "everything is read back")
            expect(grown <= limit, f"{size >> 20} MiB took {grown >> 20} MiB of memory, at most {limit >> 20} may be")
            await driver.delete(NAMES[number], handle)

    return memory_is_bounded


def _reset_peak() -> int:
    """Let the peak of this process's memory begin again, and return it, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * KIB


async def objects_of_several_gibibytes_are_stored(driver: Driver) -> None:
    """Zeros with some data in them: the size unknown, the whole read back, and ranges at every mark."""
    size, mark = 5 * GIB + 12345, b"<a mark>"
    marks = {at: mark + b"%015d" % at for at in (0, 2**31 - 5, 2**32 - 5, 3 * GIB, size - 23)}
    zeros = bytes(MIB)

    def content(start: int, length: int) -> bytes:
        within = {at: text for at, text in marks.items() if start - len(text) < at < start + length}
        if not within:
            return zeros[:length]
        data = bytearray(length)
        for at, text in within.items():
            for number, byte in enumerate(text):
                if 0 <= at + number - start < length:
                    data[at + number - start] = byte
        return bytes(data)

    wanted, found = hashlib.sha1(usedforsecurity=False), hashlib.sha1(usedforsecurity=False)

    async def batches() -> AsyncIterator[Batch]:
        for start in range(0, size, BATCH):
            batch = [content(at, min(MIB, size - at)) for at in range(start, min(start + BATCH, size), MIB)]
            for chunk in batch:
                wanted.update(chunk)
            yield batch
            await asyncio.sleep(0)

    handle = await put(driver, NAMES[0], batches())
    expect(await driver.stat(handle) in (None, size), "the size")
    opened = await driver.open(handle)
    length = 0
    async for chunk in opened.read(0, None):
        found.update(chunk)
        length += len(chunk)
    await opened.close()
    expect(length == size and found.digest() == wanted.digest(), "everything is read back")
    for at, text in marks.items():
        expect(await content_of(driver, handle, at, len(text)) == text, f"the data at {at}")
    await driver.delete(NAMES[0], handle)
    expect(await names(driver) == [], "it is deleted")
