"""Parsing the query of a list."""

from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrotype.config.api import Api
from ferrotype.model.errors import Invalid
from ferrotype.model.query import SORT_KEYS, Filter, ImageQuery
from ferrotype.web import http, queries

API = Api()
DAY = 86_400_000_000
NEW_YEAR = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


def asked(query: str | bytes, api: Api = API) -> ImageQuery:
    """The meaning of a raw query string."""
    raw = query.encode() if isinstance(query, str) else query
    scope = {"method": "GET", "query_string": raw}
    return queries.image_query(http.Request(None, scope, None, {}, "req-1").query(), api)


def one(query: str) -> Filter:
    """The only condition of a query string."""
    (found,) = asked(query).filters
    return found


# -- any query ---------------------------------------------------------------------------------------

NAMES = ["name", "id", "status", "disk_format", "created_at", "updated_at", "size", "size_min", "min_disk_max",
         "protected", "os_hidden", "visibility", "member_status", "limit", "marker", "sort", "sort_key", "sort_dir",
         "tag", "owner", "foo", "foo_min", "properties", "deleted", "changes-since", "checksum", ""]  # fmt: skip
VALUES = ["", "in:", "in:a,b", 'in:"a,b",c', 'in:"', "eq:a", "gt:2026-01-01", "lt:", "2026",
          "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-01-01T00:00:00+99:99", "0000", "99999",
          "true", "True", "1", "-1", "0x1", "9" * 5000, "asc", "desc", "name:asc,size:desc", "name,", "all", "public",
          "accepted", "\0", "a:b"]  # fmt: skip
pieces = st.one_of(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES) | st.text(max_size=20)).map(
        lambda pair: f"{quote(pair[0])}={quote(pair[1])}"
    ),
    st.text(st.characters(max_codepoint=0x2FF), max_size=20),
    st.sampled_from(["%", "%ff", "%ed%a0%80", "&", "==", "a=b=c", ";"]),
)


# IMG-LIST-38, IMG-WART-11
@settings(max_examples=400, deadline=None)
@given(st.lists(pieces, max_size=6).map("&".join).map(str.encode) | st.binary(max_size=40))
def test_any_query_string_is_parsed_or_invalid(raw: bytes) -> None:
    try:
        query = asked(raw)
    except Invalid as refusal:
        assert str(refusal)
        return
    assert isinstance(query, ImageQuery)
    assert 0 <= query.limit <= API.limit_max
    assert {"created_at", "id"} <= set(dict(query.sort)) <= set(SORT_KEYS)
    assert len(dict(query.sort)) == len(query.sort)
    for each in query.filters:
        numbers = [n for n in (each.value if isinstance(each.value, tuple) else [each.value]) if isinstance(n, int)]
        assert all(abs(n) < 2**63 for n in numbers)


# -- filters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "field", "op", "value"),
    [
        # IMG-LIST-30
        ("name=a", "name", "eq", "a"),
        ("name=eq:a", "name", "eq", "a"),
        ("name=eq:a:b", "name", "eq", "a:b"),
        ("name=", "name", "eq", ""),
        ("id=in:a,b", "id", "in", ("a", "b")),
        ("status=in:active,queued", "status", "in", ("active", "queued")),
        ("disk_format=in:raw", "disk_format", "in", ("raw",)),
        ("container_format=eq:bare", "container_format", "eq", "bare"),
        # RUL-73: only an operator of the attribute is split off
        ("name=ubuntu:22.04", "name", "eq", "ubuntu:22.04"),
        ("name=:a", "name", "eq", ":a"),
        ("name=eq:eq:a", "name", "eq", "eq:a"),
        ("name=gt:5", "name", "eq", "gt:5"),
        ("id=neq:a", "id", "eq", "neq:a"),
        ("status=gt:a", "status", "eq", "gt:a"),
        ("disk_format=:raw", "disk_format", "eq", ":raw"),
        ("container_format=EQ:bare", "container_format", "eq", "EQ:bare"),
        # IMG-LIST-31
        ('name=in:"a:b"', "name", "in", ("a:b",)),
        ('name=in:"a,b",c', "name", "in", ("a,b", "c")),
        ("name=in:", "name", "in", ()),
        ("name=in:a,", "name", "in", ("a",)),
        ("name=in:a,,b", "name", "in", ("a", "", "b")),
        # IMG-LIST-32
        (r'name=in:"with \"x\""', "name", "in", ('with "x"',)),
        (r"name=in:with \"x\",y", "name", "in", ('with "x"', "y")),
        # IMG-LIST-36
        ("size=5", "size", "eq", 5),
        ("size=gt:5", "id", "eq", ""),
        ("min_disk=x", "id", "eq", ""),
        ("owner=p1", "owner", "eq", "p1"),
        ("checksum=in:a,b", "checksum", "eq", "in:a,b"),
        ("os_hash_algo=eq:sha512", "os_hash_algo", "eq", "eq:sha512"),
        ("os_hash_value=ff", "os_hash_value", "eq", "ff"),
        # IMG-LIST-34
        ("size_min=5", "size", "min", 5),
        ("size_max=5", "size", "max", 5),
        ("min_disk_min=0", "min_disk", "min", 0),
        ("min_ram_max=+2", "min_ram", "max", 2),
        ("virtual_size_max=-1", "virtual_size", "max", -1),
        # IMG-LIST-35
        ("foo_min=1", "foo_min", "property", "1"),
        ("foo_max=zz", "foo_max", "property", "zz"),
        ("created_at_min=5", "created_at_min", "property", "5"),
        # IMG-LIST-37
        ("tag=%20a%20", "tag", "tag", "a"),
        # IMG-LIST-38, CL-24
        ("foo=in:a,b", "foo", "property", "in:a,b"),
        ("foo=a%26b%3Dc", "foo", "property", "a&b=c"),
        ("foo", "foo", "property", ""),
        # IMG-LIST-39
        ("properties=x", "properties", "property", "x"),
        ("locations=x", "locations", "property", "x"),
        ("members=x", "members", "property", "x"),
        ("tags=x", "tags", "property", "x"),
        # IMG-LIST-06
        ("protected=true", "protected", "eq", True),
        ("protected=False", "protected", "eq", False),
        # IMG-LIST-40
        ("name=a&name=b", "name", "eq", "b"),
        ("foo=a&foo=b", "foo", "property", "b"),
        ("size_min=1&size_min=2", "size", "min", 2),
    ],
)
def test_a_filter_is_parsed(query: str, field: str, op: str, value: object) -> None:
    assert one(query) == Filter(field, op, value)


# IMG-LIST-33
@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("2026-01-01T00:00:00Z", NEW_YEAR),
        ("2026-01-01T00:00:00", NEW_YEAR),
        ("2026-01-01 00:00:00", NEW_YEAR),
        ("2026-01-01", NEW_YEAR),
        ("20260101T000000Z", NEW_YEAR),
        ("2026", NEW_YEAR),
        ("2026-01-01T02:00:00%2B02:00", NEW_YEAR),
        ("2025-12-31T19:00:00-0500", NEW_YEAR),
        ("2026-01-01T00:00:00.999Z", NEW_YEAR),
    ],
)
def test_a_time_is_a_whole_second_in_any_notation(text: str, begin: int) -> None:
    end = begin + 1_000_000
    for operator, op, value in (
        ("", "between", (begin, end)),
        ("eq:", "between", (begin, end)),
        ("neq:", "not_between", (begin, end)),
        ("gt:", "from", end),
        ("gte:", "from", begin),
        ("lt:", "before", begin),
        ("lte:", "before", end),
    ):
        assert one(f"created_at={operator}{text}") == Filter("created_at", op, value)
        assert one(f"updated_at={operator}{text}") == Filter("updated_at", op, value)


# IMG-LIST-36/37/40
def test_tags_are_all_kept_and_other_filters_keep_the_last() -> None:
    query = asked("tag=a&owner=x&tag=b&owner=y&tag=a")
    assert sorted((f.field, f.value) for f in query.filters) == [
        ("owner", "y"), ("tag", "a"), ("tag", "a"), ("tag", "b"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "named"),
    [
        # IMG-LIST-31
        ('name=in:"a', "name"),
        ('name=in:a"b"', "name"),
        ('name=in:"a"b', "name"),
        ('name=in:"a" ,b', "name"),
        # IMG-LIST-33
        ("created_at=", "created_at"),
        ("created_at=gt:", "created_at"),
        ("created_at=in:2026", "created_at"),
        ("created_at=GT:2026", "created_at"),
        ("updated_at=foo", "updated_at"),
        ("updated_at=2026-02-30", "updated_at"),
        ("updated_at=99999", "updated_at"),
        ("updated_at=2026-01-01T00:00:00+02:00", "updated_at"),
        ("updated_at=2026-01-01T00:00:00%2B24:00", "updated_at"),
        # IMG-LIST-34
        ("size_min=x", "size_min"),
        ("size_max=", "size_max"),
        ("min_ram_max=1.5", "min_ram_max"),
        # IMG-LIST-06
        ("protected=1", "protected"),
        ("protected=", "protected"),
        # IMG-LIST-05
        ("os_hidden=", "os_hidden"),
        ("os_hidden=yes", "os_hidden"),
        # IMG-LIST-03
        ("visibility=", "visibility"),
        ("visibility=Public", "visibility"),
        # IMG-LIST-04
        ("member_status=", "member_status"),
        ("member_status=gone", "member_status"),
        # IMG-LIST-08
        ("changes-since=2026", "changes-since"),
        # IMG-LIST-11
        ("limit=", "limit"),
        ("limit=-1", "limit"),
        ("limit=a", "limit"),
        ("limit=1.0", "limit"),
        ("limit=1_0", "limit"),
        ("limit=%D9%A3", "limit"),
        # IMG-LIST-20
        ("sort_key=", "sort key must be"),
        ("sort_key=owner", "sort key must be"),
        ("sort=foo", "sort key must be"),
        ("sort_key=name&sort_dir=up", "direction"),
        ("sort_key=name&sort_dir=", "direction"),
        ("sort=name:up", "direction"),
        ("sort=name:asc:desc", "direction"),
        # IMG-LIST-21
        ("sort_dir=asc&sort_dir=asc", "sort_dir"),
        ("sort_key=name&sort_dir=asc&sort_dir=asc", "sort_dir"),
        ("sort_key=name&sort_key=size&sort_key=id&sort_dir=asc&sort_dir=asc", "sort_dir"),
        # IMG-LIST-22
        ("sort=", "sort key must be"),
        ("sort=name,", "sort key must be"),
        ("sort=,name", "sort key must be"),
        ("sort=name&sort_key=name", "sort"),
        ("sort=name&sort_dir=asc", "sort"),
        # IMG-LIST-23
        ("sort=name&sort=size", "sort"),
        ("name=a%00b", "name"),
    ],
)
def test_an_error_names_the_parameter(query: str, named: str) -> None:
    with pytest.raises(Invalid, match=named):
        asked(query)


# SEC-93
def test_the_number_of_filters_is_bounded() -> None:
    most = "&".join(f"p{n}=x" for n in range(queries.MAX_FILTERS))
    assert len(asked(most).filters) == queries.MAX_FILTERS
    for more in ("&tag=a", "&name=a", "&more=a"):
        with pytest.raises(Invalid, match="filters"):
            asked(most + more)
    with pytest.raises(Invalid, match="1000 parameters"):
        asked("&".join(["sort_key=name"] * 1001))


# SEC-93
def test_many_values_and_many_sort_keys_are_few_conditions() -> None:
    ids = ",".join(map(str, range(10_000)))
    assert len(one(f"id=in:{ids}").value) == 10_000
    assert asked("&".join(["sort_key=name"] * 100)).sort == asked("sort_key=name").sort


# -- sorting -----------------------------------------------------------------------------------------

_DOWN, _UP = True, False


@pytest.mark.parametrize(
    ("query", "sort"),
    [
        # IMG-LIST-21
        ("", [("created_at", _DOWN), ("id", _DOWN)]),
        ("sort_key=name", [("name", _DOWN), ("created_at", _DOWN), ("id", _DOWN)]),
        ("sort_dir=asc", [("created_at", _UP), ("id", _UP)]),
        ("sort_key=name&sort_dir=asc", [("name", _UP), ("created_at", _UP), ("id", _UP)]),
        (
            "sort_key=name&sort_key=size&sort_dir=asc",
            [("name", _UP), ("size", _UP), ("created_at", _UP), ("id", _UP)],
        ),
        # IMG-LIST-24
        (
            "sort_key=name&sort_key=size&sort_dir=asc&sort_dir=desc",
            [("name", _UP), ("size", _DOWN), ("created_at", _DOWN), ("id", _DOWN)],
        ),
        ("sort_key=id&sort_dir=asc", [("id", _UP), ("created_at", _UP)]),
        ("sort_key=created_at&sort_key=id", [("created_at", _DOWN), ("id", _DOWN)]),
        # IMG-LIST-22
        ("sort=name", [("name", _DOWN), ("created_at", _DOWN), ("id", _DOWN)]),
        ("sort=name:asc", [("name", _UP), ("created_at", _UP), ("id", _UP)]),
        (
            "sort=+name+:+asc+,+size+",
            [("name", _UP), ("size", _DOWN), ("created_at", _DOWN), ("id", _DOWN)],
        ),
        ("sort=status:desc,updated_at:asc,id:asc",
         [("status", _DOWN), ("updated_at", _UP), ("id", _UP), ("created_at", _DOWN)]),
        ("sort_key=name&sort_key=name&sort_dir=asc&sort_dir=desc",
         [("name", _UP), ("created_at", _DOWN), ("id", _DOWN)]),
    ],
)  # fmt: skip
def test_the_order_is_total_and_as_requested(query: str, sort: list[tuple[str, bool]]) -> None:
    assert list(asked(query).sort) == sort


# -- the rest ----------------------------------------------------------------------------------------


# IMG-LIST-11
@pytest.mark.parametrize(
    ("query", "limit"),
    [
        ("", 25), ("limit=0", 0), ("limit=7", 7), ("limit=%202", 2), ("limit=2%20", 2), ("limit=%2B3", 3),
        ("limit=1000", 1000), ("limit=1001", 1000), ("limit=1000000000", 1000), ("limit=" + "9" * 30, 1000),
        ("limit=5&limit=6", 6), ("limit=007", 7),
    ],
)  # fmt: skip
def test_the_limit_is_capped(query: str, limit: int) -> None:
    assert asked(query).limit == limit


# IMG-LIST-11
def test_default_and_maximum_limit_are_configurable() -> None:
    api = replace(API, limit_default=3, limit_max=5)
    assert [asked(query, api).limit for query in ("", "limit=4", "limit=6")] == [3, 4, 5]
    assert asked("", replace(API, limit_default=30, limit_max=5)).limit == 5


# IMG-LIST-03/04/05/07/08, CLI-05, CL-25
def test_other_parameters_are_property_filters() -> None:
    query = asked("visibility=all&member_status=all&os_hidden=True&deleted=true&changes-since=&marker=m")
    assert query == ImageQuery(visibility="all", member_status="all", hidden=True, marker="m")
    assert asked("os_hidden=FALSE") == asked("") == ImageQuery()
