"""Strings at the limits of the API: the longest are kept and found, longer ones are refused or match nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ferrotype.testing.client import ADMIN, OWNER, Client, client, person

LIMIT = 255
#: One character of one to four bytes in UTF-8.
CHARACTERS = ("k", "\u00e9", "\u4e2d", "\U0001f600")


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Client]:
    with client(tmp_path, database_url=database_url) as api:
        yield api


def add(path: str, value: Any) -> list[dict[str, Any]]:
    return [{"op": "add", "path": path, "value": value}]


def listed(api: Client, *filters: tuple[str, str]) -> list[str]:
    query = "&".join(f"{quote(key)}={quote(value)}" for key, value in filters)
    reply = api.get(f"/v2/images?visibility=all&{query}", caller=ADMIN)
    assert reply.status == 200, reply.text
    return [image["id"] for image in reply.json["images"]]


# IMG-ENT-02, IMG-ENT-05, IMG-ENT-08, IMG-PROP-02, IMG-MEM-02
@pytest.mark.parametrize("character", CHARACTERS)
def test_the_longest_strings_are_kept_and_found(api: Client, character: str) -> None:
    longest = character * LIMIT
    attributes = {"name": longest, "owner": longest, "tags": [longest], longest: longest}
    image = api.image(caller=ADMIN, **attributes)
    assert {key: image[key] for key in attributes} == attributes
    for key in ("name", "owner", "tag", longest):
        assert listed(api, (key, longest)) == [image["id"]]
    second = api.image(caller=ADMIN, name=longest, visibility="shared")
    page = api.get(f"/v2/images?sort=name:desc&limit=1&marker={second['id']}", caller=ADMIN)
    assert [each["id"] for each in page.json["images"]] == [image["id"]]

    members = f"/v2/images/{second['id']}/members"
    assert api.post(members, json={"member": longest}, caller=ADMIN).status == 200
    theirs = person(longest, "member", "reader")
    accepted = api.put(f"{members}/{quote(longest)}", json={"status": "accepted"}, caller=theirs)
    assert accepted.status == 200, accepted.text
    shared = api.get("/v2/images", caller=theirs).json["images"]
    assert [each["id"] for each in shared] == [second["id"], image["id"]]
    assert api.post("/v2/images", json={"name": "mine"}, caller=theirs).json["owner"] == longest


# IMG-ENT-02, IMG-ENT-05, IMG-TAG-02, IMG-PROP-02, IMG-MEM-02
@pytest.mark.parametrize("character", CHARACTERS)
def test_longer_strings_are_refused(api: Client, character: str) -> None:
    longer = character * (LIMIT + 1)
    for document in ({"name": longer}, {"owner": longer}, {"tags": [longer]}, {longer: "x"}):
        assert api.post("/v2/images", json=document, caller=ADMIN).status == 400
    assert api.post("/v2/images", json={}, caller=person(longer, "member")).status == 400
    image = api.image(caller=ADMIN, visibility="shared")
    for path, value in (("/name", longer), ("/owner", longer), ("/tags", [longer]), (f"/{longer}", "x")):
        assert api.patch(image["self"], add(path, value), caller=ADMIN).status == 400
    assert api.put(f"{image['self']}/tags/{quote(longer)}", caller=ADMIN).status == 400
    assert api.post(f"{image['self']}/members", json={"member": longer}, caller=ADMIN).status == 400


@pytest.mark.parametrize("length", [LIMIT + 1, 3000])
def test_overlong_filters_and_ids_match_nothing(api: Client, length: int) -> None:
    image = api.image(caller=OWNER, name="n", tags=["t"], os="x")
    longer = "k" * length
    keys = ("name", "id", "status", "disk_format", "container_format", "checksum", "os_hash_algo", "os_hash_value")
    for key in (*keys, "owner", "tag", "os", longer):
        assert listed(api, (key, longer)) == [], key
    for key in keys[:5]:
        assert listed(api, (key, f"in:{longer},{image[key] or ''}")) == ([image["id"]] if image[key] else []), key
    assert listed(api, *(("tag", f"{longer}{n}") for n in range(6))) == []
    assert api.get("/v2/images", caller=person(longer, "member", "reader")).json["images"] == []
    assert api.get(f"/v2/images?marker={longer}", caller=OWNER).status == 400
    for path in (longer, f"{image['id']}/members/{longer}"):
        assert api.get(f"/v2/images/{path}", caller=OWNER).status == 404
    assert api.delete(f"/v2/images/{image['id']}/tags/{longer}", caller=OWNER).status == 404
