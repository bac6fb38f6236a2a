"""Copies of one image in stores of several kinds, each of which may fail at a chosen byte, behind a real socket."""

import asyncio
import http.client
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from uploads import execute, upload

from ferrotype.config.file_store import FileStore
from ferrotype.config.memory_store import MemoryStore
from ferrotype.config.stores import StoreConfig, Stores
from ferrotype.db import images as rows
from ferrotype.model.blob import ObjectRef, object_name
from ferrotype.model.errors import BlobNotFound, StoreUnavailable
from ferrotype.model.image import Location
from ferrotype.server.connection import HTTPServer
from ferrotype.server.limits import Limits
from ferrotype.stores import stores as stores_module
from ferrotype.stores.driver import Batch
from ferrotype.stores.file import FileDriver, FileSource
from ferrotype.stores.memory import MemoryDriver, MemorySource
from ferrotype.testing.client import Client, client

NEVER = 1 << 62


@dataclass
class Fault:
    """From which byte on an object is in trouble, and which. Of a file only ``ends`` and ``missing`` can be had."""

    #: the object ends there
    ends: int = NEVER
    #: the store fails there
    fails: int = NEVER
    #: the byte there is another one
    flipped: int = NEVER
    #: nothing comes any more
    stalls: int = NEVER
    #: it comes at ``rate`` bytes a second
    slow: int = NEVER
    rate: int = 10 << 10
    missing: bool = False
    #: the object cannot be opened before ``TROUBLES.released`` is set
    mute: bool = False
    #: the byte there comes when ``TROUBLES.released`` is set
    held: int = NEVER


@dataclass
class Troubles:
    """The faults of each store, and what it was asked."""

    faults: dict[str, Fault] = field(default_factory=dict)
    #: sources that are open, and stores in the order in which objects in them were opened
    open: set[Any] = field(default_factory=set)
    opened: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def of(self, store: str) -> Fault:
        return self.faults.get(store, Fault())


TROUBLES = Troubles()


class FaultySource(MemorySource):
    """An object in memory with a fault."""

    def __init__(self, data: bytes, fault: Fault):
        super().__init__(data)
        self._fault = fault
        TROUBLES.open.add(self)

    async def read(self, offset: int, count: int | None) -> AsyncIterator[bytes]:
        fault = self._fault
        if count is None:
            raise AssertionError("the service always says how much it wants")
        async for chunk in super().read(offset, min(count, max(0, fault.ends - offset))):
            end = offset + len(chunk)
            if end > fault.stalls:
                await asyncio.Event().wait()
            while end > fault.held and not TROUBLES.released.is_set():  # noqa: ASYNC110  set by a thread
                await asyncio.sleep(0.01)
            while end > fault.slow and offset < end:
                await asyncio.sleep(0.1)
                step, chunk = chunk[: fault.rate // 10], chunk[fault.rate // 10 :]
                offset += len(step)
                yield step
            if end > fault.fails:
                if fault.fails > offset:
                    yield chunk[: fault.fails - offset]
                raise StoreUnavailable("the back end went away")
            if offset <= fault.flipped < end:
                place = fault.flipped - offset
                chunk = chunk[:place] + bytes([chunk[place] ^ 1]) + chunk[place + 1 :]
            offset = end
            if chunk:
                yield chunk

    async def close(self) -> None:
        TROUBLES.open.discard(self)
        await super().close()


class FaultyMemory(MemoryDriver):
    """Objects in memory with faults."""

    async def open(self, handle: str) -> MemorySource:
        TROUBLES.opened.append(self._store)
        fault = TROUBLES.of(self._store)
        while fault.mute and not TROUBLES.released.is_set():  # noqa: ASYNC110  set by a thread
            await asyncio.sleep(0.01)
        if fault.missing:
            raise BlobNotFound("object does not exist")
        return FaultySource(self._data(handle), fault)


class FaultyFiles(FileDriver):
    """Files that are truncated once they are open, or unlinked before."""

    def __init__(self, store: str, *more: Any):
        super().__init__(store, *more)
        self._store = store

    async def open(self, handle: str) -> FileSource:
        TROUBLES.opened.append(self._store)
        fault = TROUBLES.of(self._store)
        if fault.missing:
            Path(handle).unlink()  # noqa: ASYNC240  a test
        source = await super().open(handle)
        if fault.ends < NEVER:
            os.truncate(handle, fault.ends)
        return source


#: for ``stores.store.DRIVERS``
DRIVERS: Mapping[str, Any] = {"faulty-memory": FaultyMemory, "faulty-file": FaultyFiles}


def stores(directory: Path) -> Stores:
    """Return two stores in memory and two of files, in the order in which copies are read."""
    kinds = {"ram": "faulty-memory", "disk": "faulty-file", "ram2": "faulty-memory", "disk2": "faulty-file"}
    entries = tuple(
        StoreConfig(
            store,
            kind,
            weight=10 - place,
            options=MemoryStore(1 << 30) if kind == "faulty-memory" else FileStore(((directory / store, 0),)),
        )
        for place, (store, kind) in enumerate(kinds.items())
    )
    return Stores(True, "ram", entries)


def image_in(api: Client, data: bytes, *stores: str) -> Any:
    """Return an image with a copy in each of these stores."""
    image = api.image()
    assert upload(api, image, data, {"x-image-meta-store": stores[0]}).status == 204
    for store in stores[1:]:
        add_copy(api, image, store, data)
    return api.get(image["self"]).json


def add_copy(api: Client, image: Any, store_id: str, data: bytes) -> None:
    """Give an image another copy, as copying between stores would."""
    ctx = api.application.ctx
    store = ctx.stores.get(store_id)
    assert store is not None
    name = object_name(image["id"])
    blob = f"{store_id}-{image['id'][:8]}"

    async def batches() -> AsyncIterator[Batch]:
        yield [data]

    async def noted(handle: str) -> None:
        return None

    async def add() -> None:
        handle = await store.put(ObjectRef(name, image["id"], None), batches(), len(data), noted)
        async with ctx.db.begin() as tx:
            found = await rows.get(tx, image["id"], None, lock=True)
            assert found is not None
            location = Location(store.url(handle), {"store": store_id}, blob)
            await rows.save(tx, found[0], replace(found[0], locations=(*found[0].locations, location)))

    execute(
        api,
        "INSERT INTO blobs (id, store, name, image_id, project, purpose, state, charged, size, created_at, attempts)"
        f" VALUES ('{blob}', '{store_id}', '{name}', '{image['id']}', NULL, 'data', 'live', 0, {len(data)}, 0, 0)",
    )
    api.run(add())


def repair(api: Client) -> None:
    """Let every store be well, and forget what was found out about copies."""
    TROUBLES.faults.clear()
    TROUBLES.opened.clear()
    TROUBLES.released.clear()
    execute(api, "UPDATE blobs SET damaged_at = NULL")
    for store in api.application.ctx.stores:
        store.avoided_until = 0.0


@dataclass
class Received:
    """What a client got. ``whole``: the response ended as it should."""

    status: int
    body: bytes
    whole: bool


class Listening:
    """A service behind a socket of this machine, in this process."""

    def __init__(self, api: Client, port: int):
        self.api, self.port = api, port
        api.get("/v2/images")  # The client's token is known from its first request on.
        self.headers = {"x-auth-token": f"{id(api.caller):x}"}

    @property
    def url(self) -> str:
        """Its URL, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def descriptors(self) -> set[str]:
        """Return the files and pipes that this process has open."""
        found = (os.path.realpath(each.path) for each in os.scandir("/proc/self/fd"))
        return {each for each in found if "/pipe:" in each or each.startswith("/tmp")}

    def closes(self, others: set[str]) -> bool:
        """Return whether none but ``others`` are open, after a moment at the latest."""
        return soon(lambda: self.descriptors() <= others)

    def connect(self, path: str, receive_buffer: int = 0) -> http.client.HTTPConnection:
        """Send a request for a download and return its connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if receive_buffer:
            connection.sock = socket.socket()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.sock.settimeout(60)
            connection.sock.connect(("127.0.0.1", self.port))
        connection.request("GET", path, headers=self.headers)
        return connection

    def get(self, path: str, headers: Mapping[str, str] = {}) -> Received:
        """Download with ``http.client``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path, headers={**self.headers, **headers})
            response = connection.getresponse()
        except ConnectionError:
            return Received(0, b"", False)
        parts: list[bytes] = []
        try:
            while part := response.read1(1 << 20):
                parts.append(part)
            whole = response.length == 0
        except (ConnectionError, http.client.IncompleteRead):
            whole = False
        finally:
            connection.close()
        return Received(response.status, b"".join(parts), whole)


@contextmanager
def service(directory: Path, **changes: Any) -> Iterator[Listening]:
    """Run a service with these stores in this process, behind a socket; see ``testing.client.config``."""
    with pytest.MonkeyPatch.context() as patch:
        for kind, driver in DRIVERS.items():
            patch.setitem(stores_module.DRIVERS, kind, driver)  # type: ignore[arg-type]
        with (
            client(directory, background=False, stores=stores(directory), **changes) as api,
            listening(api) as listener,
        ):
            yield listener


@contextmanager
def listening(api: Client) -> Iterator[Listening]:
    """Serve a client's application over HTTP until the block ends."""
    server: list[HTTPServer] = []

    async def start() -> asyncio.Server:
        server.append(HTTPServer(api.application, Limits()))
        return await asyncio.get_running_loop().create_server(server[0].connection, "127.0.0.1", 0)

    async def stop() -> None:
        listener.close()
        for connection in list(server[0].connections):
            connection.abort("the test is over")
        while server[0].tasks:
            await asyncio.wait(server[0].tasks)

    listener = api.run(start())
    try:
        yield Listening(api, listener.sockets[0].getsockname()[1])
    finally:
        api.run(stop())


def settled() -> bool:
    """Return whether every source is closed, after a moment at the latest."""
    return soon(lambda: not TROUBLES.open)


def soon(happens: Callable[[], bool]) -> bool:
    """Return whether something happens within a moment."""
    for _ in range(200):
        if happens():
            return True
        time.sleep(0.02)
    return False
