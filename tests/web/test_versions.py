"""The version document: paths, content and the address in its links."""

import pytest

from ferrotype.config.auth import Auth
from ferrotype.config.server import Server
from ferrotype.testing.client import client

ALWAYS = {f"v2.{minor}" for minor in (0, 1, 2, 3, 4, 5, 6, 7, 9, 15, 17)}
WITH_STORES = ALWAYS | {f"v2.{minor}" for minor in (8, 10, 11, 12, 13)}
UNKNOWN_TOKEN = {"x-auth-token": "unknown"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "FOO"])
@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 300), ("/versions", 200), ("/versions/", 200), ("/versions/a/b", 200), ("/v2", 200), ("/v2/", 200)],
)
def test_versions_need_no_authentication_with_any_method(api, method, path, status):
    answer = api.request(method, path, headers=UNKNOWN_TOKEN)
    assert answer.status == status  # VER-01, VER-02, VER-12, CL-21, CL-44, CL-46
    assert answer.headers["content-type"] == "application/json"  # VER-03
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.body == api.get("/versions", headers=UNKNOWN_TOKEN).body


def test_each_version_has_an_id_a_status_and_a_link(api):
    document = api.get("/versions").json
    assert list(document) == ["versions"]
    for version in document["versions"]:
        assert set(version) == {"id", "status", "links"}  # VER-04
        assert version["links"] == [{"rel": "self", "href": "http://127.0.0.1:9292/v2/"}]  # VER-05, CL-23
    statuses = [version["status"] for version in document["versions"]]
    assert statuses == ["CURRENT"] + ["SUPPORTED"] * (len(statuses) - 1)  # CL-21


def test_the_set_of_versions_follows_the_stores(api, single):
    found = [version["id"] for version in api.get("/versions").json["versions"]]
    assert set(found) == WITH_STORES and len(found) == len(
        WITH_STORES
    )  # VER-07, MIN-08, MIN-10, MIN-11, MIN-12, MIN-13
    alone = [version["id"] for version in single.get("/versions").json["versions"]]
    assert set(alone) == ALWAYS and len(alone) == len(
        ALWAYS
    )  # VER-06, MIN-00, MIN-03, MIN-04, MIN-05, MIN-06, MIN-07, MIN-09, MIN-15, MIN-17
    assert "v2.12" in found and "v2.12" not in alone and "v2.17" in alone  # VER-11, CL-42, DISC-130
    for ids in (found, alone):
        minors = [int(each.removeprefix("v2.")) for each in ids]
        assert minors == sorted(minors, reverse=True)  # VER-10


@pytest.mark.parametrize("endpoint", ["https://images.example.org", "https://images.example.org/image/"])
def test_links_use_public_endpoint(tmp_path, endpoint):
    with client(tmp_path, server=Server(public_endpoint=endpoint)) as api:
        for headers in ({}, {"host": "localhost"}):
            version = api.get("/", headers=headers).json["versions"][0]
            assert version["links"][0]["href"] == endpoint.rstrip("/") + "/v2/"  # VER-05, CFG-01, SEC-101


def test_links_use_the_host_header(api):
    version = api.get("/", headers={"host": "localhost:1234"}).json["versions"][0]
    assert version["links"][0]["href"] == "http://localhost:1234/v2/"  # VER-05, CL-45


# VER-05, CL-23
def test_links_use_the_local_address_without_a_host_header(tmp_path):
    with client(tmp_path, auth=Auth(strategy="keystone")) as api:
        versions = api.get("/versions", headers={"host": ""}).json["versions"]
        assert {version["links"][0]["href"] for version in versions} == {"http://127.0.0.1:9292/v2/"}
        made = api.post("/v2/images", json={}, headers={"host": ""})
        assert made.headers["location"] == f"http://127.0.0.1:9292/v2/images/{made.json['id']}"
