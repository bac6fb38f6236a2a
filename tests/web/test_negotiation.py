"""Version negotiation by path and Accept header, and repeated slashes."""

import pytest

from ferrotype.config.auth import Auth
from ferrotype.testing.client import OWNER, client

UNKNOWN_TOKEN = {"x-auth-token": "unknown"}
BY_ACCEPT = "application/vnd.openstack.images-"
MULTI_ONLY = ("v2.8", "v2.10", "v2.11", "v2.12", "v2.13")
ALWAYS = ("v2", *(f"v2.{minor}" for minor in (0, 1, 2, 3, 4, 5, 6, 7, 9, 15, 17)))


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with client(tmp_path_factory.mktemp("multi")) as api:
        api.caller = OWNER
        yield api


@pytest.fixture(scope="module")
def asking(tmp_path_factory):
    """A single-store service with authentication."""
    with client(tmp_path_factory.mktemp("asking"), single=True, auth=Auth(strategy="keystone")) as api:
        yield api


@pytest.mark.parametrize("version", [*ALWAYS, *MULTI_ONLY])
def test_every_version_is_the_same_api(api, version):
    image = api.post(f"/{version}/images", json={"name": "x"})
    assert image.status == 201  # NEG-01, MIN-19, DISC-13
    shown = api.get(f"/{version}/images/{image.json['id']}").json
    assert shown["self"] == f"/v2/images/{shown['id']}"  # NEG-06
    assert (shown["file"], shown["schema"]) == (shown["self"] + "/file", "/v2/schemas/image")
    page = api.get(f"/{version}/images?limit=1").json
    assert page["first"].startswith("/v2/images") and page["schema"] == "/v2/schemas/images"
    assert page["next"].startswith("/v2/images?limit=1&marker=")
    assert api.get(f"/{version}/info/stores").status == 200


@pytest.mark.parametrize("version", MULTI_ONLY)
def test_multi_store_versions_are_unknown_with_one_store(asking, version):
    assert asking.get(f"/{version}/images").status == 300  # NEG-01, DISC-13


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "FOO"])
@pytest.mark.parametrize(
    "path", ["/v1/images", "/v1", "/v3", "/v2.99/images", "/v2.1.0/images", "/V2/images", "/nothing", "/v2x", "/v2 "]
)
def test_other_paths_get_the_version_document(api, method, path):
    answer = api.request(method, path, headers=UNKNOWN_TOKEN)
    assert answer.status == 300 and answer.body == api.get("/").body  # NEG-02


def test_without_keystone_the_api_is_also_at_the_root(api, asking):
    assert api.get("/images").json.keys() == api.get("/v2/images").json.keys()  # CL-48, RUL-13
    made = api.post("/images", json={})
    assert made.status == 201 and made.json["self"].startswith("/v2/images/")
    assert api.get("/schemas/image").body == api.get("/v2/schemas/image").body
    for path in ("/images", "/schemas/image", "/info/stores"):
        assert asking.get(path).status == 300  # NEG-02, RUL-13


@pytest.mark.parametrize("version", ["v2", "v2.7", "v2.17"])
def test_the_accept_header_can_choose_the_version(api, asking, version):
    for service in (api, asking):
        answer = service.get("/info/import", headers={"accept": BY_ACCEPT + version})
        assert answer.status == 200 and "import-methods" in answer.json  # NEG-03, DISC-08


@pytest.mark.parametrize("version", ["v2.99", "v1", "", "v2.7x"])
def test_an_unknown_version_in_the_accept_header_is_300(api, asking, version):
    for service in (api, asking):
        assert service.get("/images", headers={"accept": BY_ACCEPT + version}).status == 300  # NEG-03


@pytest.mark.parametrize("path", ["//v2/images", "/v2//images", "//v2///images", "/v2.7//images"])
def test_repeated_slashes_around_the_version_are_allowed(api, path):
    assert "images" in api.get(path).json  # NEG-04, DISC-09


@pytest.mark.parametrize(
    "path",
    ["images/", "images/{id}/", "images//{id}", "images/{id}//file", "images/{id}/file/", "schemas/image/", "info/",
     "info/import/", "images/{id}/members/", "images/{id}/tags/"],
)  # fmt: skip
def test_other_slashes_are_significant(api, path):
    image_id = api.image()["id"]
    assert api.get("/v2/" + path.format(id=image_id)).status == 404  # NEG-05
    assert api.post("/v2/images/", json={}).status == 404


def test_unauthenticated_callers_see_the_versions_only(asking):
    # AUT-01: with authentication an unknown route is 401 too
    for path in ("/v2/images", "/v2/nothing", "/v2/images/", "/v2/info/usage"):
        assert asking.get(path, headers=UNKNOWN_TOKEN).status == 401
    assert asking.request("FOO", "/v2/images", headers=UNKNOWN_TOKEN).status == 401
    assert asking.get("/v2/images", body=b"x", headers=UNKNOWN_TOKEN).status == 401  # DISC-02
    for path in ("/", "/v2", "/v2/", "/versions", "/v1/images", "/healthcheck"):
        assert asking.get(path, headers=UNKNOWN_TOKEN).status in (200, 300)
