"""Objects in memory: the suite of all drivers, and a limit of bytes."""

import asyncio
from collections.abc import Iterator

import pytest

from ferrotype.config.memory_store import MemoryStore
from ferrotype.model.errors import BlobNotFound, StoreFull
from ferrotype.offload import ThreadPools
from ferrotype.stores.memory import MemoryDriver
from ferrotype.testing.store_suite import CHECKS, NAMES, WHEN_FULL, Check, content_of, name_of, put, source

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


@pytest.mark.parametrize("check", WHEN_FULL, ids=name_of)
def test_full_memory_does_what_every_full_store_does(check: Check, pools: ThreadPools) -> None:
    asyncio.run(check(memory(pools, max_bytes=8 * MIB)))


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
