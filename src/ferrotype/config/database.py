"""Which database: a connection URL as Glance has it, whatever driver it names."""

import re
from pathlib import Path
from urllib.parse import quote, unquote

from ferrotype.config.model import Database
from ferrotype.config.values import Values

_KINDS = {"sqlite": "sqlite", "postgresql": "postgresql", "postgres": "postgresql"}
_MARIADB = ("mysql", "mariadb")
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[^:/?#@\[\],]*)(?::\d{0,5})?"
_PARTS = re.compile(
    rf"//(?:([^:/]*?)(?::(.*?))?@)?({_HOST}(?:,{_HOST})*(?:/[^?#]*)?(?:\?.*)?)", re.DOTALL
)  # user, password, where


def database(values: Values, usual: Path, told: bool) -> Database:
    """Return the database; SQLite in ``usual`` where none is named (``told``: the operator knows that)."""
    pool_size = values.get("database", "max_pool_size")
    url = (values.get("database", "connection") or "").strip()
    if not url:
        if not told:
            values.remark(f"[database] connection is not set; SQLite is used, in {usual}.")
        return _sqlite(usual, pool_size)
    found = re.fullmatch(r"([a-z]+)(?:\+\w+)?:(//.*)", url, re.DOTALL)
    dialect = found[1] if found else ""
    if dialect in _MARIADB:
        values.problem("database", "connection", "names MariaDB or MySQL, whose support is not there yet;"
                       " use postgresql:// or sqlite:///")  # fmt: skip
    elif dialect not in _KINDS:
        values.problem("database", "connection", "must begin with postgresql:// or sqlite:///")
    if not found or dialect not in _KINDS:
        # Something must stand here for a report; the problem keeps it from being used.
        return Database(url=url, kind=dialect or "unknown", pool_size=pool_size)
    if _KINDS[dialect] == "postgresql":
        return _postgresql(values, found[2], pool_size)
    name = found[2].removeprefix("//").partition("?")[0]
    if not name.startswith("/") or name.removeprefix("/") in ("", ":memory:"):
        text = "must name a file, as in sqlite:////var/lib/ferrotype/ferrotype.sqlite"
        values.problem("database", "connection", text)
        return _sqlite(usual, pool_size)
    path = Path(name.removeprefix("/"))
    if not path.is_absolute():
        values.remark(f"[database] connection: {path} is taken from the directory of the start: {path.absolute()}.")
    return _sqlite(path.absolute(), pool_size)


def _postgresql(values: Values, parts: str, pool_size: int) -> Database:
    """Read the parts as SQLAlchemy does, which takes any sign in a password as it is."""
    found = _PARTS.fullmatch(parts)
    if found is None:
        values.problem("database", "connection", "must be postgresql://user:password@host:port/name; @, / and :"
                       " in user or password are written %40, %2F or %3A")  # fmt: skip
    else:
        who = ":".join(quote(unquote(part), safe="") for part in found.group(1, 2) if part is not None)
        parts = f"//{who}@{found[3]}" if found[1] is not None else f"//{found[3]}"
    return Database(url=f"postgresql:{parts}", kind="postgresql", pool_size=pool_size)


def _sqlite(path: Path, pool_size: int) -> Database:
    return Database(url=f"sqlite:///{path}", kind="sqlite", path=path, pool_size=pool_size)


def masked(url: str) -> str:
    """Return a connection URL without the password in it."""
    url = re.sub(r"(://[^:/?]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"([?&]\w*passw\w*=)[^&]*", r"\1***", url)
