"""The suite of all drivers: each check notices some driver that breaks the contract, and right ones pass."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import pytest

from ferrotype.config.memory_store import MemoryStore
from ferrotype.model.blob import ObjectRef
from ferrotype.model.errors import BlobNotFound, StoreDenied, StoreError, StoreFull, StoreUnavailable
from ferrotype.offload import ThreadPools
from ferrotype.stores.driver import Batch, Driver, Health, Listed, Noted
from ferrotype.stores.memory import MemoryDriver, MemorySource
from ferrotype.testing.store_suite import (
    CHECKS,
    WHEN_DENIED,
    WHEN_FULL,
    WHEN_SLOW,
    WHEN_UNREACHABLE,
    Check,
    bounded_memory,
    name_of,
    when_cut,
)

MIB = 1 << 20


class Memory(MemoryDriver):
    """A right driver, to be broken below."""

    max_bytes = 256 * MIB

    def __init__(self, pools: ThreadPools):
        super().__init__("x", MemoryStore(self.max_bytes), pools)
        self.lock = asyncio.Lock()
        self.shared: list[bytes] = []

    async def put(self, object: ObjectRef, batches: AsyncIterator[Batch], size: int | None, noted: Noted) -> str:
        return await super().put(object, self.changed(batches), size, noted)

    async def changed(self, batches: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
        async for batch in batches:
            yield batch


class Small(Memory):
    max_bytes = 8 * MIB


# -- broken drivers ---------------------------------------------------------------------------------


class DiscardsData(Memory):
    async def changed(self, batches):
        async for _ in batches:
            yield []


class LosesTheLastByteOfLargeObjects(Memory):
    async def changed(self, batches):
        size = 0
        async for batch in batches:
            size += sum(map(len, batch))
            yield batch if size <= 2 * MIB else [chunk[:-1] for chunk in batch]


class Overwrites(Memory):
    async def put(self, object, batches, size, noted):
        self._objects.pop(object.name, None)
        return await super().put(object, batches, size, noted)


class MixesWriters(Memory):
    async def put(self, object, batches, size, noted):
        async for batch in batches:
            self.shared += batch
            await asyncio.sleep(0)
        self._objects[object.name] = b"".join(self.shared)
        return object.name


class DeletesByPrefix(Memory):
    async def delete(self, name, handle):
        for each in [each for each in self._objects if each.startswith(name)]:
            del self._objects[each]


class DeletesOnce(Memory):
    async def delete(self, name, handle):
        del self._objects[name]


class ListsOnePage(Memory):
    async def list(self):
        for name, data in sorted(self._objects.items())[:1000]:
            yield Listed(name, name, len(data))


class HidesUnfinishedObjects(Memory):
    async def list(self):
        for name, data in list(self._objects.items()):
            yield Listed(name, name, len(data))


class ListsUnfinishedAsFinished(Memory):
    async def list(self):
        async for each in super().list():
            yield Listed(each.name, each.name, each.size)


class KeepsWhatFailed(Memory):
    async def put(self, object, batches, size, noted):
        try:
            return await super().put(object, batches, size, noted)
        except BaseException:
            self._objects[object.name] = b"a part"
            raise


class SwallowsErrorsOfTheSource(Memory):
    async def changed(self, batches):
        try:
            async for batch in batches:
                yield batch
        except Exception:
            return


class OneWriterAtATime(Memory):
    async def put(self, object, batches, size, noted):
        async with self.lock:
            return await super().put(object, batches, size, noted)


class FindsWhatIsAbsent(Memory):
    def _data(self, handle):
        return self._objects.get(handle, b"")


class TakesEmptyForAbsent(Memory):
    def _data(self, handle):
        if not (data := super()._data(handle)):
            raise BlobNotFound(f"{handle} does not exist")
        return data


class TakesEveryURL(Memory):
    def parse(self, url):
        return url.rpartition("/")[2]


class LeavesProbes(Memory):
    async def probe(self):
        self._objects["probe"] = b""
        return Health(True)


class ShowsItself(Memory):
    def __init__(self, pools):
        super().__init__(pools)
        self.properties = {"driver": self}


class WithSource(Memory):
    """Its objects are read through a source of another kind."""

    source: Callable[..., Any]

    async def open(self, handle):
        self._data(handle)
        return type(self).source(self, handle)


class Wrong(MemorySource):
    def __init__(self, driver, handle):
        super().__init__(driver._data(handle))
        self.driver, self.handle, self.position = driver, handle, 0


class OneChunk(Wrong):
    async def read(self, offset, count):
        data = self._data[offset:] if count is None else self._data[offset : offset + count]
        if data:
            yield data


class IgnoresCount(Wrong):
    async def read(self, offset, count):
        async for chunk in super().read(offset, None):
            yield chunk


class OnePosition(Wrong):
    """All reads share a position, as those of one file descriptor do."""

    async def read(self, offset, count):
        self.position = offset
        end = len(self._data) if count is None else offset + count
        while chunk := self._data[self.position : min(end, self.position + MIB)]:
            self.position += len(chunk)
            yield chunk
            await asyncio.sleep(0)


class ClosedByOneCancelledRead(Wrong):
    async def read(self, offset, count):
        try:
            async for chunk in super().read(offset, count):
                yield chunk
                await asyncio.sleep(0.0001)
        except (asyncio.CancelledError, GeneratorExit):
            self._data = b""
            raise


class LooksAgain(Wrong):
    """Whatever is deleted while it is read seems to end, or to be zeros."""

    rest = b""

    async def read(self, offset, count):
        data = self._data
        for start in range(0, len(data), MIB):
            yield data[start : start + MIB] if self.handle in self.driver._objects else self.rest
            await asyncio.sleep(0)


class LooksAgainForZeros(LooksAgain):
    rest = bytes(MIB)


def reading(kind: type) -> type[Memory]:
    return type(kind.__name__, (WithSource,), {"source": lambda driver, handle: kind(driver, handle)})


class StoresWhatFits(Small):
    async def put(self, object, batches, size, noted):
        try:
            return await super().put(object, batches, None, noted)
        except StoreFull:
            return object.name


class FullForEver(Small):
    full = False

    def _check_space(self, size):
        try:
            super()._check_space(size if not self.full else self.max_bytes + 1)
        except StoreFull:
            self.full = True
            raise


class Denied(Memory):
    """A right driver whose back end denies writing."""

    error: type[StoreError] = StoreDenied
    health = Health(False, "the credentials may not write")

    async def put(self, object, batches, size, noted):
        raise self.error("the credentials may not write")

    async def probe(self):
        return self.health


class DeniedAsUnavailable(Denied):
    error = StoreUnavailable


class DeniedAndHealthy(Denied):
    health = Health(True)


class Unreachable(Memory):
    """A right driver without a back end."""

    async def put(self, *_):
        raise StoreUnavailable("nothing answers")

    open = stat = delete = probe = put

    async def list(self):
        raise StoreUnavailable("nothing answers")
        yield


class UnreachableLooksEmpty(Unreachable):
    async def list(self):
        for each in ():
            yield each


class UnreachableLooksAbsent(Unreachable):
    async def open(self, handle):
        raise BlobNotFound("it is not there")


class Slow(Memory):
    """A right driver whose back end takes a tenth of a second for each call."""

    async def put(self, object, batches, size, noted):
        await asyncio.sleep(0.1)
        return await super().put(object, batches, size, noted)

    async def open(self, handle):
        await asyncio.sleep(0.1)
        return await super().open(handle)


class BlocksTheLoop(Memory):
    async def put(self, object, batches, size, noted):
        time.sleep(0.6)  # noqa: ASYNC251
        return await super().put(object, batches, size, noted)


class SlowOneByOne(Slow):
    async def put(self, object, batches, size, noted):
        async with self.lock:
            return await super().put(object, batches, size, noted)


async def lose_the_rest(driver: Driver, handle: str) -> None:
    """Cut an object in memory in half."""
    assert isinstance(driver, Memory)
    driver._objects[handle] = driver._objects[handle][: 4 * MIB]


async def lose_it(driver: Driver, handle: str) -> None:
    """Lose an object in memory."""
    assert isinstance(driver, Memory)
    del driver._objects[handle]


CUT = when_cut(lose_the_rest)
LOST = when_cut(lose_it)
BOUNDED = bounded_memory(32 * MIB, 72 * MIB)

#: Broken drivers, and the checks that must notice each of them.
BROKEN: Mapping[type[Memory], tuple[str, ...]] = {
    DiscardsData: (
        "stored_data_is_read_back", "any_range_can_be_read", "one_object_can_be_read_concurrently",
        "a_cancelled_read_leaves_the_others_alone", "a_failing_source_leaves_nothing",
        "an_existing_object_is_never_overwritten", "deletes_are_idempotent", "concurrent_puts_do_not_mix",
        "deleting_while_reading_never_gives_wrong_bytes", "names_that_begin_alike_are_different",
        "a_slow_source_is_waited_for",
    ),
    LosesTheLastByteOfLargeObjects: ("sizes_around_64_KiB_1024_KiB_2048_KiB_4096_KiB",),
    Overwrites: ("an_existing_object_is_never_overwritten",),
    MixesWriters: ("two_writers_of_one_name_never_mix", "concurrent_puts_do_not_mix"),
    DeletesByPrefix: ("names_that_begin_alike_are_different",),
    DeletesOnce: ("deletes_are_idempotent",),
    ListsOnePage: ("many_objects_are_listed",),
    HidesUnfinishedObjects: ("an_unfinished_object_is_listed_without_a_handle",),
    ListsUnfinishedAsFinished: ("a_cancelled_put_leaves_nothing", "an_unfinished_object_is_listed_without_a_handle"),
    KeepsWhatFailed: ("a_failing_source_leaves_nothing", "a_cancelled_put_leaves_nothing"),
    SwallowsErrorsOfTheSource: ("a_failing_source_leaves_nothing",),
    OneWriterAtATime: ("a_slow_source_is_waited_for",),
    FindsWhatIsAbsent: ("absent_objects_are_not_found", "deleted_objects_are_not_found"),
    TakesEmptyForAbsent: ("an_empty_object_can_be_read", "stored_data_is_read_back"),
    TakesEveryURL: ("foreign_urls_are_refused",),
    LeavesProbes: ("a_probe_reports_health_and_leaves_nothing",),
    ShowsItself: ("properties_can_be_shown",),
    reading(OneChunk): ("any_range_can_be_read",),
    reading(IgnoresCount): ("any_range_can_be_read",),
    reading(OnePosition): ("one_object_can_be_read_concurrently",),
    reading(ClosedByOneCancelledRead): ("a_cancelled_read_leaves_the_others_alone",),
    reading(LooksAgain): ("deleting_while_reading_never_gives_wrong_bytes",),
    reading(LooksAgainForZeros): (
        "deleting_while_reading_never_gives_wrong_bytes", "a_read_that_is_cut_never_gives_wrong_bytes",
    ),
    StoresWhatFits: ("a_full_store_refuses_what_does_not_fit",),
    FullForEver: ("a_full_store_refuses_what_does_not_fit",),
    DeniedAsUnavailable: ("a_store_that_denies_writing_says_so",),
    DeniedAndHealthy: ("a_store_that_denies_writing_says_so",),
    Memory: ("memory_is_bounded",),
    UnreachableLooksEmpty: ("an_unreachable_store_fails_in_time",),
    UnreachableLooksAbsent: ("an_unreachable_store_fails_in_time",),
    BlocksTheLoop: ("a_slow_store_delays_only_its_calls",),
    SlowOneByOne: ("a_slow_store_delays_only_its_calls",),
}  # fmt: skip
EVERY = {
    name_of(check): check
    for check in (*CHECKS, *WHEN_FULL, *WHEN_DENIED, *WHEN_UNREACHABLE, *WHEN_SLOW, LOST, BOUNDED)
}


@pytest.fixture(scope="module")
def pools() -> Iterator[ThreadPools]:
    pools = ThreadPools(2)
    yield pools
    pools.close()


def run(check: Check, driver: type[Memory], pools: ThreadPools) -> None:
    async def checked() -> None:
        await check(driver(pools))

    asyncio.run(checked())


@pytest.mark.parametrize(
    ("driver", "name"),
    [(driver, name) for driver, names in BROKEN.items() for name in names],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_broken_driver_is_noticed(driver: type[Memory], name: str, pools: ThreadPools) -> None:
    with pytest.raises((AssertionError, StoreError, KeyError)):
        run(EVERY[name], driver, pools)


def test_every_check_notices_some_broken_driver() -> None:
    noticed = {name for names in BROKEN.values() for name in names}
    assert EVERY.keys() == noticed


@pytest.mark.parametrize(
    ("driver", "check"),
    [
        *((Memory, check) for check in (*CHECKS, CUT, LOST)),
        *((Small, check) for check in WHEN_FULL),
        *((Denied, check) for check in WHEN_DENIED),
        *((Unreachable, check) for check in WHEN_UNREACHABLE),
        *((Slow, check) for check in WHEN_SLOW),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_right_driver_passes(driver: type[Memory], check: Check, pools: ThreadPools) -> None:
    run(check, driver, pools)


def test_names_of_checks_are_unique() -> None:
    assert len({name_of(check) for check in CHECKS}) == len(CHECKS) > 15
