"""What every driver does when its back end fails. The test puts the back end into that condition."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

from ferrotype.model.errors import BlobNotFound, StoreDenied, StoreError, StoreFull, StoreUnavailable
from ferrotype.stores.driver import READ_SIZE, Driver
from ferrotype.testing.store_suite.tools import (
    CONTENTS,
    MIB,
    NAMES,
    TIMEOUT,
    Check,
    content_of,
    expect,
    first_chunk,
    joined,
    names,
    put,
    put_bytes,
    repeated,
    source,
)

#: What is too large for the back end of ``WHEN_FULL``, which has space for at least 4 MiB.
TOO_MUCH = 32 * MIB


async def fails_with(kinds: tuple[type[StoreError], ...], what: str, work: Awaitable[object]) -> StoreError:
    """Return the error of a call that must fail in time, with an error of these kinds and a text for the operator."""
    try:
        async with asyncio.timeout(TIMEOUT):
            await work
    except kinds as error:
        expect(str(error) != "", f"{what}: the text says what is wrong")
        return error
    except StoreError as error:
        raise AssertionError(f"{what} must fail with {_names(kinds)}, not {type(error).__name__}: {error}") from error
    except TimeoutError:
        raise AssertionError(f"{what} must not take longer than {TIMEOUT} s") from None
    raise AssertionError(f"{what} must fail with {_names(kinds)}")


def _names(kinds: tuple[type[StoreError], ...]) -> str:
    return " or ".join(kind.__name__ for kind in kinds)


async def a_full_store_refuses_what_does_not_fit(driver: Driver) -> None:
    """Before or amid the data; nothing is left, and what fits is stored."""
    chunk = os.urandom(MIB)
    for size in (TOO_MUCH, None):
        for _ in range(2):
            await fails_with(
                (StoreFull,), "a put that does not fit", put(driver, NAMES[0], repeated(chunk, TOO_MUCH), size)
            )
            expect(await names(driver) == [], "a put that does not fit leaves nothing")
    handle = await put_bytes(driver, NAMES[0], chunk)
    expect(await content_of(driver, handle) == chunk, "what fits is stored")
    await fails_with((StoreFull,), "a put that does not fit", put(driver, NAMES[1], repeated(chunk, TOO_MUCH), None))
    expect(await content_of(driver, handle) == chunk, "what was stored before stays")
    await driver.delete(NAMES[0], handle)
    expect(await names(driver) == [], "objects of a full store can be deleted")


async def a_store_that_denies_writing_says_so(driver: Driver) -> None:
    """By the error of ``put``, and by its health."""
    for content in CONTENTS[:3]:
        for size in (len(joined(content)), None):
            await fails_with((StoreDenied,), "a put that is denied", put(driver, NAMES[0], source(content), size))
    health = await driver.probe()
    expect(not health.writable and bool(health.reason), "a probe reports that writing is denied")
    expect(not health.full, "a store that denies writing is not full")


async def an_unreachable_store_fails_in_time(driver: Driver) -> None:
    """Whatever is asked of it: a StoreUnavailable, never a hanging call, and never a BlobNotFound."""
    handle = driver.parse(driver.url(NAMES[0])) or NAMES[0]

    async def everything_listed() -> list[str]:
        return [each.name async for each in driver.list()]

    for what, work in (
        ("put", lambda: put(driver, NAMES[0], source([[b"x"]]), 1)),
        ("put of unknown size", lambda: put(driver, NAMES[0], source([[b"x"]]))),
        ("open", lambda: content_of(driver, handle)),
        ("stat", lambda: driver.stat(handle)),
        ("delete", lambda: driver.delete(NAMES[0], handle)),
        ("list", everything_listed),
    ):
        await fails_with((StoreUnavailable,), f"{what} of an unreachable store", work())
    async with asyncio.timeout(TIMEOUT):
        try:
            health = await driver.probe()
        except StoreError:
            return
    expect(not health.writable and bool(health.reason), "a probe reports that the store cannot be reached")


async def a_slow_store_delays_only_its_calls(driver: Driver) -> None:
    """The event loop goes on, and transfers run side by side."""
    gaps: list[float] = []

    async def heart() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            gaps.append(time.monotonic() - before)

    beating = asyncio.ensure_future(heart())
    began = time.monotonic()
    try:
        await put_bytes(driver, NAMES[0], b"first")
        alone = time.monotonic() - began
        began = time.monotonic()
        handles = await asyncio.gather(*(put_bytes(driver, name, name.encode()) for name in NAMES[1:6]))
        found = await asyncio.gather(*(content_of(driver, handle) for handle in handles))
        together = time.monotonic() - began
    finally:
        beating.cancel()
    expect(found == [name.encode() for name in NAMES[1:6]], "a slow store keeps the data")
    expect(alone >= 0.1, "the test must make each call of the back end take some time")
    expect(max(gaps) < max(0.5, alone / 2), f"the event loop stood still for {max(gaps):.2f} s")
    expect(
        together < 5 * alone, f"five transfers took {together:.1f} s, one {alone:.1f} s: they must run side by side"
    )
    writing = asyncio.ensure_future(put_bytes(driver, NAMES[6], b"cancelled"))
    await asyncio.sleep(alone / 3)
    writing.cancel()
    await asyncio.wait([writing], timeout=TIMEOUT)
    expect(writing.done(), "a put that is cancelled ends")
    await driver.delete(NAMES[6], None)
    for name in NAMES[:6]:
        await driver.delete(name, None)
    expect(await names(driver) == [], "whatever is slow is deleted all the same")


def when_cut(cut: Callable[[Driver, str], Awaitable[None]]) -> Check:
    """Return the check of an object that ends too early. ``cut`` is called while the object is being read.

    It makes the back end fail in the middle of the data: drop the connection, or lose the second half.
    """

    async def a_read_that_is_cut_never_gives_wrong_bytes(driver: Driver) -> None:
        """It yields the beginning of the data, and raises a StoreError or ends; what is opened later likewise."""
        data = os.urandom(8 * READ_SIZE + 5)
        handle = await put_bytes(driver, NAMES[0], data)
        opened = await driver.open(handle)
        chunks = opened.read(0, None)
        found = await first_chunk(chunks)
        await cut(driver, handle)
        try:
            async with asyncio.timeout(TIMEOUT):
                async for chunk in chunks:
                    found += chunk
        except StoreError as error:
            expect(str(error) != "", "the text says what is wrong")
        await opened.close()
        expect(data.startswith(found), "bytes before the cut are right, and none come after it")
        try:
            async with asyncio.timeout(TIMEOUT):
                found = await content_of(driver, handle)
                expect(data.startswith(found), "an object that was cut is the beginning of what was stored")
        except StoreError as error:
            expect(not isinstance(error, BlobNotFound) or bool(str(error)), "the text says what is wrong")

    return a_read_that_is_cut_never_gives_wrong_bytes


WHEN_FULL: tuple[Check, ...] = (a_full_store_refuses_what_does_not_fit,)
WHEN_DENIED: tuple[Check, ...] = (a_store_that_denies_writing_says_so,)
WHEN_UNREACHABLE: tuple[Check, ...] = (an_unreachable_store_fails_in_time,)
WHEN_SLOW: tuple[Check, ...] = (a_slow_store_delays_only_its_calls,)
