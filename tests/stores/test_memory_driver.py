"""Objects in memory: the suite of all drivers, and a limit of bytes."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from ferrotype.config.memory_store import MemoryStore
from ferrotype.model.blob import ObjectRef
from ferrotype.model.errors import BlobNotFound, StoreFull
from ferrotype.offload import ThreadPools
from ferrotype.stores.driver import Batch, Driver, Noted
from ferrotype.stores.memory import MemoryDriver
from ferrotype.testing.store_suite import CHECKS, NAMES, Check, content_of, name_of, put, source

MIB = 1 << 20


@pytest.fixture(scope="module")
def pools() -> Iterator[ThreadPools]:
    pools = ThreadPools(2)
    yield pools
    pools.close()


def memory(pools: ThreadPools, max_bytes: int = 64 * MIB, store: str = "ram") -> MemoryDriver:
    return MemoryDriver(store, MemoryStore(max_bytes), pools)


@pytest.mark.parametrize("store", ["ram", "a store/with:odd@characters"])
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_memory_does_what_every_driver_does(check: Check, store: str, pools: ThreadPools) -> None:
    asyncio.run(check(memory(pools, store=store)))


class Discarding(MemoryDriver):
    """Takes every object and keeps none of its data."""

    async def put(self, object: ObjectRef, batches: AsyncIterator[Batch], size: int | None, noted: Noted) -> str:
        async def nothing() -> AsyncIterator[Batch]:
            async for _ in batches:
                yield []

        return await super().put(object, nothing(), size, noted)


def fails(check: Check, driver: Driver) -> bool:
    try:
        asyncio.run(check(driver))
    except (AssertionError, BlobNotFound):
        return True
    return False


def test_a_driver_that_discards_data_fails_the_suite(pools: ThreadPools) -> None:
    failed = {check.__name__ for check in CHECKS if fails(check, Discarding("x", MemoryStore(), pools))}
    assert failed >= {
        "stored_data_is_read_back", "any_range_can_be_read", "one_object_can_be_read_concurrently",
        "a_failing_source_leaves_nothing", "an_existing_object_is_never_overwritten",
        "deletes_are_idempotent", "concurrent_puts_do_not_mix",
    }  # fmt: skip


def test_it_takes_no_more_than_its_limit(pools: ThreadPools) -> None:
    async def fill() -> None:
        driver = memory(pools, max_bytes=MIB)
        first = await put(driver, NAMES[0], source([[bytes(MIB - 10)]]))
        assert (await driver.probe()).writable
        with pytest.raises(StoreFull):
            await put(driver, NAMES[1], source([[bytes(11)]]), 11)
        with pytest.raises(StoreFull):
            await put(driver, NAMES[1], source([[bytes(5)], [bytes(6)]]))
        await put(driver, NAMES[1], source([[bytes(10)]]))
        health = await driver.probe()
        assert (health.writable, health.full) == (False, True)
        await driver.delete(NAMES[0], first)
        assert (await driver.probe()).writable
        assert await content_of(driver, NAMES[1]) == bytes(10)

    asyncio.run(fill())


def test_stores_do_not_share_objects(pools: ThreadPools) -> None:
    async def mix_up() -> None:
        one, other = memory(pools, store="one"), memory(pools, store="other")
        handle = await put(one, NAMES[0], source([[b"x"]]))
        assert other.parse(one.url(handle)) is None
        with pytest.raises(BlobNotFound):
            await other.open(handle)

    asyncio.run(mix_up())
