"""SQL that SQLite and PostgreSQL share: ON CONFLICT on INSERT, RETURNING on UPDATE."""

from typing import Any

from ferrotype.db.engine import Statement, UpdateReturning, Upsert


def on_conflict(element: Upsert, compiler: Any, **kw: Any) -> str:
    """Return ``INSERT ... ON CONFLICT (key) DO UPDATE SET column = excluded.column``, or ``... DO NOTHING``."""
    quote = compiler.preparer.quote
    insert = f"{compiler.visit_insert(element, **kw)} ON CONFLICT ({', '.join(map(quote, element.key))}) DO"
    updates = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in element.update)
    return f"{insert} UPDATE SET {updates}" if updates else f"{insert} NOTHING"


def with_returning(element: UpdateReturning, kind: str) -> Statement:
    """Return ``UPDATE ... RETURNING columns``, compiled once."""
    found: Statement | None = element.compiled.get(kind)
    if found is None:
        executable = element.change.where(element.key).returning(*element.columns)
        found = element.compiled[kind] = Statement(executable, kind)
    return found
