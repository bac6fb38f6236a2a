"""A model of lists in plain Python, with which the results of SQL are compared."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from ferrotype.db.engine import Connection, Row, Statement
from ferrotype.model.caller import Caller
from ferrotype.model.image import Image
from ferrotype.model.query import Filter, ImageQuery
from ferrotype.testing.client import person

#: member project -> status, for each image id
Shares = Mapping[str, Mapping[str, str]]


def belongs(caller: Caller, image: Image, members: Mapping[str, str], query: ImageQuery) -> bool:
    """Tell whether an image is in the list before filters are applied: IMG-LIST-02 to 05 and 07."""
    own = caller.project is not None and image.owner == caller.project
    if image.status in ("deleted", "pending_delete", "killed") or image.os_hidden is not query.hidden:
        return False
    if query.visibility is None and image.visibility == "community" and not own:
        return False
    if query.visibility not in (None, "all", image.visibility):
        return False
    if caller.is_admin or own or image.visibility in ("public", "community"):
        return True
    share = members.get(caller.project) if caller.project else None
    return image.visibility == "shared" and share is not None and query.member_status in ("all", share)


def matches(image: Image, wanted: Filter) -> bool:
    """Tell whether an image fulfils one condition."""
    if wanted.op == "tag":
        return wanted.value in image.tags
    if wanted.op == "property":
        return wanted.field in image.properties and image.properties[wanted.field] == wanted.value
    value, mark = getattr(image, wanted.field), wanted.value
    if value is None:
        return False
    tests: dict[str, Any] = {
        "eq": lambda: value == mark,
        "in": lambda: value in mark,
        "min": lambda: value >= mark,
        "from": lambda: value >= mark,
        "max": lambda: value <= mark,
        "before": lambda: value < mark,
        "between": lambda: mark[0] <= value < mark[1],
        "not_between": lambda: not mark[0] <= value < mark[1],
    }
    return bool(tests[wanted.op]())


def in_order(images: Sequence[Image], sort: Sequence[tuple[str, bool]]) -> list[Image]:
    """Return the images in a total order of (key, descending); an unknown value is the smallest."""
    ordered = list(images)
    for key, descending in reversed(sort):

        def value(image: Image, key: str = key) -> Any:
            known = getattr(image, key)
            return (0 if key == "size" else "") if known is None else known

        ordered.sort(key=value, reverse=descending)
    return ordered


def expected(caller: Caller, images: Sequence[Image], shares: Shares, query: ImageQuery) -> list[Image]:
    """Return every image of the list, in order, whatever the limit."""
    found = [
        image
        for image in images
        if belongs(caller, image, shares.get(image.id, {}), query)
        and all(matches(image, wanted) for wanted in query.filters)
    ]
    return in_order(found, query.sort)


def names(reply: Any) -> list[str]:
    """Return the names of the images on a page."""
    assert reply.status == 200, reply.text
    return [image["name"] for image in reply.json["images"]]


def new_caller() -> Caller:
    """Return a caller with a project of its own."""
    return person(f"p-{uuid.uuid4().hex[:12]}", "member", "reader")


class Counting:
    """A connection that remembers what it was asked."""

    def __init__(self, connection: Connection):
        self.kind, self._connection = connection.kind, connection
        self.asked: list[tuple[Statement, dict[str, Any]]] = []

    async def rows(self, statement: Statement, **values: Any) -> list[Row]:
        self.asked.append((statement, values))
        return await self._connection.rows(statement, **values)

    async def row(self, statement: Statement, **values: Any) -> Row | None:
        self.asked.append((statement, values))
        return await self._connection.row(statement, **values)
