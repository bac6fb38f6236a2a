"""What keeps ledger and stores the same: safe to repeat, and safe to do on several nodes at once."""

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from uploads import Held, ask, copy, file_of, files, ledger, queued_again, settled, tell, tidy, upload, uploading

from ferrotype.background import cleanup as upkeep
from ferrotype.config.model import Api, Limits
from ferrotype.model.errors import Busy
from ferrotype.service.lease import SLOTS
from ferrotype.service.process import identity, is_gone
from ferrotype.service.rollback import undoing
from ferrotype.testing.client import OWNER, Client, client


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Client]:
    limits = Limits(user_storage_quota=1 << 30)
    shown = Api(show_locations=True)
    with client(tmp_path, upkeep=False, database_url=database_url, api=shown, limits=limits) as api:
        yield api


#: As a lease: the worker lives, however slow the machine is. The other end is 1.
FAR = 10**17


def of_a_dead_worker(api: Client, directory: Path, process: str = "gone 0 1") -> Any:
    """Return an image whose upload was broken off by the end of its process, with half a file."""
    image = api.image(caller=OWNER)
    tell(api, f"UPDATE images SET status = 'saving' WHERE id = '{image['id']}'")
    name = f"{image['id']}-0123abcd"
    tell(
        api,
        "INSERT INTO blobs"
        " (id, store, name, image_id, project, purpose, state, charged, writer, created_at, attempts)"
        f" VALUES ('{image['id']}', 'fast', '{name}', '{image['id']}', 'p1', 'data', 'writing', 500, 'dead', 0, 0)",
    )
    tell(api, "DELETE FROM workers WHERE id = 'dead'")
    tell(api, f"INSERT INTO workers (id, process, started_at, lease_until) VALUES ('dead', '{process}', 0, {FAR})")
    tell(api, "INSERT INTO usage (project, stored) VALUES ('p1', 0) ON CONFLICT DO NOTHING")
    tell(api, "UPDATE usage SET stored = stored + 500 WHERE project = 'p1'")
    (directory / "fast" / f".{name}.part").write_bytes(b"half of it")
    return image


def test_what_a_living_worker_writes_is_left_alone(api: Client, tmp_path: Path) -> None:
    elsewhere = of_a_dead_worker(api, tmp_path, "another-machine 1 1")
    here = api.image(caller=OWNER)
    with uploading(api, here, Held(b"one", b" two"), caller=OWNER) as answer:
        before = ledger(api)
        for _ in range(3):
            tidy(api)
        assert ledger(api) == before
        assert [api.get(each["self"]).json["status"] for each in (here, elsewhere)] == ["saving", "saving"]
    assert answer.result().status == 204


def test_when_a_lease_lapses_the_image_is_queued_and_the_bytes_go_a_lease_later(api: Client, tmp_path: Path) -> None:
    image = of_a_dead_worker(api, tmp_path)
    tell(api, f"UPDATE workers SET lease_until = {time.time_ns() // 1000} WHERE id = 'dead'")
    tidy(api)
    assert api.get(image["self"]).json["status"] == "queued"
    assert int(ask(api, "SELECT stored FROM usage WHERE project = 'p1'")) == 0
    assert len(files(tmp_path)) == 1  # its process might still write for a moment
    assert upload(api, image, b"again", caller=OWNER).status == 204
    tell(api, "UPDATE workers SET lease_until = 1 WHERE id = 'dead'")
    tidy(api)
    assert api.get(f"{image['self']}/file", caller=OWNER).body == b"again"
    settled(api, tmp_path)


def test_several_nodes_at_once_do_it_once(api: Client, tmp_path: Path) -> None:
    images = [of_a_dead_worker(api, tmp_path) for _ in range(5)]
    tell(api, "UPDATE workers SET lease_until = 1 WHERE id = 'dead'")

    async def together() -> None:
        ctx = api.application.ctx
        await asyncio.gather(*(upkeep.tidy(ctx) for _ in range(6)))

    api.run(together())
    for image in images:
        queued_again(api, tmp_path, image)
    assert int(ask(api, "SELECT stored FROM usage WHERE project = 'p1'")) == 0


def test_the_work_of_a_process_that_is_gone_is_taken_over_at_once(api: Client, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        alive = identity(process.pid)
        image = of_a_dead_worker(api, tmp_path, alive)
        tidy(api)
        assert api.get(image["self"]).json["status"] == "saving"
        process.kill()
    tidy(api)
    queued_again(api, tmp_path, image)  # SEC-91


def test_a_process_is_known_by_more_than_its_number() -> None:
    mine = identity()
    boot, namespace, pid, start = mine.split()
    assert pid == str(os.getpid())
    assert not is_gone(mine)
    assert is_gone(f"{boot} {namespace} {pid} {int(start) - 1}")  # the same number, an older process
    assert is_gone(f"{boot} {namespace} 4194999 1")
    # Of another machine, another container, or nobody, nothing is known.
    for unknown in (f"other {namespace} {pid} 1", f"{boot} pid:[1] {pid} 1", "", "x", f"{boot} {namespace} x 1"):
        assert not is_gone(unknown)


def test_an_undo_that_failed_is_repeated(api: Client, tmp_path: Path) -> None:
    """As after a database that was away: the rows are ours, and nobody here is writing any more."""
    image = of_a_dead_worker(api, tmp_path)
    worker = api.application.ctx.lease.worker
    tell(api, f"UPDATE blobs SET writer = '{worker}' WHERE writer = 'dead'")
    tidy(api)
    queued_again(api, tmp_path, image)


def test_bytes_that_cannot_be_removed_are_tried_again_with_growing_pauses(
    api: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = api.image(b"data", caller=OWNER)
    path = file_of(image)
    path.unlink()
    path.mkdir()
    assert api.delete(image["self"], caller=OWNER).status == 204
    for _ in range(14):
        tell(api, "UPDATE blobs SET remove_at = 0")
        tidy(api)
        tidy(api)  # not due: nothing happens
    assert int(ask(api, "SELECT attempts FROM blobs")) >= 15
    said = [record.args for record in caplog.records if "next try in" in record.getMessage()]
    pauses = [args[2] for args in said if isinstance(args, tuple)]
    assert list(dict.fromkeys(pauses)) == [2**number for number in range(12)] + [3600]
    path.rmdir()
    tell(api, "UPDATE blobs SET remove_at = 0")
    tidy(api)
    settled(api, tmp_path)


def test_objects_in_stores_of_other_nodes_are_left_to_them(api: Client, tmp_path: Path) -> None:
    image = api.image(b"data", caller=OWNER)
    copy(api, image)
    tell(api, "UPDATE blobs SET store = 'far' WHERE store = 'fast'")
    assert api.delete(image["self"], caller=OWNER).status == 204
    tell(api, "UPDATE blobs SET remove_at = 0")
    tidy(api)
    assert [(row.store, row.state) for row in ledger(api)] == [("far", "doomed")]
    assert int(ask(api, "SELECT attempts FROM blobs")) == 0


def test_a_node_takes_so_many_transfers_and_no_more(tmp_path: Path) -> None:
    with client(tmp_path) as api:
        lease, image = api.application.ctx.lease, api.image()
        others = {str(number) for number in range(SLOTS)}
        lease.writing |= others
        reply = upload(api, image, b"x")
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        assert api.get(image["self"]).json["status"] == "queued"
        lease.writing -= others
        assert upload(api, image, b"x").status == 204
        settled(api, tmp_path)


def test_without_a_lease_nothing_is_begun_or_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RENEW", "REGAIN"):  # It is found again when the test says so.
        monkeypatch.setattr(f"ferrotype.app.{name}", 10**6)
    with client(tmp_path) as api:
        lease, image = api.application.ctx.lease, api.image()
        lease.lost = True
        read = []

        async def body() -> Any:
            read.append(True)
            yield b"x"

        assert (upload(api, image, body()).status, read) == (503, [])
        api.run(lease.renew())
        assert upload(api, image, b"x").status == 204


def test_many_that_find_a_lapsed_lease_begin_one_new_one(api: Client) -> None:
    lease = api.application.ctx.lease
    old = lease.worker
    tell(api, "UPDATE workers SET lease_until = 1")

    async def together() -> list[Any]:
        work = [lease.assure(old) for _ in range(5)] + [lease.renew() for _ in range(5)]
        return await asyncio.gather(*work, return_exceptions=True)

    outcomes = api.run(together())
    assert [isinstance(each, Busy) for each in outcomes] == [True] * 5 + [False] * 5
    assert lease.worker != old
    assert not lease.lost
    assert int(ask(api, "SELECT count(*) FROM workers WHERE lease_until > 1")) == 1


def test_undo_runs_newest_first_to_its_end_whatever_stops_it(caplog: pytest.LogCaptureFixture) -> None:
    log: list[int] = []
    begun, go = asyncio.Event(), asyncio.Event()

    async def step(number: int) -> None:
        begun.set()
        await go.wait()
        log.append(number)
        if number == 2:
            raise RuntimeError("this one fails")

    async def fails(error: BaseException) -> None:
        async with undoing() as undo:
            for number in range(4):
                undo(step, number)
            raise error

    async def work() -> None:
        go.set()
        for error in (ValueError("x"), asyncio.CancelledError()):
            with pytest.raises(type(error)):
                await fails(error)
        go.clear()
        begun.clear()
        task = asyncio.ensure_future(fails(ValueError("x")))
        await begun.wait()
        for _ in range(2):
            assert task.cancel()
            await asyncio.sleep(0)
        go.set()
        await asyncio.wait([task])
        assert task.cancelled()
        async with undoing() as undo:
            undo(step, 9)

    caplog.set_level(logging.ERROR)
    asyncio.run(work())
    assert log == [3, 2, 1, 0] * 3
    assert caplog.text.count("failed and is left to the upkeep") == 3


def test_uploads_deletes_and_upkeep_side_by_side_end_settled(api: Client, tmp_path: Path) -> None:
    """SQLite and PostgreSQL, thirty images, everything at once, and then the books are right."""

    async def body(number: int) -> Any:
        for _ in range(number % 3):
            yield bytes(1000 * number)
            await asyncio.sleep(0.002)

    def one(number: int) -> None:
        image = api.image(caller=OWNER)
        upload(api, image, body(number), caller=OWNER)
        if number % 2:
            assert api.delete(image["self"], caller=OWNER).status == 204

    with ThreadPoolExecutor(6) as pool:
        work = [pool.submit(one, number) for number in range(30)]
        while not all(each.done() for each in work):
            tidy(api)
        for each in work:
            each.result()
    settled(api, tmp_path)
    assert len(ledger(api)) == 15
