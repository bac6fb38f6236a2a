"""Pages from both databases, compared with a model in Python that reads every image."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from listing import Counting, Shares, expected
from msgspec.structs import replace
from sqlalchemy import BigInteger, Text, bindparam, delete, update

from ferrotype.config.database import Database as DatabaseConfig
from ferrotype.db import images as rows
from ferrotype.db import members, pages, schema
from ferrotype.db.backends.connect import connect
from ferrotype.db.engine import Database, Statement
from ferrotype.db.tables import image_members, image_properties, image_tags, images
from ferrotype.model.caller import Caller
from ferrotype.model.image import VISIBILITIES, Image
from ferrotype.model.member import STATUSES
from ferrotype.model.query import SORT_KEYS, Filter, ImageQuery
from ferrotype.rules.permit import is_visible, scope

DIES = ("deleted", "pending_delete")
_WIPE = [Statement(delete(table)) for table in (image_tags, image_properties, image_members, images)]
_AGE = Statement(
    update(images)
    .where(images.c.id == bindparam("of", type_=Text))
    .values(created_at=bindparam("made", type_=BigInteger), updated_at=bindparam("changed", type_=BigInteger))
)
_AGE_FOUND = [
    Statement(
        update(table)
        .where(table.c.image_id == bindparam("of", type_=Text))
        .values(created_at=bindparam("made", type_=BigInteger))
    )
    for table in (image_tags, image_properties)
]


class Shelf:
    """A database to put images on, and a way to ask it from plain functions."""

    def __init__(self, runner: asyncio.Runner, db: Database):
        self.run, self.db = runner.run, db

    def put(self, album: Sequence[Image], shares: Shares) -> None:
        """Make these images the only ones, by the steps that a service takes."""
        self.run(self._put(album, shares))

    async def _put(self, album: Sequence[Image], shares: Shares) -> None:
        async with self.db.begin() as tx:
            for statement in _WIPE:
                await tx.run(statement)
            for image in album:
                born = replace(image, visibility="shared", os_hidden=False)
                born = replace(born, status="active" if image.status in DIES else image.status)
                await rows.insert_image(tx, born)
                await tx.run(_AGE, of=image.id, made=image.created_at, changed=image.updated_at)
                for statement in _AGE_FOUND:
                    await tx.run(statement, of=image.id, made=image.created_at)
                for project, status in shares.get(image.id, {}).items():
                    await members.add(tx, born, project)
                    await members.set_status(tx, image.id, project, status)
                if born != image:
                    await rows.save(tx, born, image)
                    await tx.run(_AGE, of=image.id, made=image.created_at, changed=image.updated_at)

    def page(self, caller: Caller, query: ImageQuery, after: Image | None = None) -> list[Image]:
        """One page."""
        return self.run(pages.page(self.db, scope(caller, query.visibility), query, after))

    def walk(self, caller: Caller, query: ImageQuery) -> list[Image]:
        """Every page, one after the other."""
        found: list[Image] = []
        while True:
            page = self.page(caller, query, found[-1] if found else None)
            assert len(page) <= query.limit
            assert len(found) < 100, "the walk does not end"
            found += page
            if len(page) < query.limit:
                return found


@pytest.fixture(scope="module")
def shelf(shared_database_url: str) -> Iterator[Shelf]:
    """An empty shelf in each kind of database."""
    kind, _, path = shared_database_url.partition(":///")
    config = DatabaseConfig(url=shared_database_url, kind="sqlite", path=Path(path))
    if kind != "sqlite":
        config = DatabaseConfig(url=shared_database_url, kind="postgresql")
    schema.sync(config)
    with asyncio.Runner() as runner:
        db = runner.run(connect(config))
        yield Shelf(runner, db)
        runner.run(db.close())


# -- any images, any caller, any question ----------------------------------------------------------

PROJECTS = ("p1", "p2", "p3")
# SEC-112: wildcards, quotes and escapes are letters like others. IMG-LIST-41: so is the case of a letter.
WORDS = ("a", "A", "aa", "", "%", "_", "a%", "\\", "'", '"', "a' OR '1'='1", "ä", "Z", "\U0001f600", "\uffff")
SECOND = 1_000_000
TIMES = (0, 1, SECOND - 1, SECOND, SECOND + 1, 2 * SECOND)

words, times, numbers = st.sampled_from(WORDS), st.sampled_from(TIMES), st.sampled_from((0, 1, 2, 2**31 - 1))
ids = st.integers(0, 2**128 - 1).map(lambda n: f"{n:032x}")
albums = st.lists(
    st.builds(
        Image,
        id=ids,
        name=st.none() | words,
        status=st.sampled_from([*["active"] * 6, "queued", "saving", "deactivated", "killed", *DIES]),
        visibility=st.sampled_from(["shared", *VISIBILITIES]),
        owner=st.none() | st.sampled_from(PROJECTS),
        protected=st.booleans(),
        os_hidden=st.sampled_from([False, False, False, True]),
        disk_format=st.none() | st.sampled_from(["raw", "qcow2"]),
        container_format=st.none() | st.sampled_from(["bare", "ovf"]),
        min_disk=numbers,
        min_ram=numbers,
        size=st.none() | st.sampled_from([0, 1, 2**62]),
        virtual_size=st.none() | st.sampled_from([0, 1, 2**62]),
        checksum=st.none() | words,
        created_at=times,
        updated_at=times,
        tags=st.lists(words, max_size=2, unique=True).map(tuple),
        properties=st.dictionaries(words.filter(bool), words, max_size=2),
    ),
    min_size=6,
    max_size=12,
    unique_by=lambda image: image.id,
)
callers = st.builds(
    Caller, project=st.sampled_from([*PROJECTS, None]), is_admin=st.sampled_from([False, False, True])
)
spans = st.tuples(times, times).map(lambda pair: (min(pair), max(pair)))
filters = st.one_of(
    st.builds(Filter, st.sampled_from(["name", "checksum", "owner", "id"]), st.just("eq"), words),
    st.builds(
        Filter, st.sampled_from(["name", "disk_format"]), st.just("in"), st.lists(words, max_size=3).map(tuple)
    ),
    st.builds(Filter, st.just("tag"), st.just("tag"), words),
    st.builds(Filter, words.filter(bool), st.just("property"), words),
    st.builds(
        Filter,
        st.sampled_from(["size", "min_disk", "min_ram", "virtual_size"]),
        st.sampled_from(["eq", "min", "max"]),
        st.sampled_from([-(2**63) + 1, -1, 0, 1, 2**31, 2**63 - 1]),
    ),
    st.builds(
        Filter, st.sampled_from(["created_at", "updated_at"]), st.sampled_from(["between", "not_between"]), spans
    ),
    st.builds(Filter, st.sampled_from(["created_at", "updated_at"]), st.sampled_from(["from", "before"]), times),
    st.builds(Filter, st.just("protected"), st.just("eq"), st.booleans()),
)
sorts = st.lists(
    st.tuples(st.sampled_from(list(SORT_KEYS)), st.booleans()), max_size=3, unique_by=lambda pair: pair[0]
).flatmap(
    lambda keys: st.just(tuple(keys) + tuple((key, True) for key in ("created_at", "id") if key not in dict(keys)))
)
queries = st.builds(
    ImageQuery,
    filters=st.just(()) | st.lists(filters, max_size=2, unique_by=lambda each: each.field).map(tuple),
    sort=sorts,
    limit=st.integers(1, 5),
    visibility=st.sampled_from([None, None, "all", *VISIBILITIES]),
    member_status=st.sampled_from(["accepted", "all", *STATUSES]),
    hidden=st.sampled_from([False, False, True]),
)
shares_of = st.fixed_dictionaries({project: st.sampled_from([None, *STATUSES]) for project in PROJECTS}).map(
    lambda each: {project: status for project, status in each.items() if status}
)
TRY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# IMG-LIST-02/03/04/05/07/41, SEC-66, SEC-112
@pytest.mark.slow
@TRY
@given(album=albums, asked=st.lists(st.tuples(callers, queries), min_size=3, max_size=8), data=st.data())
def test_keyset_pagination_yields_each_image_once_in_order(
    shelf: Shelf, album: list[Image], asked: list[tuple[Caller, ImageQuery]], data: st.DataObject
) -> None:
    shares = {image.id: data.draw(shares_of) for image in album}
    shelf.put(album, shares)
    for caller, query in asked:
        found = shelf.walk(caller, query)
        assert [image.id for image in found] == [i.id for i in expected(caller, album, shares, query)]
        assert all(is_visible(caller, image, caller.project in shares[image.id]) for image in found)


# IMG-LIST-02
@pytest.mark.slow
@TRY
@given(album=albums, caller=callers, data=st.data())
def test_the_default_list_has_visible_images_except_unlisted_ones(
    shelf: Shelf, album: list[Image], caller: Caller, data: st.DataObject
) -> None:
    shares = {image.id: data.draw(shares_of) for image in album}
    shelf.put(album, shares)
    found = {image.id for image in shelf.page(caller, ImageQuery(limit=100))}
    for image in album:
        share = shares[image.id].get(caller.project or "")
        own = caller.project is not None and image.owner == caller.project
        alive = image.status not in (*DIES, "killed") and not image.os_hidden
        foreign_community = image.visibility == "community" and not own
        not_accepted = image.visibility == "shared" and not own and share != "accepted"
        ownerless = image.visibility == "private" and image.owner is None
        left_out = foreign_community or (not caller.is_admin and (not_accepted or ownerless))
        shown = is_visible(caller, image, share is not None)
        assert (image.id in found) == (shown and alive and not left_out)


# -- walks -------------------------------------------------------------------------------------------

CALLER = Caller(project="p1")


def library() -> tuple[list[Image], dict[str, dict[str, str]]]:
    """Thirty images with nulls and ties in every sort key, of every branch."""
    album, shares = [], {}
    for n in range(30):
        owner, visibility = (("p1", "private"), ("p2", "public"), ("p2", "shared"), ("p1", "public"))[n % 4]
        image = Image(
            id=f"{(n * 7919) % 101:03}",
            name=(None, "", "a", "B", "é")[n % 5],
            status=("active", "queued", "deactivated")[n % 3],
            owner=owner,
            visibility=visibility,
            disk_format=(None, "raw", "iso")[n % 3],
            container_format=(None, "bare")[n % 2],
            size=(None, 0, 5, 2**40)[n // 2 % 4],
            created_at=1000 + n // 6,
            updated_at=2000 + n // 3 % 4,
        )
        album.append(image)
        if visibility == "shared":
            shares[image.id] = {"p1": "accepted"}
    return album, shares


# IMG-LIST-20/24/25, CL-150
@pytest.mark.parametrize("descending", [True, False], ids=["desc", "asc"])
@pytest.mark.parametrize("key", SORT_KEYS)
def test_a_walk_yields_each_image_once_forwards_and_backwards(shelf: Shelf, key: str, descending: bool) -> None:
    album, shares = library()
    shelf.put(album, shares)
    keys = tuple(dict.fromkeys((key, "created_at", "id")))
    order = tuple((each, descending) for each in keys)
    back = tuple((each, not descending) for each in keys)
    whole = [i.id for i in expected(CALLER, album, shares, ImageQuery(sort=order))]
    assert len(whole) == len(album)
    for limit in (1, 4, 7, 30):
        assert [i.id for i in shelf.walk(CALLER, ImageQuery(sort=order, limit=limit))] == whole
    assert [i.id for i in shelf.walk(CALLER, ImageQuery(sort=back, limit=4))] == whole[::-1]
    there = shelf.page(CALLER, ImageQuery(sort=order, limit=9))
    again = shelf.page(CALLER, ImageQuery(sort=back, limit=8), there[-1])
    assert [i.id for i in again] == [i.id for i in there[-2::-1]]


# IMG-LIST-25
def test_nulls_come_first_when_ascending(shelf: Shelf) -> None:
    album, shares = library()
    shelf.put(album, shares)
    for key in ("name", "disk_format", "container_format", "size"):
        order = ((key, False), ("created_at", False), ("id", False))
        values = [getattr(image, key) for image in shelf.walk(CALLER, ImageQuery(sort=order, limit=7))]
        known = [value for value in values if value not in (None, "", 0)]
        assert values[-len(known) :] == sorted(known) and known


# -- cost --------------------------------------------------------------------------------------------


def test_a_page_is_one_statement_of_any_length(shelf: Shelf) -> None:
    tagged = {"tags": ("t",), "properties": {"os": "x"}}
    album = [Image(id=f"{n:04}", owner="p1", created_at=n, **tagged) for n in range(120)]
    shelf.put(album, {})
    wanted = (Filter("os", "property", "x"), Filter("tag", "tag", "t"))
    for limit, filters in ((1, ()), (100, ()), (1, wanted), (100, wanted), (120, wanted), (1000, wanted)):
        counting = Counting(shelf.db)
        query = ImageQuery(limit=limit, filters=filters)
        page = shelf.run(pages.page(counting, scope(CALLER, None), query, album[60]))
        assert len(page) == min(limit, 60)
        assert len(counting.asked) == 1


# SEC-93
def test_property_names_and_filter_order_share_one_statement(shelf: Shelf) -> None:
    counting = Counting(shelf.db)

    def ask(*filters: Filter) -> None:
        shelf.run(pages.page(counting, scope(CALLER, None), ImageQuery(filters=filters), None))

    one, other = Filter("one", "property", "x"), Filter("other", "property", "y")
    named = Filter("name", "eq", "z")
    ask(one, named, other)
    ask(named, other, one)
    assert counting.asked[0][0] is counting.asked[1][0]


# SEC-93
def test_the_number_of_tags_and_properties_shares_one_statement(shelf: Shelf) -> None:
    counting = Counting(shelf.db)
    for count in (10, 11, 40):
        filters = [Filter("tag", "tag", f"t{n}") for n in range(count)]
        filters += [Filter(f"p{n}", "property", "x") for n in range(count)]
        shelf.run(pages.page(counting, scope(CALLER, None), ImageQuery(filters=tuple(filters)), None))
    assert len({id(statement) for statement, _ in counting.asked}) == 1


# SEC-93
def test_mixed_directions_compare_each_key_twice_at_most(shelf: Shelf) -> None:
    counting = Counting(shelf.db)
    sort = tuple((key, index % 2 == 0) for index, key in enumerate(SORT_KEYS))
    shelf.run(pages.page(counting, scope(CALLER, "all"), ImageQuery(sort=sort), Image(id="a", created_at=1)))
    words, _ = counting.asked[0][0].compiled(shelf.db.kind)
    branches = len(scope(CALLER, "all").branches)
    assert max(words.count("?"), words.count("$")) <= branches * (2 * len(SORT_KEYS) + 4)


# SEC-93
def test_a_new_statement_is_compiled_off_the_event_loop(shelf: Shelf) -> None:
    class Turning:
        """A database without images that notes how often the loop had turned when it was asked."""

        def __init__(self) -> None:
            self.kind, self.turns, self.asked = shelf.db.kind, 0, []

        async def rows(self, statement: Statement, **values: object) -> list[object]:
            self.asked.append(self.turns)
            return []

    async def ask() -> list[int]:
        db = Turning()
        query = ImageQuery(
            sort=(("size", False), ("status", True), ("name", False), ("created_at", True), ("id", True))
        )
        for _ in range(2):
            db.turns = 0
            asking = asyncio.ensure_future(pages.page(db, scope(CALLER, None), query, None))
            while not asking.done():
                db.turns += 1
                await asyncio.sleep(0)
            await asking
        return db.asked

    new, known = shelf.run(ask())
    assert new > 1
    assert known == 1


def test_a_cancelled_list_leaves_its_statement_in_the_cache(shelf: Shelf) -> None:
    query = ImageQuery(sort=(("updated_at", False), ("size", True), ("created_at", True), ("id", False)))

    async def ask() -> None:
        given_up = asyncio.ensure_future(pages.page(shelf.db, scope(CALLER, None), query, None))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        await pages.page(shelf.db, scope(CALLER, None), query, None)

    shelf.run(ask())


def test_filters_keep_their_values_in_whatever_order_they_come(shelf: Shelf) -> None:
    album = [
        Image(id="1", name="n", owner="p1", properties={"a": "1", "b": "2"}, tags=("s", "t")),
        Image(id="2", name="n", owner="p1", properties={"a": "2", "b": "1"}, tags=("s", "t")),
        Image(id="3", name="n", owner="p1", properties={"a": "1", "b": "2"}, tags=("s",)),
    ]
    shelf.put(album, {})
    filters = [
        Filter("b", "property", "2"),
        Filter("tag", "tag", "t"),
        Filter("a", "property", "1"),
        Filter("name", "eq", "n"),
        Filter("tag", "tag", "s"),
    ]
    for _ in filters:
        filters.append(filters.pop(0))
        assert [i.id for i in shelf.page(CALLER, ImageQuery(filters=tuple(filters)))] == ["1"]


# IMG-LIST-37/38
def test_many_tags_and_properties_must_all_be_there(shelf: Shelf) -> None:
    tags, words = tuple("abcdefgh"), {f"p{n}": str(n) for n in range(8)}
    whole = Image(id="whole", owner="p1", tags=tags, properties=words)
    shared = replace(whole, id="shared", owner="p2")
    fewer = [replace(whole, id=f"no-{tag}", tags=tuple(set(tags) - {tag})) for tag in tags]
    fewer += [replace(whole, id=f"other-{name}", properties=words | {name: "x"}) for name in words]
    shelf.put([whole, shared, *fewer], {"shared": {"p1": "accepted"}})
    filters = [Filter("tag", "tag", tag) for tag in tags] + [Filter(k, "property", v) for k, v in words.items()]
    for some in (filters, filters[::-1]):
        found = shelf.page(CALLER, ImageQuery(filters=tuple(some), sort=(("id", False), ("created_at", False))))
        assert [image.id for image in found] == ["shared", "whole"]
    assert len(shelf.walk(CALLER, ImageQuery(filters=tuple(filters[:7])))) == 2 + 1 + len(words)


def test_hash_collisions_are_filtered_and_the_page_is_filled(shelf: Shelf) -> None:
    album = [Image(id=f"{n:02}", owner="p1", created_at=n, properties={"os": f"v{n % 3}"}) for n in range(12)]
    shelf.put(album, {})
    alike = Statement(update(image_properties).values(value_hash=rows.value_hash("v1")))

    async def collide() -> None:
        async with shelf.db.begin() as tx:
            await tx.run(alike)

    shelf.run(collide())
    query = ImageQuery(filters=(Filter("os", "property", "v1"),), limit=3)
    assert [i.id for i in shelf.page(CALLER, query)] == ["10", "07", "04"]
    assert [i.id for i in shelf.walk(CALLER, query)] == ["10", "07", "04", "01"]
