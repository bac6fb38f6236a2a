"""Statements, and the interface of every database.

A statement is built with SQLAlchemy once, compiled once for each kind of database, and run with bound values on
the driver's own connection. Reads outside a transaction are one statement each; a transaction is for writing.

What the databases do differently is in ``db.backends``, one module for each kind (``Backend``). The constructs
here have no SQL of their own: each back end compiles them its own way.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ClauseElement,
    Insert,
    String,
    Table,
    Text,
    Update,
    bindparam,
    or_,
)
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement

from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.model.errors import FerrotypeError

Row = Sequence[Any]


class DatabaseUnavailable(FerrotypeError):
    """The database cannot be reached, or did not answer in time. Nothing is known to have been written."""


class Locked(DatabaseUnavailable):
    """Another transaction holds what this one needs and did not end in time. Nothing was written."""


class Duplicate(FerrotypeError):
    """A row with this key exists."""


#: kind of database -> its SQLAlchemy dialect
_dialects: dict[str, Callable[[], Any]] = {}


def register_dialect(kind: str, dialect: Callable[[], Any]) -> None:
    """Name the dialect that compiles statements for a kind of database. Each back end does so when it is imported."""
    _dialects[kind] = dialect


class Statement:
    """A statement and its SQL for each kind of database. Values are given by name when it is run.

    With ``kind`` it is for one kind of database alone, and only its SQL is kept: a hundredth of what it is made of.
    """

    __slots__ = ("_compiled", "_executable")

    def __init__(self, executable: ClauseElement, kind: str | None = None):
        self._executable: ClauseElement | None = executable
        self._compiled: dict[str, tuple[str, tuple[tuple[str, Any], ...]]] = {}
        if kind is not None:
            self.compiled(kind)
            self._executable = None

    def compiled(self, kind: str) -> tuple[str, tuple[tuple[str, Any], ...]]:
        """Return the SQL for one kind of database, and its parameters in order with their defaults."""
        found = self._compiled.get(kind)
        if found is None:
            if self._executable is None:
                raise LookupError(f"this statement is not for {kind}")
            compiled: Any = self._executable.compile(dialect=_dialects[kind]())
            names = tuple((name, compiled.params.get(name)) for name in compiled.positiontup or ())
            found = self._compiled[kind] = (str(compiled), names)
        return found

    def bind(self, kind: str, values: dict[str, Any]) -> tuple[str, list[Any]]:
        """Return the SQL and the values in its order."""
        text, names = self.compiled(kind)
        return text, [values.get(name, default) for name, default in names]


# -- constructs that each back end compiles its own way -------------------------------------------


class ExactString(String):
    """A string of at most ``length`` characters, compared byte by byte, whatever the database's collation."""


class ExactText(Text):
    """A string of any length, compared byte by byte. It cannot be a key: not every database has an index of it."""


class now(FunctionElement[int]):
    """The database's clock, in microseconds since 1970."""

    type = BigInteger()
    inherit_cache = True


class any_of(ColumnElement[bool]):
    """``column`` equals one of a list that is bound by ``name`` as one value, however long it is."""

    inherit_cache = False

    def __init__(self, column: ColumnElement[Any], name: str):
        self.column, self.values = column, bindparam(name, type_=ARRAY(Text))


def one_of(column: ColumnElement[Any], *values: str) -> ColumnElement[bool]:
    """``column`` equals one of a few values that are known when the statement is written."""
    return or_(*(column == value for value in values))


class Upsert(Insert):
    """An INSERT that does not fail where its primary key exists: see ``upsert``."""

    inherit_cache = False

    def __init__(self, table: Table, update: Sequence[str]):
        super().__init__(table)
        self.key = tuple(column.name for column in table.primary_key)
        self.update = tuple(update)


def upsert(table: Table, update: Sequence[str] = ()) -> Insert:
    """Insert a row, bound by the names of its columns. Where its primary key exists, set the columns ``update``.

    Without ``update`` such a row stays as it is ("insert or ignore").
    """
    return Upsert(table, update).values({column: bindparam(column.name) for column in table.c}).inline()


class UpdateReturning:
    """``change`` of the one row with this ``key``, and the ``columns`` of that row as it is afterwards.

    It is run by ``Transaction.update_returning``: not every database has RETURNING on UPDATE. One without it runs
    ``change`` and then selects the row, which is locked by then.
    """

    __slots__ = ("change", "columns", "compiled", "key")

    def __init__(self, change: Update, key: ColumnElement[bool], columns: Sequence[ColumnElement[Any]]):
        self.change, self.key, self.columns = change, key, columns
        #: what each kind of back end has made of it
        self.compiled: dict[str, Any] = {}


# -- the interface of a database ------------------------------------------------------------------


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

    async def update_returning(self, statement: UpdateReturning, **values: Any) -> Row | None:
        """Update a row and return its columns as they are now; None when no row matched, and nothing changed."""


class Database(Connection, Protocol):
    """A database that is open."""

    def begin(self, reserved: bool = False) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction: committed at the end of the block, rolled back when it raises.

        ``reserved``: a short one that must not wait for a connection while others wait for locks. Raises Locked.
        """

    async def close(self) -> None:
        """Let running statements end and close every connection."""


class Backend(Protocol):
    """What a module of ``db.backends`` provides. Its functions raise DatabaseUnavailable where the database fails.

    A module also registers with SQLAlchemy how its dialect spells the constructs above. Lock clauses (FOR UPDATE)
    are the dialect's: SQLite has none, and needs none, as there a transaction is the only one that writes.
    """

    #: The database belongs to this program alone: its schema is brought up to date at every start.
    EMBEDDED: bool

    def dialect(self) -> Any:
        """Return the SQLAlchemy dialect for which statements are compiled, always the same one."""

    async def connect(self, config: DatabaseConfig) -> Database:
        """Open the database. Call it after the process has forked."""

    def schema_version(self, config: DatabaseConfig) -> str | None:
        """Return what the table ``alembic_version`` says, or None where there is no such table."""

    def create_schema(self, config: DatabaseConfig, statements: Sequence[str]) -> None:
        """Run these statements in one transaction, unless another process has created the schema meanwhile."""

    def migrate(self, config: DatabaseConfig, run: Callable[[Any], None]) -> None:
        """Call ``run`` with a SQLAlchemy connection in a transaction, and commit it."""
