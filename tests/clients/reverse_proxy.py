"""A reverse proxy: it serves a service below a path, and remembers what clients asked through it."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "host"})


class Seen(NamedTuple):
    """One request as the client sent it. ``target`` is what followed the proxy's prefix."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def line(self) -> str:
        """Method and target, as documents about clients quote them."""
        return f"{self.method} {self.target}"

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


class Proxy:
    """A running proxy. ``url`` is where clients find the service; it has no slash at its end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._seen: list[Seen] = []

    def remember(self, seen: Seen) -> None:
        """Keep a request until it is taken."""
        self._seen.append(seen)

    def taken(self) -> list[Seen]:
        """Return the requests since the last time this was asked."""
        seen, self._seen = self._seen, []
        return seen

    def lines(self) -> list[str]:
        """Return the same requests as ``taken``, as lines."""
        return [seen.line for seen in self.taken()]


@contextmanager
def proxied(upstream: str, prefix: str = "") -> Iterator[Proxy]:
    """Serve ``upstream`` below ``prefix``, which begins with a slash, until the block ends.

    The upstream learns by the usual headers how the client reached the proxy; its own name is all that Host says.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words: Any) -> None:
            """Say nothing on the terminal."""

        def forward(self) -> None:
            chunked = "transfer-encoding" in self.headers
            body = b"".join(self._chunks()) if chunked else self.rfile.read(int(self.headers["content-length"] or 0))
            if not self.path.startswith(prefix + "/") and self.path != prefix:
                self.send_error(404)
                return
            target = self.path.removeprefix(prefix) or "/"
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            headers |= {"X-Forwarded-Host": self.headers["host"], "X-Forwarded-Proto": "http"}
            if prefix:
                headers["X-Forwarded-Prefix"] = prefix
            if chunked:
                headers["Transfer-Encoding"] = "chunked"
            connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=60)
            try:
                connection.request(
                    self.command, target, iter([body]) if chunked else body, headers, encode_chunked=chunked
                )
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # The answer came before the whole body was taken.
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            sent = {name.lower(): value for name, value in self.headers.items()}
            proxy.remember(Seen(self.command, target, sent, body, answer.status))
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def _chunks(self) -> Iterator[bytes]:
            while length := int(self.rfile.readline(), 16):
                yield self.rfile.read(length)
                self.rfile.readline()
            while self.rfile.readline() not in (b"\r\n", b""):
                pass

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = forward

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}{prefix}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join(10)
