"""Uploads that race with deletes, other uploads, lost leases and database outages."""

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from needs import need
from sqlalchemy import text
from uploads import (
    PausedBody,
    ask,
    assert_consistent,
    execute,
    files,
    ledger,
    queued_again,
    run_cleanup,
    upload,
    uploading,
)

from ferrotype.background import cleanup
from ferrotype.config.limits import Limits
from ferrotype.config.server import Server as ServerConfig
from ferrotype.db.engine import DatabaseUnavailable, Statement
from ferrotype.model.blob import ObjectRef
from ferrotype.offload import Budget
from ferrotype.service import data
from ferrotype.stores.driver import Batch, Noted
from ferrotype.stores.file import FileDriver
from ferrotype.stores.store import Store
from ferrotype.stores.stores import Stores
from ferrotype.testing.client import OWNER, Client, client
from ferrotype.testing.postgres import Server, postgres

MIB = 1 << 20


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Client]:
    limits = Limits(user_storage_quota=64 * MIB)
    with client(tmp_path, background=False, database_url=database_url, limits=limits) as api:
        yield api


def stored(api: Client) -> int:
    """What the owner's project is charged now."""
    return int(ask(api, "SELECT coalesce(sum(stored), 0) FROM usage WHERE project = 'p1'"))


@pytest.mark.parametrize("known", [True, False])
def test_an_image_deleted_during_its_upload(api: Client, tmp_path: Path, known: bool) -> None:
    image = api.image(caller=OWNER)
    headers = {"x-openstack-image-size": str(3 * MIB)} if known else {}
    with uploading(api, image, PausedBody(bytes(2 * MIB), bytes(MIB)), headers=headers, caller=OWNER) as answer:
        assert api.delete(image["self"], caller=OWNER).status == 204
        assert api.get(image["self"], caller=OWNER).status == 404
        # SEC-86: it counts until it is really freed.
        assert stored(api) >= 2 * MIB
        run_cleanup(api)
        assert [row.state for row in ledger(api)] == ["deleting"]
    reply = answer.result()
    assert (reply.status, "deleted" in reply.text) == (410, True)  # IMG-UP-22, IMG-DEL-09
    assert (stored(api), files(tmp_path)) == (0, set())
    assert_consistent(api, tmp_path)


def test_an_upload_to_a_deleted_image_ends_before_its_last_byte(tmp_path: Path) -> None:
    with client(tmp_path) as api:
        image = api.image()
        taken = []

        async def endless() -> Any:
            while True:
                taken.append(True)
                yield bytes(MIB)
                await asyncio.sleep(0.01)

        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(upload, api, image, endless())
            while not taken:
                time.sleep(0.01)
            assert api.delete(image["self"]).status == 204
            run_cleanup(api)
            assert answer.result(60).status == 410  # IMG-UP-22
        assert_consistent(api, tmp_path)


@pytest.mark.slow
def test_a_hundred_deletes_during_uploads(api: Client, tmp_path: Path) -> None:
    images = [api.image(caller=OWNER) for _ in range(100)]
    statuses: list[tuple[int, int]] = []

    def both(number: int) -> None:
        async def body() -> Any:
            for _ in range(number % 4):
                yield bytes(1000)
                await asyncio.sleep(0.001 * (number % 7))

        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(upload, api, images[number], body(), caller=OWNER)
            time.sleep(0.001 * (number % 13))
            deleted = api.delete(images[number]["self"], caller=OWNER)
            statuses.append((answer.result().status, deleted.status))

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(both, range(100)))
    # SEC-86, IMG-UP-22
    assert {deleted for _, deleted in statuses} == {204}
    assert {uploaded for uploaded, _ in statuses} <= {204, 404, 410}
    assert (stored(api), ledger(api), files(tmp_path)) == (0, [], set())
    assert_consistent(api, tmp_path)


def test_of_two_concurrent_uploads_one_wins(api: Client, tmp_path: Path) -> None:
    for _ in range(10):
        image = api.image(caller=OWNER)
        bodies = [bytes([number]) * 100_000 for number in range(4)]
        send = partial(upload, api, image, caller=OWNER)
        with ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(lambda body, send=send: send([body[:9], body[9:]]), bodies))
        # SEC-88, IMG-CONC-03
        assert sorted(reply.status for reply in replies) == [204, 409, 409, 409]
        winner = next(body for body, reply in zip(bodies, replies, strict=True) if reply.status == 204)
        assert api.get(f"{image['self']}/file", caller=OWNER).body == winner
    assert_consistent(api, tmp_path)


def test_an_upload_whose_lease_was_lost_ends_with_503(api: Client, tmp_path: Path) -> None:
    image = api.image(caller=OWNER)
    lease = api.application.ctx.lease
    with uploading(api, image, PausedBody(b"one", b" two"), caller=OWNER) as answer:
        execute(api, "UPDATE workers SET state = 'gone'")
        lease._renewed_at -= lease.seconds / 2  # Not renewed just now: then the ledger alone decides.
    reply = answer.result()
    assert (reply.status, "retry-after" in reply.headers) == (503, True)
    queued_again(api, tmp_path, image)
    assert stored(api) == 0
    assert upload(api, image, b"again", caller=OWNER).status == 204  # under a new lease


def test_an_upload_reclaimed_by_another_node_is_not_resumed(api: Client, tmp_path: Path) -> None:
    """This node's own background cleanup acts as the other node: it reclaims uploads without a live worker."""
    image = api.image(caller=OWNER)
    late = PausedBody(bytes(MIB), bytes(MIB))
    with uploading(api, image, late, caller=OWNER) as answer:
        old = ledger(api)[0]
        execute(api, "UPDATE workers SET state = 'gone'")
        api.run(api.application.ctx.lease.renew())
        run_cleanup(api)
        assert api.get(image["self"], caller=OWNER).json["status"] == "queued"
        assert stored(api) == 0
        assert ledger(api) == [] or ledger(api)[0].state == "deleting"
        # Another upload fills the image meanwhile; the zombie must not touch it.
        with uploading(api, image, PausedBody(b"new ", b"data"), caller=OWNER) as second:
            late.go.set()
            assert answer.result().status == 503
            assert api.get(image["self"], caller=OWNER).json["status"] == "saving"
            assert old.name not in files(tmp_path)
        assert second.result().status == 204
    assert api.get(f"{image['self']}/file", caller=OWNER).body == b"new data"
    assert stored(api) == 8
    run_cleanup(api)
    assert_consistent(api, tmp_path)


class LateDriver(FileDriver):
    """Directories on disks so slow that the lease lapses, and is seen to have lapsed, before they are done."""

    async def put(self, object: ObjectRef, batches: AsyncIterator[Batch], size: int | None, noted: Noted) -> str:
        handle = await super().put(object, batches, size, noted)
        await self.meanwhile()
        return handle

    meanwhile: Callable[[], Awaitable[None]]


def test_a_zombie_upload_changes_nothing(api: Client, tmp_path: Path) -> None:
    image, ctx = api.image(caller=OWNER), api.application.ctx

    async def taken_over() -> None:
        async with ctx.db.begin() as tx:
            await tx.run(Statement(text("UPDATE workers SET state = 'gone'")))
        await cleanup.reclaim_orphaned_uploads(ctx)

    entry = ctx.config.stores.entries[0]
    driver = LateDriver(entry.id, entry.options, ctx.pools)
    driver.meanwhile = taken_over
    store = Store(entry, driver, ctx.pools.budget.share(entry.id), Budget(1).share(entry.id))
    api.application.ctx = replace(ctx, stores=Stores({entry.id: store}, entry.id, multi=True))
    assert upload(api, image, b"too late", caller=OWNER).status == 503
    api.application.ctx = ctx
    queued_again(api, tmp_path, image)
    assert stored(api) == 0


@pytest.mark.parametrize("chunks", [0, 1, 40, 200])
def test_a_cancelled_upload_leaves_nothing(api: Client, tmp_path: Path, chunks: int) -> None:
    image = api.image(caller=OWNER)
    ctx = api.application.ctx
    taken = 0

    async def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(65536)
            await asyncio.sleep(0)

    async def cancelled() -> None:
        before = asyncio.all_tasks()
        task = asyncio.ensure_future(data.upload(ctx, OWNER, image["id"], endless(), None, None))
        await asyncio.sleep(0)
        while taken < chunks:
            assert not task.done()
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        read = taken
        left = asyncio.all_tasks() - before
        if left:  # The lease may be renewed just now.
            await asyncio.wait(left, timeout=60)
        for _ in range(100):
            await asyncio.sleep(0)
        assert all(each.done() for each in left)
        assert taken == read  # the body is no longer read

    api.run(cancelled())
    queued_again(api, tmp_path, image)
    assert ctx.pools.budget.used == 0


@contextmanager
def restarted(server: Server) -> Iterator[None]:
    """The same PostgreSQL again, on the data that its sudden end left."""
    data = server.directory / "data"
    options = f"-p {server.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={server.directory}"
    pg_ctl = [str(server.programs / "pg_ctl"), "-D", str(data)]
    user = data.stat().st_uid if os.geteuid() == 0 else None
    with (server.directory / "log").open("ab") as log:
        subprocess.run([*pg_ctl, "-w", "-o", options, "start"], user=user, check=True, stdout=log, stderr=log)
        try:
            yield
        finally:
            subprocess.run([*pg_ctl, "-m", "immediate", "stop"], user=user, check=True, stdout=log, stderr=log)


def test_a_database_outage_during_an_upload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    need("postgresql")
    with (
        postgres(durable=True) as server,
        client(tmp_path, database_url=server.create_database(), server=ServerConfig(lease=3)) as api,
    ):
        image, other = api.image(caller=OWNER), api.image(b"other")
        with uploading(api, image, PausedBody(bytes(MIB), b"rest"), caller=OWNER) as answer:
            os.kill(server.pid, signal.SIGQUIT)  # an immediate shutdown
            eventually(lambda: not (server.directory / "data" / "postmaster.pid").exists())
        assert answer.result().status == 503
        assert api.get(image["self"]).status == 503
        assert upload(api, other, b"x").status == 503
        assert "rollback step abort_upload failed; the cleanup will retry" in caplog.text
        with restarted(server):
            eventually(lambda: api.run(renewed(api)))
            run_cleanup(api)
            queued_again(api, tmp_path, image)
            assert upload(api, image, b"again", caller=OWNER).status == 204
            assert api.get(f"{other['self']}/file").body == b"other"
            assert_consistent(api, tmp_path)


# RUL-75
def test_a_restart_of_the_database_fails_no_upload_that_is_under_way(tmp_path: Path) -> None:
    need("postgresql")
    limits = Limits(user_storage_quota=1 << 30)  # Space is reserved while the bytes arrive.
    with (
        postgres(durable=True) as server,
        client(tmp_path, database_url=server.create_database(), limits=limits) as api,
        ThreadPoolExecutor(20) as pool,
    ):
        images = [api.image(caller=OWNER) for _ in range(20)]
        go = threading.Event()

        async def body(number: int) -> Any:
            yield bytes(MIB)
            await asyncio.to_thread(go.wait, 60)
            for _ in range(number):
                yield bytes(MIB)
                await asyncio.sleep(0.05)

        uploads = [pool.submit(upload, api, image, body(n), caller=OWNER) for n, image in enumerate(images)]
        eventually(lambda: len(ledger(api)) == 20)
        os.kill(server.pid, signal.SIGQUIT)
        eventually(lambda: not (server.directory / "data" / "postmaster.pid").exists())
        go.set()
        time.sleep(0.5)
        with restarted(server):
            assert Counter(each.result().status for each in uploads) == {204: 20}
            assert_consistent(api, tmp_path)


async def renewed(api: Client) -> bool:
    """Renew the lease as the service's own loop does; say whether that worked."""
    try:
        await api.application.ctx.lease.renew()
    except DatabaseUnavailable:
        return False
    return api.application.ctx.lease.held


def eventually(holds: Any) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
