"""A file whose reads can be abandoned is closed when no thread uses it any more."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ferrotype.stores.driver import LocalFile
from ferrotype.stores.file import FileSource


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_file_stays_open_until_every_abandoned_call_has_ended(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"data")
    ends = [threading.Event(), threading.Event()]

    async def scenario(threads: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        fd = os.open(tmp_path / "data", os.O_RDONLY)
        file = LocalFile(fd, 4, threads)
        calls = [loop.run_in_executor(threads, end.wait) for end in ends]
        for call in calls:
            file.keep_open_for(call)
        file.close()
        file.close()
        for end, call in zip(ends, calls, strict=True):
            assert is_open(fd)
            end.set()
            await call
        await asyncio.sleep(0)
        assert not is_open(fd) and file.fd == -1

    with ThreadPoolExecutor(2) as threads:
        try:
            asyncio.run(scenario(threads))
        finally:
            for end in ends:
                end.set()


def test_a_read_that_waits_for_its_thread_can_be_cancelled(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"data")
    hanging = threading.Event()

    async def scenario(threads: ThreadPoolExecutor) -> None:
        fd = os.open(tmp_path / "data", os.O_RDONLY)
        source = FileSource(LocalFile(fd, 4, threads))
        threads.submit(hanging.wait)  # The only thread hangs, as it does in a file system without its server.
        reading = asyncio.ensure_future(anext(source.read(0, 4)))
        await asyncio.wait([reading], timeout=0.1)
        reading.cancel()
        await asyncio.wait([reading], timeout=5)
        assert reading.cancelled()
        await source.close()
        assert is_open(fd)
        hanging.set()
        while is_open(fd):  # noqa: ASYNC110  the kernel has no event for it
            await asyncio.sleep(0.01)

    with ThreadPoolExecutor(1) as threads:
        try:
            asyncio.run(asyncio.wait_for(scenario(threads), 30))
        finally:
            hanging.set()
