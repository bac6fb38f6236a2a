"""A stand-in for Keystone that validates tokens as slowly and as badly as a test says."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ferrotype.config.keystone import Keystone
from ferrotype.config.login import Login


@dataclass
class StandIn:
    """What it does. ``seconds`` are spent on each answer; tokens that begin with ``valid`` are valid."""

    url: str
    seconds: float = 0.0
    status: int = 0
    asked: list[str] = field(default_factory=list)

    def config(self, timeout: float = 10.0) -> Keystone:
        """Return the configuration of a service that asks it."""
        return Keystone(Login("none", {"endpoint": self.url}, timeout=timeout))

    def answer(self, token: str) -> tuple[int, bytes]:
        """Return status and body for a token to validate."""
        self.asked.append(token)
        time.sleep(self.seconds)
        if self.status:
            return self.status, b"{}"
        if not token.startswith("valid"):
            return 404, b"{}"
        domain = {"id": "default"}
        found = {"user": {"id": token, "domain": domain}, "project": {"id": "p1", "domain": domain}}
        return 200, json.dumps(
            {"token": {**found, "roles": [{"name": "member"}], "expires_at": "2999-01-01T00:00:00Z"}}
        ).encode()


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Run one while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words: object) -> None:
            """Write nothing."""

        def do_GET(self) -> None:
            status, body = keystone.answer(self.headers.get("x-subject-token", ""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # The service does not wait any longer.
                self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        keystone = StandIn(f"http://127.0.0.1:{server.server_address[1]}/v3")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield keystone
        finally:
            server.shutdown()
            thread.join(10)
