"""The file driver when its file system is full, read-only, slow or loses data, and how much memory it needs."""

import asyncio
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mounts import mounted, remount

from ferrotype.config.file_store import FileStore
from ferrotype.offload import ThreadPool, ThreadPools
from ferrotype.stores.driver import Driver
from ferrotype.stores.file import FileDriver
from ferrotype.testing.store_suite import (
    LONG,
    WHEN_DENIED,
    WHEN_FULL,
    WHEN_SLOW,
    Check,
    bounded_memory,
    name_of,
    when_cut,
)

MIB = 1 << 20


@pytest.fixture(scope="module")
def pools() -> Iterator[ThreadPools]:
    pools = ThreadPools(8)
    yield pools
    pools.close()


def run(check: Check, directory: Path, pools: ThreadPools, **options: Any) -> None:
    """Run a check on a driver with one directory, which is initialized."""

    async def checked() -> None:
        driver = FileDriver("fast", FileStore(((directory, 0),), **options), pools)
        await driver.initialize({})
        await check(driver)

    asyncio.run(checked())


@pytest.mark.parametrize("thin", [False, True])
@pytest.mark.parametrize("check", WHEN_FULL, ids=name_of)
def test_when_the_file_system_is_full(check: Check, thin: bool, tmp_path: Path, pools: ThreadPools) -> None:
    with mounted(tmp_path / "small", 8 * MIB) as small:  # STOR-106
        run(check, small, pools, thin_provisioning=thin)


@pytest.mark.parametrize("check", WHEN_DENIED, ids=name_of)
def test_when_the_file_system_is_read_only(check: Check, tmp_path: Path, pools: ThreadPools) -> None:
    with mounted(tmp_path / "small", 8 * MIB) as small:

        async def then_read_only(driver: Driver) -> None:
            remount(small, "ro")
            await check(driver)

        run(then_read_only, small, pools)


async def truncate(driver: Driver, handle: str) -> None:
    os.truncate(handle, 4 * MIB + 11)


async def remove(driver: Driver, handle: str) -> None:
    await asyncio.to_thread(Path(handle).unlink)


@pytest.mark.parametrize("cut", [truncate, remove])
def test_when_the_end_of_a_file_is_lost(cut: Any, tmp_path: Path, pools: ThreadPools) -> None:
    run(when_cut(cut), tmp_path / "images", pools)


class SlowExecutor(ThreadPoolExecutor):
    """Each call takes a tenth of a second, as it does on a file system that is far away."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        def slowly() -> Any:
            time.sleep(0.1)
            return fn(*args, **kwargs)

        return super().submit(slowly)


class SlowPools(ThreadPools):
    """The threads of a store on a slow file system."""

    def new_pool(self, count: int, name: str) -> ThreadPool:
        pool = super().new_pool(count, name)
        pool.executor.shutdown()
        pool.executor = SlowExecutor(count)
        return pool


@pytest.mark.parametrize("check", WHEN_SLOW, ids=name_of)
def test_when_the_file_system_is_slow(check: Check, tmp_path: Path) -> None:
    pools = SlowPools(8)
    try:
        run(check, tmp_path / "images", pools)
    finally:
        pools.close()


@pytest.mark.parametrize("thin", [False, True])
def test_a_transfer_needs_little_memory(thin: bool, tmp_path: Path, pools: ThreadPools) -> None:
    run(bounded_memory(32 * MIB), tmp_path / "images", pools, thin_provisioning=thin)


@pytest.mark.slow
@pytest.mark.gibibytes
@pytest.mark.parametrize("check", LONG, ids=name_of)
def test_objects_of_several_gibibytes(check: Check, tmp_path: Path, pools: ThreadPools) -> None:
    run(check, tmp_path / "images", pools, thin_provisioning=True)  # Zeros take no space.
