"""Read files from other servers: requests that pass the gate, with ranges, validators, redirects and bounds.

All outgoing requests to URLs that a user can influence go through ``Fetcher.get``. It sends no credentials, keeps no
cookies, and takes nothing from the environment (``http_proxy``, ``.netrc``, ``SSL_CERT_FILE``).
"""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from ferrotype.model.errors import FetchChanged, FetchDenied, FetchError, FetchNotFound
from ferrotype.model.external import Validators
from ferrotype.offload import ThreadPool
from ferrotype.streams.addresses import Gate, Resolve, Target
from ferrotype.streams.http_client import Connection, FetchLimits, Head

#: Redirects of one request; each is checked like the first URL.
MAX_REDIRECTS = 5
#: Seconds for the answer of the DNS.
RESOLVE_SECONDS = 10.0
#: Threads that ask the DNS.
RESOLVER_THREADS = 8
#: Characters of a validator that is remembered; a longer one counts as absent.
_LONGEST_VALIDATOR = 256

#: Status codes of redirects. A GET stays a GET with each of them.
ALL_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)", re.ASCII)


class _Window(Struct, frozen=True):
    """Which bytes of a response's body were asked for."""

    #: bytes before them
    skip: int
    #: how many they are at most; None: all that follow
    most: int | None
    #: how many they are at least, else the response is cut
    least: int
    #: the body has no others
    exact: bool = False


class Fetched:
    """The answer to ``Fetcher.get``. Its owner closes it."""

    def __init__(self, origin: str, connection: Connection, validators: Validators, window: _Window):
        #: what the server says of the whole file
        self.validators = validators
        self._origin, self._connection, self._window = origin, connection, window

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the data that was asked for; raise FetchError where it ends too early. May be called once."""
        window, skip, got = self._window, self._window.skip, 0
        with _named(self._origin):
            while window.most is None or got < window.most:
                chunk = await self._connection.read()
                if not chunk:
                    break
                if skip >= len(chunk):
                    skip -= len(chunk)
                    continue
                chunk = chunk[skip:] if skip else chunk
                skip = 0
                if window.most is not None and len(chunk) > window.most - got:
                    if window.exact:
                        raise FetchError("the server sends more than the part that it announced")
                    chunk = chunk[: window.most - got]
                got += len(chunk)
                yield chunk
            if got < window.least:
                raise FetchError(f"the response ended {window.least - got} bytes too early")
            if self._connection.is_complete:
                await self._connection.read()  # Raises when more follows.

    def close(self) -> None:
        """End the connection, wherever the response is. Closing again does nothing."""
        self._connection.close()


class Fetcher:
    """Sends GET requests to other servers. It holds no state between requests."""

    def __init__(
        self,
        gate: Gate,
        tls: ssl.SSLContext,
        proxies: Mapping[str, str] | None = None,
        redirects: frozenset[int] = ALL_REDIRECTS,
        limits: FetchLimits | None = None,
    ):
        self._gate, self._tls, self._redirects = gate, tls, redirects
        self._proxies = dict(proxies or {})
        self._limits = limits or FetchLimits()

    async def get(
        self,
        url: str,
        offset: int = 0,
        count: int | None = None,
        expected: Validators | None = None,
        limits: FetchLimits | None = None,
    ) -> Fetched:
        """Ask for ``count`` bytes from ``offset`` on, or all that follow, and return the answer.

        A server that knows no ranges sends all; then the answer skips what was not asked for. Behind the end of the
        file the answer is empty. With ``expected``, data of another version of the file is never returned.

        Raises URLRefused, FetchNotFound, FetchDenied, FetchChanged, or FetchError for all else.
        """
        limits = limits or self._limits
        target = self._gate.parse(url)
        ranged = offset > 0 or count is not None
        lines = _headers(offset, count, expected)
        for _ in range(MAX_REDIRECTS + 1):
            with _named(target.origin):
                connection = await self._connect(target, limits)
                try:
                    via_proxy = target.scheme == "http" and "http" in self._proxies
                    path = f"{target.origin}{target.path}" if via_proxy else target.path
                    head = await connection.request(f"GET {path} HTTP/1.1\r\nHost: {target.authority}\r\n{lines}\r\n")
                    location = head.headers.get("location")
                    if head.status not in self._redirects or location is None:
                        return _answer(target, connection, head, ranged, offset, count, expected)
                except BaseException:
                    connection.close()
                    raise
            connection.close()
            target = self._gate.redirected(target, location)
        raise FetchError(f"{target.origin}: more than {MAX_REDIRECTS} redirects")

    async def check(self, url: str) -> None:
        """Raise URLRefused unless the gate lets a request to this URL pass. Nothing is sent to its host."""
        await self._gate.check(url)

    async def _connect(self, target: Target, limits: FetchLimits) -> Connection:
        loop = asyncio.get_running_loop()
        proxy = self._proxies.get(target.scheme)
        tls = self._tls if target.scheme == "https" else None
        try:
            if proxy is None:
                addresses = await self._gate.addresses(target)
                connected = await _connect_to_first(addresses, target.port, limits.connect)
            else:  # The proxy looks the name up: the gate has checked the URL, not the addresses.
                connected = await _connect_to_proxy(proxy, target if tls else None, limits.connect)
        except OSError as error:
            raise FetchError(f"cannot connect: {error.strerror or error or 'no answer in time'}") from error
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(limits),
                sock=connected,
                ssl=tls,
                server_hostname=target.host if tls else None,
                ssl_handshake_timeout=limits.connect if tls else None,
            )
        except ssl.SSLCertVerificationError as error:
            connected.close()
            raise FetchDenied(f"its certificate is not trusted: {error.verify_message}") from error
        except OSError as error:
            connected.close()
            raise FetchError(f"TLS failed: {error}") from error
        except BaseException:
            connected.close()
            raise
        return connection


def _headers(offset: int, count: int | None, expected: Validators | None) -> str:
    """Return the header lines of a request; with preconditions, so that another version is not even sent."""
    ranged = offset > 0 or count is not None
    lines = "User-Agent: ferrotype\r\nAccept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n"
    if ranged:
        lines += f"Range: bytes={offset}-{'' if count is None else offset + count - 1}\r\n"
    if expected and (etag := expected.strong_etag):
        lines += f"{'If-Range' if ranged else 'If-Match'}: {etag}\r\n"
    elif expected and expected.etag is None and expected.last_modified:
        lines += f"If-Unmodified-Since: {expected.last_modified}\r\n"
    return lines


def _answer(
    target: Target,
    connection: Connection,
    head: Head,
    ranged: bool,
    offset: int,
    count: int | None,
    expected: Validators | None,
) -> Fetched:
    """Return what a response that is no redirect holds; raise when it is an error, or not what was asked for."""
    if head.status in (404, 410):
        raise FetchNotFound(f"there is no such file (status {head.status})")
    if head.status in (401, 403, 407):
        raise FetchDenied(f"the server refuses the request (status {head.status})")
    if head.status == 412:
        raise FetchChanged("the file has changed (status 412)")
    if head.status not in ((200, 206, 416) if ranged else (200,)):
        raise FetchError(f"the server answers with status {head.status}")
    if head.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise FetchError("the server sends encoded data although it was asked not to")
    if head.status == 200:
        accepted = head.headers.get("accept-ranges", "").lower() == "bytes"
        seen = _validators(head, head.length, accepted and not ranged)
        window = _Window(offset, count, 0)
        if head.length is not None:
            following = max(head.length - offset, 0)
            least = following if count is None else min(count, following)
            window = _Window(min(offset, head.length), least, least)
    else:
        size, part = _part(head, offset, count)
        seen, window = _validators(head, size, True), _Window(0, part, part, exact=True)
    if expected and not expected.describes(seen):
        raise FetchChanged(f"the file has changed: it was {_shown(expected)}, now it is {_shown(seen)}")
    return Fetched(target.origin, connection, seen, window)


def _part(head: Head, offset: int, count: int | None) -> tuple[int | None, int]:
    """Return the size of the whole file and that of the part in a response 206 or 416; raise when it is another."""
    stated = _CONTENT_RANGE.fullmatch(head.headers.get("content-range", ""))
    size = int(stated[3]) if stated and stated[3] != "*" else None
    if head.status == 416:
        if size is None or offset < size:
            raise FetchError("the server refuses a part that the file has (status 416)")
        return size, 0
    if stated is None or stated[1] is None or int(stated[1]) != offset:
        raise FetchError("the server answers with another part than was asked for")
    part = int(stated[2]) + 1 - offset
    whole = size is not None and offset + part == size
    if part < 1 or (count is None and not whole) or (count is not None and part != count and not whole):
        raise FetchError("the server answers with another part than was asked for")
    if (count is not None and part > count) or head.length not in (None, part):
        raise FetchError("the server answers with another part than was asked for")
    return size, part


def _validators(head: Head, size: int | None, ranges: bool) -> Validators:
    etag, modified = head.headers.get("etag"), head.headers.get("last-modified")
    return Validators(size, _short(etag), _short(modified), ranges)


def _short(value: str | None) -> str | None:
    return value if value and len(value) <= _LONGEST_VALIDATOR and value.isascii() and value.isprintable() else None


def _shown(validators: Validators) -> str:
    version = validators.etag or validators.last_modified or "of an unknown version"
    return f"{version} with {'?' if validators.size is None else validators.size} bytes"


@contextmanager
def _named(origin: str) -> Iterator[None]:
    """Begin the text of FetchErrors with the server that they are about."""
    try:
        yield
    except FetchError as error:
        raise type(error)(f"{origin}: {error}") from error.__cause__


async def _connect_to_first(addresses: Sequence[str], port: int, seconds: float) -> socket.socket:
    """Return a socket that is connected to the first of the addresses that accepts; raise OSError when none does.

    Each gets its part of the time that is left, so that one that does not answer leaves some for the others.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    for number, address in enumerate(addresses, 1):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connecting = socket.socket(family, socket.SOCK_STREAM)
        try:
            connecting.setblocking(False)
            share = (ends - loop.time()) / (len(addresses) - number + 1)
            await asyncio.wait_for(loop.sock_connect(connecting, (address, port)), share)
        except BaseException as error:
            connecting.close()
            if not isinstance(error, OSError) or number == len(addresses):
                raise
        else:
            return connecting
    raise OSError("there is no address")


async def _connect_to_proxy(proxy: str, target: Target | None, seconds: float) -> socket.socket:
    """Return a socket that is connected to a proxy, and through it to ``target`` if there is one."""
    loop = asyncio.get_running_loop()
    host, _, port = proxy.rpartition(":")
    found = await loop.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    connected = await _connect_to_first([str(each[4][0]) for each in found], int(port), seconds)
    if target is None:
        return connected
    try:
        await asyncio.wait_for(_tunnel(connected, target), seconds)
    except BaseException:
        connected.close()
        raise
    return connected


async def _tunnel(proxy: socket.socket, target: Target) -> None:
    """Have a proxy connect to the target."""
    loop = asyncio.get_running_loop()
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = f"CONNECT {host}:{target.port} HTTP/1.1\r\nHost: {host}:{target.port}\r\n\r\n"
    await loop.sock_sendall(proxy, lines.encode("ascii"))
    answer = b""
    while b"\r\n\r\n" not in answer:
        received = await loop.sock_recv(proxy, 4096)
        answer += received
        if not received or len(answer) > 16 << 10:
            raise FetchError("the proxy gives no answer")
    status = answer[9:12].decode("latin-1")
    if not answer.startswith(b"HTTP/1.") or not status.startswith("2") or not answer.endswith(b"\r\n\r\n"):
        raise FetchError(f"the proxy refuses the connection (status {status})")


def tls_context(ca_file: Path | None = None, insecure: bool = False) -> ssl.SSLContext:
    """Return how servers are verified: with the certificates of the machine, or those of a file alone.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` of the environment have no effect (SEC-46).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca_file:
        context.load_verify_locations(ca_file)
    else:
        paths = ssl.get_default_verify_paths()
        file, directory = Path(paths.openssl_cafile), Path(paths.openssl_capath)
        if file.exists() or directory.exists():
            context.load_verify_locations(file if file.exists() else None, directory if directory.exists() else None)
    return context


def system_resolver(threads: ThreadPool) -> Resolve:
    """Return a function that asks the resolver of the machine, in its own threads: its answer may take long."""

    async def resolve(name: str) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        call = loop.run_in_executor(threads.executor, _addresses_of, name)
        return await asyncio.wait_for(call, RESOLVE_SECONDS)

    return resolve


def _addresses_of(name: str) -> Sequence[str]:
    found = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))
