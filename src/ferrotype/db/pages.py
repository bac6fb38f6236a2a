"""Pages of images. ``page_sql`` has the statements; a page costs what it shows, whatever the table holds."""

from collections.abc import Callable

from ferrotype.db import page_sql
from ferrotype.db.engine import Connection, Row
from ferrotype.db.images import as_text, image_from
from ferrotype.model.image import Image
from ferrotype.model.query import ImageQuery, Scope

#: Statements that one page may cost where a policy hides most of the hits.
MAX_STATEMENTS = 20

#: Tells whether a hit is shown.
Keep = Callable[[Image], bool]


async def page(
    connection: Connection, scope: Scope, query: ImageQuery, after: Image | None, keep: Keep | None = None
) -> list[Image]:
    """Return at most ``query.limit`` matching images of the scope, in order, that come after the image ``after``.

    Properties are found by a hash of their values and compared here: with both conditions in SQL, PostgreSQL expects
    one row and sorts all hits. When that or ``keep`` drops images, further statements fill the page, until it is
    full, the images end, or ``MAX_STATEMENTS`` were run.
    """
    if not scope.branches or query.limit == 0:
        return []
    wanted = [(each.field, each.value) for each in query.filters if each.op == "property"]
    found: list[Image] = []
    for _ in range(MAX_STATEMENTS):
        images = [image_from(row) for row in await _rows(connection, scope, query, after)]
        found += [
            image
            for image in images
            if all(name in image.properties and as_text(image.properties[name]) == value for name, value in wanted)
            and (keep is None or keep(image))
        ]
        if len(images) < query.limit or len(found) >= query.limit:
            break
        after = images[-1]
    return found[: query.limit]


async def _rows(connection: Connection, scope: Scope, query: ImageQuery, after: Image | None) -> list[Row]:
    shape, values = page_sql.ask(connection.kind, scope, query, after)
    rows = await connection.rows(await page_sql.statement(shape), **values)
    if len(scope.branches) == 1:
        return rows
    # An image of the caller's project comes by its visibility as well: by two branches, never by more. A branch
    # without the caller's own images would have to read past all of them, however many they are.
    return list({row[0]: row for row in rows}.values())[: query.limit]
