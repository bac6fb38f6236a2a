"""Which database: a connection URL as Glance has it; a driver named in it is ignored."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from ferrotype.config import postgresql
from ferrotype.config.options import MAX_CONNECTIONS, TEXT, Option, at_least
from ferrotype.config.postgresql import CONNECT_TIMEOUT, Host
from ferrotype.config.values import Values


@dataclass(frozen=True)
class Database:
    """``kind`` is sqlite or postgresql; ``url`` has no driver in its scheme (``sqlite:////path``, ``postgresql://...``)."""

    url: str
    kind: str
    #: file of a SQLite database
    path: Path | None = None
    #: connections of one worker
    pool_size: int = 10
    #: of PostgreSQL: hosts with their ports, tried in this order, where ``url`` names several
    hosts: tuple[Host, ...] = ()
    application_name: str = "ferrotype"
    #: seconds that a connection to a host may take
    connect_timeout: float = CONNECT_TIMEOUT
    #: verify the server with the system's CA certificates
    system_ca: bool = False
    #: seconds that a SQLite transaction waits for another one
    busy_timeout: float = 30.0


OPTIONS = (
    Option("database", "connection", TEXT, None,
           "`sqlite:////path/of/file` or `postgresql://user:password@host/name`; a driver named in it is ignored",
           dest="database.url", deprecated_names=(("DEFAULT", "sql_connection"), ("database", "sql_connection")),
           sample_default="SQLite in the data directory"),
    Option("database", "connection_parameters", TEXT, None,
           "parameters to append to `connection`, such as `sslmode=require&connect_timeout=5`", dest="database.url"),
    Option("database", "max_pool_size", at_least(1, MAX_CONNECTIONS), Database.pool_size,
           "connections of each worker to PostgreSQL, at least 3: one for its lease, a third of the rest for reading"
           " only", dest="database.pool_size"),
)  # fmt: skip

_KINDS = {"sqlite": "sqlite", "postgresql": "postgresql", "postgres": "postgresql"}
_MARIADB = ("mysql", "mariadb")
#: Parameters of Python's SQLite driver: they concern how Glance uses it, and nothing that it stores.
_SQLITE_IGNORED = ("check_same_thread", "cached_statements", "detect_types", "isolation_level", "timeout")


def read(values: Values, default: Path, configured: bool) -> Database:
    """Return the database; SQLite in the file ``default`` where none is named, with a warning if ``configured``."""
    pool_size = values.get("database", "max_pool_size")
    url = (values.get("database", "connection") or "").strip()
    if not url:
        if configured and not values.is_invalid("database", "connection"):
            values.warn(f"[database] connection is not set; the database is SQLite in {default}.")
        return _sqlite(default, pool_size)
    found = re.fullmatch(r"([a-z]+)(?:\+\w+)?:(//.*)", url, re.DOTALL)
    dialect = found[1] if found else ""
    if dialect in _MARIADB:
        text = "names MariaDB or MySQL, which this version does not support; use postgresql:// or sqlite:///"
        values.problem("database", "connection", text)
    elif dialect not in _KINDS:
        values.problem("database", "connection", "must begin with postgresql:// or sqlite:///")
    if not found or dialect not in _KINDS:
        # Placeholder for ``config check``; the recorded problem prevents the start.
        return Database(url=url, kind=dialect or "unknown", pool_size=pool_size)
    parameters = (values.get("database", "connection_parameters") or "").strip()
    if _KINDS[dialect] == "postgresql":
        target = postgresql.translate(values, found[2], parameters)
        name = target.application_name or Database.application_name
        return Database(kind="postgresql", pool_size=pool_size, **{**target._asdict(), "application_name": name})
    name, _, query = found[2].removeprefix("//").partition("?")
    name = unquote(name)
    for parameter, value in parse_qsl(f"{query}&{parameters}"):
        if parameter not in _SQLITE_IGNORED:
            text = f"has {parameter}={value}, which cannot be honoured for SQLite; remove {parameter}"
            values.problem("database", "connection", text)
            return _sqlite(default, pool_size)
        values.warn(
            f"[database] connection: {parameter}={value} has no effect: the service opens SQLite its own way."
        )
    if not name.startswith("/") or name.removeprefix("/") in ("", ":memory:"):
        text = "must name a file, as in sqlite:////var/lib/ferrotype/ferrotype.sqlite"
        values.problem("database", "connection", text)
        return _sqlite(default, pool_size)
    path = Path(name.removeprefix("/"))
    if not path.is_absolute():
        values.warn(f"[database] connection: {path} is relative to the working directory: {path.absolute()}.")
    return _sqlite(path.absolute(), pool_size)


def _sqlite(path: Path, pool_size: int) -> Database:
    return Database(url=f"sqlite:///{path}", kind="sqlite", path=path, pool_size=pool_size)


def masked(url: str) -> str:
    """Return a connection URL with its password replaced by ***."""
    url = re.sub(r"(://[^:/?]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"([?&](?:\w*passw\w*|\w*secret|scram_\w+)=)[^&]*", r"\1***", url)
