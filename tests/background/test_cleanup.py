"""Background cleanup keeps ledger and stores consistent; it is idempotent and safe on several nodes at once."""

import asyncio
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from uploads import (
    PausedBody,
    ask,
    assert_consistent,
    cleanup_round,
    copy,
    execute,
    file_of,
    files,
    ledger,
    queued_again,
    run_cleanup,
    upload,
    uploading,
)

from ferrotype.db.workers import Worker
from ferrotype.model.errors import Busy
from ferrotype.service.lease import Lease, WorkerWatch
from ferrotype.service.process import identity, is_gone
from ferrotype.service.rollback import rollback_on_error
from ferrotype.stores.stores import MAX_UPLOADS
from ferrotype.testing.client import OWNER, Client, client


def of_a_dead_worker(api: Client, directory: Path, process: str = "gone 0 1") -> Any:
    """Return an image whose upload was broken off by the end of its process, with half a file."""
    image = api.image(caller=OWNER)
    execute(api, f"UPDATE images SET status = 'saving' WHERE id = '{image['id']}'")
    name = f"{image['id']}-0123abcd"
    execute(
        api,
        "INSERT INTO blobs"
        " (id, store, name, image_id, project, purpose, state, charged, writer, created_at, attempts)"
        f" VALUES ('{image['id']}', 'fast', '{name}', '{image['id']}', 'p1', 'data', 'writing', 500, 'dead', 0, 0)",
    )
    execute(api, "DELETE FROM workers WHERE id = 'dead'")
    execute(
        api,
        "INSERT INTO workers (id, process, started_at, lease, renewals, state)"
        f" VALUES ('dead', '{process}', 0, 30000000, 0, 'running')",
    )
    execute(api, "INSERT INTO usage (project, stored) VALUES ('p1', 0) ON CONFLICT DO NOTHING")
    execute(api, "UPDATE usage SET stored = stored + 500 WHERE project = 'p1'")
    (directory / "fast" / f".{name}.part").write_bytes(b"half of it")
    return image


def test_cleanup_leaves_uploads_of_live_workers_alone(api: Client, tmp_path: Path) -> None:
    elsewhere = of_a_dead_worker(api, tmp_path, "another-machine 1 1")
    here = api.image(caller=OWNER)
    with uploading(api, here, PausedBody(b"one", b" two"), caller=OWNER) as answer:
        before = ledger(api)
        for _ in range(3):
            run_cleanup(api)
        assert ledger(api) == before
        assert [api.get(each["self"]).json["status"] for each in (here, elsewhere)] == ["saving", "saving"]
    assert answer.result().status == 204


def test_expired_lease_requeues_the_image_and_deletes_its_data_one_lease_later(api: Client, tmp_path: Path) -> None:
    image = of_a_dead_worker(api, tmp_path)
    execute(api, "UPDATE workers SET state = 'expired' WHERE id = 'dead'")
    run_cleanup(api)
    assert api.get(image["self"]).json["status"] == "queued"
    assert int(ask(api, "SELECT stored FROM usage WHERE project = 'p1'")) == 0
    assert len(files(tmp_path)) == 1  # its process might still write for a moment
    assert upload(api, image, b"again", caller=OWNER).status == 204
    execute(api, "UPDATE workers SET state = 'gone' WHERE id = 'dead'")
    run_cleanup(api)
    assert api.get(f"{image['self']}/file", caller=OWNER).body == b"again"
    assert_consistent(api, tmp_path)


def test_several_nodes_at_once_do_it_once(api: Client, tmp_path: Path) -> None:
    images = [of_a_dead_worker(api, tmp_path) for _ in range(5)]
    execute(api, "UPDATE workers SET state = 'gone' WHERE id = 'dead'")

    async def together() -> None:
        ctx = api.application.ctx
        await asyncio.gather(*(cleanup_round(ctx) for _ in range(6)))

    api.run(together())
    for image in images:
        queued_again(api, tmp_path, image)
    assert int(ask(api, "SELECT stored FROM usage WHERE project = 'p1'")) == 0


def test_uploads_of_a_dead_process_are_reclaimed_at_once(api: Client, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        alive = identity(process.pid)
        image = of_a_dead_worker(api, tmp_path, alive)
        run_cleanup(api)
        assert api.get(image["self"]).json["status"] == "saving"
        process.kill()
    run_cleanup(api)
    queued_again(api, tmp_path, image)  # SEC-91


def test_process_identity_includes_more_than_the_pid() -> None:
    mine = identity()
    boot, namespace, pid, start = mine.split()
    assert pid == str(os.getpid())
    assert not is_gone(mine)
    assert is_gone(f"{boot} {namespace} {pid} {int(start) - 1}")  # the same number, an older process
    assert is_gone(f"{boot} {namespace} 4194999 1")
    # Processes of another machine or container, and malformed identities, are unknown.
    for unknown in (f"other {namespace} {pid} 1", f"{boot} pid:[1] {pid} 1", "", "x", f"{boot} {namespace} x 1"):
        assert not is_gone(unknown)


def test_failed_rollback_is_retried(api: Client, tmp_path: Path) -> None:
    """As after a database outage: the rows are ours, and no upload of this worker is in progress."""
    image = of_a_dead_worker(api, tmp_path)
    worker = api.application.ctx.lease.worker
    execute(api, f"UPDATE blobs SET writer = '{worker}' WHERE writer = 'dead'")
    run_cleanup(api)
    queued_again(api, tmp_path, image)


def test_failed_object_deletion_is_retried_with_backoff(
    api: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = api.image(b"data", caller=OWNER)
    path = file_of(image)
    path.unlink()
    path.mkdir()
    assert api.delete(image["self"], caller=OWNER).status == 204
    for _ in range(14):
        execute(api, "UPDATE blobs SET remove_at = 0")
        run_cleanup(api)
        run_cleanup(api)  # not due: nothing happens
    assert int(ask(api, "SELECT attempts FROM blobs")) >= 15
    said = [record.args for record in caplog.records if "will retry in" in record.getMessage()]
    pauses = [args[0] for args in said if isinstance(args, tuple)]
    assert list(dict.fromkeys(pauses)) == [2**number for number in range(12)] + [3600]
    path.rmdir()
    execute(api, "UPDATE blobs SET remove_at = 0")
    run_cleanup(api)
    assert_consistent(api, tmp_path)


def test_objects_in_stores_of_other_nodes_are_left_alone(api: Client, tmp_path: Path) -> None:
    image = api.image(b"data", caller=OWNER)
    copy(api, image)
    execute(api, "UPDATE blobs SET store = 'far' WHERE store = 'fast'")
    assert api.delete(image["self"], caller=OWNER).status == 204
    execute(api, "UPDATE blobs SET remove_at = 0")
    run_cleanup(api)
    assert [(row.store, row.state) for row in ledger(api)] == [("far", "deleting")]
    assert int(ask(api, "SELECT attempts FROM blobs")) == 0


def test_number_of_transfers_per_node_is_bounded(tmp_path: Path) -> None:
    with client(tmp_path) as api:
        store, image = api.application.ctx.stores.get("fast"), api.image()
        assert store is not None
        with ExitStack() as others:
            with pytest.raises(Busy):
                for _ in range(MAX_UPLOADS + 1):
                    others.enter_context(store.upload_slot())
            reply = upload(api, image, b"x")
            assert (reply.status, reply.headers["retry-after"]) == (503, "5")
            assert api.get(image["self"]).json["status"] == "queued"
            # The other store has its share.
            assert upload(api, api.image(), b"x", {"x-image-meta-store": "cheap"}).status == 204
        assert upload(api, image, b"x").status == 204
        assert_consistent(api, tmp_path)


def test_uploads_neither_start_nor_finish_without_a_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RENEW_PART", "RETRY_PART"):  # It is found again when the test says so.
        monkeypatch.setattr(f"ferrotype.background.periodic.{name}", 10**6)
    with client(tmp_path) as api:
        lease, image = api.application.ctx.lease, api.image()
        lease._renewed_at = None
        read = []

        async def body() -> Any:
            read.append(True)
            yield b"x"

        assert (upload(api, image, body()).status, read) == (503, [])
        api.run(lease.renew())
        assert upload(api, image, b"x").status == 204


def renewed_long_ago(lease: Lease) -> None:
    """Let half of the lease have passed since it was renewed."""
    assert lease._renewed_at
    lease._renewed_at -= lease.seconds / 2


# RUL-75
def test_uploads_that_end_together_share_one_renewal(api: Client) -> None:
    lease = api.application.ctx.lease
    count = "SELECT renewals FROM workers WHERE state = 'running'"
    before = int(ask(api, count))

    async def together() -> None:
        await asyncio.gather(*(lease.ensure_held(lease.worker) for _ in range(240)))

    api.run(together())
    assert int(ask(api, count)) == before  # it was renewed a moment ago
    renewed_long_ago(lease)
    api.run(together())
    assert int(ask(api, count)) == before + 1


# RUL-75
def test_a_worker_whose_counter_stands_still_is_expired_and_gone_a_lease_later() -> None:
    now = 1000.0
    watch = WorkerWatch(lambda: now)
    worker = Worker("w", "", 30_000_000, 7, "running")
    other = Worker("other", "", 3_000_000, 1, "running")
    assert watch.stalled([worker, other]) == []
    now += 29
    assert watch.stalled([worker, msgspec.structs.replace(other, renewals=2)]) == []
    now += 2
    assert watch.stalled([worker, msgspec.structs.replace(other, renewals=3)]) == [worker]
    expired = msgspec.structs.replace(worker, state="expired")
    assert watch.stalled([expired]) == []
    now += 31
    assert watch.stalled([expired]) == [expired]
    assert watch.stalled([worker]) == []  # it was forgotten meanwhile


# RUL-75
def test_a_lease_is_held_by_the_clock_of_its_worker_and_ends_before_others_end_it(api: Client) -> None:
    now = 1000.0
    lease = Lease(api.application.ctx.db, 30, lambda: now)
    assert not lease.held
    api.run(lease.begin())
    assert (lease.held, lease.remaining) == (True, 25.5)
    now += 24
    assert lease.held
    now += 2
    assert not lease.held
    api.run(lease.renew())  # Nobody has ended it: it goes on.
    assert lease.held_by(lease.worker)


def test_concurrent_requests_renew_an_expired_lease_once(api: Client) -> None:
    lease = api.application.ctx.lease
    old = lease.worker
    renewed_long_ago(lease)
    execute(api, "UPDATE workers SET state = 'gone'")

    async def together() -> list[Any]:
        work = [lease.ensure_held(old) for _ in range(5)] + [lease.renew() for _ in range(5)]
        return await asyncio.gather(*work, return_exceptions=True)

    outcomes = api.run(together())
    assert [isinstance(each, Busy) for each in outcomes] == [True] * 5 + [False] * 5
    assert lease.worker != old
    assert lease.held
    assert int(ask(api, "SELECT count(*) FROM workers WHERE state = 'running'")) == 1


def test_rollback_runs_all_steps_newest_first_despite_errors(caplog: pytest.LogCaptureFixture) -> None:
    log: list[int] = []
    begun, go = asyncio.Event(), asyncio.Event()

    async def step(number: int) -> None:
        begun.set()
        await go.wait()
        log.append(number)
        if number == 2:
            raise RuntimeError("this one fails")

    async def fails(error: BaseException) -> None:
        async with rollback_on_error() as undo:
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
        async with rollback_on_error() as undo:
            undo(step, 9)

    caplog.set_level(logging.ERROR)
    asyncio.run(work())
    assert log == [3, 2, 1, 0] * 3
    assert caplog.text.count("failed; the cleanup will retry") == 3


def test_concurrent_uploads_deletes_and_cleanup_leave_a_consistent_state(api: Client, tmp_path: Path) -> None:
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
            run_cleanup(api)
        for each in work:
            each.result()
    assert_consistent(api, tmp_path)
    assert len(ledger(api)) == 15
