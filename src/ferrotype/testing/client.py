"""The whole service in this process, called through ASGI: a request is a call, a response is a record.

    with client(tmp_path) as api:
        made = api.post("/v2/images", json={"name": "first"})
        assert api.get(f"/v2/images/{made.json['id']}", caller=STRANGER).status == 404

The application runs on an event loop in another thread, so tests are plain functions and may send requests from
several threads.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from ferrotype.app import Application, build
from ferrotype.background import periodic
from ferrotype.config import Config
from ferrotype.config.api import Api
from ferrotype.config.auth import Auth
from ferrotype.config.database import Database
from ferrotype.config.file_store import FileStore
from ferrotype.config.formats import Formats
from ferrotype.config.limits import Limits
from ferrotype.config.logs import Logging
from ferrotype.config.server import Server
from ferrotype.config.stores import StoreConfig, Stores
from ferrotype.db import schema
from ferrotype.model.caller import Caller
from ferrotype.model.errors import BlobDamaged, Unauthenticated
from ferrotype.web.http import SENDFILE

T = TypeVar("T")

PATCH = "application/openstack-images-v2.1-json-patch"
OCTETS = "application/octet-stream"

#: Seconds to wait for a call before it fails.
TIMEOUT = 600
#: The period of background work that is switched off, in seconds.
NEVER = 10.0**7


def person(project: str | None, *roles: str, user: str = "", service_roles: Iterable[str] = ()) -> Caller:
    """Return a caller with these roles; with ``admin`` among them it is an administrator."""
    return Caller(
        user=user or f"{roles[0] if roles else 'nobody'}-of-{project}",
        project=project,
        roles=frozenset(roles),
        service_roles=frozenset(service_roles),
        is_admin="admin" in roles,
    )


ADMIN = person("admins", "admin", "member", "reader")
OWNER = person("p1", "member", "reader")
READER = person("p1", "reader")
MEMBER = person("p9", "member", "reader")
STRANGER = person("p2", "member", "reader")
SERVICE = person("services", "service")


def config(directory: Path, **changes: Any) -> Config:
    """Return a configuration with two file stores, ``fast`` (the default) and ``cheap``, and SQLite.

    ``changes`` replace sections, such as ``limits=Limits(image_tag_quota=2)``; ``database_url`` names
    another database, ``single=True`` makes it a single-store deployment.
    """
    url = changes.pop("database_url", f"sqlite:///{directory}/ferrotype.sqlite")
    single = changes.pop("single", False)
    kind = url.partition(":")[0]
    path = Path(url.removeprefix("sqlite:///")) if kind == "sqlite" else None

    def store(store_id: str, **options: Any) -> StoreConfig:
        return StoreConfig(id=store_id, type="file", options=FileStore(((directory / store_id, 0),)), **options)

    stores = (
        Stores(False, "os_glance_default", (store("os_glance_default"),))
        if single
        else Stores(True, "fast", (store("fast", description="Fast disks", weight=10), store("cheap")))
    )
    made = Config(
        server=Server(),
        auth=Auth(),
        database=Database(url=url, kind=kind, path=path),
        api=Api(),
        limits=Limits(),
        formats=Formats(),
        stores=stores,
        logging=Logging(),
    )
    return replace(made, **changes)


class Reply(msgspec.Struct):
    """A response. ``headers`` are by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)

    @property
    def text(self) -> str:
        """The body as a string."""
        return self.body.decode()


class Client:
    """Sends requests as ``caller``: that of the request, else that of the client."""

    def __init__(
        self,
        application: Application,
        loop: asyncio.AbstractEventLoop,
        callers: dict[str, Caller],
        as_configured: bool = False,
    ):
        self.application = application
        self._as_configured = as_configured
        self._loop = loop
        self._callers = callers
        self.caller = ADMIN

    def expire_tokens(self) -> None:
        """Expire every token: later requests without a caller of their own are unauthenticated."""
        self._callers.clear()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the service's event loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT)

    def request(
        self,
        method: str,
        path: str,
        *,
        caller: Caller | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | AsyncIterator[bytes] | None = None,
        json: Any = None,
        disconnect: bool = False,
    ) -> Reply:
        """Send a request. A ``body`` other than bytes is chunked; with ``disconnect`` it is cut off.

        An asynchronous body is read when the service reads.
        """
        return self.run(self._request(method, path, caller or self.caller, headers or {}, body, json, disconnect))

    async def _request(
        self,
        method: str,
        path: str,
        caller: Caller,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | AsyncIterator[bytes] | None,
        json: Any,
        disconnect: bool,
    ) -> Reply:
        sent = {"host": "127.0.0.1:9292"}
        if not self._as_configured:
            token = sent["x-auth-token"] = f"{id(caller):x}"
            self._callers[token] = caller
        sent |= {k.lower(): v for k, v in headers.items()}
        if json is not None:
            body = msgspec.json.encode(json)
        if isinstance(body, bytes):
            sent.setdefault("content-length", str(len(body)))
        elif body is not None:
            sent.setdefault("transfer-encoding", "chunked")
        raw_path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": raw_path,
            "raw_path": quote(raw_path, safe="/%:@!$&'()*+,;=~").encode(),
            "query_string": query.encode(),
            "scheme": "http",
            "server": ("127.0.0.1", 9292),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
        }
        last = {"type": "http.disconnect"} if disconnect else {"type": "http.request", "body": b""}
        messages = _messages(body, last)
        reply = Reply(0, {}, b"")

        async def receive() -> dict[str, Any]:
            return await anext(messages, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
            elif message["type"] == SENDFILE:
                file, count = message["file"], message["count"]
                part = os.pread(file.fd, count, message["offset"])
                reply.body += part
                file.sent += len(part)
                if len(part) < count:
                    raise BlobDamaged(f"the file ended {count - len(part)} bytes early")
            else:
                reply.body += message.get("body", b"")

        await self.application(scope, receive, send)
        return reply

    def get(self, path: str, **options: Any) -> Reply:
        """GET"""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Reply:
        """POST"""
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> Reply:
        """PUT"""
        return self.request("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> Reply:
        """DELETE"""
        return self.request("DELETE", path, **options)

    def patch(self, path: str, operations: Any, **options: Any) -> Reply:
        """PATCH with the current media type"""
        headers = {"content-type": PATCH} | dict(options.pop("headers", None) or {})
        return self.request("PATCH", path, json=operations, headers=headers, **options)

    def image(self, data: bytes | None = None, caller: Caller | None = None, **attributes: Any) -> Any:
        """Create an image, by default raw and bare, with data if given; return its document."""
        document = {"disk_format": "raw", "container_format": "bare"} | attributes
        made = self.post("/v2/images", json=document, caller=caller)
        if made.status != 201:
            raise AssertionError(f"create answered {made.status}: {made.text}")
        path = f"/v2/images/{made.json['id']}"
        if data is None:
            return made.json
        stored = self.put(f"{path}/file", body=data, headers={"content-type": OCTETS}, caller=caller)
        if stored.status != 204:
            raise AssertionError(f"upload answered {stored.status}: {stored.text}")
        return self.get(path, caller=caller).json


async def _messages(
    body: bytes | Iterable[bytes] | AsyncIterator[bytes] | None, last: dict[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    if isinstance(body, AsyncIterator):
        async for chunk in body:
            yield {"type": "http.request", "body": chunk, "more_body": True}
    else:
        for chunk in [body] if isinstance(body, bytes) else body or ():
            yield {"type": "http.request", "body": chunk, "more_body": True}
    yield last


@contextmanager
def client(directory: Path, *, background: bool = True, **changes: Any) -> Iterator[Client]:
    """Run a service with its data in ``directory`` and yield a client of it; see ``config`` for the changes."""
    with serving(config(directory, **changes), background=background) as api:
        yield api


@contextmanager
def _no_background_work() -> Iterator[None]:
    """Switch off periodic work, except for lease renewal, of a service that starts in the block."""
    defaults = {name: getattr(periodic, name) for name in ("CLEANUP_PART", "PROBE_PERIOD", "REFRESH_PERIOD")}
    try:
        for name in defaults:
            setattr(periodic, name, NEVER)
        yield
    finally:
        for name, seconds in defaults.items():
            setattr(periodic, name, seconds)


@contextmanager
def serving(configuration: Config, as_configured: bool = False, background: bool = True) -> Iterator[Client]:
    """Run a service of a configuration in this process and yield a client of it.

    The test names the caller of a request; with ``as_configured`` the service authenticates it as configured.
    Without ``background`` there is no background cleanup, store probe or reload of files: only the lease is renewed.
    """
    schema.sync(configuration.database)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    callers: dict[str, Caller] = {}

    async def identify(headers: Mapping[str, str], client: str) -> Caller:
        caller = callers.get(headers.get("x-auth-token", ""))
        if caller is None:
            raise Unauthenticated("The token is missing or unknown.")
        return caller

    def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(work(), loop).result(TIMEOUT)

    application = run(lambda: build(configuration, None if as_configured else identify))
    try:
        with nullcontext() if background else _no_background_work():
            run(application.start)
        try:
            yield Client(application, loop, callers, as_configured)
        finally:
            run(application.stop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT)
        loop.close()
