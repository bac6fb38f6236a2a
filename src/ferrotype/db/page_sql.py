"""The SQL of a page of images.

A page is the first rows of a UNION ALL with one branch for each kind of visibility (``model.query.Branch``):

    SELECT <columns>
    FROM (SELECT * FROM (<branch>) UNION ALL SELECT * FROM (<branch>) ...)
    ORDER BY <sort keys> LIMIT :double_limit

Each branch finds its first rows through an index of its own, whatever the table holds:

    SELECT <columns>, <sort keys>
    FROM images [JOIN image_members] [, <driving table>]
    WHERE <the branch's images> AND <filters> AND <listed> AND <after the marker>
    ORDER BY <sort keys> LIMIT :limit

A list with a single branch is that branch. A statement is built once for each ``Shape``.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple
from typing import cast as known_as

from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    ColumnElement,
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

from ferrotype.db.engine import Statement, any_of
from ferrotype.db.images import COLUMNS, value_hash
from ferrotype.db.tables import image_members, image_properties, image_tags, images
from ferrotype.model.image import Image
from ferrotype.model.query import SORT_KEYS, Branch, Filter, FilterOp, ImageQuery, MemberStatusFilter, Scope, Sort

_c = images.c
_m = image_members.c
_project = bindparam("project", type_=Text)
_LISTED = (_c.deleted_at.is_(None), _c.status != "killed")  # one object, so one bound value for all branches

#: Filters that the search index answers
SEARCH_INDEX: dict[FilterOp, FromClause] = {"property": image_properties, "tag": image_tags}
#: Filters with a condition of their own in the search index. PostgreSQL weighs them all against each other, which
#: takes seconds for dozens; further ones are counted in one subquery, so that their number makes no new shape.
MAX_JOINED = 4


class Shape(Struct, frozen=True):
    """What the SQL of a page depends on: everything but the values."""

    kind: str  # of database
    branches: tuple[Branch, ...]
    #: (field, op) of each filter with a condition of its own. A property's name is a value: clients choose it freely.
    filters: tuple[tuple[str, FilterOp], ...]
    #: kinds of the filters that are counted
    counted: tuple[FilterOp, ...]
    sort: Sort
    has_marker: bool
    member_status: MemberStatusFilter
    hidden: bool


class _SortColumn(NamedTuple):
    """What a branch is sorted by."""

    key: str
    column: ColumnElement[Any]
    descending: bool


# -- shapes and their values ----------------------------------------------------------------------


def ask(kind: str, scope: Scope, query: ImageQuery, after: Image | None) -> tuple[Shape, dict[str, Any]]:
    """Return the shape of a list request, and the values of its statement by their names."""
    # Sorted: the order in which clients write filters makes no new shape.
    filters = sorted(dict.fromkeys(query.filters), key=_filter_shape)
    counted = [each for each in filters if each.op in SEARCH_INDEX][MAX_JOINED:]
    filters = [each for each in filters if each not in counted]
    shape = Shape(
        kind=kind,
        branches=scope.branches,
        filters=tuple(_filter_shape(each) for each in filters),
        counted=tuple(op for op in SEARCH_INDEX if any(each.op == op for each in counted)),
        sort=query.sort,
        has_marker=after is not None,
        member_status=query.member_status,
        hidden=query.hidden,
    )
    values: dict[str, Any] = {"project": scope.project, "limit": query.limit, "double_limit": 2 * query.limit}
    for index, each in enumerate(filters):
        values |= _filter_values(index, each)
    for op in shape.counted:
        wanted = {_counted_value(each) for each in counted if each.op == op}
        values |= {f"all_{op}": sorted(wanted), f"all_{op}_count": len(wanted)}
    if after is not None:
        for key, _ in query.sort:
            values[f"after_{key}"] = _sort_value(after, key)
    return shape, values


def _filter_shape(each: Filter) -> tuple[str, FilterOp]:
    return ("" if each.op == "property" else each.field), each.op


def _filter_values(index: int, each: Filter) -> dict[str, Any]:
    """Return the values of ``_condition`` or ``_in_search_index``."""
    name, value = f"f{index}", each.value
    if each.op in ("between", "not_between"):
        low, high = known_as(tuple[int, int], value)
        return {f"{name}_low": low, f"{name}_high": high}
    if each.op == "property":
        return {name: value_hash(value), f"{name}_name": each.field}
    return {name: list(value) if isinstance(value, tuple) else value}


def _counted_value(each: Filter) -> str:
    return str(each.value) if each.op == "tag" else f"{each.field}:{value_hash(each.value)}"


def _sort_value(image: Image, key: str) -> Any:
    """Return the value of a sort key as its never-null column has it."""
    value = getattr(image, key)
    if value is None:
        return 0 if key == "size" else ""
    return value


# -- statements -----------------------------------------------------------------------------------

#: Building a new shape takes 4 to 20 ms, and clients choose the shapes: so not on the event loop, and one at a time.
_builder = ThreadPoolExecutor(1, thread_name_prefix="statements")


async def statement(shape: Shape) -> Statement:
    """Return the statement of a shape, built once."""
    building = _building(shape)
    return building.result() if building.done() else await asyncio.shield(asyncio.wrap_future(building))


@lru_cache(maxsize=256)
def _building(shape: Shape) -> Future[Statement]:
    return _builder.submit(build, shape)


def build(shape: Shape) -> Statement:
    """Build and compile the statement of a shape; see the head of this module."""
    branches = [_branch(shape, branch) for branch in shape.branches]
    return Statement(branches[0] if len(branches) == 1 else _union(branches, shape.sort), shape.kind)


def _union(branches: Sequence[Select[Any]], sort: Sort) -> Select[Any]:
    """Merge the branches by the sort keys. An image may come by two of them, hence the double limit."""
    union = union_all(*(select(branch.subquery()) for branch in branches)).subquery()
    order = [_SortColumn(key, union.c[f"sort_{key}"], descending) for key, descending in sort]
    return (
        select(*(union.c[column.name] for column in COLUMNS))
        .order_by(*_order_by(order))
        .limit(bindparam("double_limit", type_=BigInteger))
    )


def _branch(shape: Shape, branch: Branch) -> Select[Any]:
    """Select the first images of one branch."""
    searched = [(index, op) for index, (_, op) in enumerate(shape.filters) if op in SEARCH_INDEX]
    driving_table = _driving_table(shape, branch, searched)
    order = _sort_columns(shape, branch, driving_table)
    page: Select[Any] = select(*COLUMNS, *(column.label(f"sort_{key}") for key, column, _ in order))
    page = _join_branch(page.select_from(images), shape, branch)
    if driving_table is not None:
        page = page.where(*_in_search_index(driving_table, *searched.pop(0)))
    page = page.where(*(_exists_in_search_index(index, op) for index, op in searched))
    page = page.where(
        *(_condition(index, *each) for index, each in enumerate(shape.filters) if each[1] not in SEARCH_INDEX)
    )
    page = page.where(*(_has_all(op) for op in shape.counted))
    page = page.where(*_LISTED, _c.os_hidden.is_(shape.hidden))
    if shape.has_marker:
        page = page.where(_after_marker(order))
    return page.order_by(*_order_by(order)).limit(bindparam("limit", type_=BigInteger))


def _driving_table(shape: Shape, branch: Branch, searched: Sequence[tuple[int, FilterOp]]) -> FromClause | None:
    """Return the table of the search index along which the page is read, or None where it is read along ``images``.

    The search index is in the order of created_at and id, descending. A page in that order is read along the entries
    of one property or tag and ends when it is full; otherwise all hits would have to be collected and sorted.
    A list of shares is read along ``image_members``.
    """
    if not searched or branch.kind == "member" or not {key for key, _ in shape.sort} <= {"created_at", "id"}:
        return None
    return SEARCH_INDEX[searched[0][1]].alias("driving")


def _sort_columns(shape: Shape, branch: Branch, driving_table: FromClause | None) -> list[_SortColumn]:
    """Return the columns of the sort keys, of the table along which the page is read: its index has them in order."""
    columns: dict[str, ColumnElement[Any]] = {key: _c[SORT_KEYS[key]] for key, _ in shape.sort}
    if driving_table is not None:
        columns |= {"created_at": driving_table.c.created_at, "id": driving_table.c.image_id}
    elif _reads_listed_shares(shape, branch):
        columns |= {"created_at": _m.listed_at, "id": _m.image_id}
    return [_SortColumn(key, columns[key], descending) for key, descending in shape.sort]


def _reads_listed_shares(shape: Shape, branch: Branch) -> bool:
    """Say whether ``listed_at`` is the image's created_at: a hidden image's shares are not listed."""
    return branch.kind == "member" and not shape.hidden


def _join_branch(page: Select[Any], shape: Shape, branch: Branch) -> Select[Any]:
    """Restrict a page to the images of a branch."""
    match branch.kind:
        case "own":
            page = page.where(_c.owner == _project)
        case "default":
            page = page.where(or_(_c.visibility != "community", _c.owner == _project))
        case "member":
            page = page.join(image_members, _m.image_id == _c.id)
            page = page.where(_m.member == _project, _m.removed_at.is_(None), _c.visibility == "shared")
            if shape.member_status != "all":
                page = page.where(_m.status == shape.member_status)
            if _reads_listed_shares(shape, branch):
                page = page.where(_m.listed_at.is_not(None))
    return page if branch.visibility is None else page.where(_c.visibility == branch.visibility)


def _order_by(order: Sequence[_SortColumn]) -> list[ColumnElement[Any]]:
    return [column.desc() if descending else column.asc() for _, column, descending in order]


def _after_marker(order: Sequence[_SortColumn]) -> ColumnElement[bool]:
    """Rows strictly after the marker (keyset pagination): one row comparison where all keys have one direction.

        (name, created_at, id) < (:after_name, :after_created_at, :after_id)

    Where directions differ, neighbours of one direction are compared as a row. The first condition limits the range
    of an index. For name ascending, created_at and id descending:

        name >= :after_name AND (name > :after_name OR (created_at, id) < (:after_created_at, :after_id))
    """
    runs = [list(run) for _, run in groupby(order, key=lambda each: each.descending)]
    return _after_runs(runs[0], runs[1:])


def _after_runs(first: list[_SortColumn], rest: list[list[_SortColumn]]) -> ColumnElement[bool]:
    columns: Any = [column for _, column, _ in first]
    markers: Any = [bindparam(f"after_{key}", type_=column.type) for key, column, _ in first]
    left, right = (tuple_(*columns), tuple_(*markers)) if len(first) > 1 else (columns[0], markers[0])
    descending = first[0].descending
    after = known_as(ColumnElement[bool], left < right if descending else left > right)
    if not rest:
        return after
    not_before = left <= right if descending else left >= right
    return and_(not_before, or_(after, _after_runs(rest[0], rest[1:])))


# -- filters --------------------------------------------------------------------------------------


def _condition(index: int, field: str, op: FilterOp) -> ColumnElement[bool]:
    """Return a filter's condition on a column of ``images``."""
    name, column = f"f{index}", _c[field]
    if op == "in":
        return any_of(column, name)
    if op in ("between", "not_between"):
        low, high = bindparam(f"{name}_low", type_=BigInteger), bindparam(f"{name}_high", type_=BigInteger)
        return and_(column >= low, column < high) if op == "between" else or_(column < low, column >= high)
    # BIGINT also for an INTEGER column: a number that the column cannot hold is compared like any other.
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


def _in_search_index(table: FromClause, index: int, op: FilterOp) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions under which a row of the search index is this filter's hit for the image."""
    name = f"f{index}"
    if op == "tag":
        return table.c.image_id == _c.id, table.c.tag == bindparam(name, type_=Text)
    return (
        table.c.image_id == _c.id,
        table.c.name == bindparam(f"{name}_name", type_=Text),
        table.c.value_hash == bindparam(name, type_=BigInteger),
    )


def _exists_in_search_index(index: int, op: FilterOp) -> ColumnElement[bool]:
    one: Select[Any] = select(literal_column("1"))
    return one.where(*_in_search_index(SEARCH_INDEX[op], index, op)).correlate(images).exists()


def _has_all(op: FilterOp) -> ColumnElement[bool]:
    """The image has all tags of the list ``:all_tag``, or all properties ("name:hash") of ``:all_property``."""
    table = SEARCH_INDEX[op]
    entry: ColumnElement[str] = image_tags.c.tag
    if op == "property":
        entry = image_properties.c.name + literal_column("':'") + cast(image_properties.c.value_hash, Text)
    hits: Select[Any] = select(literal_column("count(*)")).where(
        table.c.image_id == _c.id, any_of(entry, f"all_{op}")
    )
    return hits.correlate(images).scalar_subquery() == bindparam(f"all_{op}_count", type_=BigInteger)
