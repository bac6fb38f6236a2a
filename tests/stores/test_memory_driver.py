"""Objects in memory: the suite of all drivers, and a limit of bytes."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from ferrotype.config.model import StoreConfig
from ferrotype.model.blob import ObjectRef
from ferrotype.model.errors import BlobNotFound, StoreFull
from ferrotype.offload import Crew
from ferrotype.stores.driver import Batch, Driver, Noted
from ferrotype.stores.memory import MemoryDriver
from ferrotype.testing.store_suite import CHECKS, NAMES, Check, content_of, name_of, put, source

MIB = 1 << 20


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    crew = Crew(2)
    yield crew
    crew.close()


def memory(crew: Crew, max_bytes: int = 64 * MIB, store: str = "ram") -> MemoryDriver:
    return MemoryDriver(StoreConfig(store, "memory", options={"max_bytes": max_bytes}), crew)


@pytest.mark.parametrize("store", ["ram", "a store/with:odd@characters"])
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_memory_does_what_every_driver_does(check: Check, store: str, crew: Crew) -> None:
    asyncio.run(check(memory(crew, store=store)))


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


def test_a_driver_that_discards_data_fails_the_suite(crew: Crew) -> None:
    config = StoreConfig("x", "memory", options={"max_bytes": 64 * MIB})
    failed = {check.__name__ for check in CHECKS if fails(check, Discarding(config, crew))}
    assert failed >= {
        "what_is_put_comes_back", "any_part_can_be_read", "reads_of_one_object_run_side_by_side",
        "a_source_that_breaks_leaves_nothing", "an_object_that_exists_is_left_as_it_is",
        "deleting_what_is_absent_is_fine", "concurrent_puts_do_not_mix",
    }  # fmt: skip


def test_it_takes_no_more_than_its_limit(crew: Crew) -> None:
    async def fill() -> None:
        driver = memory(crew, max_bytes=MIB)
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


def test_stores_do_not_share_objects(crew: Crew) -> None:
    async def mix_up() -> None:
        one, other = memory(crew, store="one"), memory(crew, store="other")
        handle = await put(one, NAMES[0], source([[b"x"]]))
        assert other.parse(one.url(handle)) is None
        with pytest.raises(BlobNotFound):
            await other.open(handle)

    asyncio.run(mix_up())
