"""Locations: who may read them; adding one is always refused."""

from collections.abc import Iterator
from typing import Any

import pytest

from ferrotype.config.api import Api
from ferrotype.testing.client import ADMIN, MEMBER, OWNER, READER, SERVICE, STRANGER, Client, client, person

URL = "https://example.org/disk.img"
SHA = {"os_hash_algo": "sha256", "os_hash_value": "0" * 64}


@pytest.fixture(scope="module", params=[False, True])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with client(tmp_path_factory.mktemp("service"), single=request.param) as api:
        yield api


def post(api: Client, image: Any, document: Any, **options: Any) -> int:
    return api.post(f"{image['self']}/locations", json=document, **options).status


# IMG-LOCP-01
@pytest.mark.parametrize("caller", [ADMIN, OWNER])
@pytest.mark.parametrize("filled", [True, False])
@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/locations/-", "value": {"url": URL, "metadata": {}}},
        {"op": "add", "path": "/locations/0", "value": {"url": URL, "metadata": {}}},
        {"op": "replace", "path": "/locations", "value": [{"url": URL, "metadata": {}}]},
        {"op": "replace", "path": "/locations", "value": []},
        {"op": "remove", "path": "/locations/0"},
        {"op": "remove", "path": "/locations/-"},
    ],
    ids=lambda operation: f"{operation['op']} {operation['path']}",
)
def test_a_patch_never_changes_locations(api: Client, operation: Any, filled: bool, caller: Any) -> None:
    image = api.image(b"x" if filled else None, caller=OWNER)
    before = api.get(image["self"], caller=ADMIN).json
    assert api.patch(image["self"], [operation], caller=caller).status == 403
    assert api.get(image["self"], caller=ADMIN).json == before
    assert "locations" not in before


# IMG-LOCN-02, SCH-18
@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        "url",
        None,
        {"url": None},
        {"url": 7},
        {"url": [URL]},
        {"metadata": {}},
        {"url": URL, "validation_data": None},
        {"url": URL, "validation_data": []},
        {"url": URL, "validation_data": SHA | {"checksum": "0" * 32}},
        {"url": URL, "validation_data": {"os_hash_algo": "sha256"}},
        {"url": URL, "validation_data": {"os_hash_value": "0" * 64}},
        {"url": URL, "validation_data": SHA | {"os_hash_algo": "crc32"}},
        {"url": URL, "validation_data": SHA | {"os_hash_algo": ["sha256"]}},
        {"url": URL, "validation_data": SHA | {"os_hash_value": "0" * 63}},
        {"url": URL, "validation_data": SHA | {"os_hash_value": "g" * 64}},
        {"url": URL, "validation_data": SHA | {"os_hash_value": 7}},
        {"url": URL, "validation_data": SHA | {"os_hash_algo": "sha512"}},
    ],
    ids=str,
)
def test_a_malformed_location_is_refused_first(api: Client, document: Any) -> None:
    image = api.image(caller=OWNER)
    nowhere = {"self": "/v2/images/00000000-0000-4000-8000-000000000000"}
    # IMG-LOCN-03
    assert [post(api, each, document, caller=OWNER) for each in (image, nowhere)] == [400, 400]
    if document is not None:
        assert api.post(f"{image['self']}/locations", body=b"{", caller=OWNER).status == 400
    assert api.post(f"{image['self']}/locations", caller=OWNER).status == 400


# IMG-LOCN-02, IMG-LOCN-03, IMG-LOCN-04
@pytest.mark.parametrize("extra", [{}, {"validation_data": {}}, {"validation_data": SHA}, {"anything": 1}], ids=str)
def test_external_locations_are_refused(api: Client, extra: Any) -> None:
    image, active, public = api.image(caller=OWNER), api.image(b"x", caller=OWNER), api.image(visibility="public")
    document = {"url": URL, **extra}
    assert post(api, image, document, caller=STRANGER) == 404
    assert {who: post(api, active, document, caller=who) for who in (OWNER, READER)} == {OWNER: 409, READER: 409}
    assert post(api, image, document, caller=READER) == 403
    assert post(api, public, document, caller=STRANGER) == 403
    for url in (URL, "file:///etc/passwd", "http://127.0.0.1/", "nonsense", ""):
        for caller in (OWNER, ADMIN):
            assert post(api, image, document | {"url": url}, caller=caller) == 403
    now = api.get(image["self"], caller=OWNER).json
    assert now["status"] == "queued"
    assert api.get(f"{image['self']}/locations", caller=ADMIN).json == []


def test_services_read_locations(api: Client) -> None:
    # IMG-LOCN-12
    image, queued, public = (
        api.image(b"x", caller=OWNER),
        api.image(caller=OWNER),
        api.image(b"x", visibility="public"),
    )
    reply = api.get(f"{image['self']}/locations", caller=ADMIN)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    (found,) = reply.json
    assert set(found) == {"url", "metadata"}
    assert found["url"].startswith("file:///")
    assert found["metadata"] == ({"store": "fast"} if api.application.ctx.stores.multi else {})
    assert api.get(f"{queued['self']}/locations", caller=ADMIN).json == []
    assert len(api.get(f"{public['self']}/locations", caller=SERVICE).json) == 1
    refused = {OWNER: 403, READER: 403, STRANGER: 404, MEMBER: 404}
    assert {who: api.get(f"{image['self']}/locations", caller=who).status for who in refused} == refused
    assert api.get("/v2/images/00000000-0000-4000-8000-000000000000/locations", caller=ADMIN).status == 404


def test_a_service_sees_other_images_for_locations_only(api: Client) -> None:
    hidden = [api.image(data, caller=OWNER, visibility="private") for data in (b"x", None)]
    # IMG-POL-09, POL-04, RUL-12
    assert len(api.get(f"{hidden[0]['self']}/locations", caller=SERVICE).json) == 1
    assert post(api, hidden[0], {"url": URL}, caller=SERVICE) == 409
    assert post(api, hidden[1], {"url": URL}, caller=SERVICE) == 403
    for path in ("", "/file", "/members", "/tasks"):
        assert api.get(f"{hidden[0]['self']}{path}", caller=SERVICE).status == 404
    helped = person("p2", "member", "reader", service_roles=["service"])
    assert api.get(f"{hidden[0]['self']}/locations", caller=helped).status == 404


def test_locations_are_shown_if_configured(api: Client, tmp_path: Any) -> None:
    image = api.image(b"x")
    assert not {"locations", "direct_url"} & set(api.get(image["self"]).json)
    with client(tmp_path, api=Api(show_locations=True, show_direct_url=True)) as open_handed:
        image = open_handed.image(b"x")
        (location,) = image["locations"]
        # STOR-40, STOR-41
        assert (set(location), location["metadata"]) == ({"url", "metadata"}, {"store": "fast"})
        assert image["direct_url"] == location["url"]
        assert "@" not in location["url"]  # SEC-60
