"""The real service as separate processes, with tokens that state their caller; no identity service is needed.

    with served_to_callers(tmp_path, workers=2) as service, KeepAliveClient(service.port) as ask:
        made = ask("POST", "/v2/images", "ann.p1.member-reader", json={"name": "first"})

A token is ``user.project.role-role``; without a project ``user..role``. Supervisor, workers, protocol, database and
stores are those of ``ferrotype serve``. The authentication is replaced in code, because no option may do that.
"""

import asyncio
import http.client
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import msgspec

from ferrotype import app, server
from ferrotype.admin.consistency import Difference, differences
from ferrotype.config import Config
from ferrotype.config.read import read
from ferrotype.db import schema
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Unauthenticated
from ferrotype.testing.client import Reply
from ferrotype.testing.process import Served, served


async def identify(headers: Mapping[str, str], client: str = "") -> Caller:
    """Return the caller that the token describes."""
    user, _, rest = headers.get("x-auth-token", "").partition(".")
    project, dot, roles = rest.rpartition(".")
    if not dot:
        raise Unauthenticated("The token is missing or unknown.")
    return Caller(user=user, project=project or None, roles=frozenset(roles.split("-")))


class FixedLimits:
    """The same limits for every project, in place of Keystone's unified limits."""

    def __init__(self, limits: Mapping[str, int]):
        self._limits = MappingProxyType(dict(limits))

    async def of(self, project: str | None) -> Mapping[str, int]:
        """Return the limits by resource."""
        return self._limits


def _build(limits: Mapping[str, int]) -> Callable[[Config], Awaitable[app.Application]]:
    async def build(config: Config) -> app.Application:
        application = await app.build(config, identify)
        if limits:
            application.ctx = replace(application.ctx, unified_limits=FixedLimits(limits))
        return application

    return build


@click.command()
@click.option("--config-file", "file", type=click.Path(path_type=Path), required=True)
@click.option("--port", type=int, required=True)
@click.option("--workers", type=int, default=1)
@click.option("--limit", "limits", multiple=True, metavar="RESOURCE=N")
def main(file: Path, port: int, workers: int, limits: tuple[str, ...]) -> None:
    """Serve in the foreground."""
    import logging

    logging.basicConfig(level="INFO", format="%(asctime)s %(process)d %(levelname)s %(name)s %(message)s")
    overrides = {"bind_port": port, "workers": workers}
    config = read([file], [], overrides)
    schema.check(config.database)
    found = {name: int(value) for name, _, value in (limit.partition("=") for limit in limits)}

    def reload_config(running: Config) -> tuple[Config, tuple[str, ...]]:
        return app.reloadable_changes(running, read([file], [], overrides))

    sys.exit(server.serve(config, reload_config, _build(found), lambda url: None))


@contextmanager
def served_to_callers(
    directory: Path,
    database_url: str | None = None,
    *,
    workers: int = 1,
    options: str = "",
    limits: Mapping[str, int] | None = None,
    environment: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
) -> Iterator[Served]:
    """Run the service with two file stores, ``fast`` (the default) and ``cheap``, on SQLite or the database named.

    ``options`` are lines for the section DEFAULT; ``limits`` enable unified limits.
    """
    url = database_url or f"sqlite:///{directory}/t.sqlite"
    file = directory / "ferrotype.conf"
    file.write_text(
        f"[DEFAULT]\nenabled_backends = fast:file, cheap:file\n{options}\n[database]\nconnection = {url}\n"
        f"[glance_store]\ndefault_backend = fast\n[fast]\nfilesystem_store_datadir = {directory}/fast\n"
        f"[cheap]\nfilesystem_store_datadir = {directory}/cheap\n"
    )
    schema.sync(read([file], [], {}).database)
    words = ["--config-file", str(file), "--workers", str(workers)]
    for name, value in (limits or {}).items():
        words += ["--limit", f"{name}={value}"]
    program = ["ferrotype.testing.callers_process"]
    with served(directory, *words, program=program, environment=environment, wrapper=wrapper) as service:
        yield service


class ConsistencyChecker:
    """Compares ledger, stores and counters of a running service, as ``ferrotype check`` does."""

    def __init__(self, directory: Path):
        self._config = read([directory / "ferrotype.conf"], [], {})
        self._runner = asyncio.Runner()
        self._application = self._runner.run(app.build(self._config))

    def differences(self) -> list[Difference]:
        """Return every difference."""
        return self._runner.run(differences(self._application.ctx, repair=False))

    def close(self) -> None:
        """Close the database and the stores."""
        self._runner.run(self._application.ctx.db.close())
        self._application.ctx.pools.close()
        self._runner.close()


class KeepAliveClient:
    """An HTTP client with one keep-alive connection. Each call is a request by the caller in ``token``."""

    def __init__(self, port: int, timeout: float = 60):
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def __enter__(self) -> "KeepAliveClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def socket(self) -> socket.socket:
        """The connection's socket; it exists after the first request."""
        found: socket.socket = self._connection.sock
        return found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __call__(
        self,
        method: str,
        path: str,
        token: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
        json: Any = msgspec.UNSET,
    ) -> Reply:
        """Send a request and return the response. A body other than bytes is sent chunked."""
        sent = {"X-Auth-Token": token} if token else {}
        if json is not msgspec.UNSET:
            body = msgspec.json.encode(json)
        chunked = body is not None and not isinstance(body, bytes)
        if chunked:
            sent["Transfer-Encoding"] = "chunked"
        self._connection.request(method, path, body, sent | dict(headers or {}), encode_chunked=chunked)
        answer = self._connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, found, answer.read())


if __name__ == "__main__":
    main()
