"""The transfer pipe: the same result for any chunking, and no task left running after any error."""

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uploads import qcow2

from ferrotype.model.blob import Stored
from ferrotype.model.errors import ContentRefused, Invalid, OverLimit, StoreFull
from ferrotype.offload import ThreadPools
from ferrotype.streams import pipe
from ferrotype.streams.inspect import Findings, check_format
from ferrotype.streams.pipe import BATCH, Batch, Checks

MIB = 1 << 20


@pytest.fixture(scope="module")
def pools() -> Iterator[ThreadPools]:
    pools = ThreadPools(8)
    yield pools
    pools.close()


async def enough(*_: Any) -> None:
    """A reservation that always succeeds."""


def checks(**changes: Any) -> Checks:
    defaults: dict[str, Any] = {
        "most": 1 << 40, "announced": None, "algorithm": "sha512", "reserve": enough,
        "check_format": lambda findings: None, "before_commit": enough,
    }  # fmt: skip
    return Checks(**defaults | changes)


async def pieces(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def transfer(
    chunks: AsyncIterator[bytes],
    sink: Callable[[AsyncIterator[Batch]], Awaitable[str]],
    pools: ThreadPools,
    checks: Checks,
) -> Stored:
    """Transfer data of one store, which has all of the memory."""
    return await pipe.transfer(chunks, sink, pools, pools.budget.share("s"), checks)


class Sink:
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.ended = False

    async def __call__(self, batches: AsyncIterator[Batch]) -> str:
        async for batch in batches:
            self.batches.append(batch)
        self.ended = True
        return "memory://x"

    @property
    def content(self) -> bytes:
        return b"".join(b"".join(batch) for batch in self.batches)


def run(work: Awaitable[Any]) -> Any:
    """Run a transfer and assert that no task is left."""

    async def watched() -> Any:
        before = asyncio.all_tasks()
        try:
            return await asyncio.wait_for(work, 60)
        finally:
            left = asyncio.all_tasks() - before
            assert left == set()

    return asyncio.run(watched())


CONTENTS = (
    b"",
    b"x",
    b"some text " * 100,
    qcow2(size=1 << 30),
    qcow2(size=1 << 30) + os.urandom(3 * MIB),
    bytes(2 * MIB + 1),
    b"\0" * 510 + b"\x55\xaa",
)


def checked(findings: Findings) -> int | None:
    return check_format(findings, "qcow2", "bare", require_match=True, nonfatal=()).virtual_size


def outcome(pools: ThreadPools, chunks: Sequence[bytes]) -> Any:
    """Return the complete result of a transfer of some chunks."""
    sink = Sink()
    try:
        stored: Stored = run(transfer(pieces(chunks), sink, pools, checks(check_format=checked)))
    except ContentRefused as refusal:
        assert not sink.ended
        return str(refusal)
    assert sink.content == b"".join(chunks)
    return stored


@settings(max_examples=60)
@given(st.sampled_from(CONTENTS), st.lists(st.integers(0, 4 * MIB), max_size=12))
def test_the_result_does_not_depend_on_chunking(pools: ThreadPools, content: bytes, places: list[int]) -> None:
    edges = sorted({0, len(content), *(place % (len(content) + 1) for place in places)})
    chunks = [content[start:end] for start, end in pairwise(edges)]
    whole, cut = outcome(pools, [content]), outcome(pools, chunks)
    assert whole == cut
    if isinstance(whole, Stored):
        assert (whole.size, whole.checksum) == (len(content), hashlib.md5(content).hexdigest())
        assert (whole.hash_algo, whole.hash_value) == ("sha512", hashlib.sha512(content).hexdigest())
        assert whole.virtual_size == 1 << 30


@pytest.mark.parametrize("content", [qcow2(size=1 << 30), b"some text " * 100], ids=["qcow2", "text"])
def test_chunks_of_one_byte_give_the_same_result(pools: ThreadPools, content: bytes) -> None:
    assert outcome(pools, [content[place : place + 1] for place in range(len(content))]) == outcome(pools, [content])


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_the_second_digest_has_the_configured_algorithm(pools: ThreadPools, algorithm: str) -> None:
    stored = run(transfer(pieces([b"da", b"ta"]), Sink(), pools, checks(algorithm=algorithm)))
    assert stored.checksum == hashlib.md5(b"data").hexdigest()
    assert (stored.hash_algo, stored.hash_value) == (algorithm, hashlib.new(algorithm, b"data").hexdigest())


def test_batches_are_lists_of_the_chunks_as_they_came(pools: ThreadPools) -> None:
    chunks = [os.urandom(size) for size in (1, 100_000, BATCH, 3, 7 * 100_000, 400_000, 5)]
    sink = Sink()
    run(transfer(pieces(chunks), sink, pools, checks()))
    assert [chunk for batch in sink.batches for chunk in batch] == chunks
    assert all(sum(map(len, batch)) >= BATCH for batch in sink.batches[:-1])


@pytest.mark.slow
def test_a_slow_source_yields_partial_batches(pools: ThreadPools) -> None:
    async def slow() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield b"drop"
            await asyncio.sleep(0.3)

    sink = Sink()
    run(transfer(slow(), sink, pools, checks()))
    assert len(sink.batches) > 1


SEVERAL = [bytes(MIB)] * 9
LIMITS: dict[str, tuple[dict[str, Any], Sequence[bytes], type[Exception]]] = {
    "too large": ({"most": 3 * MIB}, SEVERAL, OverLimit),
    "too large at the end": ({"most": 9 * MIB - 1}, SEVERAL, OverLimit),
    "more than announced": ({"announced": 2 * MIB}, SEVERAL, Invalid),
    "one more than announced": ({"announced": 9 * MIB - 1}, SEVERAL, Invalid),
    "one less than announced": ({"announced": 9 * MIB + 1}, SEVERAL, Invalid),
    "nothing of what was announced": ({"announced": 1}, [], Invalid),
    "refused": ({"check_format": checked}, SEVERAL, ContentRefused),
}


@pytest.mark.parametrize("case", LIMITS)
def test_the_sink_never_sees_the_end_of_refused_data(pools: ThreadPools, case: str) -> None:
    changes, chunks, kind = LIMITS[case]
    sink = Sink()
    with pytest.raises(kind):
        run(transfer(pieces(chunks), sink, pools, checks(**changes)))
    assert not sink.ended
    most = changes.get("announced", changes.get("most", 9 * MIB))
    assert len(sink.content) <= most  # cut at the first byte over
    assert pools.budget.used == 0


@pytest.mark.parametrize(("limit", "kind"), [({"most": 10}, OverLimit), ({"announced": 10}, Invalid)])
def test_the_first_byte_beyond_the_limit_is_refused_at_once(
    pools: ThreadPools, limit: dict[str, int], kind: type[Exception]
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"eleven byte"
        await asyncio.sleep(3600)

    async def work() -> None:
        with pytest.raises(kind):
            await asyncio.wait_for(transfer(endless(), Sink(), pools, checks(**limit)), 60)

    run(work())


def test_space_is_reserved_before_data_is_passed_on(pools: ThreadPools) -> None:
    sink, asked = Sink(), []

    async def reserve(total: int) -> None:
        assert len(sink.content) < total
        asked.append(total)
        if total > 4 * MIB:
            raise OverLimit("no more")

    with pytest.raises(OverLimit):
        run(transfer(pieces(SEVERAL), sink, pools, checks(reserve=reserve)))
    assert asked == list(range(BATCH, 4 * MIB + BATCH + 1, BATCH))
    assert len(sink.content) <= 4 * MIB


def test_before_commit_is_awaited_after_the_last_byte_and_before_the_end(pools: ThreadPools) -> None:
    sink, heard = Sink(), []

    async def before_commit() -> None:
        heard.append((len(sink.content), sink.ended))

    run(transfer(pieces(SEVERAL), sink, pools, checks(before_commit=before_commit)))
    assert heard == [(9 * MIB, False)]


class Source:
    """An endless body that knows whether it is still being read, and whether it was closed."""

    def __init__(self) -> None:
        self.given = 0
        self.closed = False

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            while True:
                self.given += 1
                yield bytes(MIB)
                await asyncio.sleep(0)
        finally:
            self.closed = True


async def full_at_once(batches: AsyncIterator[Batch]) -> str:
    raise StoreFull("before the first byte")


async def full_later(batches: AsyncIterator[Batch]) -> str:
    count = 0
    async for _ in batches:
        count += 1
        if count == 3:
            raise StoreFull("in the middle")
    return "never"


async def content_too_early(batches: AsyncIterator[Batch]) -> str:
    async for _ in batches:
        return "memory://part"
    return "never"


@pytest.mark.parametrize(
    ("sink", "kind"), [(full_at_once, StoreFull), (full_later, StoreFull), (content_too_early, RuntimeError)]
)
def test_when_the_sink_ends_early_reading_stops(pools: ThreadPools, sink: Any, kind: type[Exception]) -> None:
    source = Source()

    async def work() -> None:
        with pytest.raises(kind):
            await transfer(source.chunks(), sink, pools, checks())
        given = source.given
        await asyncio.sleep(0.05)
        assert source.given * MIB == given * MIB <= 12 * BATCH
        assert pools.budget.used == 0

    run(work())


def test_an_error_of_the_source_propagates(pools: ThreadPools) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        raise ConnectionResetError("gone")

    sink = Sink()
    with pytest.raises(ConnectionResetError):
        run(transfer(breaking(), sink, pools, checks()))
    assert (sink.ended, pools.budget.used) == (False, 0)


@pytest.mark.parametrize("chunks", [0, 1, 3, 8, 40])
@pytest.mark.parametrize("slow_sink", [True, False])
def test_a_cancelled_transfer_leaves_no_tasks(pools: ThreadPools, chunks: int, slow_sink: bool) -> None:
    source = Source()

    async def sink(batches: AsyncIterator[Batch]) -> str:
        async for _ in batches:
            await asyncio.sleep(0.01 if slow_sink else 0)
        return "never"

    async def work() -> None:
        task = asyncio.ensure_future(transfer(source.chunks(), sink, pools, checks()))
        await asyncio.sleep(0)
        while source.given < chunks:  # noqa: ASYNC110  every turn of the loop counts
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        given = source.given
        await asyncio.sleep(0.02)
        assert (source.given, pools.budget.used) == (given, 0)

    run(work())


def test_a_slow_sink_slows_the_source(pools: ThreadPools) -> None:
    source = Source()
    reached: list[int] = []

    async def sink(batches: AsyncIterator[Batch]) -> str:
        count = 0
        async for _ in batches:
            count += 1
            await asyncio.sleep(0.01)
            reached.append(source.given * MIB - count * BATCH)
            if count == 20:
                raise StoreFull("enough")
        return "never"

    with pytest.raises(StoreFull):
        run(transfer(source.chunks(), sink, pools, checks()))
    assert max(reached) <= 3 * BATCH  # read ahead, and not further


def test_a_sink_that_hangs_is_cancelled_once_the_client_has_left(
    pools: ThreadPools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "FAILURE_TIMEOUT", 0.05)
    cancelled = []

    async def leaving() -> AsyncIterator[bytes]:
        yield bytes(BATCH)
        raise Invalid("the client left")

    async def sink(batches: AsyncIterator[Batch]) -> str:
        try:
            async for _ in batches:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return "never"

    with pytest.raises(Invalid, match="the client left"):
        run(transfer(leaving(), sink, pools, checks()))
    assert cancelled == [True]
    assert pools.budget.used == 0


def test_a_timeout_of_the_sink_is_its_own_error(pools: ThreadPools) -> None:
    async def sink(batches: AsyncIterator[Batch]) -> str:
        async for _ in batches:
            raise TimeoutError("of the sink")
        return "never"

    with pytest.raises(TimeoutError, match="of the sink"):
        run(transfer(pieces(SEVERAL), sink, pools, checks()))


def test_transfers_that_wait_for_memory_do_not_deadlock() -> None:
    """Each holds a little and wants more: that must not be for ever."""
    small = ThreadPools(4, memory=4 * MIB)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(48):
            yield bytes(131072)
            await asyncio.sleep(0.001)

    async def all_of_them() -> None:
        await asyncio.gather(*(transfer(body(), Sink(), small, checks()) for _ in range(16)))

    run(all_of_them())
    assert small.budget.used == 0
    small.close()


def test_transfers_that_wait_for_memory_have_read_one_chunk_each() -> None:
    small, read = ThreadPools(4, memory=4 * MIB), 0
    # Each has one more that waits; the first of them gathered before memory was scarce.
    bound = 4 * MIB + 32 * MIB // 4 + 4 * MIB

    async def body() -> AsyncGenerator[bytes, None]:
        nonlocal read
        while True:
            read += MIB // 4
            yield bytes(MIB // 4)
            await asyncio.sleep(0)

    async def work() -> None:
        stopped = asyncio.Event()

        async def sink(batches: AsyncIterator[Batch]) -> str:
            async for _ in batches:
                await stopped.wait()
                raise StoreFull("enough")
            return "never"

        bodies = [body() for _ in range(32)]
        transfers = [transfer(each, sink, small, checks()) for each in bodies]
        running = asyncio.gather(*transfers, return_exceptions=True)
        turns, before = 0, 0
        while turns < 1000 and read <= bound:  # long after all that can be read has been
            turns, before = turns + 1 if read == before else 0, read
            await asyncio.sleep(0)
        stopped.set()
        assert [type(outcome) for outcome in await running] == [StoreFull] * 32
        for each in bodies:
            await each.aclose()

    run(work())
    assert 4 * MIB <= read <= bound
    assert (small.budget.used, small.budget.share("s").pending) == (0, 0)
    small.close()


PROGRAM = """
import asyncio, resource, sys
from pathlib import Path
from ferrotype.offload import ThreadPools
from ferrotype.streams.pipe import Checks, transfer
from ferrotype.config.file_store import FileStore
from ferrotype.stores.file import FileDriver
from ferrotype.testing.store_suite import put

async def enough(*_): pass

async def body(size):
    for _ in range(size // 65536):
        yield bytes(bytearray(65536))
        if _ % 64 == 0:
            await asyncio.sleep(0)

async def main(folder, size):
    pools = ThreadPools()
    driver = FileDriver("s", FileStore(((Path(folder), 0),)), pools)
    await driver.initialize({})
    checks = Checks(
        most=1 << 40, announced=None, algorithm="sha512",
        reserve=enough, check_format=lambda f: None, before_commit=enough,
    )
    memory = pools.budget.share("s")
    await transfer(body(1 << 20), lambda batches: put(driver, "warm-up", batches), pools, memory, checks)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stored = await transfer(body(size), lambda batches: put(driver, "large", batches), pools, memory, checks)
    assert stored.size == size
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    pools.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(tmp_path: Any) -> None:
    unit = 1024 if sys.platform == "linux" else 1
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(300 * MIB)]
    grown = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout) * unit
    assert grown < 64 * MIB
    assert (tmp_path / "large").stat().st_size == 300 * MIB
