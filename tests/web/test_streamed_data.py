"""Downloads from a store without local files behave as those from files do, and are within the memory budget."""

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from uploads import PausedBody, execute, ledger, upload, uploading

from ferrotype.admin.consistency import differences
from ferrotype.config.api import Api
from ferrotype.config.file_store import FileStore
from ferrotype.config.memory_store import MemoryStore
from ferrotype.config.stores import StoreConfig, Stores
from ferrotype.model.errors import BlobDamaged, StoreUnavailable
from ferrotype.stores import stores as stores_module
from ferrotype.stores.driver import READ_SIZE
from ferrotype.stores.memory import MemoryDriver, MemorySource
from ferrotype.testing.client import Client, client
from ferrotype.web.http import ResponseAborted

DATA = os.urandom(3 * READ_SIZE + 17)
BOTH = pytest.mark.parametrize("store", ["ram", "disk"])
#: Offset at which the reads of the unreliable store fail, and how.
failing: list[tuple[int, Exception]] = []
open_sources: set[Any] = set()


class UnreliableSource(MemorySource):
    def __init__(self, data: bytes):
        super().__init__(data)
        open_sources.add(self)

    async def read(self, offset: int, count: int | None) -> AsyncIterator[bytes]:
        async for chunk in super().read(offset, count):
            for place, error in failing:
                if offset <= place < offset + len(chunk):
                    raise error
            offset += len(chunk)
            yield chunk

    async def close(self) -> None:
        open_sources.discard(self)
        await super().close()


class Unreliable(MemoryDriver):
    """Objects in memory whose reads may fail."""

    async def open(self, handle: str) -> MemorySource:
        return UnreliableSource(self._data(handle))


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setitem(stores_module.DRIVERS, "unreliable", Unreliable)  # type: ignore[arg-type]
    entries = (
        StoreConfig("ram", "unreliable", options=MemoryStore()),
        StoreConfig("disk", "file", options=FileStore(((tmp_path / "disk", 0),))),
    )
    failing.clear()
    with client(tmp_path, stores=Stores(True, "ram", entries), api=Api(show_locations=True)) as api:
        yield api
    assert open_sources == set()


def stored(api: Client, store: str, data: bytes = DATA) -> Any:
    image = api.image()
    assert upload(api, image, data, {"x-image-meta-store": store}).status == 204
    return api.get(image["self"]).json


@BOTH
def test_data_ranges_and_conditions_work_as_with_files(api: Client, store: str) -> None:
    image = stored(api, store)
    path, size, etag = image["file"], len(DATA), f'"{hashlib.sha512(DATA).hexdigest()}"'
    whole = api.get(path)
    assert (whole.status, whole.body, whole.headers["content-length"]) == (200, DATA, str(size))
    assert (whole.headers["etag"], whole.headers["accept-ranges"]) == (etag, "bytes")
    # IMG-DL-10, IMG-DL-12
    for text, start, end in (
        ("0-0", 0, 1), ("5-99", 5, 100), (f"{READ_SIZE - 1}-{READ_SIZE}", READ_SIZE - 1, READ_SIZE + 1),
        ("-10", size - 10, size), (f"{size - 1}-", size - 1, size), (f"1-{2 * size}", 1, size),
    ):  # fmt: skip
        part = api.get(path, headers={"range": f"bytes={text}"})
        assert (part.status, part.body) == (206, DATA[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    assert api.get(path, headers={"range": f"bytes={size}-"}).status == 416
    head = api.request("HEAD", path)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(size))
    # IMG-DL-17
    assert api.get(path, headers={"if-none-match": etag}).status == 304
    assert api.get(path, headers={"if-match": '"other"'}).status == 412
    assert api.get(path, headers={"if-range": '"other"', "range": "bytes=0-1"}).body == DATA


@BOTH
def test_an_image_of_zero_bytes_has_a_body_of_zero_bytes(api: Client, store: str) -> None:
    reply = api.get(stored(api, store, b"")["file"])
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "0")


@BOTH
def test_the_access_log_counts_what_was_sent(api: Client, store: str, caplog: pytest.LogCaptureFixture) -> None:
    image = stored(api, store)
    caplog.set_level(logging.INFO, "ferrotype.access")
    for method, headers, sent in (("GET", {}, len(DATA)), ("GET", {"range": "bytes=1-3"}, 3), ("HEAD", {}, 0)):
        before = len(caplog.records)
        api.request(method, image["file"], headers=headers)
        lines = [record.getMessage() for record in caplog.records[before:] if record.name == "ferrotype.access"]
        assert [line.split()[6] for line in lines] == [str(sent)]


def test_locations_and_discovery_name_the_store(api: Client) -> None:
    image = stored(api, "ram")
    (blob,) = ledger(api)
    assert image["locations"] == [{"url": f"memory://ram/{blob.name}", "metadata": {"store": "ram"}}]
    assert (blob.handle, blob.state, blob.size) == (blob.name, "live", len(DATA))
    assert {each["id"] for each in api.get("/v2/info/stores").json["stores"]} == {"ram", "disk"}


def test_a_missing_object_is_reported(api: Client) -> None:
    image = stored(api, "ram")
    ctx = api.application.ctx
    assert api.run(differences(ctx, False)) == []
    driver = ctx.stores.get("ram")._driver  # type: ignore[union-attr]
    (name,) = driver._objects
    data = driver._objects.pop(name)
    assert [each.kind for each in api.run(differences(ctx, False))] == ["missing-object"]
    assert api.get(image["file"]).status == 503
    driver._objects[name] = data[:-1]
    assert [each.kind for each in api.run(differences(ctx, False))] == ["damaged-object"]
    driver._objects[name] = data
    failing.append((len(data) - 1, BlobDamaged("cannot be read")))
    assert "damaged-object" in [each.kind for each in api.run(differences(ctx, False))]
    failing.clear()
    assert api.get(image["file"]).body == DATA
    assert [each.kind for each in api.run(differences(ctx, True))] == ["marked-damaged"]


@pytest.mark.parametrize("place", [0, READ_SIZE, len(DATA) - 1])
def test_a_store_error_during_a_download_aborts_the_connection(
    api: Client, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    image = stored(api, "ram")
    budget = api.application.ctx.pools.budget.share("ram")
    failing.append((place, StoreUnavailable("the back end went away")))
    with pytest.raises(ResponseAborted):
        api.get(image["file"])
    assert "the back end went away" in caplog.text and image["id"] in caplog.text
    assert budget.used == 0
    failing.clear()
    assert api.get(image["file"]).body == DATA


def test_a_download_waits_for_the_memory_budget_and_a_client_that_leaves_frees_it(api: Client) -> None:
    image = stored(api, "ram")
    budget = api.application.ctx.pools.budget.share("ram")

    FULL = budget._budget.limit(budget)

    async def with_full_budget() -> bytes:
        await budget.acquire(FULL)
        waiting = asyncio.ensure_future(asyncio.to_thread(api.get, image["file"]))
        await asyncio.sleep(0.3)
        assert not waiting.done() and budget.used == FULL
        budget.release(FULL)
        return (await waiting).body

    assert api.run(with_full_budget()) == DATA
    assert budget.used == 0


def test_an_upload_that_is_deleted_leaves_nothing_in_a_store_without_files(api: Client) -> None:
    image = api.image()
    held = PausedBody(b"first ", b"rest")
    with uploading(api, image, held, headers={"x-image-meta-store": "ram"}) as answer:
        assert api.delete(image["self"]).status == 204
        execute(api, "UPDATE blobs SET remove_at = 0")
    assert answer.result().status in (410, 503)
    driver = api.application.ctx.stores.get("ram")._driver  # type: ignore[union-attr]
    assert (driver._objects, driver._unfinished, ledger(api)) == ({}, {}, [])
