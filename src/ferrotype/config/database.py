"""Which database: a connection URL as Glance has it; a driver named in it is ignored."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from ferrotype.config.options import TEXT, Option, at_least
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
    #: seconds that a SQLite transaction waits for another one
    busy_timeout: float = 30.0


OPTIONS = (
    Option("database", "connection", TEXT, None,
           "`sqlite:////path/of/file` or `postgresql://user:password@host/name`; a driver named in it is ignored",
           dest="database.url", deprecated_names=(("DEFAULT", "sql_connection"), ("database", "sql_connection")),
           sample_default="SQLite in the data directory"),
    Option("database", "max_pool_size", at_least(1), Database.pool_size,
           "connections of each worker to PostgreSQL, at least 3: one for its lease, a third of the rest for reading"
           " only", dest="database.pool_size"),
)  # fmt: skip

_KINDS = {"sqlite": "sqlite", "postgresql": "postgresql", "postgres": "postgresql"}
_MARIADB = ("mysql", "mariadb")
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[^:/?#@\[\],]*)(?::\d{0,5})?"
_PARTS = re.compile(
    rf"//(?:([^:/]*?)(?::(.*?))?@)?({_HOST}(?:,{_HOST})*(?:/[^?#]*)?(?:\?.*)?)", re.DOTALL
)  # user, password, where


def read(values: Values, default: Path, configured: bool) -> Database:
    """Return the database; SQLite in the file ``default`` where none is named, with a warning if ``configured``."""
    pool_size = values.get("database", "max_pool_size")
    url = (values.get("database", "connection") or "").strip()
    if not url:
        if configured:
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
    if _KINDS[dialect] == "postgresql":
        return _postgresql(values, found[2], pool_size)
    name = found[2].removeprefix("//").partition("?")[0]
    if not name.startswith("/") or name.removeprefix("/") in ("", ":memory:"):
        text = "must name a file, as in sqlite:////var/lib/ferrotype/ferrotype.sqlite"
        values.problem("database", "connection", text)
        return _sqlite(default, pool_size)
    path = Path(name.removeprefix("/"))
    if not path.is_absolute():
        values.warn(f"[database] connection: {path} is relative to the working directory: {path.absolute()}.")
    return _sqlite(path.absolute(), pool_size)


def _postgresql(values: Values, parts: str, pool_size: int) -> Database:
    """Parse as SQLAlchemy does, which takes any character in a password as it is."""
    found = _PARTS.fullmatch(parts)
    if found is None:
        text = (
            "must be postgresql://user:password@host:port/name; write @, / and : in user or password %40, %2F or %3A"
        )
        values.problem("database", "connection", text)
    else:
        who = ":".join(quote(unquote(part), safe="") for part in found.group(1, 2) if part is not None)
        parts = f"//{who}@{found[3]}" if found[1] is not None else f"//{found[3]}"
    return Database(url=f"postgresql:{parts}", kind="postgresql", pool_size=pool_size)


def _sqlite(path: Path, pool_size: int) -> Database:
    return Database(url=f"sqlite:///{path}", kind="sqlite", path=path, pool_size=pool_size)


def masked(url: str) -> str:
    """Return a connection URL with its password replaced by ***."""
    url = re.sub(r"(://[^:/?]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"([?&]\w*passw\w*=)[^&]*", r"\1***", url)
