"""GET /v2/images: which images a caller sees, and which attributes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from listing import names
from msgspec.structs import replace

from ferrotype.config.api import Api
from ferrotype.db import images as rows
from ferrotype.model.caller import Caller
from ferrotype.model.image import Image, Location
from ferrotype.testing.client import ADMIN, MEMBER, OWNER, READER, STRANGER, Client, client, person

BOSS = person(None, "admin")

#: owner, visibility, hidden, the status that p9 has as a member
ALBUM: dict[str, tuple[str | None, str, bool, str | None]] = {
    "mine-private": ("p1", "private", False, None),
    "mine-shared": ("p1", "shared", False, None),
    "mine-community": ("p1", "community", False, None),
    "mine-public": ("p1", "public", False, None),
    "mine-hidden": ("p1", "private", True, None),
    "mine-pending": ("p1", "shared", False, "pending"),
    "mine-accepted": ("p1", "shared", False, "accepted"),
    "mine-rejected": ("p1", "shared", False, "rejected"),
    "mine-accepted-hidden": ("p1", "shared", True, "accepted"),
    "their-private": ("p2", "private", False, None),
    "their-shared": ("p2", "shared", False, None),
    "their-community": ("p2", "community", False, None),
    "their-public": ("p2", "public", False, None),
    "their-public-hidden": ("p2", "public", True, None),
    "admins-community": ("admins", "community", False, None),
    "nobodys-private": (None, "private", False, None),
    "nobodys-public": (None, "public", False, None),
    "nobodys-shared": (None, "shared", False, None),
}  # fmt: skip


@pytest.fixture(scope="module")
def api(shared_directory: Path, shared_database_url: str) -> Iterator[Client]:
    """A service with the album above, and some images that are gone."""
    with client(shared_directory, database_url=shared_database_url) as api:
        for name, (owner, visibility, hidden, status) in ALBUM.items():
            made = api.image(name=name, owner=owner, visibility=visibility, os_hidden=hidden, team="t")
            if status:
                share(api, made["id"], status)
        gone = api.image(name="deleted", owner="p1", visibility="public")
        api.delete(f"/v2/images/{gone['id']}")
        for status in ("killed", "pending_delete"):
            add(api, Image(id=f"{len(status):08}-0000-4000-8000-000000000000", name=status, owner="p1"), status)
        yield api


def share(api: Client, image_id: str, status: str) -> None:
    """Share an image with p9, which answers."""
    assert api.post(f"/v2/images/{image_id}/members", json={"member": "p9"}).status == 200
    answer = api.put(f"/v2/images/{image_id}/members/p9", json={"status": status}, caller=MEMBER)
    assert answer.status == 200, answer.text


def add(api: Client, image: Image, status: str = "active") -> None:
    """Put an image into the database as no request could."""

    async def write() -> None:
        async with api.application.ctx.db.begin() as tx:
            made = await rows.insert_image(tx, replace(image, status="active"))
            if status != "active":
                await rows.save(tx, made, replace(made, status=status))

    api.run(write())


MINE = {name for name in ALBUM if name.startswith("mine") and "hidden" not in name}
PUBLIC = {"mine-public", "their-public", "nobodys-public"}
COMMUNITY = {"mine-community", "their-community", "admins-community"}
SEEN = {name for name, (_, _, hidden, _) in ALBUM.items() if not hidden}


@pytest.mark.parametrize(
    ("caller", "query", "expected"),
    [
        # IMG-LIST-02
        (OWNER, "", MINE | PUBLIC),
        (READER, "", MINE | PUBLIC),
        (STRANGER, "", {name for name in SEEN if name.startswith("their")} | PUBLIC),
        (MEMBER, "", PUBLIC | {"mine-accepted"}),
        (ADMIN, "", SEEN - COMMUNITY | {"admins-community"}),
        (BOSS, "", SEEN - COMMUNITY),
        # IMG-LIST-03, CL-25
        (OWNER, "visibility=all", MINE | PUBLIC | COMMUNITY),
        (MEMBER, "visibility=all", PUBLIC | COMMUNITY | {"mine-accepted"}),
        (ADMIN, "visibility=all", SEEN),
        (BOSS, "visibility=all", SEEN),
        (OWNER, "visibility=private", {"mine-private"}),
        (MEMBER, "visibility=private", set()),
        (ADMIN, "visibility=private", {"mine-private", "their-private", "nobodys-private"}),
        (OWNER, "visibility=shared", {name for name in MINE if ALBUM[name][1] == "shared"}),
        (MEMBER, "visibility=shared", {"mine-accepted"}),
        (ADMIN, "visibility=shared", {name for name in SEEN if ALBUM[name][1] == "shared"}),
        (OWNER, "visibility=community", COMMUNITY),
        (MEMBER, "visibility=community", COMMUNITY),
        (ADMIN, "visibility=community", COMMUNITY),
        (OWNER, "visibility=public", PUBLIC),
        (ADMIN, "visibility=public", PUBLIC),
        (OWNER, "visibility=private&visibility=public", PUBLIC),
        # IMG-LIST-04, IMG-MEM-12, CL-25
        (MEMBER, "member_status=pending", PUBLIC | {"mine-pending"}),
        (MEMBER, "member_status=rejected", PUBLIC | {"mine-rejected"}),
        (MEMBER, "member_status=accepted", PUBLIC | {"mine-accepted"}),
        (MEMBER, "member_status=all", PUBLIC | {"mine-pending", "mine-accepted", "mine-rejected"}),
        (MEMBER, "member_status=all&visibility=shared", {"mine-pending", "mine-accepted", "mine-rejected"}),
        (OWNER, "member_status=rejected", MINE | PUBLIC),
        (STRANGER, "member_status=all&visibility=shared", {"their-shared"}),
        (ADMIN, "member_status=pending", SEEN - COMMUNITY | {"admins-community"}),
        # IMG-LIST-05, CL-25
        (OWNER, "os_hidden=true", {"mine-hidden", "mine-accepted-hidden", "their-public-hidden"}),
        (OWNER, "os_hidden=True", {"mine-hidden", "mine-accepted-hidden", "their-public-hidden"}),
        (MEMBER, "os_hidden=TRUE", {"their-public-hidden", "mine-accepted-hidden"}),
        (MEMBER, "os_hidden=true&member_status=pending", {"their-public-hidden"}),
        (STRANGER, "os_hidden=true", {"their-public-hidden"}),
        (ADMIN, "os_hidden=true", {"mine-hidden", "mine-accepted-hidden", "their-public-hidden"}),
        (OWNER, "os_hidden=false", MINE | PUBLIC),
        # IMG-LIST-07
        (ADMIN, "status=in:killed,deleted,pending_delete&visibility=all", set()),
        (OWNER, "deleted=true", MINE | PUBLIC),
        # IMG-LIST-36: an owner that is asked for never widens what is visible
        (MEMBER, "owner=p1", {"mine-public", "mine-accepted"}),
        (MEMBER, "owner=p1&visibility=all&member_status=all",
         {"mine-public", "mine-community", "mine-pending", "mine-accepted", "mine-rejected"}),
    ],
)  # fmt: skip
def test_a_list_holds_the_images_of_the_callers_view(
    api: Client, caller: Caller, query: str, expected: set[str]
) -> None:
    path = f"/v2/images?limit=2&team=t&{query}"
    found: list[str] = []
    while path:
        reply = api.get(path, caller=caller)
        found += names(reply)
        for image in reply.json["images"]:
            # IMG-LIST-01
            assert api.get(f"/v2/images/{image['id']}", caller=caller).json == image
        path = reply.json.get("next", "")
    assert len(found) == len(set(found))
    assert set(found) == expected


# IMG-LIST-02/04, IMG-MEM-12
def test_a_share_is_listed_while_it_is_accepted_and_the_image_is_shared(api: Client) -> None:
    image_id = api.image(caller=OWNER, name="passing", note="here")["id"]

    def listed(query: str = "") -> bool:
        return names(api.get(f"/v2/images?note=here&{query}", caller=MEMBER)) == ["passing"]

    def change(name: str, value: Any) -> None:
        patch = [{"op": "replace", "path": f"/{name}", "value": value}]
        assert api.patch(f"/v2/images/{image_id}", patch, caller=OWNER).status == 200

    assert not listed("member_status=all")
    share(api, image_id, "pending")
    assert not listed() and listed("member_status=pending")
    api.put(f"/v2/images/{image_id}/members/p9", json={"status": "accepted"}, caller=MEMBER)
    assert listed()
    change("visibility", "private")
    assert not listed() and not listed("member_status=all&visibility=all")
    change("visibility", "shared")
    assert listed()
    change("os_hidden", True)
    assert not listed() and listed("os_hidden=true")
    change("visibility", "private")
    change("os_hidden", False)
    assert not listed()
    change("visibility", "shared")
    assert listed() and not listed("os_hidden=true")
    api.put(f"/v2/images/{image_id}/members/p9", json={"status": "rejected"}, caller=MEMBER)
    assert not listed() and listed("member_status=rejected")
    assert api.delete(f"/v2/images/{image_id}/members/p9", caller=OWNER).status == 204
    assert not listed("member_status=all")
    share(api, image_id, "accepted")
    assert listed()
    change("os_hidden", True)
    assert api.delete(f"/v2/images/{image_id}/members/p9", caller=OWNER).status == 204
    assert not listed("os_hidden=true&member_status=all")
    change("os_hidden", False)
    assert not listed("member_status=all")
    share(api, image_id, "accepted")
    assert listed()
    assert api.delete(f"/v2/images/{image_id}", caller=OWNER).status == 204
    assert not listed("member_status=all")


def test_an_image_of_a_project_that_is_its_own_member_is_listed_once(api: Client) -> None:
    image_id = api.image(caller=OWNER, name="own-member", note="own")["id"]
    assert api.post(f"/v2/images/{image_id}/members", json={"member": "p1"}, caller=OWNER).status == 200
    api.put(f"/v2/images/{image_id}/members/p1", json={"status": "accepted"}, caller=OWNER)
    for query in ("", "&visibility=shared", "&visibility=all&member_status=all"):
        assert names(api.get(f"/v2/images?note=own{query}", caller=OWNER)) == ["own-member"]


# -- what is shown -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service that shows where data are."""
    api_section = Api(show_direct_url=True, show_locations=True)
    with client(tmp_path_factory.mktemp("open"), api=api_section) as api:
        yield api


def only(api: Client, name: str, caller: Caller) -> dict[str, Any]:
    """The image of this name in the caller's list, which is the same as shown alone."""
    (image,) = api.get(f"/v2/images?name={name}", caller=caller).json["images"]
    assert api.get(f"/v2/images/{image['id']}", caller=caller).json == image
    return image  # type: ignore[no-any-return]


# IMG-ENT-31
def test_a_list_shows_locations_by_the_weight_of_their_stores(open_api: Client) -> None:
    places = [("file:///1", "cheap"), ("file:///2", "fast"), ("file:///3", "unknown"), ("file:///4", "fast")]
    locations = tuple(Location(url, {"store": store}) for url, store in places)
    add(open_api, Image(id="10000000-0000-4000-8000-000000000000", name="spread", owner="p1", locations=locations))
    image = only(open_api, "spread", OWNER)
    assert [each["url"][-1] for each in image["locations"]] == ["2", "4", "1", "3"]
    assert image["direct_url"] == "file:///2"
    assert image["stores"] == "fast,fast,cheap,unknown"


# IMG-ENT-32
def test_only_administrators_see_locations_of_deactivated_images(open_api: Client) -> None:
    image_id = open_api.image(b"data", caller=OWNER, name="asleep")["id"]
    awake = only(open_api, "asleep", OWNER)
    assert awake["locations"] and awake["direct_url"] and awake["stores"] == "fast"
    assert open_api.post(f"/v2/images/{image_id}/actions/deactivate", caller=OWNER).status == 204
    asleep = only(open_api, "asleep", OWNER)
    assert asleep["locations"] == [] and not {"direct_url", "stores"} & asleep.keys()
    for key in ("locations", "direct_url", "stores"):
        assert only(open_api, "asleep", ADMIN)[key] == awake[key]


# IMG-ENT-34
def test_a_null_property_is_empty_unless_the_schema_allows_null(api: Client) -> None:
    properties = {"kernel_id": None, "whatever": None, "os_distro": None, "real": "x"}
    add(api, Image(id="20000000-0000-4000-8000-000000000000", name="old", owner="p1", properties=properties))
    image = only(api, "old", OWNER)
    assert [image[name] for name in properties] == [None, "", None, "x"]
    for query in ("whatever=null", "whatever=None", "kernel_id=null", "kernel_id="):
        assert names(api.get(f"/v2/images?name=old&{query}", caller=OWNER)) == []
