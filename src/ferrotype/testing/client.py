"""The whole service in this process, asked through ASGI: a request is a call, an answer is a record.

    with client(tmp_path) as api:
        made = api.post("/v2/images", json={"name": "first"})
        assert api.get(f"/v2/images/{made.json['id']}", caller=STRANGER).status == 404

The application runs on a loop of its own in another thread, so tests are plain functions and may ask from
several threads at once.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from ferrotype.app import Application, build
from ferrotype.background import periodic
from ferrotype.config.model import (
    Api,
    Auth,
    Config,
    Database,
    Formats,
    Limits,
    Logging,
    Server,
    StoreConfig,
    Stores,
)
from ferrotype.db import schema
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Unauthenticated
from ferrotype.web.http import SENDFILE

T = TypeVar("T")

PATCH = "application/openstack-images-v2.1-json-patch"
OCTETS = "application/octet-stream"

#: Seconds until something that does not end is given up.
PATIENCE = 600
#: Seconds between two times of what is not to happen by itself.
NEVER = 10.0**7


def person(project: str | None, *roles: str, user: str = "", service_roles: Iterable[str] = ()) -> Caller:
    """Return a caller with these roles; ``admin`` among them makes an administrator."""
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
        return StoreConfig(
            id=store_id, type="file", options=MappingProxyType({"datadir": directory / store_id}), **options
        )

    stores = (
        Stores(False, "os_glance_default", (store("os_glance_default"),))
        if single
        else Stores(True, "fast", (store("fast", description="Quick disks", weight=10), store("cheap")))
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
    """An answer. ``headers`` are by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


class Client:
    """Asks the service as whoever is named: ``caller`` of a request, else the one of the client."""

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

    def end_tokens(self) -> None:
        """Let every token end: requests that begin later are nobody's unless they name a caller."""
        self._callers.clear()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the service's own loop, and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def request(
        self,
        method: str,
        path: str,
        *,
        caller: Caller | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | AsyncIterator[bytes] | None = None,
        json: Any = None,
        cut: bool = False,
    ) -> Reply:
        """Ask. A ``body`` that is no bytes is sent chunked; with ``cut`` the client goes before its end.

        An asynchronous body is asked for a piece whenever the service wants one.
        """
        return self.run(self._request(method, path, caller or self.caller, headers or {}, body, json, cut))

    async def _request(
        self,
        method: str,
        path: str,
        caller: Caller,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | AsyncIterator[bytes] | None,
        json: Any,
        cut: bool,
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
        last = {"type": "http.disconnect"} if cut else {"type": "http.request", "body": b""}
        coming = _messages(body, last)
        reply = Reply(0, {}, b"")

        async def receive() -> dict[str, Any]:
            return await anext(coming, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
            elif message["type"] == SENDFILE:
                file = message["file"]
                reply.body += os.pread(file.fd, message["count"], message["offset"])
                file.sent = len(reply.body)
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
        """PATCH with the media type of today"""
        headers = {"content-type": PATCH} | dict(options.pop("headers", None) or {})
        return self.request("PATCH", path, json=operations, headers=headers, **options)

    def image(self, data: bytes | None = None, caller: Caller | None = None, **attributes: Any) -> Any:
        """Make an image, raw and bare unless said otherwise, with data if given; return its document."""
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
def client(directory: Path, *, upkeep: bool = True, **changes: Any) -> Iterator[Client]:
    """Run a service with its data in ``directory`` and yield a client of it; see ``config`` for the changes."""
    with serving(config(directory, **changes), upkeep=upkeep) as api:
        yield api


@contextmanager
def _by_hand() -> Iterator[None]:
    """Let a service that starts in the block wait for ever before it does what it does every few seconds."""
    usual = {name: getattr(periodic, name) for name in ("CLEANUP_PERIOD", "PROBE_PERIOD", "REFRESH_PERIOD")}
    try:
        for name in usual:
            setattr(periodic, name, NEVER)
        yield
    finally:
        for name, seconds in usual.items():
            setattr(periodic, name, seconds)


@contextmanager
def serving(configuration: Config, as_configured: bool = False, upkeep: bool = True) -> Iterator[Client]:
    """Run a service of a configuration in this process and yield a client of it.

    Callers are who the tests say they are; ``as_configured``: who the headers of their requests prove to be.
    Without ``upkeep`` the service does nothing by itself but keep its lease: no round of upkeep, no probe of the
    stores and no look at its files comes in between, however long a test takes.
    """
    schema.sync(configuration.database)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    callers: dict[str, Caller] = {}

    async def identify(headers: Mapping[str, str]) -> Caller:
        caller = callers.get(headers.get("x-auth-token", ""))
        if caller is None:
            raise Unauthenticated("The token is missing, or nobody has it.")
        return caller

    def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(work(), loop).result(PATIENCE)

    application = run(lambda: build(configuration, None if as_configured else identify))
    try:
        with nullcontext() if upkeep else _by_hand():
            run(application.start)
        try:
            yield Client(application, loop, callers, as_configured)
        finally:
            run(application.stop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
