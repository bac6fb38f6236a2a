"""The ASGI application: authenticates and routes each request, sends the response, writes the access log."""

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

from msgspec.structs import replace

from ferrotype.model.caller import Caller
from ferrotype.model.errors import Forbidden, Invalid, NotFound, StoreError, Unauthenticated
from ferrotype.service.context import ServiceContext
from ferrotype.web import cors, health, routes, versions
from ferrotype.web.clients import client_network
from ferrotype.web.errors import HTTPError, response_to
from ferrotype.web.http import DataResponse, Receive, Request, Response, ResponseAborted, Scope, Send

if TYPE_CHECKING:
    from ferrotype.web.identity import IdentityAPI

log = logging.getLogger("ferrotype.web")
access = logging.getLogger("ferrotype.access")

Identify = Callable[[Mapping[str, str], str], Awaitable[Caller]]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_VERSION_BY_ACCEPT = "application/vnd.openstack.images-"
#: Valid host and path prefix in the headers of a proxy; anything else is ignored.
_HOST = re.compile(r"[A-Za-z0-9._~%:\[\]-]+", re.ASCII)
_PREFIX = re.compile(r"/*[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*/*", re.ASCII)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Web:
    """The HTTP side of a service. ``identify`` returns the caller from the request's headers and the client.

    ``identity_api`` is the built-in Identity API, where it is enabled.
    """

    def __init__(self, identify: Identify, identity_api: "IdentityAPI | None" = None):
        self._identify = identify
        self._identity_api = identity_api

    async def answer(self, ctx: ServiceContext, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request with the given context, from its beginning to its end."""
        began = time.monotonic()
        request = Request(ctx, scope, receive, _headers(scope), f"req-{uuid.uuid4()}")
        try:
            response = await self._answer(request)
        except Exception as error:
            response = response_to(error, request)
        response.headers += cors.headers(request)
        end = " aborted"
        try:
            await self._send(request, response, send)
            end = ""
        finally:
            if access.isEnabledFor(logging.INFO):
                sent = response.sent if isinstance(response, DataResponse) else len(response.body)
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
        strategy = request.ctx.config.auth.strategy
        if strategy == "none":
            _check_host(request)
        if strategy == "none" or (strategy == "http_basic" and "authorization" in request.headers):
            _check_origin(request)
        if request.method == "OPTIONS" and not path.startswith("/healthcheck"):
            return Response(200)
        first, *rest = path.lstrip("/").split("/")
        if first == "healthcheck":
            return await health.check(request)
        if first == "versions":
            return versions.document(request, 200)
        if self._identity_api and first in ("identity", "v3"):
            return await self._identity_api.answer(request, [first, *rest], self._authenticate)
        segments = self._versioned(request, first, rest)
        if segments is None:
            return versions.document(request, 300)
        if not segments:
            return versions.document(request, 200)
        await self._authenticate(request)
        return await self._routed(request, segments)

    async def _authenticate(self, request: Request) -> None:
        """Set the caller of the request, administrator or not. Raises Unauthenticated."""
        caller = await self._caller(request)
        request.caller = replace(caller, is_admin=request.ctx.authoriser.is_admin(caller))

    async def _caller(self, request: Request) -> Caller:
        """Return the caller; an anonymous one if authentication fails and the deployment allows that."""
        try:
            return await self._identify(request.headers, client_network(request.client))
        except Unauthenticated:
            if not request.ctx.config.auth.allow_anonymous:
                raise
            return Caller(anonymous=True)

    def _versioned(self, request: Request, first: str, rest: list[str]) -> list[str] | None:
        """Return the segments after the version, empty for the version itself; None if no version is selected."""
        config = request.ctx.config
        if first in versions.prefixes(config):
            while rest and not rest[0]:  # Repeated slashes after the version are allowed.
                rest.pop(0)
            return rest
        accept = request.headers.get("accept", "")
        if accept.startswith(_VERSION_BY_ACCEPT):
            wanted = accept.removeprefix(_VERSION_BY_ACCEPT).partition(",")[0].partition(";")[0].strip()
            return [first, *rest] if wanted in versions.prefixes(config) else None
        # Without a catalog some clients skip version discovery and use the root.
        if config.auth.strategy != "keystone" and first in routes.ROOTS:
            return [first, *rest]
        return None

    async def _routed(self, request: Request, segments: list[str]) -> Response:
        found = routes.find(segments)
        if found is None:
            raise _not_found(request.method)
        path, request.params = found
        methods = routes.ROUTES[path]
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            if path in routes.NO_OTHER_METHOD:
                raise _not_found(request.method)
            allow = routes.allowed(path)
            raise HTTPError(405, f"This path supports the methods {allow}.", (("allow", allow),))
        if handler not in routes.READ_BODY and await request.has_body():
            raise Invalid("A body is not expected with this request.")
        return await handler(request)

    def _adopt_request_id(self, request: Request) -> None:
        given = request.headers.get("x-openstack-request-id", "")
        most = request.ctx.config.server.max_request_id_length
        if most and len(given) > most:
            raise HTTPError(431, f"'X-OpenStack-Request-ID' must have at most {most} characters.")
        if _REQUEST_ID.fullmatch(given):
            request.id = given if given.startswith("req-") else f"req-{given}"

    async def _send(self, request: Request, response: Response, send: Send) -> None:
        headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in response.headers]
        headers.append((b"x-openstack-request-id", request.id.encode()))
        length = response.count if isinstance(response, DataResponse) else len(response.body)
        if response.status not in (204, 304):
            headers.append((b"content-length", str(length).encode()))
        start = {"type": "http.response.start", "status": response.status, "headers": headers}
        try:
            await send(start)
            if request.method == "HEAD" or not isinstance(response, DataResponse):
                body = b"" if request.method == "HEAD" else response.body
                await send({"type": "http.response.body", "body": body})
            else:
                await response.send_body(send)
        except StoreError as error:
            path = request.scope["raw_path"].decode("latin-1")[:512]
            log.error("sending data failed, the connection is aborted: %s store=%s: %s", path, error.store, error)
            raise ResponseAborted from error
        finally:
            if isinstance(response, DataResponse):
                await response.close()


def _not_found(method: str) -> Exception:
    """Return the error for a path without a handler: 501 for an unknown method, else NotFound."""
    if method not in _METHODS:
        return HTTPError(501, f"The method {method[:32]} is not supported.")
    return NotFound("The resource could not be found.")


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers by lower-case name, without names that contain underscores.

    Some proxies and WSGI servers treat ``_`` as ``-``, so such a name could stand in for another one.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        if b"_" in raw_name:
            continue
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _decoded(raw_path: bytes) -> str:
    """Return the path, decoded before it is split; raise Invalid if it is not UTF-8."""
    try:
        path = unquote_to_bytes(raw_path.partition(b"?")[0]).decode()
    except UnicodeDecodeError:
        raise Invalid("The path must be URL-encoded UTF-8.") from None
    if "\0" in path:
        raise Invalid("The path must not contain the character NUL.")
    return path


def _base(request: Request) -> str:
    """Return scheme, host and path prefix of the URL that the client used.

    Proxy headers count only with ``enable_proxy_headers_parsing``, and only if they are well-formed.
    """
    scheme, host, prefix = request.scope["scheme"], request.headers.get("host") or _address(request.scope), ""
    if request.ctx.config.server.proxy_headers:
        seen = _forwarded(request.headers)
        scheme = seen["proto"].lower() if seen["proto"].lower() in ("http", "https") else scheme
        host = seen["host"] if _HOST.fullmatch(seen["host"]) else host
        prefix = f"/{seen['prefix'].strip('/')}" if _PREFIX.fullmatch(seen["prefix"]) else ""
    return f"{scheme}://{host}{prefix}"


def _address(scope: Scope) -> str:
    """Return the address of the listening socket, for requests without a Host header."""
    host, port = scope["server"]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Return proto, host and prefix as the first proxy saw them; empty strings if it did not say."""
    names = ("proto", "host", "prefix")
    seen = {name: headers.get(f"x-forwarded-{name}", "").partition(",")[0].strip() for name in names}
    for part in headers.get("forwarded", "").split(",")[0].split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() in ("proto", "host"):
            seen[name.strip().lower()] = value.strip().strip('"')
    return seen


def _check_host(request: Request) -> None:
    """Accept only loopback names in the Host header while authentication is disabled.

    Protects against DNS rebinding: a web page whose own name resolves to this machine.
    """
    server, auth = request.ctx.config.server, request.ctx.config.auth
    host = _hostname(request.headers.get("host", ""))
    if not auth.allow_unauthenticated_listen and host not in _LOOPBACK and host != server.bind_host:
        raise Forbidden(f"Without authentication the 'Host' header must be a loopback name; got '{host[:64]}'.")


def _check_origin(request: Request) -> None:
    """Reject state-changing requests from foreign origins (CSRF).

    Called when a browser authenticates implicitly: with HTTP Basic, or with authentication disabled.
    """
    config, origin = request.ctx.config, request.headers.get("origin")
    if origin is None or request.method in ("GET", "HEAD", "OPTIONS") or cors.allows(config.cors, origin):
        return
    own = {request.headers.get("host", "").lower(), request.base.partition("://")[2].partition("/")[0].lower()}
    if config.server.public_endpoint:
        own.add(urlsplit(config.server.public_endpoint).netloc.lower())
    if origin.partition("://")[2].lower() not in own:
        raise Forbidden("Changes are not allowed from pages of other origins.")


def _hostname(host: str) -> str:
    """Return the host name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return host
