"""What the walks draw from: callers and requests, mostly sensible ones."""

from typing import Any

from hypothesis import strategies as st
from list_model import SORT_KEYS, Query
from walk_records import ADMIN, ALL_CALLERS, ANN, BOB, CAP, MIA, QCOW2, Sent

#: The caller of a step; None is one with permission, the owner or the member. Most steps are permitted.
ANY_CALLER = st.sampled_from([ANN, ANN, BOB, ADMIN, MIA, *ALL_CALLERS])
CALLERS = st.one_of(st.none(), st.none(), ANY_CALLER)
#: Which image: numbers below DEAD are live ones, then comes one that was deleted, then one that never was.
DEAD = 12
WHICH = st.integers(0, DEAD + 1)
MARKERS = st.one_of(st.none(), WHICH)
PROJECTS = st.sampled_from(["m1", "m1", "m2", "p2", "p1", "p3", "services"])
STATUSES = st.sampled_from(["accepted", "accepted", "rejected", "pending", "maybe"])
ASIDE = st.sampled_from(
    ["locations", "fast", "cheap", "nowhere", "usage", "usage", "usage", "stores", "stores/detail", "import"]
)
TAGS = st.sampled_from(["t1", "t2", "t3", "ä b", "x" * 255, "t4", "x" * 256])
NAMES = st.sampled_from(["n1", "n2", "N1", "é", "", None, "x" * 255])
VISIBILITIES = st.sampled_from(["private", "shared", "shared", "community", "public"])
FORMATS = st.sampled_from(["raw", "raw", "qcow2", "ami", None])
CONTAINERS = st.sampled_from(["bare", "bare", "ovf", None])
NUMBERS = st.sampled_from([0, 1, 2, 2**31 - 1])
TAG_LISTS = st.lists(st.sampled_from(["t1", "t2", "t3", "t4", "t5", "ä b"]), max_size=5)
VALUES = st.sampled_from(["v1", "v2", "", "in:v1"])
KEYS = ["a", "b", "c", "d", "e", "os_distro"]

#: (attribute, value) that no caller may have, or only some.
ODD = st.sampled_from(
    [
        ("owner", "p1"), ("owner", "p2"), ("owner", None), ("owner", ""), ("status", "active"), ("status", 7),
        ("size", 5), ("checksum", "x"), ("self", "x"), ("location", "x"), ("os_glance_x", "x"), ("stores", "fast"),
        ("min_ram", -1), ("min_disk", 2**31), ("min_ram", "1"), ("min_disk", True), ("protected", "true"),
        ("tags", "t1"), ("tags", [1]), ("name", "x" * 256), ("name", 1), ("visibility", "all"), ("visibility", None),
        ("disk_format", "floppy"), ("container_format", ""), ("a", 1), ("a", None), ("kernel_id", None),
        ("kernel_id", "x"), ("deleted_at", "x"), ("created_at", "x"),
    ]
)  # fmt: skip


def documents() -> st.SearchStrategy[dict[str, Any]]:
    valid = st.fixed_dictionaries(
        {"disk_format": FORMATS, "container_format": CONTAINERS},
        optional={
            "name": NAMES, "visibility": VISIBILITIES, "protected": st.booleans(),
            "os_hidden": st.sampled_from([False, False, True]), "tags": TAG_LISTS, "min_ram": NUMBERS,
            "min_disk": NUMBERS, "a": VALUES, "b": VALUES, "os_distro": VALUES,
        },
    )  # fmt: skip
    many = st.just(dict.fromkeys([*KEYS, "f"], "v1"))
    odd = st.one_of(st.just({}), st.just({}), st.just({}), ODD.map(lambda pair: dict([pair])), many)
    return st.tuples(valid, odd).map(lambda both: both[0] | both[1])


DOCUMENTS = documents()


def changes() -> st.SearchStrategy[list[dict[str, Any]]]:
    pairs = st.one_of(
        NAMES.map(lambda value: ("name", value)),
        VISIBILITIES.map(lambda value: ("visibility", value)),
        st.booleans().map(lambda value: ("protected", value)),
        st.booleans().map(lambda value: ("os_hidden", value)),
        TAG_LISTS.map(lambda value: ("tags", value)),
        FORMATS.map(lambda value: ("disk_format", value)),
        CONTAINERS.map(lambda value: ("container_format", value)),
        NUMBERS.map(lambda value: ("min_ram", value)),
        st.tuples(st.sampled_from(KEYS), VALUES),
        st.tuples(st.sampled_from(KEYS), VALUES),
        ODD,
    )
    op = st.sampled_from(["add", "replace", "replace", "remove"])
    one = st.tuples(op, pairs).map(
        lambda both: (
            {"op": both[0], "path": f"/{both[1][0]}"} | ({} if both[0] == "remove" else {"value": both[1][1]})
        )
    )
    return st.lists(one, max_size=3)


CHANGES = changes()


def bodies() -> st.SearchStrategy[Sent]:
    safe = QCOW2 + bytes(8) + bytes(4) + b"\0\0\0\x10" + (10 << 20).to_bytes(8, "big") + bytes(600)
    backed = QCOW2 + (512).to_bytes(8, "big") + safe[16:]
    sizes = (0, 0, 1, 4000, 150_000, 600_000, 600_000, CAP, CAP + 1)
    bodies = [b"y" * size for size in sizes] + [safe, safe, backed]

    def sent(which: int, chunked: bool, announced: str, store: str | None) -> Sent:
        data = bodies[which]
        size = {"": None, "right": len(data), "zero": 0, "more": len(data) + 1, "less": max(0, len(data) - 1)}
        return Sent(data, chunked, size[announced], store)

    which = st.sampled_from(range(len(bodies)))
    announced = st.sampled_from(["", "", "", "right", "zero", "more", "less"])
    return st.builds(sent, which, st.booleans(), announced, st.sampled_from([None, None, None, "cheap", "nowhere"]))


BODIES = bodies()

#: (text, first, last)
RANGES = st.sampled_from(
    [
        None, None, ("0-0", 0, 0), ("0-", 0, None), ("1-2", 1, 2), ("5-", 5, None), ("-1", None, 1),
        ("-500", None, 500), ("-0", None, 0), ("100-99999999", 100, 99999999), ("400000-", 400000, None),
        ("3-1", 3, 1),
    ]
)  # fmt: skip

FILTERS = st.sampled_from(
    [
        ("name", "n1"), ("name", "in:n1,n2"), ("name", "eq:N1"), ("name", ""), ("name", "in:"), ("name", "a:b"),
        ("status", "active"), ("status", "in:queued,deactivated"), ("disk_format", "raw"),
        ("disk_format", "in:raw,ami"), ("tag", "t1"), ("tag", "t2"), ("tag", " ä b "), ("a", "v1"), ("a", ""),
        ("b", "v2"), ("a", "in:v1"), ("os_distro", "v1"), ("size_min", "1"), ("size_max", "4000"), ("size", "0"),
        ("min_ram_min", "1"),
        ("min_ram", "2"), ("min_disk_max", "1"), ("protected", "true"), ("protected", "False"), ("owner", "p1"),
        ("owner", "p2"), ("container_format", "bare"), ("nothing", "v1"),
    ]
)  # fmt: skip


def queries() -> st.SearchStrategy[Query]:
    def one_of_each(pairs: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple({name + value * (name == "tag"): (name, value) for name, value in pairs}.values())

    key = st.sampled_from([*SORT_KEYS, *SORT_KEYS, *SORT_KEYS, "owner"])
    ways = st.sampled_from(["asc", "asc", "desc", None])
    several = st.lists(st.tuples(key, ways), max_size=3, unique_by=lambda pair: pair[0]).map(tuple)
    few = [None, None, None, None, "private", "shared", "community", "public", "all", "all", "all", "none"]
    return st.builds(
        Query,
        visibility=st.sampled_from(few),
        member_status=st.sampled_from([None, None, "pending", "accepted", "rejected", "all", "all", "some"]),
        os_hidden=st.sampled_from([None, None, None, None, None, None, "true", "False", "True", "x"]),
        filters=st.one_of(st.just(()), st.just(()), st.lists(FILTERS, max_size=2).map(one_of_each)),
        sort=st.one_of(st.tuples(st.tuples(key, ways)), several),
        classic=st.booleans(),
        limit=st.sampled_from([None, None, 1, 2, 2, 3, 3, 5, 1000, 0, -1]),
    )


QUERIES = queries()
