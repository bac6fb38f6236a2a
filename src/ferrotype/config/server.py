"""Where and how the service listens."""

import ipaddress
import math
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from oslo_config import types

from ferrotype.config.auth import Auth
from ferrotype.config.options import BOOL, MAX_SECONDS, NAMES, TEXT, Option, at_least
from ferrotype.config.values import Values

Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

#: Worker processes of one service: a larger number is a mistake, and every worker opens connections.
MAX_WORKERS = 256
#: Workers by default, however many cores there are.
_DEFAULT_WORKERS = 8


@dataclass(frozen=True)
class Server:
    """Where and how the service listens. Sizes are bytes, times are seconds."""

    bind_host: str = "127.0.0.1"
    bind_port: int = 9292
    workers: int = 1
    backlog: int = 4096
    public_endpoint: str | None = None
    max_request_id_length: int = 64
    #: trust X-Forwarded-* and Forwarded
    proxy_headers: bool = False
    #: proxies whose X-Forwarded-For tells which client it is, for limits that hold for each client
    trusted_proxies: Networks = ()
    #: how long running transfers may go on after SIGTERM; infinity: until they end
    graceful_timeout: float = 60
    #: how long a worker may fail to renew its lease before other workers take its work over
    lease: float = 30
    #: how long an idle connection is kept open
    keep_alive: float = 75
    max_json_body: int = 8 * 1024 * 1024
    healthcheck_disable_file: Path | None = None


OPTIONS = (
    Option("DEFAULT", "bind_host", types.HostAddress(), None, "address to listen on", dest="server.bind_host",
           sample_default="`127.0.0.1` without authentication, else `0.0.0.0`"),
    Option("DEFAULT", "bind_port", types.Port(), Server.bind_port, "port to listen on; 0 chooses a free one",
           dest="server.bind_port"),
    Option("DEFAULT", "workers", types.Integer(min=1, max=MAX_WORKERS), None,
           f"worker processes that answer requests, at most {MAX_WORKERS}", dest="server.workers",
           sample_default=f"1 with SQLite, else one for each core, at most {_DEFAULT_WORKERS}"),
    Option("DEFAULT", "backlog", at_least(1, 2**31 - 1), Server.backlog, "connections that may wait to be accepted",
           dest="server.backlog"),
    Option("DEFAULT", "graceful_shutdown_timeout", at_least(0, MAX_SECONDS), Server.graceful_timeout,
           "seconds that running transfers may go on after SIGTERM; 0: no limit", dest="server.graceful_timeout"),
    Option("DEFAULT", "public_endpoint", TEXT, None,
           "URL at which clients reach the service; the base of the links in the list of versions",
           dest="server.public_endpoint"),
    Option("DEFAULT", "max_request_id_length", at_least(0), Server.max_request_id_length,
           "longest request ID that a client may send, in characters; 0: no limit",
           dest="server.max_request_id_length"),
    Option("oslo_middleware", "enable_proxy_headers_parsing", BOOL, Server.proxy_headers,
           "trust X-Forwarded-* and Forwarded headers", dest="server.proxy_headers"),
    Option("oslo_middleware", "trusted_proxies", NAMES, [],
           "networks of proxies, such as `10.1.0.0/24`: limits for each client hold for the one that X-Forwarded-For"
           " names, not for the proxy", dest="server.trusted_proxies"),
    Option("DEFAULT", "worker_lease", at_least(3, MAX_SECONDS), Server.lease,
           "seconds after which the work of a worker that died, hangs or cannot reach the database is taken over",
           dest="server.lease"),
    Option("healthcheck", "disable_by_file_path", TEXT, None, "while this file exists, /healthcheck answers 503",
           dest="server.healthcheck_disable_file", sample_default="unset: never"),
)  # fmt: skip


def read(values: Values, auth: Auth, sqlite: bool) -> Server:
    """Return where and how to listen. Without authentication only loopback addresses are allowed."""
    fields = values.fields(OPTIONS, "server")
    unauthenticated = auth.strategy == "none"
    host = fields["bind_host"] or ("127.0.0.1" if unauthenticated else "0.0.0.0")  # noqa: S104
    allowed = auth.allow_unauthenticated_listen or values.is_invalid("DEFAULT", "allow_unauthenticated_listen")
    if unauthenticated and not allowed and not is_loopback(host):
        values.problem(
            "DEFAULT",
            "bind_host",
            f"exposes an unauthenticated service on {host}; bind to 127.0.0.1, enable authentication,"
            " or set allow_unauthenticated_listen = true",
            show=False,
        )
    endpoint = fields["public_endpoint"] or None
    if endpoint and not _is_http_url(endpoint):
        values.problem("DEFAULT", "public_endpoint", "must be a URL such as https://images.example.org")
    cores = len(os.sched_getaffinity(0))
    disable = fields["healthcheck_disable_file"]
    computed = {
        "bind_host": host,
        "workers": fields["workers"] or (1 if sqlite else min(_DEFAULT_WORKERS, cores)),
        "public_endpoint": endpoint,
        "graceful_timeout": fields["graceful_timeout"] or math.inf,
        "healthcheck_disable_file": Path(disable) if disable else None,
        "trusted_proxies": _networks(values, fields["trusted_proxies"]),
    }
    return Server(**{**fields, **computed})


def _networks(values: Values, texts: tuple[str, ...]) -> Networks:
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        values.problem("oslo_middleware", "trusted_proxies", f"must be a list of networks: {error}")
    return ()


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is a loopback address, or ``localhost``; no name is looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
