"""/v2/info: what it says, to whom, and how it may be asked."""

import msgspec
import pytest
from discovery_cases import schema
from every_route import concrete

from ferrotype.config.api import Api
from ferrotype.testing.client import ADMIN, MEMBER, OWNER, READER, SERVICE, STRANGER, client, person

FOUR = ("import", "stores", "stores/detail", "usage")
ODD_ROLE = person("p7", "astronaut")
NO_PROJECT = person(None, "member", "reader")
HELPED = person("p1", "member", "reader", service_roles=["service", "admin"])
EVERYBODY = {
    "admin": ADMIN, "service": SERVICE, "owner": OWNER, "reader": READER, "member": MEMBER, "stranger": STRANGER,
    "odd role": ODD_ROLE, "no project": NO_PROJECT, "with a service token": HELPED,
}  # fmt: skip
KEYS = {"import": "import-methods", "stores": "stores", "stores/detail": "stores", "usage": "usage"}


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("call", FOUR)
def test_who_may_read_discovery(api, single, call, who):
    caller = EVERYBODY[who]
    allowed = call != "stores/detail" or who in ("admin", "service")
    answer = api.get(f"/v2/info/{call}", caller=caller)
    assert answer.status == (200 if allowed else 403)  # DISC-03, DISC-54, DISC-55, DISC-142, DISC-143, DISC-146
    if allowed:
        assert list(answer.json) == [KEYS[call]]  # DISC-01
        schema(call)(answer.json)
        assert answer.headers["content-type"] == "application/json"
    alone = single.get(f"/v2/info/{call}", caller=caller)
    assert alone.status == (404 if call.startswith("stores") else 200)  # DISC-41, DISC-46, DISC-56


@pytest.mark.parametrize("call", FOUR)
def test_unauthenticated_requests_are_401(api, single, call):
    for service in (api, single):
        for body in (None, b"x"):
            answer = service.get(f"/v2/info/{call}", headers={"x-auth-token": "unknown"}, body=body)
            assert answer.status == 401  # DISC-02, DISC-145


@pytest.mark.parametrize("who", ["admin", "reader"])
@pytest.mark.parametrize("call", FOUR)
def test_a_body_is_refused_first(api, single, call, who):
    for service in (api, single):
        for body in (b"{}", b"x"):
            answer = service.get(f"/v2/info/{call}", caller=EVERYBODY[who], body=body)
            assert answer.status == 400  # DISC-05, DISC-06, DISC-28, DISC-56, DISC-150
        empty = service.get(f"/v2/info/{call}", caller=EVERYBODY[who], headers={"content-length": "0"})
        assert empty.status != 400


def test_without_many_stores_the_text_says_so(single):
    for call in ("stores", "stores/detail"):
        answer = single.get(f"/v2/info/{call}", headers={"accept": "application/json"})
        assert answer.json["message"] == "Multi backend is not supported at this site."  # DISC-41


@pytest.mark.parametrize("call", FOUR)
@pytest.mark.parametrize("query", ["?x=1", "?limit=1&marker=x", "?", "?%ff"])
def test_the_query_changes_nothing(api, call, query):
    assert api.get(f"/v2/info/{call}{query}").body == api.get(f"/v2/info/{call}").body  # DISC-07


@pytest.mark.parametrize("call", FOUR)
@pytest.mark.parametrize("accept", ["text/xml", "", "text/html", "application/vnd.openstack.images-v2.7"])
def test_the_accept_header_changes_nothing(api, call, accept):
    answer = api.get(f"/v2/info/{call}", headers={"accept": accept})
    assert answer.body == api.get(f"/v2/info/{call}").body  # DISC-08


@pytest.mark.parametrize("path", ["info", "info/", "info/stores/fast", "info/stores/detail/x", "info/nothing"])
def test_other_paths_are_unknown(api, path):
    assert api.get(f"/v2/{path}").status == 404  # DISC-09


@pytest.mark.parametrize("call", FOUR)
def test_paths_are_exact(api, call):
    for odd in (f"{call}/", f"{call}.json", call.upper(), call.title(), f"{call}%20"):
        assert api.get(f"/v2/info/{odd}").status == 404  # DISC-09
    assert api.get(f"/v2/INFO/{call}").status == 404
    assert api.get(f"/v2//info/{call}").status == 200


@pytest.mark.parametrize("call", FOUR)
def test_any_known_minor_version_works(api, single, call):
    for minor in (0, 7, 8, 13, 15, 17):
        assert api.get(f"/v2.{minor}/info/{call}").status == 200  # DISC-13, DISC-44, DISC-161
    assert api.get(f"/v2.99/info/{call}").status == 300
    assert single.get(f"/v2.9/info/{call}").status == single.get(f"/v2/info/{call}").status


@pytest.mark.parametrize("call", FOUR)
def test_discovery_changes_nothing(api, call):
    image = api.image(b"x")
    first = api.get(concrete(f"info/{call}"))
    assert api.get(concrete(f"info/{call}")).body == first.body
    assert api.get(image["self"]).json == image  # DISC-16
    assert not {"etag", "last-modified", "expires"} & first.headers.keys()  # DISC-15


def test_usage_is_empty_without_limits_of_the_identity_service(api, single):
    for service in (api, single):
        assert service.get("/v2/info/usage").json == {"usage": {}}  # DISC-90, DISC-100, DISC-144, DISC-160


# -- import -------------------------------------------------------------------------------------


def test_import_methods_are_a_described_list(api):
    found = api.get("/v2/info/import").json["import-methods"]
    assert list(found) == ["description", "type", "value"]  # DISC-20, DISC-27, DISC-140, DISC-141
    assert (found["description"], found["type"]) == ("Import methods available.", "array")
    assert isinstance(found["value"], list) and len(set(found["value"])) == len(found["value"])  # DISC-21


def test_list_header_and_behaviour_agree_on_import_methods(tmp_path):
    with client(tmp_path, api=Api(import_methods=())) as api:
        answer = api.get("/v2/info/import")
        assert (answer.status, answer.json["import-methods"]["value"]) == (200, [])  # DISC-23
        made = api.post("/v2/images", json={"disk_format": "raw", "container_format": "bare"})
        assert "openstack-image-import-methods" not in made.headers  # DISC-25
        path = f"/v2/images/{made.json['id']}"
        assert api.put(f"{path}/stage", body=b"x", headers={"content-type": "application/octet-stream"}).status == 404
        for method in ("glance-direct", "web-download", "copy-image", "glance-download", "magic"):
            asked = api.post(f"{path}/import", json={"method": {"name": method, "uri": "http://h/x"}})
            assert asked.status == 400  # DISC-26


# -- what clients read ---------------------------------------------------------------------------


def test_bodies_are_of_the_published_shape(api):
    class Entry(msgspec.Struct, forbid_unknown_fields=True):
        id: str
        description: str | msgspec.UnsetType = msgspec.UNSET
        default: str | msgspec.UnsetType = msgspec.UNSET
        read_only: str | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="read-only")

    class Detail(Entry, forbid_unknown_fields=True, kw_only=True):
        type: str
        properties: dict[str, str | int | bool | list[str] | None]
        weight: int

    plain = msgspec.json.decode(api.get("/v2/info/stores").body, type=dict[str, list[Entry]])
    detail = msgspec.json.decode(api.get("/v2/info/stores/detail").body, type=dict[str, list[Detail]])
    assert [each.id for each in plain["stores"]] == [each.id for each in detail["stores"]]  # DISC-31, DISC-50
