"""A store whose back end hangs, like a network file system without its server: other stores are not affected."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from uploads import files, ledger, run_cleanup

from ferrotype.config.file_store import FileStore
from ferrotype.config.stores import StoreConfig, Stores
from ferrotype.offload import ThreadPools
from ferrotype.stores import stores as stores_module
from ferrotype.stores.driver import Health
from ferrotype.stores.file import FileDriver, FileSource
from ferrotype.stores.store import Store
from ferrotype.testing.client import OCTETS, Client, client

#: Whether calls hang, and the end of those that do.
stuck, gone = threading.Event(), threading.Event()
#: Every source that was opened.
opened: list[Any] = []


def as_ever() -> None:
    if stuck.is_set():
        gone.wait()


class Hanging(FileDriver):
    """Files whose file system may hang."""

    def __init__(self, store: str, options: FileStore, pools: ThreadPools):
        super().__init__(store, options, pools)
        self.threads = pools.new_pool(64, "hanging")

    async def open(self, handle: str) -> FileSource:
        await self.threads.offload(as_ever)
        source = await super().open(handle)
        opened.append(source.local_file)
        return source

    async def delete(self, name: str, handle: str | None) -> None:
        await self.threads.offload(as_ever)
        await super().delete(name, handle)

    async def probe(self) -> Health:
        await self.threads.offload(as_ever)
        return await super().probe()


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A service with a store that may hang. It ends while calls still hang."""
    monkeypatch.setitem(stores_module.DRIVERS, "hanging", Hanging)  # type: ignore[arg-type]
    entries = tuple(
        StoreConfig(each, kind, "", 0, FileStore(((tmp_path / each, 0),)))
        for each, kind in (("cheap", "hanging"), ("fast", "file"))
    )
    stuck.clear()
    gone.clear()
    try:
        with client(tmp_path, stores=Stores(True, "fast", entries)) as api:
            yield api
    finally:
        gone.set()


def stored_in(api: Client, store: str) -> Any:
    image = api.image()
    headers = {"content-type": OCTETS, "x-image-meta-store": store}
    assert api.put(f"{image['self']}/file", body=b"data", headers=headers).status == 204
    return image


def cheap(api: Client) -> Store:
    store = api.application.ctx.stores.get("cheap")
    assert store is not None
    return store


def until_hanging(api: Client) -> None:
    cheap(api).supervisor.timeout = 0.05
    stuck.set()


def until_answering(api: Client) -> None:
    stuck.clear()
    gone.set()
    cheap(api).supervisor.timeout = 60
    api.run(cheap(api).probe())


def test_other_stores_work_while_one_hangs(api: Client) -> None:
    there, here = stored_in(api, "cheap"), stored_in(api, "fast")
    until_hanging(api)
    with ThreadPoolExecutor(48) as pool:
        waiting = [pool.submit(api.get, f"{there['self']}/file") for _ in range(48)]
        assert api.get(f"{here['self']}/file").body == b"data"
        stored_in(api, "fast")
        assert {answer.result(60).status for answer in waiting} == {503}  # They are answered too.
    until_answering(api)
    assert api.get(f"{there['self']}/file").body == b"data"


def test_data_in_a_hanging_store_is_deleted_later(api: Client, tmp_path: Path) -> None:
    there = stored_in(api, "cheap")
    until_hanging(api)
    assert api.delete(there["self"]).status == 204  # RUL-05
    assert api.get(there["self"]).status == 404
    assert [blob.state for blob in ledger(api)] == ["deleting"]
    run_cleanup(api)  # It goes on to its end.
    until_answering(api)
    end = time.monotonic() + 60
    while ledger(api) or files(tmp_path):
        assert time.monotonic() < end
        run_cleanup(api)
        time.sleep(0.1)


def test_a_file_opened_too_late_is_closed(api: Client) -> None:
    there = stored_in(api, "cheap")
    until_hanging(api)
    assert api.get(f"{there['self']}/file").status == 503
    opened.clear()
    stuck.clear()
    gone.set()
    end = time.monotonic() + 60
    while [file.fd for file in opened] != [-1]:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_store_is_used_again_as_soon_as_it_answers(api: Client) -> None:
    there = stored_in(api, "cheap")
    until_hanging(api)
    api.run(cheap(api).probe())
    assert api.get(f"{there['self']}/file").status == 503
    headers = {"content-type": OCTETS, "x-image-meta-store": "cheap"}
    assert api.put(f"{api.image()['self']}/file", body=b"data", headers=headers).status == 503
    cheap(api).supervisor.timeout = 60
    stuck.clear()
    gone.set()  # From here on it gets no new calls: the pending probe is enough.
    end = time.monotonic() + 60
    while api.get(f"{there['self']}/file").status != 200:
        assert time.monotonic() < end
        time.sleep(0.02)
    stored_in(api, "cheap")
