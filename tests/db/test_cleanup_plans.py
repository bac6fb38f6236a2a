"""The queries of background cleanup use indexes and never read the whole ledger, on both databases."""

import asyncio
import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.db import blobs, schema, workers
from ferrotype.db.backends.connect import connect
from ferrotype.db.engine import Database, Statement

#: Twenty thousand objects at rest, a few that are written or deleted, and workers of long ago.
_FILL = (
    """INSERT INTO blobs (id, store, name, image_id, project, purpose, state, charged, size, created_at, attempts)
       WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 20000)
       SELECT 'b' || n, 'fast', 'n' || n, 'i' || n, 'p', 'data', 'live', 10, 10, 1, 0 FROM g""",
    "UPDATE blobs SET state = 'writing', writer = 'w1' WHERE id IN ('b1', 'b2')",
    "UPDATE blobs SET state = 'deleting', remove_at = 1 WHERE id IN ('b3', 'b4')",
    """INSERT INTO workers (id, process, started_at, lease, renewals, state)
       WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 300)
       SELECT 'w' || n, '', 0, 1, 0, 'gone' FROM g""",
)


class Noting:
    """A database, or a transaction of it, that notes what it is asked."""

    def __init__(self, asked: Any, noted: list[tuple[Statement, dict[str, Any]]]):
        self._asked, self.noted, self.kind = asked, noted, asked.kind

    async def rows(self, statement: Statement, **values: Any) -> Any:
        self.noted.append((statement, values))
        return await self._asked.rows(statement, **values)

    async def run(self, statement: Statement, **values: Any) -> int:
        self.noted.append((statement, values))
        return int(await self._asked.run(statement, **values))


async def cleanup_queries(db: Database) -> list[tuple[Statement, dict[str, Any]]]:
    noting = Noting(db, [])
    assert len(await blobs.due_for_deletion(noting, "fast")) == 2
    assert len(await blobs.written_by(noting, "w1")) == 2
    assert len(await blobs.orphaned(noting)) == 2
    async with db.begin() as tx:
        await workers.delete_gone(Noting(tx, noting.noted))
    left = await db.rows(Statement(text("SELECT id FROM workers")))
    assert [row[0] for row in left] == ["w1"]
    return noting.noted


@pytest.mark.parametrize("counted", [False, True], ids=["no statistics", "statistics"])
def test_background_cleanup_never_reads_the_whole_ledger(database_url: str, counted: bool) -> None:
    kind = database_url.partition(":")[0]
    path = Path(database_url.removeprefix("sqlite:///")) if kind == "sqlite" else None
    config = DatabaseConfig(url=database_url, kind=kind, path=path)
    schema.sync(config)

    async def plan(db: Database, statement: Statement, values: dict[str, Any]) -> str:
        words, bound = statement.bind(kind, values)
        if kind == "sqlite":
            explained = await db.rows(_Bound(f"EXPLAIN QUERY PLAN {words}", bound))
            return "\n".join(row[3] for row in explained)
        connection = await asyncpg.connect(config.url)
        await connection.execute("SET plan_cache_mode = force_custom_plan")
        explained = await connection.fetch(f"EXPLAIN {words}", *bound)
        await connection.close()
        return "\n".join(row[0] for row in explained)

    async def plans() -> list[str]:
        db = await connect(config)
        try:
            async with db.begin() as tx:
                for statement in _FILL:
                    await tx.rows(Statement(text(statement)))
            if counted:
                await db.rows(Statement(text("ANALYZE")))
            return [await plan(db, *asked) for asked in await cleanup_queries(db)]
        finally:
            await db.close()

    found = asyncio.run(plans())
    assert len(found) == 4
    for each in found:
        assert re.search(r"blobs_(deleting|by_writer)", each), each
        assert not re.search(r"(SCAN|Seq Scan on) blobs|blobs_by_name|blobs_by_image", each), each


class _Bound:
    """A text with its values, to be asked like a statement."""

    def __init__(self, words: str, bound: list[Any]):
        self.bind = lambda kind, values: (words, bound)
