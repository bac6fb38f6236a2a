"""GET /v2/images page by page: the document, its links, the marker, the order."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from listing import Counting, names, new_caller

from ferrotype.config.api import Api
from ferrotype.testing.client import ADMIN, MEMBER, OWNER, STRANGER, Client, client, person

HERE = new_caller()
NAMES = [f"n{n:02}" for n in range(12)]  # as they were made, the oldest first


@pytest.fixture(scope="module")
def api(shared_directory: Path, shared_database_url: str) -> Iterator[Client]:
    """A service with twelve images of one project."""
    api_section = Api(limit_default=5, limit_max=8)
    with client(shared_directory, database_url=shared_database_url, api=api_section) as api:
        for n, name in enumerate(NAMES):
            api.image(caller=HERE, name=name, tags=["t", "even" if n % 2 == 0 else "odd"], os="x y:z,")
        yield api


def walk(api: Client, path: str, caller: Any = HERE) -> list[list[str]]:
    """The names on each page, following ``next`` as it stands."""
    pages: list[list[str]] = []
    while True:
        reply = api.get(path, caller=caller)
        pages.append(names(reply))
        if "next" not in reply.json:
            return pages
        path = reply.json["next"]
        assert len(pages) < 50


# IMG-LIST-01
def test_a_page_has_images_schema_and_links(api: Client) -> None:
    reply = api.get("/v2/images?name=n03", caller=HERE)
    (image,) = reply.json["images"]
    assert reply.headers["content-type"] == "application/json"
    assert reply.json == {
        "images": [api.get(f"/v2/images/{image['id']}", caller=HERE).json],
        "schema": "/v2/schemas/images",
        "first": "/v2/images?name=n03",
    }


# IMG-LIST-10, CL-24
def test_a_body_and_unknown_headers_are_ignored(api: Client) -> None:
    plain = api.get("/v2/images", caller=HERE)
    for body in (b"{", b"x" * 10_000):
        asked = api.get("/v2/images", caller=HERE, body=body, headers={"x-who-knows": "what", "range": "bytes=0-1"})
        assert (asked.status, asked.json) == (200, plain.json)


# IMG-LIST-11/13/16
@pytest.mark.parametrize(
    ("query", "lengths"),
    [
        ("", [5, 5, 2]),
        ("?limit=4", [4, 4, 4, 0]),
        ("?limit=%207", [7, 5]),
        ("?limit=8", [8, 4]),
        ("?limit=9", [8, 4]),
        ("?limit=1000000000", [8, 4]),
        ("?limit=0", [0]),
        ("?limit=2&limit=6", [6, 6, 0]),
        ("?limit=3&name=none", [0]),
    ],
)
def test_pages_have_the_requested_length_and_the_last_may_be_empty(
    api: Client, query: str, lengths: list[int]
) -> None:
    pages = walk(api, "/v2/images" + query)
    assert [len(page) for page in pages] == lengths
    if sum(lengths):
        assert list(chain(*pages)) == NAMES[::-1]


# IMG-LIST-14/15/16, CL-09
@pytest.mark.parametrize(
    ("query", "repeated"),
    [
        ("", ""),
        ("limit=3", "limit=3"),
        ("limit=1000", "limit=1000"),
        ("tag=t&tag=even&limit=2", "tag=t&tag=even&limit=2"),
        ("sort_key=name&sort_key=id&sort_dir=asc&sort_dir=desc&limit=2",
         "sort_key=name&sort_key=id&sort_dir=asc&sort_dir=desc&limit=2"),
        ("limit=2&os=x%20y:z,", "limit=2&os=x+y%3Az%2C"),
        ("sort=name:asc,id&limit=1", "sort=name%3Aasc%2Cid&limit=1"),
        ("limit=1&limit=2", "limit=1&limit=2"),
        ("limit=%202&foo=", "limit=+2&foo="),
        ("name=in:%22n01%22,n02&limit=1", "name=in%3A%22n01%22%2Cn02&limit=1"),
        ("name=%C3%A9&limit=1", "name=%C3%A9&limit=1"),
    ],
)  # fmt: skip
def test_links_repeat_the_query_with_the_marker_last(api: Client, query: str, repeated: str) -> None:
    page = api.get("/v2/images" + (f"?{query}" if query else ""), caller=HERE).json
    first = "/v2/images" + (f"?{repeated}" if repeated else "")
    assert page["first"] == first
    if "next" in page:
        last = page["images"][-1]["id"]
        assert page["next"] == f"{first}{'&' if repeated else '?'}marker={last}"
        second = api.get(page["next"], caller=HERE).json
        assert second["first"] == first
        if "next" in second:
            assert second["next"] == page["next"].replace(last, second["images"][-1]["id"])
        marker_first = api.get(f"/v2/images?marker={last}{'&' if query else ''}{query}", caller=HERE).json
        assert marker_first == second


# IMG-LIST-15, IMG-WART-09
def test_the_second_page_has_the_query_of_the_first(api: Client) -> None:
    evens = [name for name in NAMES if int(name[1:]) % 2 == 0]
    query = "tag=even&tag=t&limit=4&sort_key=status&sort_key=name&sort_dir=asc&sort_dir=desc"
    assert walk(api, f"/v2/images?{query}") == [evens[:1:-1], evens[1::-1]]


# CLI-03, CL-10
def test_a_client_may_change_the_limit_of_a_link(api: Client) -> None:
    page = api.get("/v2/images?limit=8&sort_key=name&sort_dir=asc", caller=HERE).json
    assert page["next"].count("limit=8") == 1
    rest = api.get(page["next"].replace("limit=8", "limit=4"), caller=HERE).json
    assert [image["name"] for image in rest["images"]] == NAMES[8:]
    beyond = api.get(f"/v2/images?limit=4&marker={rest['images'][-1]['id']}&sort_dir=asc", caller=HERE).json
    assert (beyond["images"], "next" in beyond) == ([], False)
    assert "next" not in api.get("/v2/images?limit=6&name=n01", caller=HERE).json


# CL-81/82
def test_the_requests_of_the_command_line_work(api: Client) -> None:
    assert names(api.get("/v2/images?limit=2", caller=HERE)) == NAMES[:-3:-1]
    assert list(chain(*walk(api, "/v2/images"))) == NAMES[::-1]
    assert list(chain(*walk(api, "/v2/images?visibility=all"))) == NAMES[::-1]


# CLI-05
def test_a_name_is_found_after_an_id_look_up_fails(api: Client) -> None:
    assert api.get("/v2/images/n04", caller=HERE).status == 404
    assert names(api.get("/v2/images?name=n04", caller=HERE)) == ["n04"]
    assert names(api.get("/v2/images?name=n04&os_hidden=True", caller=HERE)) == []
    hidden = api.image(caller=HERE, name="n04-hidden", os_hidden=True)
    assert names(api.get("/v2/images?name=n04-hidden", caller=HERE)) == []
    assert names(api.get("/v2/images?name=n04-hidden&os_hidden=True", caller=HERE)) == ["n04-hidden"]
    api.delete(f"/v2/images/{hidden['id']}", caller=HERE)


# CL-150
@pytest.mark.parametrize("key", ["created_at", "name", "status", "size"])
def test_a_dashboard_can_page_forwards_and_backwards(api: Client, key: str) -> None:
    def page(direction: str, marker: str | None = None) -> list[dict[str, Any]]:
        at = f"&marker={marker}" if marker else ""
        query = f"owner={HERE.project}&limit=4&sort_key={key}&sort_dir={direction}{at}"
        return api.get(f"/v2/images?{query}", caller=HERE).json["images"]

    first = page("desc")
    second = page("desc", first[2]["id"])
    third = page("desc", second[2]["id"])
    assert second[0] == first[3] and third[0] == second[3]
    assert page("asc", third[0]["id"])[:3] == second[2::-1]
    assert page("asc", second[0]["id"]) == first[2::-1]


# -- the marker --------------------------------------------------------------------------------------


# IMG-LIST-12, SEC-66
def test_an_invisible_marker_is_like_a_missing_one(api: Client) -> None:
    invisible = api.image(caller=STRANGER, name="invisible", visibility="private")["id"]
    gone = api.image(caller=STRANGER, name="gone", visibility="private")["id"]
    api.delete(f"/v2/images/{gone}", caller=STRANGER)
    unknown = "00000000-0000-4000-8000-000000000000"
    answers = {}
    for marker in (unknown, invisible, gone):
        reply = api.get(f"/v2/images?marker={marker}", caller=HERE)
        answers[marker] = (reply.status, reply.text.replace(marker, "?"))
    assert set(answers.values()) == {(400, answers[unknown][1])}
    for marker in ("", "n03", "%20", "x" * 300, "%C3%A9", "1'%20OR%201=1"):
        assert api.get(f"/v2/images?marker={marker}", caller=HERE).status == 400


# IMG-LIST-12
def test_a_marker_need_not_match_and_may_have_been_deleted(api: Client) -> None:
    who = person("p-marker", "member", "reader")
    made = [api.image(caller=who, name=name)["id"] for name in ("a", "b", "c", "d")]
    assert names(api.get(f"/v2/images?marker={made[2]}&name=a", caller=who)) == ["a"]
    api.patch(f"/v2/images/{made[2]}", [{"op": "replace", "path": "/os_hidden", "value": True}], caller=who)
    assert names(api.get(f"/v2/images?marker={made[2]}", caller=who)) == ["b", "a"]
    api.delete(f"/v2/images/{made[2]}", caller=who)
    assert api.get(f"/v2/images/{made[2]}", caller=who).status == 404
    for caller in (who, ADMIN):
        assert names(api.get(f"/v2/images?owner=p-marker&marker={made[2]}", caller=caller)) == ["b", "a"]


# IMG-LIST-12, IMG-POL-01
def test_a_member_can_use_a_shared_image_as_marker(api: Client) -> None:
    shared = api.image(caller=OWNER, name="shared")["id"]
    assert api.get(f"/v2/images?marker={shared}", caller=MEMBER).status == 400
    api.post(f"/v2/images/{shared}/members", json={"member": "p9"}, caller=OWNER)
    assert api.get(f"/v2/images?marker={shared}", caller=MEMBER).status == 200
    api.delete(f"/v2/images/{shared}", caller=OWNER)
    assert api.get(f"/v2/images?marker={shared}", caller=MEMBER).status == 200
    assert api.get(f"/v2/images?marker={shared}", caller=STRANGER).status == 400


# -- cost --------------------------------------------------------------------------------------------


def test_the_number_of_statements_does_not_depend_on_the_page(api: Client) -> None:
    marker = api.get("/v2/images?limit=1", caller=HERE).json["images"][0]["id"]
    original = api.application.ctx
    counts = {}
    try:
        for query in ("limit=1", "limit=8", "limit=1&tag=t&os=x+y:z,", "limit=8&tag=t&os=x+y:z,"):
            for at in ("", f"&marker={marker}"):
                counting = Counting(original.db)
                api.application.ctx = replace(original, db=counting)
                assert names(api.get(f"/v2/images?{query}{at}", caller=HERE))
                counts[query, at != ""] = len(counting.asked)
    finally:
        api.application.ctx = original
    assert {count for (_, behind), count in counts.items() if not behind} == {1}
    assert {count for (_, behind), count in counts.items() if behind} == {2}


def test_pagination_by_status_continues_after_a_deleted_marker(tmp_path):
    with client(tmp_path) as api:
        for number in range(9):
            api.image(b"x" if number % 2 else None, caller=OWNER)
        walk = "/v2/images?limit=3&sort=status:asc"
        first = api.get(walk, caller=OWNER).json
        stays = api.get("/v2/images?limit=100&sort=status:asc", caller=OWNER).json["images"][3:]
        assert api.delete(f"/v2/images/{first['images'][-1]['id']}", caller=OWNER).status == 204
        found, query = [], first["next"]
        while query:
            page = api.get(query, caller=OWNER).json
            found += [image["id"] for image in page["images"]]
            query = page.get("next")
        assert found == [image["id"] for image in stays]  # RUL-16
