"""A page of images: one indexed branch for each kind of visibility, merged by the sort keys.

Every branch finds its own first rows through its own index, so a page costs what it shows, whatever the table
holds. A statement is built once for each shape of question.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import groupby
from typing import Any
from typing import cast as known_as

from sqlalchemy import (
    BigInteger,
    FromClause,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    literal_column,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.sql.elements import ColumnElement

from ferrotype.db.engine import Connection, Row, Statement, any_of
from ferrotype.db.images import COLUMNS, as_text, image_from, value_hash
from ferrotype.db.tables import image_members, image_properties, image_tags, images
from ferrotype.model.image import Image
from ferrotype.model.query import SORT_KEYS, Branch, Filter, ImageQuery, Scope

_c = images.c
_m = image_members.c
_project = bindparam("project", type_=Text)

Sort = tuple[tuple[str, bool], ...]
#: What is to be compared with what, without the values: (field, op) of each filter
Shape = tuple[tuple[str, str], ...]
#: Filters that a table of their own answers
SEARCHED = {"property": image_properties, "tag": image_tags}
#: So many of these may lead to the images; PostgreSQL weighs them all against each other, which takes seconds
#: for dozens of them. The others are counted for each image that was found: how many they are makes no new statement.
MOST_JOINED = 4
#: Statements that one page may cost where a rule of the deployment leaves out most of what is found.
MOST_STATEMENTS = 20

#: Tells whether an image that was found is to be shown.
Keep = Callable[[Image], bool]


async def page(
    connection: Connection, scope: Scope, query: ImageQuery, after: Image | None, keep: Keep | None = None
) -> list[Image]:
    """Return at most ``query.limit`` images of the scope that match, in order, behind ``after``.

    Properties are found by a hash of their values and compared afterwards: doing both in SQL would make the
    database expect a single row, and sort them all. What that or ``keep`` leaves out is filled up from behind,
    until the page is full, the images end, or ``MOST_STATEMENTS`` were asked.
    """
    if not scope.branches or query.limit == 0:
        return []
    wanted = [(each.field, each.value) for each in query.filters if each.op == "property"]
    found: list[Image] = []
    for _ in range(MOST_STATEMENTS):
        images = [image_from(row) for row in await _rows(connection, scope, query, after, query.limit)]
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


async def _rows(
    connection: Connection, scope: Scope, query: ImageQuery, after: Image | None, limit: int
) -> list[Row]:
    # The order in which clients write them makes no new statement.
    filters = sorted(dict.fromkeys(query.filters), key=_shape)
    searched = [each for each in filters if each.op in SEARCHED]
    counted = searched[MOST_JOINED:]
    filters = [each for each in filters if each not in counted]
    statement = await _statement(
        connection.kind,
        scope.branches,
        tuple(_shape(each) for each in filters),
        tuple(op for op in SEARCHED if any(each.op == op for each in counted)),
        query.sort,
        after is not None,
        query.member_status,
        query.hidden,
    )
    values: dict[str, Any] = {"project": scope.project, "limit": limit, "twice": 2 * limit}
    for index, each in enumerate(filters):
        _bind(values, index, each)
    for op in SEARCHED:
        found = {_counted_as(each) for each in counted if each.op == op}
        values |= {f"all_{op}": sorted(found), f"all_{op}_count": len(found)}
    if after is not None:
        for key, _ in query.sort:
            values[f"after_{key}"] = _sort_value(after, key)
    rows = await connection.rows(statement, **values)
    if len(scope.branches) == 1:
        return rows
    # An image of the caller's own project comes by its visibility as well: by two branches, never by more. To look
    # for images of other projects only would read past all of its own, however many those are.
    return list({row[0]: row for row in rows}.values())[:limit]


def _shape(each: Filter) -> tuple[str, str]:
    """The name of a property is a value: whoever makes up names must not make up statements."""
    return ("" if each.op == "property" else each.field), each.op


def _sort_value(image: Image, key: str) -> Any:
    """The value of a sort key as its never-null column has it."""
    value = getattr(image, key)
    if value is None:
        return 0 if key == "size" else ""
    return value


def _bind(values: dict[str, Any], index: int, each: Filter) -> None:
    value = each.value
    if each.op == "between" or each.op == "not_between":
        values[f"f{index}_low"], values[f"f{index}_high"] = known_as(tuple[int, int], value)
    elif each.op == "property":
        values[f"f{index}"], values[f"f{index}_name"] = value_hash(value), each.field
    else:
        values[f"f{index}"] = list(value) if isinstance(value, tuple) else value


def _counted_as(each: Filter) -> str:
    return str(each.value) if each.op == "tag" else f"{each.field}:{value_hash(each.value)}"


def _has_all(op: str) -> ColumnElement[bool]:
    """The image has every tag, or every property with its value, of a list."""
    table = SEARCHED[op]
    what: ColumnElement[str] = image_tags.c.tag
    if op == "property":
        what = image_properties.c.name + literal_column("':'") + cast(image_properties.c.value_hash, Text)
    number: Select[Any] = select(literal_column("count(*)")).where(
        table.c.image_id == _c.id, any_of(what, f"all_{op}")
    )
    return number.correlate(images).scalar_subquery() == bindparam(f"all_{op}_count", type_=BigInteger)


def _searched(index: int, op: str) -> Select[Any]:
    """One row when the image has the property or the tag, else none."""
    one: Select[Any] = select(literal_column("1"))
    return one.where(*_found_in(SEARCHED[op], index, op)).correlate(images)


def _found_in(table: FromClause, index: int, op: str) -> tuple[ColumnElement[bool], ...]:
    name = f"f{index}"
    if op == "tag":
        return table.c.image_id == _c.id, table.c.tag == bindparam(name, type_=Text)
    return (
        table.c.image_id == _c.id,
        table.c.name == bindparam(f"{name}_name", type_=Text),
        table.c.value_hash == bindparam(name, type_=BigInteger),
    )


def _condition(index: int, field: str, op: str) -> ColumnElement[bool]:
    name = f"f{index}"
    column = _c[field]
    if op == "in":
        return any_of(column, name)
    if op in ("between", "not_between"):
        low, high = bindparam(f"{name}_low", type_=BigInteger), bindparam(f"{name}_high", type_=BigInteger)
        inside = and_(column >= low, column < high)
        return inside if op == "between" else or_(column < low, column >= high)
    # A number that no column can hold is compared like any other.
    value = bindparam(name, type_=BigInteger() if isinstance(column.type, Integer) else column.type)
    match op:
        case "min" | "from":
            return column >= value
        case "max":
            return column <= value
        case "before":
            return column < value
        case _:
            return column == value


def _behind(keys: list[tuple[Any, str, bool]]) -> ColumnElement[bool]:
    """Rows strictly behind the marker in an order of (column, key, descending)."""
    marks = [(column, bindparam(f"after_{key}", type_=column.type), down) for column, key, down in keys]
    behind: ColumnElement[bool] | None = None
    for down, run in groupby(reversed(marks), key=lambda mark: mark[2]):
        columns, values, _ = zip(*reversed(list(run)), strict=True)
        left, right = (tuple_(*columns), tuple_(*values)) if len(columns) > 1 else (columns[0], values[0])
        beyond = left < right if down else left > right
        if behind is not None:  # First what an index can begin with.
            beyond = and_(left <= right if down else left >= right, or_(beyond, behind))
        behind = beyond
    return known_as(ColumnElement[bool], behind)


#: Clients choose the shapes, and to write a new one takes 4 to 20 ms: not on the loop, and one after the other.
_builder = ThreadPoolExecutor(1, thread_name_prefix="statements")


async def _statement(*shape: Any) -> Statement:
    """Return the statement of a shape; see ``_build``."""
    found = _building(*shape)
    return found.result() if found.done() else await asyncio.shield(asyncio.wrap_future(found))


@lru_cache(maxsize=256)
def _building(*shape: Any) -> Future[Statement]:
    return _builder.submit(_build, *shape)


def _build(
    kind: str,
    branches: tuple[Branch, ...],
    filters: Shape,
    counted: tuple[str, ...],
    sort: Sort,
    behind: bool,
    member_status: str,
    hidden: bool,
) -> Statement:
    searched = [(index, op) for index, (_, op) in enumerate(filters) if op in SEARCHED]
    # The tables of what images have are kept in the usual order. A page in that order is read along one of them and
    # ends when it is full; to collect all hits and sort them would cost what the table holds.
    leads = bool(searched) and {key for key, _ in sort} <= {"created_at", "id"}
    searches = [_searched(index, op) for index, op in searched]
    lead = SEARCHED[searched[0][1] if leads else "property"].alias("lead")
    conditions = [_condition(index, *shape) for index, shape in enumerate(filters) if shape[1] not in SEARCHED]
    conditions += [_has_all(op) for op in counted]
    conditions.append(_c.deleted_at.is_(None))
    conditions.append(_c.status != "killed")
    conditions.append(_c.os_hidden.is_(True) if hidden else _c.os_hidden.is_(False))
    parts = []
    for branch in branches:
        keys: dict[str, Any] = {key: _c[SORT_KEYS[key]] for key, _ in sort}
        if branch.kind == "member" and not hidden:  # The index of listed shares holds the images' times.
            keys.update({"created_at": _m.listed_at, "id": _m.image_id})
        led = leads and branch.kind != "member"
        if led:
            keys.update({"created_at": lead.c.created_at, "id": lead.c.image_id})
        part = select(*COLUMNS, *(keys[key].label(f"sort_{key}") for key, _ in sort)).select_from(images)
        if branch.kind == "member":
            part = part.join(image_members, _m.image_id == _c.id)
            part = part.where(_m.member == _project, _m.removed_at.is_(None), _c.visibility == "shared")
            if member_status != "all":
                part = part.where(_m.status == member_status)
            if not hidden:
                part = part.where(_m.listed_at.is_not(None))
        elif branch.kind == "mine":
            part = part.where(_c.owner == _project)
        elif branch.kind == "usual":
            part = part.where(or_(_c.visibility != "community", _c.owner == _project))
        if branch.kind in ("visible", "mine") and branch.visibility is not None:
            part = part.where(_c.visibility == branch.visibility)
        if led:
            part = part.where(*_found_in(lead, *searched[0]))
        others = searches[1:] if led else searches
        part = part.where(*(each.exists() for each in others))
        order = [(keys[key], key, down) for key, down in sort]
        part = part.where(*conditions)
        if behind:
            part = part.where(_behind(order))
        part = part.order_by(*(column.desc() if down else column.asc() for column, _, down in order))
        parts.append(part.limit(bindparam("limit", type_=BigInteger)))
    if len(parts) == 1:
        return Statement(parts[0], kind)
    union = union_all(*(select(part.subquery()) for part in parts)).subquery()
    return Statement(
        select(*(union.c[column.name] for column in COLUMNS))
        .order_by(*(union.c[f"sort_{key}"].desc() if down else union.c[f"sort_{key}"].asc() for key, down in sort))
        .limit(bindparam("twice", type_=BigInteger)),
        kind,
    )
