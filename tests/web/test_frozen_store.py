"""A file system that is frozen (fsfreeze): what needs to write to it waits or is refused, and nothing else does."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mounts import ext4, freeze, thaw
from uploads import cleanup_round, execute, ledger, upload

from ferrotype.background import cleanup
from ferrotype.config.file_store import FileStore
from ferrotype.config.stores import StoreConfig, Stores
from ferrotype.stores import supervisor
from ferrotype.stores.store import Store
from ferrotype.testing.client import OCTETS, Client, client

MIB = 1 << 20
#: Seconds in which what does not need the frozen file system is done, on whatever machine.
SOON = 20


@pytest.fixture
def ice(tmp_path: Path) -> Iterator[Path]:
    with ext4(tmp_path / "ice", 1024 * MIB) as ice:
        yield ice


@pytest.fixture
def api(ice: Path, tmp_path: Path) -> Iterator[Client]:
    """A service with a store ``cheap`` that can be frozen, one ``fast`` that cannot, and ``both`` with a directory on
    each file system; the one with the higher priority is ``both-ice``."""

    def entry(store_id: str, *directories: tuple[Path, int]) -> StoreConfig:
        return StoreConfig(store_id, "file", "", 0, FileStore(directories))

    entries = (
        entry("fast", (tmp_path / "fast", 0)),
        entry("cheap", (ice / "cheap", 0)),
        entry("both", (tmp_path / "both", 1), (ice / "both", 2)),
    )
    with client(tmp_path, stores=Stores(True, "fast", entries), background=False) as api:
        try:
            yield api
        finally:
            thaw(ice)


def store(api: Client, store_id: str) -> Store:
    found = api.application.ctx.stores.get(store_id)
    assert found is not None
    return found


def supervise(api: Client, store_id: str, seconds: float) -> None:
    """Let a store and its directories count as unresponsive after so many seconds."""
    found = store(api, store_id)
    found.supervisor.timeout = 2 * seconds
    for place in found._driver._places.values():  # type: ignore[attr-defined]
        place.writing.timeout = place.reading.timeout = seconds


def put(api: Client, store_id: str, data: Any, image: Any = None) -> int:
    """Upload data and return the status."""
    return upload(api, image or api.image(), data, {"x-image-meta-store": store_id}).status


def stored(api: Client, store_id: str) -> Any:
    image = api.image()
    assert put(api, store_id, b"data", image) == 204
    return image


def eventually(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


class Flood:
    """Uploads into one store that have begun, and go on when they are told to."""

    def __init__(self, api: Client, store_id: str, count: int):
        self._go, self._begun = threading.Event(), threading.Semaphore(0)
        self._pool = ThreadPoolExecutor(count)
        images = [api.image() for _ in range(count)]
        self.answers = [self._pool.submit(put, api, store_id, self._body(), image) for image in images]
        for _ in images:
            assert self._begun.acquire(timeout=60)

    async def _body(self) -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        self._begun.release()
        await asyncio.to_thread(self._go.wait)
        for _ in range(4):
            yield bytes(2 * MIB)

    def go_on(self) -> None:
        self._go.set()

    def statuses(self) -> list[int]:
        return [answer.result(120) for answer in self.answers]


@pytest.mark.slow
def test_uploads_into_a_frozen_store_take_nothing_from_other_stores(api: Client, ice: Path) -> None:
    """Neither before the store is known to hang nor after."""
    there = stored(api, "fast")
    for store_id in ("fast", "cheap"):  # No probe helps: it is the share of the memory alone.
        supervise(api, store_id, 600)
    memory = api.application.ctx.pools.budget
    flood = Flood(api, "cheap", 60)
    freeze(ice)
    flood.go_on()
    eventually(lambda: store(api, "cheap").memory.used > memory.size // 2)
    time.sleep(0.5)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(put, api, "fast", bytes(20 * MIB)).result(SOON) == 204
        assert pool.submit(put, api, "fast", [bytes(MIB)] * 20).result(SOON) == 204
        assert pool.submit(api.get, f"{there['self']}/file").result(SOON).body == b"data"
    thaw(ice)
    assert flood.statuses() == [204] * 60
    assert memory.used == 0


@pytest.mark.slow
def test_uploads_into_a_store_that_does_not_answer_are_given_up(api: Client, ice: Path, tmp_path: Path) -> None:
    memory = api.application.ctx.pools.budget
    supervise(api, "cheap", 0.3)
    flood = Flood(api, "cheap", 40)
    freeze(ice)
    flood.go_on()
    assert flood.statuses() == [503] * 40
    # The threads that hang have their data, which counts apart up to a limit; nothing else has any.
    assert 0 < memory._detached <= 64 * MIB
    assert memory.used == store(api, "cheap").memory.used <= 32 * MIB
    assert put(api, "cheap", b"at once") == 503
    images = api.get("/v2/images?limit=100").json["images"]
    assert {each["status"] for each in images} == {"queued"}
    # As long as a thread may still write, nobody deletes its object.
    execute(api, "UPDATE blobs SET remove_at = 0")
    api.run(cleanup_round(api.application.ctx))
    rows = ledger(api)
    assert {(row.state, row.charged) for row in rows} == {("deleting", 0)} and any(row.writer for row in rows)
    thaw(ice)
    eventually(lambda: memory._detached == 0)

    def settled() -> bool:
        execute(api, "UPDATE blobs SET remove_at = 0 WHERE state = 'deleting'")
        api.run(cleanup_round(api.application.ctx))
        return ledger(api) == [] and [path.name for path in (ice / "cheap").iterdir()] == [".ferrotype"]

    eventually(settled)
    assert put(api, "cheap", b"again") == 204
    assert memory.used == 0


def test_reading_goes_on_while_writing_is_frozen(api: Client, ice: Path) -> None:
    there = stored(api, "cheap")
    supervise(api, "cheap", 0.2)
    freeze(ice)
    api.run(store(api, "cheap").probe())
    assert not store(api, "cheap").health.writable
    assert api.get(f"{there['self']}/file").body == b"data"
    assert put(api, "cheap", b"x") == 503
    thaw(ice)
    eventually(lambda: put(api, "cheap", b"x") == 204)  # No later probe is needed.


def test_a_frozen_directory_does_not_stand_for_another(api: Client, ice: Path, tmp_path: Path) -> None:
    there = stored(api, "both")
    assert list((ice / "both").glob("*-*"))
    supervise(api, "both", 0.3)
    freeze(ice)
    here = stored(api, "both")  # The one with the higher priority does not answer.
    assert list((tmp_path / "both").glob("*-*"))
    for _ in range(3):
        api.run(store(api, "both").probe())
        assert store(api, "both").health.writable
        assert str(ice / "both") in store(api, "both").health.reason
        assert [api.get(f"{each['self']}/file").body for each in (there, here)] == [b"data"] * 2
    assert api.delete(here["self"]).status == 204
    assert ledger(api)[0].image_id == there["id"] and len(ledger(api)) == 1
    thaw(ice)
    eventually(lambda: not api.run(store(api, "both").probe()) and not store(api, "both").health.reason)
    assert put(api, "both", b"x") == 204
    assert len(list((ice / "both").glob("*-*"))) == 2


def test_deletions_that_hang_delay_neither_other_stores_nor_the_take_over(api: Client, ice: Path) -> None:
    there, here, orphan = stored(api, "cheap"), stored(api, "fast"), api.image()
    ctx = api.application.ctx
    rows = {row.image_id: row for row in ledger(api)}
    for each in (there, here):
        execute(api, f"UPDATE blobs SET state = 'deleting', remove_at = 0 WHERE image_id = '{each['id']}'")
    execute(api, f"UPDATE images SET status = 'saving' WHERE id = '{orphan['id']}'")
    name = f"{orphan['id']}-0123abcd"
    execute(
        api,
        "INSERT INTO blobs"
        " (id, store, name, image_id, project, purpose, state, charged, writer, created_at, remove_at, attempts)"
        f" VALUES ('o', 'cheap', '{name}', '{orphan['id']}', 'p', 'data', 'writing', 0, 'dead', 0, 0, 0)",
    )
    supervise(api, "cheap", 600)
    freeze(ice)

    async def round_() -> None:
        """One round as the periodic work has it."""
        deleting = [asyncio.ensure_future(cleanup.delete_marked_objects(ctx, each.id)) for each in ctx.stores]
        await asyncio.wait_for(cleanup.run_cleanup(ctx), SOON)
        await asyncio.wait_for(deleting[0], SOON)
        hanging.append(deleting[1])

    hanging: list[asyncio.Future[None]] = []
    api.run(round_())
    assert not hanging[0].done()
    assert api.get(orphan["self"]).json["status"] == "queued"
    assert {row.image_id for row in ledger(api)} == {there["id"], orphan["id"]}
    assert rows[here["id"]].handle and not Path(rows[here["id"]].handle).exists()
    thaw(ice)
    eventually(hanging[0].done)


@pytest.mark.slow
def test_a_store_that_hangs_at_the_start_delays_no_other(ice: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(supervisor, "PROBE_TIMEOUT", 0.5)
    entries = tuple(
        StoreConfig(f"s{number}", "file", "", 0, FileStore(((place / f"{number}", 0),)))
        for number, place in enumerate([ice] * 4 + [tmp_path])
    )
    freeze(ice)
    try:
        with client(tmp_path, stores=Stores(True, "s4", entries), background=False) as api:
            assert put(api, "s4", b"x") == 204
            assert put(api, "s0", b"x") == 503
            thaw(ice)
            api.run(cleanup.probe_stores(api.application.ctx))
            assert [put(api, f"s{number}", b"x") for number in range(5)] == [204] * 5
            assert api.request("GET", "/v2/images", headers={"accept": OCTETS}).status == 200
    finally:
        thaw(ice)
