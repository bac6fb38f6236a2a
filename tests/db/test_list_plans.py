"""How PostgreSQL answers the default lists, as it says itself, and in which order whatever its language."""

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import msgspec
from listing import Counting

from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.db import images as rows
from ferrotype.db import pages, schema
from ferrotype.db.backends.connect import connect
from ferrotype.model.caller import Caller
from ferrotype.model.image import Image
from ferrotype.model.query import ImageQuery
from ferrotype.rules.permit import scope

_FILL = (
    """INSERT INTO images (id, name, status, visibility, owner, protected, os_hidden, min_disk, min_ram, size,
                           created_at, updated_at, tags, properties, system, locations)
       SELECT md5(n::text), 'image-' || n % 97, 'active',
              (ARRAY['public', 'community', 'private', 'shared'])[1 + n % 4], 'p' || n % 50, false, n % 20 = 0,
              0, 0, n % 7, n / 3, n / 2, '[]', '{}', '{}', '[]'
       FROM generate_series(1, 6000) n""",
    """INSERT INTO image_members (image_id, member, status, created_at, updated_at, listed_at)
       SELECT id, 'p' || m, CASE WHEN m % 2 = 0 THEN 'accepted' ELSE 'pending' END, created_at, created_at,
              CASE WHEN os_hidden THEN NULL ELSE created_at END
       FROM images, generate_series(0, 5) m WHERE visibility = 'shared'""",
    "ANALYZE images",
    "ANALYZE image_members",
)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every step of a plan."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


# SEC-93
def test_default_lists_use_indexes_and_read_no_other_rows(postgres_server) -> None:
    config = DatabaseConfig(url=postgres_server.create_database(), kind="postgresql")
    schema.sync(config)

    async def plan(connection: Any, db: Counting, caller: Caller, after: Image | None) -> dict[str, Any]:
        await pages.page(db, scope(caller, None), ImageQuery(), after)
        statement, values = db.asked[-1]
        text, bound = statement.bind("postgresql", values)
        literals = ", ".join(
            "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value) for value in bound
        )
        await connection.execute(f"PREPARE listing AS {text}")
        for _ in range(6):  # After five times the server may choose a plan for whatever values.
            await connection.execute(f"EXECUTE listing({literals})")
        explained = await connection.fetchval(
            f"EXPLAIN (ANALYZE, TIMING off, FORMAT json) EXECUTE listing({literals})"
        )
        await connection.execute("DEALLOCATE listing")
        return msgspec.json.decode(explained)[0]["Plan"]

    async def plans() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(config.url)
        db = await connect(config)
        try:
            for statement in _FILL:
                await connection.execute(statement)
            callers = (Caller(project="p2"), Caller(project="p2", is_admin=True), Caller(is_admin=True))
            places = (None, Image(id="a", created_at=1000))
            return [await plan(connection, Counting(db), caller, at) for caller in callers for at in places]
        finally:
            await db.close()
            await connection.close()

    for found in asyncio.run(plans()):
        steps = list(nodes(found))
        assert 25 <= found["Actual Rows"] <= 50  # An image may come by two branches.
        scans = [step for step in steps if step.get("Relation Name")]
        assert {step["Node Type"] for step in scans} <= {"Index Scan", "Index Only Scan"}
        assert not [step for step in steps if step["Node Type"] in ("Sort", "Incremental Sort", "Hash Join")]
        read = sum((s["Actual Rows"] + s.get("Rows Removed by Filter", 0)) * s["Actual Loops"] for s in scans)
        assert read < 400


# IMG-LIST-41
def test_strings_are_in_byte_order_in_any_locale(postgres_server) -> None:
    words = ["", "%", "B", "Z", "a", "b", "\u00e9", "\uff5e", "\U0001f600"]
    config = DatabaseConfig(url=postgres_server.url("english"), kind="postgresql")

    async def walk(descending: bool) -> list[str | None]:
        db = await connect(config)
        query = ImageQuery(sort=(("name", descending), ("created_at", True), ("id", True)), limit=2)
        try:
            found: list[Image] = []
            while True:
                page = await pages.page(db, scope(Caller(project="p1"), None), query, found[-1] if found else None)
                found += page
                if len(page) < query.limit or len(found) > 20:
                    return [image.name for image in found]
        finally:
            await db.close()

    async def fill() -> None:
        db = await connect(config)
        async with db.begin() as tx:
            for n, word in enumerate(reversed(words)):
                await rows.insert_image(tx, Image(id=str(n), name=word, owner="p1"))
        await db.close()

    async def create() -> None:
        connection = await asyncpg.connect(postgres_server.url("postgres"))
        await connection.execute(
            "CREATE DATABASE english TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en'"
        )
        await connection.close()

    asyncio.run(create())
    schema.sync(config)
    asyncio.run(fill())
    assert asyncio.run(walk(False)) == words
    assert asyncio.run(walk(True)) == words[::-1]
