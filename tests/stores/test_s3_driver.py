"""Objects in S3: the suite of all drivers on two servers that differ, sizes around parts, URLs, keys and buckets."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import obstore
import pytest
from object_stores import MIB, PART, Running, content, empty, in_batches, s3

from ferrotype.model.errors import BlobNotFound, StoreDenied, StoreUnavailable
from ferrotype.offload import ThreadPools
from ferrotype.stores import s3 as module
from ferrotype.stores.driver import Batch
from ferrotype.stores.s3 import S3Driver
from ferrotype.testing.object_servers import ObjectServer
from ferrotype.testing.store_suite import CHECKS, NAMES, Check, content_of, listed, name_of, put, source

KINDS = [pytest.param(kind, marks=pytest.mark.servers) for kind in ("seaweed", "swift")]


@pytest.fixture(scope="module", params=KINDS)
def bucket(request: pytest.FixtureRequest) -> Iterator[Running]:
    with s3(request.getfixturevalue(f"{request.param}_server")) as running:
        yield running


@pytest.fixture(scope="module")
def weed(seaweed_server: ObjectServer) -> Iterator[Running]:
    with s3(seaweed_server) as running:
        yield running


#: Swift looks whether an object exists, and then writes it: two writers at once may both succeed. The service gives
#: each object a name that was never used before. And a thousand objects take it two minutes.
NOT_ON_SWIFT = ("two_writers_of_one_name_never_mix", "many_objects_are_listed")
ON_SWIFT = [check for check in CHECKS if name_of(check) not in NOT_ON_SWIFT]
SUITE = [(kind, check) for kind in KINDS for check in (CHECKS if kind.values == ("seaweed",) else ON_SWIFT)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bucket", "check"),
    [
        pytest.param(*kind.values, check, marks=kind.marks, id=f"{kind.values[0]}-{name_of(check)}")
        for kind, check in SUITE
    ],
    indirect=["bucket"],
    scope="module",
)
def test_s3_does_what_every_driver_does(check: Check, bucket: Running) -> None:
    bucket.run(empty(bucket.driver))
    bucket.run(check(bucket.driver))


# STOR-130, STOR-131, STOR-133: zero bytes, and around the borders of a part and of large_object_size
SIZES = (0, 1, PART - 1, PART, PART + 1, 2 * PART - 1, 2 * PART, 2 * PART + 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "known", [True, pytest.param(False, marks=pytest.mark.store_faults)], ids=["known", "unknown"]
)
def test_any_size_is_read_back_whole(known: bool, bucket: Running) -> None:
    async def sizes() -> None:
        for size in SIZES:
            data = content(size)
            handle = await put(bucket.driver, NAMES[0], in_batches(data, 3 * MIB), size if known else None)
            assert hashlib.sha256(await content_of(bucket.driver, handle)).digest() == hashlib.sha256(data).digest()
            assert await content_of(bucket.driver, handle, max(size - 7, 0), 100) == data[-7:]  # STOR-135
            assert [(each.name, each.size) for each in await listed(bucket.driver)] == [(NAMES[0], size)]
            await bucket.driver.delete(NAMES[0], handle)

    bucket.run(empty(bucket.driver))
    bucket.run(sizes())


def parts_of(running: Running, handle: str) -> int:
    """Return in how many parts an object was uploaded; 1 for a request without parts."""

    async def tag() -> str:
        return (await obstore.head_async(running.driver._bucket, handle))["e_tag"] or ""

    return int(running.run(tag()).strip('"').partition("-")[2] or 1)


@pytest.mark.parametrize(
    ("large", "size", "known", "parts"),
    [
        (2 * PART, PART, True, 1),
        (PART, PART, True, 1),  # exactly at large_object_size: one part, or the request that has it
        (MIB, 2 * MIB, True, 1),
        (2 * PART, PART + 1, True, 2),
        (2 * PART, PART, False, 1),
        (2 * PART, 3 * PART, False, 3),
    ],
)
def test_size_decides_how_it_is_uploaded(
    large: int, size: int, known: bool, parts: int, seaweed_server: ObjectServer
) -> None:
    with s3(seaweed_server, large_object_size=large) as running:
        running.run(empty(running.driver))
        handle = running.run(put(running.driver, NAMES[0], in_batches(bytes(size)), size if known else None))
        assert parts_of(running, handle) == parts


def test_parts_grow_when_the_size_is_unknown(weed: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DOUBLE_AFTER", 2)
    # RUL-90
    weed.run(empty(weed.driver))
    data = content(5 * PART + 3)  # Parts of 1, 1, 2 and 1 times PART, and 3 bytes in the last one.
    handle = weed.run(put(weed.driver, NAMES[0], in_batches(data)))
    assert parts_of(weed, handle) == 4
    assert weed.run(content_of(weed.driver, handle)) == data


def test_parts_of_any_size_fit_into_what_s3_allows() -> None:
    # STOR-130: 10,000 parts. The sizes alone, without data.
    part, total, number = 10 * MIB, 0, 0
    while number < 10_000:
        total += min(part << (number // module.DOUBLE_AFTER), 5 << 30)
        number += 1
    assert total > 6 << 40
    # 100 GiB take parts of at most 80 MiB.
    total = number = 0
    while total < 100 << 30:
        total += part << (number // module.DOUBLE_AFTER)
        number += 1
    assert part << (number // module.DOUBLE_AFTER) <= 80 * MIB


# STOR-54, SEC-60: URLs have no credentials; old ones that have some are read, and shown without them.
def test_old_urls_with_credentials_are_read(weed: Running, seaweed_server: ObjectServer) -> None:
    driver, name = weed.driver, NAMES[0]
    host = f"127.0.0.1:{seaweed_server.port}"
    url = f"s3://{host}/images/{name}"
    assert driver.url(name) == url
    for each in (
        f"s3://AKIA:se/cr+et@{host}/images/{name}",
        f"s3://{seaweed_server.access_key}:{seaweed_server.secret_key}@{host}/images/{name}",
        f"s3+http://{host}/images/{name}",
        f"s3+https://a:b@{host}/images/{name}",
    ):
        assert driver.parse(each) == name
        assert driver.url(driver.parse(each)) == url
    for each in (f"s3://{host}/other/{name}", f"s3://other/images/{name}", f"s3://{host}/Images/{name}",
                 f"http://{host}/images/{name}", f"s3://{host}/images/", f"s3://{host}/images/a%2Fb",
                 f"s3://{host}/images/..", f"s3://{host}/x/images/{name}"):  # fmt: skip
        assert driver.parse(each) is None


def test_url_says_whether_it_is_https() -> None:
    driver = S3Driver("s3", replace(s3_options_of("https://S3.example.org:8080/path")), ThreadPools(1))
    assert driver.url("x") == "s3+https://S3.example.org:8080/path/images/x"
    assert driver.parse("s3+https://s3.example.org:8080/path/images/x") == "x"


def s3_options_of(endpoint: str) -> "module.S3Store":
    return module.S3Store(endpoint=endpoint, bucket="images", access_key="a", secret_key="canary-secret")


def test_secrets_are_in_no_representation() -> None:
    # SEC-60, SEC-115
    options = s3_options_of("http://127.0.0.1:1")
    driver = S3Driver("s3", options, ThreadPools(1))
    shown = [repr(options), repr(driver._bucket), repr(driver.properties), options.place, str(vars(driver))]
    assert "canary" not in "".join(shown)


def test_new_keys_read_what_old_ones_wrote(weed: Running, seaweed_server: ObjectServer) -> None:
    # SEC-60: keys are rotated in the configuration alone. The reader has another access key.
    weed.run(empty(weed.driver))
    url = weed.driver.url(weed.run(put(weed.driver, NAMES[0], source([[b"content"]]))))
    with s3(seaweed_server, access_key="reader") as rotated:
        assert rotated.run(content_of(rotated.driver, rotated.driver.parse(url))) == b"content"


def test_credentials_come_from_the_environment(seaweed_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed_server.secret_key)
    with s3(seaweed_server, access_key=None, secret_key=None) as running:
        running.run(empty(running.driver))
        handle = running.run(put(running.driver, NAMES[0], in_batches(bytes(PART + 1)), PART + 1))
        assert len(running.run(content_of(running.driver, handle))) == PART + 1
        assert running.run(running.driver.probe()).writable


def test_configured_keys_win_over_the_environment(
    seaweed_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "wrong")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with s3(seaweed_server) as running:
        assert running.run(running.driver.probe()).writable


def test_missing_credentials_make_the_store_read_only(
    seaweed_server: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with s3(seaweed_server, access_key=None, secret_key=None) as running:
        health = running.run(running.driver.probe())
    assert not health.writable
    assert "no credentials were found" in health.reason


# RUL-89: what is wrong at the server is health with a remedy, and never an error at start.
@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"secret_key": "canary-wrong"}, "credentials"),
        ({"access_key": "canary-nobody"}, "credentials"),
        ({"access_key": "reader"}, "permissions"),
        ({"bucket": "no-such-bucket"}, "Create it"),
        ({"endpoint": "http://127.0.0.1:1"}, "Is the server running"),
        ({"endpoint": "http://no-such-host.invalid"}, "cannot be resolved"),
    ],
)
def test_probe_names_the_remedy(changes: dict[str, str], remedy: str, seaweed_server: ObjectServer) -> None:
    with s3(seaweed_server, **changes) as running:
        health = running.run(running.driver.probe())
        assert not health.writable
        assert remedy in health.reason
        error = StoreDenied if {"secret_key", "access_key"} & changes.keys() else StoreUnavailable
        with pytest.raises(error) as writing:
            running.run(put(running.driver, NAMES[0], source([[b"x"]])))
        assert "canary" not in f"{health.reason} {writing.value} {writing.value.__cause__}"  # SEC-60
        assert seaweed_server.secret_key not in f"{health.reason} {writing.value}"


def test_missing_bucket_is_no_missing_object(seaweed_server: ObjectServer) -> None:
    # An image must not be marked damaged because its bucket was renamed.
    with s3(seaweed_server, bucket="no-such-bucket") as running:
        with pytest.raises(StoreUnavailable):
            running.run(running.driver.open(NAMES[0]))
        with pytest.raises(StoreUnavailable):
            running.run(running.driver.delete(NAMES[0], None))
    with s3(seaweed_server) as running, pytest.raises(BlobNotFound):
        running.run(running.driver.open(NAMES[15]))


@pytest.mark.parametrize("kind", KINDS)
def test_missing_bucket_is_created_where_the_option_says_so(kind: str, request: pytest.FixtureRequest) -> None:
    # STOR-132, CFA-102
    server: ObjectServer = request.getfixturevalue(f"{kind}_server")
    name = f"made-{secrets.token_hex(4)}"
    with s3(server, bucket=name) as running, pytest.raises(StoreUnavailable):
        running.run(put(running.driver, NAMES[0], source([[b"x"]])))
    with s3(server, bucket=name, create_bucket=True) as running:
        assert running.run(running.driver.probe()).writable
        assert running.run(listed(running.driver)) == []
        handle = running.run(put(running.driver, NAMES[0], source([[b"x"]])))
        running.run(running.driver.delete(NAMES[0], handle))
    boto(server).delete_bucket(Bucket=name)


def boto(server: ObjectServer) -> "boto3.client":
    session = boto3.session.Session(server.access_key, server.secret_key, region_name="us-east-1")
    return session.client("s3", endpoint_url=server.endpoint)


@pytest.mark.parametrize("kind", KINDS)
def test_orphaned_parts_are_listed_and_removed(kind: str, request: pytest.FixtureRequest) -> None:
    server: ObjectServer = request.getfixturevalue(f"{kind}_server")
    client = boto(server)
    with s3(server) as running:
        running.run(empty(running.driver))
        for name in (NAMES[0], NAMES[1], f"{NAMES[0]}-longer"):
            upload = client.create_multipart_upload(Bucket="images", Key=name)["UploadId"]
            client.upload_part(Bucket="images", Key=name, UploadId=upload, PartNumber=1, Body=b"x" * 1000)
        found = {each.name: (each.handle, each.size) for each in running.run(listed(running.driver))}
        assert found == dict.fromkeys((NAMES[0], NAMES[1], f"{NAMES[0]}-longer"), (None, 1000))
        running.run(running.driver.delete(NAMES[0], None))
        assert {each.name for each in running.run(listed(running.driver))} == {NAMES[1], f"{NAMES[0]}-longer"}
        running.run(empty(running.driver))
        assert running.run(listed(running.driver)) == []


def test_server_checks_the_data_of_every_request(seaweed_server: ObjectServer) -> None:
    # Each request has the digest of its body; with stored checksums the server keeps it as well (CFA-108).
    with s3(seaweed_server, stored_checksums=True) as running:
        running.run(empty(running.driver))
        for size, known in ((100, True), (2 * PART, True), (2 * PART + 1, False)):
            data = content(size)
            handle = running.run(put(running.driver, NAMES[0], in_batches(data), size if known else None))
            assert running.run(content_of(running.driver, handle)) == data
            running.run(running.driver.delete(NAMES[0], handle))


def test_slow_uploads_end_when_others_wait_for_memory(weed: Running) -> None:
    # SEC-90: clients that send nothing do not keep all others out.
    memory = weed.driver._memory
    memory.free, memory.patience, memory.slow_seconds = memory.size, 0.1, 0.3

    async def silent() -> AsyncIterator[Batch]:
        yield [b"x"]
        await asyncio.Event().wait()

    async def compete() -> list[BaseException | str]:
        slow = [asyncio.ensure_future(put(weed.driver, name, silent())) for name in NAMES[1:15]]
        await asyncio.sleep(0.1)
        assert memory.free < PART
        handle = await put(weed.driver, NAMES[0], in_batches(bytes(PART + 1)), PART + 1)
        done = [each for each in slow if each.done()]
        for each in slow:
            each.cancel()
        await asyncio.wait(slow)
        return [handle, *(each.exception() or "" for each in done)]

    weed.run(empty(weed.driver))
    _, *ended = weed.run(compete())
    assert ended
    assert all(isinstance(each, StoreUnavailable) and "too slow" in str(each) for each in ended)
    assert memory.free == memory.size
    memory.patience, memory.slow_seconds = 10.0, 30.0


def test_memory_of_many_uploads_is_bounded(weed: Running) -> None:
    memory, lowest = weed.driver._memory, [1 << 40]

    async def watched() -> AsyncIterator[Batch]:
        async for batch in in_batches(bytes(2 * PART + 1)):
            lowest.append(memory.free)
            yield batch

    async def upload() -> None:
        await asyncio.gather(*(put(weed.driver, name, watched()) for name in NAMES))

    weed.run(empty(weed.driver))
    weed.run(upload())
    assert min(lowest) >= 0
    assert memory.free == memory.size
    assert len(weed.run(listed(weed.driver))) == len(NAMES)
