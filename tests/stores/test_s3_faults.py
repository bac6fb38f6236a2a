"""A server and a network that fail, between the S3 driver and SeaweedFS: what comes of it, and what is left."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from object_stores import MIB, PART, Running, content, empty, in_batches, s3, s3_options

from ferrotype.model.errors import BlobDamaged, BlobNotFound, StoreDenied, StoreError, StoreFull, StoreUnavailable
from ferrotype.offload import ThreadPools
from ferrotype.stores.driver import READ_SIZE
from ferrotype.stores.s3 import S3Driver
from ferrotype.testing.fault_proxy import Fault, FaultProxy, error_body, fault_proxy
from ferrotype.testing.object_servers import ObjectServer
from ferrotype.testing.store_suite import NAMES, content_of, listed, put

DATA = content(3 * PART + 1000)


@pytest.fixture(scope="module")
def direct(seaweed_server: ObjectServer) -> Iterator[Running]:
    """A driver without a proxy, to look at what is left."""
    with s3(seaweed_server) as running:
        yield running


@pytest.fixture
def proxy(seaweed_server: ObjectServer, direct: Running) -> Iterator[FaultProxy]:
    direct.run(empty(direct.driver))
    with fault_proxy(seaweed_server.port) as proxy:
        yield proxy


@pytest.fixture
def faulty(proxy: FaultProxy, seaweed_server: ObjectServer) -> Iterator[Running]:
    with s3(seaweed_server, endpoint=proxy.url) as running:
        yield running


def upload(running: Running, data: bytes = DATA, known: bool = True) -> str:
    return running.run(put(running.driver, NAMES[0], in_batches(data), len(data) if known else None))


def left(direct: Running) -> list[str]:
    """Return what is in the bucket, unfinished uploads included."""
    return [each.name for each in direct.run(listed(direct.driver))]


def both(cases: Sequence[Any], *names: str) -> pytest.MarkDecorator:
    """Return each case with the size known and unknown; by default every other one of each."""
    rows = [case if isinstance(case, tuple) else (case,) for case in cases]
    return pytest.mark.parametrize(
        (*names, "known"),
        [
            pytest.param(*row, known, marks=[] if known == (at % 2 == 0) else [pytest.mark.store_faults])
            for at, row in enumerate(rows)
            for known in (True, False)
        ],
    )


#: A request of an upload, by method and target.
CREATE, PARTS = ("POST", "uploads"), ("PUT", "partNumber")
COMPLETE = ("POST", "uploadId=")


PASSING = [
    Fault(*CREATE, times=1, answer=(503, error_body("SlowDown"))),
    Fault(*PARTS, times=2, answer=(503, error_body("SlowDown"))),
    Fault(*PARTS, times=1, answer=(500, error_body("InternalError"))),
    Fault(*PARTS, times=1, cut_request=random.randrange(PART)),
    Fault(*PARTS, times=1, skip=3, cut_request=500),  # the last part
    Fault(*PARTS, times=1, lose_answer=True),
    Fault(*COMPLETE, times=1, answer=(503, error_body("SlowDown"))),
    # 200 with an error in the body
    Fault(*COMPLETE, times=1, answer=(200, error_body("InternalError"))),
    # It was completed, and the answer is lost: the object tells.
    Fault(*COMPLETE, times=1, lose_answer=True),
    Fault("HEAD", times=1, answer=(503, "")),
]


@both(PASSING, "fault")
def test_upload_survives_what_passes(
    fault: Fault, known: bool, proxy: FaultProxy, faulty: Running, direct: Running
) -> None:
    proxy.faults.append(Fault(**vars(fault)))
    handle = upload(faulty, known=known)
    assert direct.run(content_of(direct.driver, handle)) == DATA
    assert left(direct) == [NAMES[0]]
    assert proxy.faults[0].times == 0


FAILING = [
    # What does not pass: the error says what it is, and nothing is left.
    (Fault(*PARTS, answer=(403, error_body("RequestTimeTooSkewed"))), StoreDenied, "Synchronise"),
    (Fault(*CREATE, answer=(301, error_body("PermanentRedirect"))), StoreDenied, "s3_store_region_name"),
    (Fault(*PARTS, answer=(400, error_body("AuthorizationHeaderMalformed"))), StoreDenied, "another region"),
    (Fault(*PARTS, skip=1, answer=(507, error_body("InsufficientStorage"))), StoreFull, "no space"),
    (Fault(*PARTS, skip=2, answer=(403, error_body("QuotaExceeded"))), StoreFull, "quota"),
    (Fault(*PARTS, answer=(413, error_body("EntityTooLarge"))), StoreFull, "larger"),
    (Fault(*PARTS, answer=(400, error_body("BadDigest"))), StoreUnavailable, "changed on its way"),
    (Fault(*CREATE, answer=(404, error_body("NoSuchBucket"))), StoreUnavailable, "Create it"),
    (Fault(*COMPLETE, answer=(404, error_body("NoSuchUpload"))), StoreUnavailable, "aborted"),
    (Fault(*COMPLETE, answer=(200, error_body("MalformedXML"))), StoreError, ""),
]


@both(FAILING, "fault", "error", "remedy")
def test_upload_that_fails_leaves_nothing(
    fault: Fault,
    error: type[StoreError],
    remedy: str,
    known: bool,
    proxy: FaultProxy,
    faulty: Running,
    direct: Running,
) -> None:
    proxy.faults.append(Fault(**vars(fault)))
    with pytest.raises(error) as failure:
        upload(faulty, known=known)
    assert remedy in str(failure.value)
    assert left(direct) == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PUT", times=1, answer=(503, error_body("SlowDown"))),
        Fault("PUT", times=1, cut_request=100),
        Fault("PUT", times=1, lose_answer=True),
    ],
)
def test_small_upload_survives_what_passes(fault: Fault, proxy: FaultProxy, faulty: Running, direct: Running) -> None:
    proxy.faults.append(Fault(**vars(fault)))
    data = content(1000)
    handle = upload(faulty, data)
    assert direct.run(content_of(direct.driver, handle)) == data
    assert left(direct) == [NAMES[0]]


@pytest.mark.servers
@both([("swift", False), ("seaweed", True)], "kind", "stored")
def test_damaged_request_is_refused_by_the_server(
    kind: str, stored: bool, known: bool, request: pytest.FixtureRequest
) -> None:
    # The digest of each body is signed, and sent as a checksum too where the option says so (CFA-108). Swift, like
    # Amazon, Ceph and MinIO, compares the former; SeaweedFS the latter alone.
    server: ObjectServer = request.getfixturevalue(f"{kind}_server")
    with fault_proxy(server.port) as proxy, s3(server, endpoint=proxy.url, stored_checksums=stored) as running:
        running.run(empty(running.driver))
        proxy.faults.append(Fault("PUT", times=1, flip_request=10_000))
        data = content(100_000)
        handle = upload(running, data, known)  # It is sent again.
        assert running.run(content_of(running.driver, handle)) == data
        running.run(empty(running.driver))
        proxy.faults.append(Fault("PUT", flip_request=10_000))
        with pytest.raises(StoreUnavailable, match="changed on its way"):
            upload(running, content(PART + 100_000), known)
        assert left(running) == []


@pytest.mark.parametrize("count", [None, 2 * PART])
def test_download_goes_on_where_it_broke_off(
    count: int | None, proxy: FaultProxy, faulty: Running, direct: Running
) -> None:
    handle = upload(direct)
    proxy.faults += [Fault("GET", times=1, cut_response=random.randrange(1, PART // 2)) for _ in range(3)]
    found = faulty.run(content_of(faulty.driver, handle, 1000, count))
    assert found == DATA[1000 : None if count is None else 1000 + count]
    assert sum(each.times for each in proxy.faults) == 0


def test_download_from_a_server_that_always_breaks_off_ends(
    proxy: FaultProxy, faulty: Running, direct: Running
) -> None:
    handle = upload(direct)
    proxy.faults.append(Fault("GET", cut_response=1000))
    with pytest.raises(StoreUnavailable):
        faulty.run(content_of(faulty.driver, handle))
    assert len(proxy.requests) < 40


def test_download_fails_at_the_chunk_that_does_not_come(proxy: FaultProxy, faulty: Running, direct: Running) -> None:
    handle = upload(direct)

    async def read() -> int:
        source, size = await faulty.driver.open(handle), 0
        with pytest.raises(StoreUnavailable):
            async for chunk in source.read(0, None):
                size += len(chunk)
                if size >= READ_SIZE:
                    proxy.faults.append(Fault("GET", answer=(503, error_body("SlowDown"))))
                    proxy.cut_all()
        return size

    assert READ_SIZE <= faulty.run(read()) < len(DATA)


def test_changed_object_is_noticed(direct: Running, seaweed_server: ObjectServer) -> None:
    # Never other bytes: an object of another size is not the one that was opened.
    direct.run(empty(direct.driver))
    handle = upload(direct)

    async def change() -> None:
        source = await direct.driver.open(handle)
        await direct.driver.delete(NAMES[0], handle)
        with pytest.raises(BlobNotFound):
            assert [chunk async for chunk in source.read(0, None)]
        await put(direct.driver, NAMES[0], in_batches(b"other"), 5)
        with pytest.raises(BlobDamaged):
            assert [chunk async for chunk in source.read(0, None)]

    direct.run(change())


@pytest.mark.parametrize("answer", [(503, error_body("SlowDown")), (403, error_body("AccessDenied"))])
def test_delete_that_fails_is_an_error(
    answer: tuple[int, str], proxy: FaultProxy, faulty: Running, direct: Running
) -> None:
    handle = upload(direct, b"x")
    proxy.faults.append(Fault("DELETE", answer=answer))
    with pytest.raises(StoreError):
        faulty.run(faulty.driver.delete(NAMES[0], handle))
    proxy.faults.clear()
    faulty.run(faulty.driver.delete(NAMES[0], handle))
    assert left(direct) == []


@pytest.mark.slow
@pytest.mark.store_faults
def test_server_that_hangs_fails_in_bounded_time(direct: Running, seaweed_server: ObjectServer) -> None:
    direct.run(empty(direct.driver))
    handle = upload(direct, bytes(100 * MIB))
    driver = S3Driver("s3", s3_options(seaweed_server), ThreadPools(1))

    async def read() -> None:
        source = await driver.open(handle)
        reading = source.read(0, None)
        await anext(reading)
        seaweed_server.pause()
        with pytest.raises(StoreUnavailable):
            async with asyncio.timeout(120):
                async for _ in reading:
                    continue

    try:
        direct.run(read())
    finally:
        seaweed_server.resume()
    assert direct.run(content_of(direct.driver, handle, 0, MIB)) == bytes(MIB)
