"""What every driver does when a transfer ends before its time."""

import asyncio
from collections.abc import AsyncIterator

from ferrotype.stores.driver import Batch, Driver
from ferrotype.testing.store_suite.tools import (
    CONTENTS,
    MIB,
    NAMES,
    Broken,
    breaking,
    content_of,
    expect,
    in_batches,
    listed,
    names,
    put,
    source,
    stalling,
)


async def a_failing_source_leaves_nothing(driver: Driver) -> None:
    """The source's error propagates, and the name can be used again."""
    for content in CONTENTS:
        for size in (None, 10_000_000):
            try:
                await put(driver, NAMES[0], breaking(content), size)
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


async def an_unfinished_object_is_listed_without_a_handle(driver: Driver) -> None:
    """As soon as the back end holds some of it: after a crash it is found by its name."""
    stalled = asyncio.Event()
    content = in_batches(bytes(24 * MIB))
    writing = asyncio.ensure_future(put(driver, NAMES[0], stalling(content, stalled)))
    await stalled.wait()
    unfinished = [(each.name, each.handle) for each in await listed(driver)]
    writing.cancel()
    await asyncio.wait([writing])
    expect(unfinished == [(NAMES[0], None)], "an unfinished object is listed by its name, without a handle")


async def a_slow_source_is_waited_for(driver: Driver) -> None:
    """Chunks that trickle in are stored, while other calls are answered."""

    async def trickling() -> AsyncIterator[Batch]:
        for number in range(5):
            await asyncio.sleep(0.05)
            yield [b"%d" % number]

    writing = asyncio.ensure_future(put(driver, NAMES[0], trickling()))
    await asyncio.sleep(0.06)
    other = await put(driver, NAMES[1], source([[b"meanwhile"]]))
    expect(not writing.done(), "a put that is quick does not wait for one that is slow")
    expect(await content_of(driver, other) == b"meanwhile", "its data can be read")
    expect(await content_of(driver, await writing) == b"01234", "what trickles in is stored")
