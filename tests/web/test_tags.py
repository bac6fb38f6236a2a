"""/v2/images/{id}/tags/{tag}"""

from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from ferrotype.config.limits import Limits
from ferrotype.db import images as rows
from ferrotype.testing.client import ADMIN, MEMBER, OWNER, READER, STRANGER, Client, client


def tags(api: Client, path: str) -> list[str]:
    return sorted(api.get(path).json["tags"])


def test_adding_and_removing_a_tag(api: Client) -> None:
    path = "/v2/images/" + api.image(caller=OWNER)["id"]
    for method, tag, status, left in [
        # IMG-TAG-01, CL-17
        ("PUT", "a", 204, ["a"]), ("PUT", "a", 204, ["a"]), ("PUT", "A", 204, ["A", "a"]),
        ("DELETE", "a", 204, ["A"]),
        ("DELETE", "a", 404, ["A"]), ("DELETE", "x", 404, ["A"]), ("PUT", "a", 204, ["A", "a"]),
        # IMG-TAG-02
        ("PUT", "t" * 255, 204, ["A", "a", "t" * 255]), ("DELETE", "t" * 255, 204, ["A", "a"]),
        ("PUT", "t" * 256, 400, ["A", "a"]), ("PUT", "a/b", 404, ["A", "a"]),
    ]:  # fmt: skip
        reply = api.request(method, f"{path}/tags/{tag}", caller=OWNER)
        assert (reply.status, reply.body if status == 204 else b"") == (status, b"")
        assert tags(api, path) == left
    assert api.put(f"{path}/tags/a%2Fb", caller=OWNER).status == 404  # MTH-05
    assert api.put(f"{path}/tags/x", body=b"{}", caller=OWNER).status == 400
    assert api.delete(f"{path}/tags/a", body=b"{}", caller=OWNER).status == 400
    assert api.get(f"{path}/tags/a", caller=OWNER).status == 405
    for method in ("GET", "PUT", "DELETE", "POST"):
        assert api.request(method, f"{path}/tags", caller=OWNER).status == 404
        assert api.request(method, f"{path}/tags/", caller=OWNER).status == 404


@pytest.mark.parametrize(
    "tag",
    ["\u00e9", "e\u0301", "\u65e5\u672c", "\U0001f4bf", "a b", " a ", "%", "%41", "a?b", "a#b", "a;b", "'; --",
     "_", "..", "\u200b"],
)  # fmt: skip
def test_a_tag_is_kept_exactly(api: Client, tag: str) -> None:
    path = "/v2/images/" + api.image(caller=OWNER)["id"]
    where = f"{path}/tags/{quote(tag, safe='')}"
    # IMG-TAG-02, IMG-TAG-05, UNI-04, SEC-114, IMG-WART-14
    assert api.put(where, caller=OWNER).status == 204
    assert tags(api, path) == [tag]
    assert api.delete(where, caller=OWNER).status == 204
    assert tags(api, path) == []


@pytest.mark.parametrize("tag", ["%00", "a%00", "%0A", "a%0D%0Ab", "%1B%5B31m", "%7F", "%FF", "%C0%AF", "%ED%A0%80"])
def test_a_tag_with_control_characters_is_refused(api: Client, tag: str) -> None:
    path = "/v2/images/" + api.image(caller=OWNER)["id"]
    # IMG-TAG-05, SEC-55
    assert api.put(f"{path}/tags/{tag}", caller=OWNER).status == 400
    assert tags(api, path) == []


def test_the_number_of_tags_is_limited(api: Client) -> None:
    path = "/v2/images/" + api.image(caller=OWNER, tags=[f"t{number}" for number in range(128)])["id"]
    # IMG-TAG-03, QUO-04
    assert api.put(f"{path}/tags/one-more", caller=OWNER).status == 413
    assert api.put(f"{path}/tags/t5", caller=OWNER).status == 204
    assert api.delete(f"{path}/tags/t5", caller=OWNER).status == 204
    assert api.put(f"{path}/tags/one-more", caller=OWNER).status == 204


@pytest.mark.parametrize(("limit", "status"), [(0, 413), (-1, 204)])
def test_the_tag_quota_may_be_zero_or_unlimited(tmp_path: Any, limit: int, status: int) -> None:
    with client(tmp_path, limits=Limits(image_tag_quota=limit)) as api:
        # QUO-07, CFG-07
        assert api.put(f"/v2/images/{api.image()['id']}/tags/a").status == status


def test_who_may_tag(api: Client) -> None:
    private = api.image(caller=OWNER, visibility="private", tags=["a"])
    community = api.image(caller=OWNER, visibility="community", tags=["a"])
    for image, caller, status in [
        # IMG-TAG-04
        (private, STRANGER, 404), (community, STRANGER, 403), (community, MEMBER, 403), (private, READER, 403),
        (private, OWNER, 204), (community, ADMIN, 204), ({"id": "x"}, ADMIN, 404),
        ({"id": "00000000-0000-4000-8000-000000000000"}, ADMIN, 404),
    ]:  # fmt: skip
        path = f"/v2/images/{image['id']}/tags"
        assert api.put(f"{path}/b", caller=caller).status == status
        assert api.delete(f"{path}/a", caller=caller).status == status


def test_an_empty_tag_cannot_be_added(api: Client) -> None:
    # IMG-ENT-08, IMG-TAG-02
    assert api.post("/v2/images", json={"tags": ["a", ""]}, caller=OWNER).status == 400
    path = "/v2/images/" + api.image(caller=OWNER, tags=["a"])["id"]
    for op in ("add", "replace"):
        patch = [{"op": op, "path": "/tags", "value": ["a", ""]}]
        assert api.patch(path, patch, caller=OWNER).status == 400
    for segment in ("", "/", "%2F", "%2F%2F", "?x", "%3F", ";"):
        reply = api.put(f"{path}/tags/{segment}", caller=OWNER)
        assert reply.status in (204, 404)
        assert "" not in tags(api, path)
    assert api.put(f"{path}/tags/", caller=OWNER).status == 404
    assert api.put(f"{path}/tags/%2F", caller=OWNER).status == 404


def test_an_image_that_has_an_empty_tag_keeps_it(api: Client) -> None:
    made = api.image(caller=OWNER, tags=["a"])
    path = "/v2/images/" + made["id"]

    async def migrated() -> None:
        async with api.application.ctx.db.begin() as tx:
            found = await rows.get(tx, made["id"], None)
            assert found
            image = found[0]
            await rows.save(tx, image, replace(image, tags=("a", "")))

    api.run(migrated())
    # IMG-ENT-08
    assert api.patch(path, [{"op": "replace", "path": "/tags", "value": ["b", ""]}], caller=OWNER).status == 200
    assert tags(api, path) == ["", "b"]
