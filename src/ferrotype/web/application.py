"""Every request's way in and out: who calls, which route, what answer, one line in the access log."""

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from msgspec.structs import replace

from ferrotype.model.caller import Caller
from ferrotype.model.errors import Forbidden, Invalid, NotFound, Unauthenticated
from ferrotype.service.context import Service
from ferrotype.web import cors, health, routes, versions
from ferrotype.web.errors import HTTPRefusal, response_to
from ferrotype.web.http import SENDFILE, FileResponse, Receive, Request, Response, Scope, Send

if TYPE_CHECKING:
    from ferrotype.web.identity import Door

log = logging.getLogger("ferrotype.web")
access = logging.getLogger("ferrotype.access")

Identify = Callable[[Mapping[str, str]], Awaitable[Caller]]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_VERSION_BY_ACCEPT = "application/vnd.openstack.images-"
#: What a proxy may say of where it was reached; anything else is not believed.
_HOST = re.compile(r"[A-Za-z0-9._~%:\[\]-]+", re.ASCII)
_PREFIX = re.compile(r"/*[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*/*", re.ASCII)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Web:
    """The ASGI side of a service. ``identify`` says who is calling from the request's headers.

    ``door`` answers those who look for an Identity service here.
    """

    def __init__(self, svc: Service, identify: Identify, door: "Door | None" = None):
        self._svc = svc
        self._identify = identify
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.monotonic()
        request = Request(self._svc, scope, receive, _headers(scope), f"req-{uuid.uuid4()}")
        try:
            response = await self._answer(request)
        except Exception as error:
            response = response_to(error, request)
        response.headers += cors.headers(request)
        end = " cut"
        try:
            await self._send(request, response, send)
            end = ""
        finally:
            if access.isEnabledFor(logging.INFO):
                sent = response.file.sent if isinstance(response, FileResponse) else len(response.body)
                access.info(
                    "%s %s %s %s %s %d %d %.1f%s",
                    request.id, request.caller.user or "-", request.caller.project or "-", request.method,
                    scope["raw_path"].decode("latin-1")[:512], response.status,
                    0 if request.method == "HEAD" else sent, (time.monotonic() - began) * 1000, end,
                )  # fmt: skip

    async def _answer(self, request: Request) -> Response:
        self._adopt_request_id(request)
        request.base = _base(request)
        path = _decoded(request.scope["raw_path"])
        strategy = self._svc.config.auth.strategy
        if strategy == "none":
            _not_from_a_foreign_name(request)
        if strategy == "none" or (strategy == "http_basic" and "authorization" in request.headers):
            _not_behind_somebodys_back(request)
        if request.method == "OPTIONS" and not path.startswith("/healthcheck"):
            return Response(200)
        first, *rest = path.lstrip("/").split("/")
        if first == "healthcheck":
            return await health.check(request)
        if first == "versions":
            return versions.document(request, 200)
        if self._door and first in ("identity", "v3"):
            return await self._door.answer(request, [first, *rest], self._know)
        segments = self._versioned(request, first, rest)
        if segments is None:
            return versions.document(request, 300)
        if not segments:
            return versions.document(request, 200)
        await self._know(request)
        return await self._routed(request, segments)

    async def _know(self, request: Request) -> None:
        """Put into the request who is calling."""
        caller = await self._caller(request)
        request.caller = replace(caller, is_admin=self._svc.authoriser.is_admin(caller))

    async def _caller(self, request: Request) -> Caller:
        """Return who is calling; nobody, where nobody is identified and the deployment allows that."""
        try:
            return await self._identify(request.headers)
        except Unauthenticated:
            if not self._svc.config.auth.allow_anonymous:
                raise
            return Caller(anonymous=True)

    def _versioned(self, request: Request, first: str, rest: list[str]) -> list[str] | None:
        """Return the path below the version, empty for the version itself; None where no version is chosen."""
        if first in versions.prefixes(self._svc.config):
            while rest and not rest[0]:  # Slashes directly behind the version may be doubled.
                rest.pop(0)
            return rest
        accept = request.headers.get("accept", "")
        if accept.startswith(_VERSION_BY_ACCEPT):
            wanted = accept.removeprefix(_VERSION_BY_ACCEPT).partition(",")[0].partition(";")[0].strip()
            return [first, *rest] if wanted in versions.prefixes(self._svc.config) else None
        # Clients that do not discover versions ask at the root; with an identity service nobody does.
        if self._svc.config.auth.strategy != "keystone" and first in routes.ROOTS:
            return [first, *rest]
        return None

    async def _routed(self, request: Request, segments: list[str]) -> Response:
        found = routes.find(segments)
        if found is None:
            raise _nothing_there(request.method)
        path, request.params = found
        methods = routes.ROUTES[path]
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            if path in routes.NO_OTHER_METHOD:
                raise _nothing_there(request.method)
            allow = routes.allowed(path)
            raise HTTPRefusal(405, f"This path knows the methods {allow}.", (("allow", allow),))
        if handler not in routes.READ_BODY and await request.has_body():
            raise Invalid("A body is not expected with this request.")
        return await handler(request)

    def _adopt_request_id(self, request: Request) -> None:
        given = request.headers.get("x-openstack-request-id", "")
        most = self._svc.config.server.max_request_id_length
        if most and len(given) > most:
            raise HTTPRefusal(431, f"'X-OpenStack-Request-ID' must have at most {most} characters.")
        if _REQUEST_ID.fullmatch(given):
            request.id = given if given.startswith("req-") else f"req-{given}"

    async def _send(self, request: Request, response: Response, send: Send) -> None:
        headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in response.headers]
        headers.append((b"x-openstack-request-id", request.id.encode()))
        length = response.count if isinstance(response, FileResponse) else len(response.body)
        if response.status not in (204, 304):
            headers.append((b"content-length", str(length).encode()))
        start = {"type": "http.response.start", "status": response.status, "headers": headers}
        body: dict[str, Any] = {"type": "http.response.body", "body": response.body}
        if request.method == "HEAD":
            body["body"] = b""
        elif isinstance(response, FileResponse):
            body = {"type": SENDFILE, "file": response.file, "offset": response.offset, "count": response.count}
        try:
            await send(start)
            await send(body)
        finally:
            if isinstance(response, FileResponse):
                response.file.close()


def _nothing_there(method: str) -> Exception:
    """Return what a path without a handler answers: a method nobody knows is no fault of the path."""
    if method not in _METHODS:
        return HTTPRefusal(501, f"No such method: {method[:32]}.")
    return NotFound("There is nothing at this path for this method.")


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers by lower-case name. Names with underscores are dropped: they pass for others."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        if b"_" in raw_name:
            continue
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _decoded(raw_path: bytes) -> str:
    """Return the path, decoded before it is taken apart; raise Invalid where it is not UTF-8."""
    try:
        path = unquote_to_bytes(raw_path.partition(b"?")[0]).decode()
    except UnicodeDecodeError:
        raise Invalid("The path must be URL-encoded UTF-8.") from None
    if "\0" in path:
        raise Invalid("The path must not contain the character NUL.")
    return path


def _base(request: Request) -> str:
    """Return scheme, host and mount prefix by which the client reached us, as far as it may be believed."""
    scheme, host, prefix = request.scope["scheme"], request.headers.get("host") or _address(request.scope), ""
    if request.svc.config.server.proxy_headers:
        told = _forwarded(request.headers)
        scheme = told["proto"].lower() if told["proto"].lower() in ("http", "https") else scheme
        host = told["host"] if _HOST.fullmatch(told["host"]) else host
        prefix = f"/{told['prefix'].strip('/')}" if _PREFIX.fullmatch(told["prefix"]) else ""
    return f"{scheme}://{host}{prefix}"


def _address(scope: Scope) -> str:
    """Return where the connection came in, for clients that do not say whom they mean."""
    host, port = scope["server"]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Return proto, host and prefix as the first proxy saw them; empty where none says so."""
    names = ("proto", "host", "prefix")
    told = {name: headers.get(f"x-forwarded-{name}", "").partition(",")[0].strip() for name in names}
    for part in headers.get("forwarded", "").split(",")[0].split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() in ("proto", "host"):
            told[name.strip().lower()] = value.strip().strip('"')
    return told


def _not_from_a_foreign_name(request: Request) -> None:
    """Without authentication, refuse a request for a name that is not this machine's, though it resolves to it."""
    server, auth = request.svc.config.server, request.svc.config.auth
    host = _name_of(request.headers.get("host", ""))
    if not auth.allow_unauthenticated_listen and host not in _LOOPBACK and host != server.bind_host:
        raise Forbidden(
            f"This service runs without authentication and answers only to loopback names, not to '{host[:64]}'."
        )


def _not_behind_somebodys_back(request: Request) -> None:
    """Refuse a change that a page of another site sends, where the browser itself proves who is calling.

    It does so where nobody is asked, and where it remembers a name and a password for us.
    """
    config, origin = request.svc.config, request.headers.get("origin")
    if origin is None or request.method in ("GET", "HEAD", "OPTIONS") or cors.allows(config.cors, origin):
        return
    own = {request.headers.get("host", "").lower(), request.base.partition("://")[2].partition("/")[0].lower()}
    if config.server.public_endpoint:
        own.add(urlsplit(config.server.public_endpoint).netloc.lower())
    if origin.partition("://")[2].lower() not in own:
        raise Forbidden("Changes are not taken from the pages of other sites.")


def _name_of(host: str) -> str:
    """Return a Host header without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return host
