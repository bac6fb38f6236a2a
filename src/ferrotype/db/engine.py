"""Two databases behind one way of asking: PostgreSQL through asyncpg, SQLite through two threads.

A statement is built with SQLAlchemy once, compiled once for each database, and run with bound values on the
driver's own connection. Reads outside a transaction are one statement each; a transaction is for writing.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any, Protocol

from sqlalchemy import ARRAY, BigInteger, ClauseElement, Text, bindparam, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement

from ferrotype.model.errors import FerrotypeError

Row = Sequence[Any]


@cache
def dialect(kind: str) -> Any:
    """Return what SQLAlchemy knows of one kind of database; only the one that is used is imported."""
    if kind == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.dialect()
    from sqlalchemy.dialects.postgresql import asyncpg

    return asyncpg.dialect()  # type: ignore[no-untyped-call]


class DatabaseUnavailable(FerrotypeError):
    """The database cannot be reached, or did not answer in time. Nothing is known to have been written."""


class Locked(DatabaseUnavailable):
    """Another transaction holds what this one needs and did not end in time. Nothing was written."""


class Duplicate(FerrotypeError):
    """A row with this key exists."""


class Statement:
    """A statement and its text for each database. Values are given by name when it is run.

    With ``kind`` it is for one kind of database alone, and only its text is kept: a hundredth of what it is made of.
    """

    __slots__ = ("_compiled", "_executable")

    def __init__(self, executable: ClauseElement, kind: str | None = None):
        self._executable: ClauseElement | None = executable
        self._compiled: dict[str, tuple[str, tuple[tuple[str, Any], ...]]] = {}
        if kind is not None:
            self.compiled(kind)
            self._executable = None

    def compiled(self, kind: str) -> tuple[str, tuple[tuple[str, Any], ...]]:
        """Return the text for one kind of database, and its parameters in order with their defaults."""
        found = self._compiled.get(kind)
        if found is None:
            if self._executable is None:
                raise LookupError(f"this statement is not for {kind}")
            compiled: Any = self._executable.compile(dialect=dialect(kind))
            names = tuple((name, compiled.params.get(name)) for name in compiled.positiontup or ())
            found = self._compiled[kind] = (str(compiled), names)
        return found

    def bind(self, kind: str, values: dict[str, Any]) -> tuple[str, list[Any]]:
        """Return the text and the values in its order."""
        text, names = self.compiled(kind)
        return text, [values.get(name, default) for name, default in names]


class now(FunctionElement[int]):
    """The database's clock, in microseconds since 1970."""

    type = BigInteger()
    inherit_cache = True


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: Any, **_: Any) -> str:
    return "(extract(epoch from clock_timestamp()) * 1000000)::bigint"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: Any, **_: Any) -> str:
    return "now_us()"  # SQLite 3.40 has no clock finer than a millisecond; the connection provides one


class any_of(ColumnElement[bool]):
    """``column`` equals one of a list that is bound by ``name`` as one value, however long it is."""

    inherit_cache = False

    def __init__(self, column: ColumnElement[Any], name: str):
        self.column, self.values = column, bindparam(name, type_=ARRAY(Text))


def one_of(column: ColumnElement[Any], *values: str) -> ColumnElement[bool]:
    """``column`` equals one of a few values that are known when the statement is written."""
    return or_(*(column == value for value in values))


@compiles(any_of, "postgresql")
def _any_of_postgresql(element: any_of, compiler: Any, **kw: Any) -> str:
    column, values = compiler.process(element.column, **kw), compiler.process(element.values, **kw)
    return f"{column} = ANY ({values})"


@compiles(any_of, "sqlite")
def _any_of_sqlite(element: any_of, compiler: Any, **kw: Any) -> str:
    column, values = compiler.process(element.column, **kw), compiler.process(element.values, **kw)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - two texts of SQLAlchemy's


class Connection(Protocol):
    """What a statement can be run on: the database itself for single reads, or a transaction."""

    kind: str

    async def rows(self, statement: Statement, **values: Any) -> list[Row]:
        """Return all rows."""

    async def row(self, statement: Statement, **values: Any) -> Row | None:
        """Return the first row, or None."""


class Transaction(Connection, Protocol):
    """An open transaction: all of it happens, or nothing."""

    async def run(self, statement: Statement, **values: Any) -> int:
        """Run a change and return how many rows it touched. Raises Duplicate on a key that exists."""

    async def run_many(self, statement: Statement, rows: Iterable[dict[str, Any]]) -> None:
        """Run a change once for each set of values."""


class Database(Connection, Protocol):
    """A database that is open."""

    def begin(self, reserved: bool = False) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction: committed at the end of the block, rolled back when it raises.

        ``reserved``: a short one that must not wait for a connection while others wait for locks. Raises Locked.
        """

    async def close(self) -> None:
        """Let running statements end and close every connection."""
