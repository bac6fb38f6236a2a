"""Bodies that pause, direct access to the database, and checks that an upload left nothing behind."""

import asyncio
import shutil
import struct
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from ferrotype.admin.consistency import differences
from ferrotype.background import cleanup
from ferrotype.db import blobs
from ferrotype.db.engine import Statement
from ferrotype.model.blob import Blob
from ferrotype.service.context import ServiceContext
from ferrotype.stores.directories import ID_FILE
from ferrotype.testing.client import OCTETS, Client, Reply

STORES = ("fast", "cheap", "os_glance_default")


class PausedBody:
    """A body that pauses after its first chunk until ``go`` is set."""

    def __init__(self, first: bytes = b"first ", *rest: bytes):
        self._first, self._rest = first, rest
        self._begun, self.go = threading.Event(), threading.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._first
        self._begun.set()
        await asyncio.to_thread(self.go.wait, 600)
        for piece in self._rest:
            yield piece

    def wait(self) -> None:
        """Wait until the service has read the first piece and asks for more."""
        if not self._begun.wait(60):
            raise TimeoutError("the service does not read this body")


@contextmanager
def uploading(api: Client, image: Mapping[str, Any], held: PausedBody, **options: Any) -> Iterator[Future[Reply]]:
    """Upload ``held`` to an image in the background; it continues when the block ends, if not before."""
    headers = {"content-type": OCTETS} | options.pop("headers", {})
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(api.put, f"{image['self']}/file", body=held.pieces(), headers=headers, **options)
        try:
            held.wait()
            yield answer
        finally:
            held.go.set()


def upload(
    api: Client, image: Mapping[str, Any], body: Any, headers: Mapping[str, str] = {}, **options: Any
) -> Reply:
    """Upload a complete body."""
    return api.put(f"{image['self']}/file", body=body, headers={"content-type": OCTETS, **headers}, **options)


def files(directory: Path) -> set[str]:
    """Return the names of everything in the stores, unfinished files included, without the ID files."""
    return {path.name for store in STORES for path in (directory / store).glob("*")} - {ID_FILE}


def ledger(api: Client) -> list[Blob]:
    """Return the rows of all objects."""
    return api.run(blobs.all_blobs(api.application.ctx.db))


def execute(api: Client, statement: str) -> int:
    """Run a statement directly on the database and return the number of changed rows."""

    async def change() -> int:
        async with api.application.ctx.db.begin() as tx:
            return await tx.run(Statement(text(statement)))

    return api.run(change())


def ask(api: Client, statement: str) -> Any:
    """Return the single value that a query yields."""
    return api.run(api.application.ctx.db.row(Statement(text(statement))))[0]


def assert_consistent(api: Client, directory: Path) -> None:
    """Assert that ledger, stores and usage counters agree and that no object waits for deletion."""
    rows = ledger(api)
    assert {row.state for row in rows} <= {"live"}
    assert files(directory) == {row.name for row in rows}
    assert api.run(differences(api.application.ctx, False)) == []
    assert api.application.ctx.lease.writing == set()


def file_of(image: Any) -> Path:
    """Return the file that holds the data of an image whose locations are shown."""
    return Path(image["locations"][0]["url"].removeprefix("file://"))


def copy(api: Client, image: Any, store: str = "cheap") -> Path:
    """Give an image a second copy, as copying between stores would, and return its file."""
    first = file_of(image)
    second = first.parent.parent / store / first.name.replace(first.name[-8:], f"{first.name[-8:][::-1]}")
    shutil.copy(first, second)
    execute(
        api,
        "INSERT INTO blobs (id, store, name, image_id, project, purpose, state, charged, size, created_at, attempts)"
        f" VALUES ('copy-{image['id'][:8]}', '{store}', '{second.name}', '{image['id']}', NULL, 'data', 'live',"
        f" 0, {image['size']}, 0, 0)",
    )
    both = (
        f'[{{"url":"file://{first}","metadata":{{"store":"{first.parent.name}"}},"blob":"{blob_of(api, image)}"}},'
        f'{{"url":"file://{second}","metadata":{{"store":"{store}"}},"blob":"copy-{image["id"][:8]}"}}]'
    )
    execute(api, f"UPDATE images SET locations = '{both}' WHERE id = '{image['id']}'".replace(":", "\\:"))
    return second


def blob_of(api: Client, image: Any) -> str:
    """Return the id of the row of an image's first object."""
    return next(row.id for row in ledger(api) if row.image_id == image["id"] and not row.id.startswith("copy"))


def run_cleanup(api: Client) -> None:
    """Run one round of background cleanup now, and of deletion in each store."""
    api.run(cleanup_round(api.application.ctx))


async def cleanup_round(ctx: ServiceContext) -> None:
    """Run one round of background cleanup, and of deletion in each store."""
    await cleanup.run_cleanup(ctx)
    for store in ctx.stores:
        await cleanup.delete_marked_objects(ctx, store.id)


def queued_again(api: Client, directory: Path, image: Mapping[str, Any]) -> None:
    """Assert that an image is queued without attributes or objects of the failed upload."""
    now = api.get(image["self"]).json
    assert now["status"] == "queued"
    known = ("size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "stores", "locations", "direct_url")
    assert not any(now.get(name) for name in known)
    assert api.get(f"{image['self']}/file").status == 204
    assert_consistent(api, directory)


def qcow2(backing: bool = False, incompatible: int = 0, size: int = 1 << 20) -> bytes:
    """Return a small qcow2 image without data."""
    where = (1024, 6) if backing else (0, 0)
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, *where, 16, size, 0, 1, 2048, 1024, 1, 0, 0)
    head += struct.pack(">QQQII", incompatible, 0, 0, 4, 104)
    return (head.ljust(1024, b"\0") + b"secret").ljust(4096, b"\0")
