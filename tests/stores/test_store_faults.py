"""What clients get, what becomes of the image, and what is left, when an S3 server fails under the service.

A few run by default, all of them with ``--store-faults``; then, without ``-n``, the table is printed.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from needs import need
from object_stores import MIB, PART, content, s3, s3_options

from ferrotype.admin.consistency import differences
from ferrotype.background import cleanup
from ferrotype.config.stores import StoreConfig, Stores
from ferrotype.db import blobs, ledger_check
from ferrotype.testing.client import OCTETS, Client, client
from ferrotype.testing.fault_proxy import Fault, FaultProxy, error_body, fault_proxy
from ferrotype.testing.object_servers import ObjectServer, seaweed
from ferrotype.testing.store_suite import NAMES, listed
from ferrotype.web.http import ResponseAborted

DATA = content(4 * PART)
PIECE = 256 * 1024


class Place:
    """A service whose only store is behind a proxy, and what breaks and mends that store."""

    def __init__(self, api: Client, server: ObjectServer, proxy: FaultProxy):
        self.api, self.server, self.proxy = api, server, proxy
        self._starting: threading.Timer | None = None

    def answer(self, status: int, code: str) -> None:
        """Have the proxy answer every request with an error."""
        for method in ("PUT", "POST", "GET", "DELETE", "HEAD"):
            self.proxy.faults.append(Fault(method, answer=(status, error_body(code))))
        self.proxy.cut_all()

    def cut(self, times: int) -> None:
        """Cut connections at random bytes of what they carry."""
        self.proxy.faults += [
            Fault("PUT", times=times, cut_request=random.randrange(MIB)),
            Fault("GET", times=times, cut_response=random.randrange(MIB)),
            Fault("DELETE", times=times, lose_answer=True),
        ]
        self.proxy.cut_all()

    def slow(self) -> None:
        """Have every request wait, and pass on a few MiB a second."""
        for method in ("PUT", "POST", "GET", "DELETE", "HEAD"):
            self.proxy.faults.append(Fault(method, delay=0.3, rate=8 * MIB))

    def restart(self) -> None:
        """Kill the server; it runs again a second later."""
        self.server.kill()
        self.proxy.cut_all()
        self._starting = threading.Timer(1, self.server.start)
        self._starting.start()

    def kill(self) -> None:
        """End the server."""
        self.server.kill()
        self.proxy.cut_all()

    def mend(self) -> None:
        """End every fault."""
        self.proxy.faults.clear()
        if self._starting:
            self._starting.join()
            self._starting = None
        if not self.server.runs:
            self.server.start()
        self.server.resume()


#: What happens, whether an upload or a download may go on in spite of it, and the status of an upload that does not.
FAULTS: dict[str, tuple[Callable[[Place], None], bool, int]] = {
    "stopped": (Place.kill, False, 503),
    "restarted": (Place.restart, True, 503),
    "hangs": (lambda place: place.server.pause(), False, 503),
    "slow": (Place.slow, True, 204),
    "cut once": (lambda place: place.cut(1), True, 204),
    "cut always": (lambda place: place.cut(1_000), False, 503),
    "full": (lambda place: place.answer(403, "QuotaExceeded"), False, 413),
    "wrong credentials": (lambda place: place.answer(403, "InvalidAccessKeyId"), False, 503),
    "bucket gone": (lambda place: place.answer(404, "NoSuchBucket"), False, 503),
    "busy": (lambda place: place.answer(503, "SlowDown"), False, 503),
}
QUICK = ("cut once",)


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    """A server of these tests alone, as others would suffer."""
    need("seaweedfs")
    with seaweed() as server:
        yield server


@pytest.fixture(scope="module")
def place(server: ObjectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with fault_proxy(server.port) as proxy:
        stores = Stores(
            True, "objects", (StoreConfig("objects", "s3", options=s3_options(server, endpoint=proxy.url)),)
        )
        with client(tmp_path_factory.mktemp("faults"), background=False, stores=stores) as api:
            yield Place(api, server, proxy)


@pytest.fixture(
    params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.store_faults) for name in FAULTS]
)
def fault(request: pytest.FixtureRequest, place: Place) -> Iterator[str]:
    name: str = request.param
    yield name
    place.mend()


@contextmanager
def shown(request: pytest.FixtureRequest, fault: str, when: str, row: dict[str, Any]) -> Iterator[None]:
    """Print one row of the table, with the seconds that the block took."""
    began = time.monotonic()
    yield
    if request.config.getoption("--store-faults"):
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            words = " | ".join(f"{name} {value}" for name, value in row.items())
            print(f"\n{fault:18} {when:9} {time.monotonic() - began:5.1f} s | {words}")


def left(place: Place) -> list[str]:
    """Return what is in the bucket after the cleanup that the service does by itself every five seconds."""
    deadline = time.monotonic() + 30
    while True:
        place.api.run(cleanup.probe_stores(place.api.application.ctx))
        place.api.run(cleanup.run_cleanup(place.api.application.ctx))
        with s3(place.server) as running:
            names = [each.name for each in running.run(listed(running.driver))]
        if not names or time.monotonic() > deadline:
            return names
        time.sleep(0.5)


def check_health(place: Place) -> None:
    """Let the store be used again, as a probe does every 30 s."""
    place.api.run(cleanup.probe_stores(place.api.application.ctx))


@pytest.mark.parametrize("known", [True, False], ids=["known", "chunked"])
def test_store_fails_during_an_upload(fault: str, known: bool, place: Place, request: pytest.FixtureRequest) -> None:
    start, may_go_on, status = FAULTS[fault]
    api, row = place.api, {}
    check_health(place)
    image = api.image()

    async def body() -> AsyncIterator[bytes]:
        for at in range(0, len(DATA), PIECE):
            if at == len(DATA) // 2:
                await asyncio.to_thread(start, place)
            yield DATA[at : at + PIECE]

    headers = {"content-type": OCTETS} | ({"content-length": str(len(DATA))} if known else {})
    with shown(request, fault, "upload", row):
        reply = api.put(image["file"], headers=headers, body=body())
        place.mend()
        state = api.get(image["self"]).json["status"]
        row |= {"client": reply.status, "image": state}
        check_health(place)
        if reply.status == 204:
            assert may_go_on
            assert api.get(image["file"]).body == DATA
        else:
            assert (reply.status, state) == (status, "queued")
        assert api.delete(image["self"]).status == 204
        row["left"] = left(place)
    assert row["left"] == []


def test_store_fails_during_a_download(fault: str, place: Place, request: pytest.FixtureRequest) -> None:
    start, may_go_on, _ = FAULTS[fault]
    api, row = place.api, {}
    check_health(place)
    image = api.image(DATA)
    place.proxy.faults.append(Fault("GET", rate=40 * MIB, times=1))  # It takes half a second.
    timer = threading.Timer(0.2, start, [place])
    with shown(request, fault, "download", row):
        timer.start()
        try:
            reply = api.get(image["file"])
            row["client"] = f"{reply.status}, {len(reply.body)} of {len(DATA)} bytes"
            assert reply.body in (DATA, b"") or reply.status != 200
            assert may_go_on or fault == "full" or reply.status == 503 or reply.body == DATA
        except ResponseAborted:
            row["client"] = "connection aborted"
            assert not may_go_on or fault == "restarted"
        timer.join()
        place.mend()
        check_health(place)
        row["image"] = api.get(image["self"]).json["status"]
        assert api.get(image["file"]).body == DATA
    api.delete(image["self"])
    assert left(place) == []


def test_store_fails_during_a_delete(fault: str, place: Place, request: pytest.FixtureRequest) -> None:
    start, _, _ = FAULTS[fault]
    api, row = place.api, {}
    check_health(place)
    image = api.image(DATA)
    with shown(request, fault, "delete", row):
        start(place)
        reply = api.delete(image["self"])
        row |= {"client": reply.status, "image": api.get(image["self"]).status}
        assert (reply.status, row["image"]) == (204, 404)
        place.mend()
        check_health(place)
        row["left"] = left(place)
    assert row["left"] == []


def test_nothing_is_ever_taken_for_damaged(place: Place, tmp_path: Path) -> None:
    # A bucket that is renamed for a moment must not mark every copy.
    api = place.api
    check_health(place)
    image = api.image(b"small")
    place.answer(404, "NoSuchBucket")
    assert api.get(image["file"]).status == 503
    place.mend()
    check_health(place)
    assert api.get(image["file"]).body == b"small"
    ledger = api.run(_damaged(api))
    assert ledger == set()
    api.delete(image["self"])
    assert left(place) == []


async def _damaged(api: Client) -> set[str]:
    return set(await ledger_check.damaged(api.application.ctx.db))


def test_orphaned_parts_are_found_by_the_check(place: Place) -> None:
    check_health(place)
    name = NAMES[0]
    server = place.server
    session = boto3.session.Session(server.access_key, server.secret_key, region_name="us-east-1")
    boto = session.client("s3", endpoint_url=server.endpoint)
    upload = boto.create_multipart_upload(Bucket="images", Key=name)["UploadId"]
    boto.upload_part(Bucket="images", Key=name, UploadId=upload, PartNumber=1, Body=b"x")
    ctx = place.api.application.ctx
    found = place.api.run(differences(ctx, False))
    assert [(each.kind, each.subject, each.repaired) for each in found] == [("unknown-object", name, False)]
    found = place.api.run(differences(ctx, True, remove_unknown=True))
    assert [(each.kind, each.subject, each.repaired) for each in found] == [("unknown-object", name, True)]
    assert place.api.run(differences(ctx, False)) == []
    assert boto.list_multipart_uploads(Bucket="images").get("Uploads", []) == []


def test_no_secret_is_logged_shown_or_stored(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    # SEC-60, SEC-115: at the level debug, with successes and failures of every kind
    check_health(place)
    api, secret = place.api, place.server.secret_key
    caplog.set_level(logging.DEBUG)
    image = api.image(content(PART + 1))
    place.answer(403, "InvalidAccessKeyId")
    replies = [api.get(image["file"]), api.put(api.image()["file"], headers={"content-type": OCTETS}, body=b"x")]
    assert [reply.status for reply in replies] == [503, 503]
    check_health(place)
    place.mend()
    check_health(place)
    shown = [api.get(path).text for path in (image["self"], "/v2/info/stores/detail")]
    ledger = [str(each) for each in api.run(blobs.all_blobs(api.application.ctx.db))]
    everything = "\n".join([caplog.text, *shown, *ledger, *(reply.text for reply in replies)])
    assert secret not in everything and "AWS4-HMAC" not in everything
    assert f'"s3_store_large_object_chunk_size":{PART}' in everything  # DISC-84
    for each in api.get("/v2/images").json["images"]:
        api.delete(each["self"])
    assert left(place) == []
