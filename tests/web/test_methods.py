"""Allowed methods of each path, and the errors for others."""

import pytest
from every_route import GOT, KNOWN, METHODS, NO_IMAGE, ODD, allowed, concrete

from ferrotype.testing.client import OWNER
from ferrotype.web import routes


@pytest.fixture(scope="module")
def image_id(api):
    image_id = api.image(b"data", caller=OWNER, tags=["a-tag"])["id"]
    api.post(f"/v2/images/{image_id}/members", json={"member": "p9"}, caller=OWNER)
    return image_id


def test_the_rules_know_every_route():
    assert set(routes.ROUTES) == set(METHODS)


REFUSED = [
    (path, method)
    for path in METHODS
    for method in (*KNOWN, *ODD)
    if method not in allowed(path) and path != "images/{image_id}/tasks"
]


@pytest.mark.parametrize(("path", "method"), REFUSED)
def test_another_method_is_405_with_an_allow_header(api, path, method):
    answer = api.request(method, concrete(path))
    assert answer.status == 405  # MTH-01, MTH-02, MTH-06, DISC-10, DISC-11, SEC-79
    assert answer.headers["allow"] == METHODS[path]
    assert (answer.body == b"") == (method == "HEAD")


@pytest.mark.parametrize("path", METHODS)
def test_every_method_of_the_rules_reaches_its_handler(api, path):
    for method in allowed(path):
        answer = api.request(method, concrete(path))
        assert answer.status not in (405, 500, 501)
        assert b"could not be found" not in answer.body


@pytest.mark.parametrize("path", GOT)
def test_head_is_get_without_a_body(api, image_id, path):
    same = {"x-openstack-request-id": "req-same"}
    got = api.get(concrete(path, image_id), headers=same)
    head = api.request("HEAD", concrete(path, image_id), headers=same)
    assert got.status == 200
    assert (head.status, head.headers, head.body) == (200, got.headers, b"")  # MTH-02, DISC-11
    assert int(head.headers["content-length"]) == len(got.body)


@pytest.mark.parametrize("path", ["/", "/versions", "/v2", "/v2/", "/v2/images/" + NO_IMAGE, "/v2/nothing"])
def test_head_is_get_without_a_body_elsewhere_too(api, path):
    same = {"x-openstack-request-id": "req-same"}
    got, head = api.get(path, headers=same), api.request("HEAD", path, headers=same)
    assert (head.status, head.headers, head.body) == (got.status, got.headers, b"")  # VER-02, MTH-02
    assert got.body


@pytest.mark.parametrize("path", [*map(concrete, METHODS), "/v2/nothing", "/", "/v1/images", "/versions", "/v2"])
def test_options_needs_no_authentication(api, path):
    answer = api.request("OPTIONS", path, headers={"x-auth-token": "unknown"})
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")  # MTH-03, DISC-12
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("tail", ["tasks", "actions", "tags", "actions/explode"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_some_paths_are_unknown_for_other_methods(api, image_id, tail, method):
    assert api.request(method, f"/v2/images/{image_id}/{tail}").status == 404  # MTH-04
    assert api.request("FOO", f"/v2/images/{image_id}/{tail}").status == 501  # MTH-06


@pytest.mark.parametrize("path", ["/v2/nothing", "/v2/images/a/b/c/d", f"/v2/images/{NO_IMAGE}/nothing", "/v2/info"])
def test_an_unknown_path_is_404_and_with_an_unknown_method_501(api, path):
    for method in KNOWN:
        assert api.request(method, path).status == 404
    assert api.request("FOO", path).status == 501  # MTH-06


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_a_header_never_changes_the_method(api, image_id, name):
    for spelled in (name, name.replace("-", "_")):
        answer = api.post(f"/v2/images/{image_id}", headers={spelled: "DELETE"}, caller=OWNER)
        assert answer.status == 405  # SEC-79
    assert api.get(f"/v2/images/{image_id}?_method=DELETE", caller=OWNER).status == 200


def test_a_slash_in_a_parameter_is_a_slash_in_the_path(api, image_id):
    # MTH-05
    assert api.put(f"/v2/images/{image_id}/tags/a%2Fb").status == 404
    assert api.get(f"/v2/images/x%2F{image_id}").status == 404
    assert api.get(f"/v2/images%2F{image_id}").status == 200


@pytest.mark.parametrize(
    "name",
    [
        "../..", "%2e%2e%2f", "..%252f", "%00", "%c0%af", "%c0%80", "a" * 10_000, ".", "..", "",
        NO_IMAGE + ".", NO_IMAGE + "%20", NO_IMAGE + "%0a", NO_IMAGE + "%0d%0a", "{" + NO_IMAGE + "}",
        NO_IMAGE.replace("-", ""), "%E2%80%AE", "'; drop table images; --", "%ff", "%",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["images/{image_id}", "images/{image_id}/file", "stores/fast/{image_id}"])
def test_an_unusual_image_id_is_404(api, name, path):
    method = "DELETE" if path.startswith("stores") else "GET"
    status = api.request(method, "/v2/" + path.format(image_id=name)).status
    if name == "" and path == "images/{image_id}":
        assert status == 404  # NEG-05
    assert status in (400, 404)  # SEC-55, CL-11, UNI-03


@pytest.mark.parametrize("name", ["..%2f..", "%2e%2e", "FAST", "fast%0a", "fast.", "os_glance_staging_store", "%00"])
def test_an_unusual_store_id_is_unknown(api, image_id, name):
    assert api.delete(f"/v2/stores/{name}/{image_id}").status in (400, 404, 409)  # SEC-55
    kind = {"content-type": "application/octet-stream", "x-image-meta-store": name}
    empty = api.image(caller=OWNER)["id"]
    assert api.put(f"/v2/images/{empty}/file", body=b"x", headers=kind, caller=OWNER).status == 400
    assert api.get(f"/v2/images/{image_id}/file").body == b"data"
