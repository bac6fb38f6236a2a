"""Data that its back end reports to be in use: refused before anything changes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from external import PATCH_LOCATIONS, clone_aware, exists, put, service
from uploads import ledger, upload

from ferrotype.model.errors import StoreUnavailable
from ferrotype.testing.client import OWNER, Client

DATA = b"the data"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Client]:
    with service(tmp_path) as api:
        yield api


def cloned(api: Client) -> tuple[Any, str]:
    """Return an image with its data in the memory store, and the URL of that."""
    image = api.image(caller=OWNER)
    upload(api, image, DATA, {"x-image-meta-store": "mem"}, caller=OWNER)
    image = api.get(image["self"]).json
    return image, image["locations"][0]["url"]


def with_second_copy(api: Client, image: Any) -> str:
    url = put(api, f"foreign-{image['id'][:8]}", DATA, "spare")
    operation = {"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}
    assert api.patch(image["self"], [operation]).status == 200
    return url


# IMG-DEL-04, RUL-05
def test_an_image_in_use_is_not_deleted(api: Client) -> None:
    users = clone_aware(api)
    image, url = cloned(api)
    users[url.rpartition("/")[2]] = "2 clones"
    reply = api.delete(image["self"], caller=OWNER)
    assert (reply.status, "in use: 2 clones" in reply.text) == (409, True)
    assert api.get(image["self"]).json == image
    assert [each.state for each in ledger(api)] == ["live"]
    protect = [{"op": "replace", "path": "/protected", "value": True}]
    api.patch(image["self"], protect)
    assert api.delete(image["self"], caller=OWNER).status == 403  # IMG-DEL-02: no store is asked
    api.patch(image["self"], [protect[0] | {"value": False}])
    users.clear()
    assert api.delete(image["self"], caller=OWNER).status == 204
    assert not exists(api, url)


def test_an_image_is_deleted_although_its_store_does_not_answer(api: Client) -> None:
    users = clone_aware(api)
    image, url = cloned(api)
    users[url.rpartition("/")[2]] = StoreUnavailable("the network is down")
    assert api.delete(image["self"], caller=OWNER).status == 204  # RUL-05


# IMG-DFS-05, STOR-88
def test_a_copy_in_use_stays(api: Client) -> None:
    users = clone_aware(api)
    image, url = cloned(api)
    with_second_copy(api, image)
    remote = api.image(DATA, caller=OWNER)
    other = put(api, "foreign-remote", DATA)
    add = [{"op": "add", "path": "/locations/-", "value": {"url": other, "metadata": {}}}]
    assert api.patch(remote["self"], add).status == 200
    users |= {each.rpartition("/")[2]: "a snapshot" for each in (url, other)}
    before = api.get(image["self"]).json
    reply = api.patch(image["self"], [{"op": "remove", "path": "/locations/0"}])
    assert (reply.status, "a snapshot" in reply.text) == (409, True)
    assert api.get(image["self"]).json == before
    # Data of others is not deleted, so its users do not matter.
    assert api.delete(f"/v2/stores/mem/{remote['id']}").status == 204
    assert exists(api, other)
    users[url.rpartition("/")[2]] = StoreUnavailable("the network is down")
    reply = api.patch(image["self"], [{"op": "remove", "path": "/locations/0"}])
    assert reply.status == 503  # STOR-88: a time-out
    assert api.get(image["self"]).json == before
    users.clear()
    assert api.patch(image["self"], [{"op": "remove", "path": "/locations/0"}]).status == 200
    assert not exists(api, url)


def test_delete_from_store_asks_first(api: Client) -> None:
    users = clone_aware(api)
    image, url = cloned(api)
    other = with_second_copy(api, image)
    before = api.get(image["self"]).json
    for found, status in (("1 volume", 409), (StoreUnavailable("the network is down"), 503)):
        users[url.rpartition("/")[2]] = found
        assert api.delete(f"/v2/stores/mem/{image['id']}").status == status  # IMG-DFS-05
        assert (api.get(image["self"]).json, exists(api, url)) == (before, True)
    users.clear()
    assert api.delete(f"/v2/stores/mem/{image['id']}").status == 204
    assert [each["url"] for each in api.get(image["self"]).json["locations"]] == [other]
    assert not exists(api, url)


def test_with_delayed_delete_nothing_is_asked(tmp_path: Path) -> None:
    with service(tmp_path, api=replace(PATCH_LOCATIONS, delayed_delete=True, scrub_time=3600)) as api:
        users = clone_aware(api)
        image, url = cloned(api)
        users[url.rpartition("/")[2]] = "2 clones"
        assert api.delete(image["self"], caller=OWNER).status == 204
        assert exists(api, url)
