"""Bodies: where they are expected, what they may be, and how large."""

import http.client

import pytest
from every_route import METHODS, NO_IMAGE, allowed, concrete

from ferrotype.config.server import Server
from ferrotype.testing.client import PATCH, client
from ferrotype.testing.process import served

#: Requests that read a body, or have always let one pass (BOD-07).
READS = {
    ("images", "GET"), ("images", "HEAD"), ("images", "POST"), ("images/{image_id}", "PATCH"),
    ("images/{image_id}/file", "PUT"), ("images/{image_id}/stage", "PUT"), ("images/{image_id}/import", "POST"),
    ("images/{image_id}/members", "POST"), ("images/{image_id}/members/{member_id}", "PUT"),
    ("images/{image_id}/locations", "POST"),
}  # fmt: skip
BODYLESS = [(path, method) for path in METHODS for method in allowed(path) if (path, method) not in READS]
JSON = [
    ("POST", "images"), ("PATCH", "images/{image_id}"), ("POST", "images/{image_id}/members"),
    ("PUT", "images/{image_id}/members/{member_id}"), ("POST", "images/{image_id}/locations"),
    ("POST", "images/{image_id}/import"),
]  # fmt: skip


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with client(tmp_path_factory.mktemp("bodies"), server=Server(max_json_body=1 << 20)) as api:
        yield api


@pytest.fixture(scope="module")
def image_id(api):
    image_id = api.image()["id"]
    api.post(f"/v2/images/{image_id}/members", json={"member": "p9"})
    return image_id


def ask(api, method, path, image_id, body, **headers):
    kind = {"content-type": PATCH} if method == "PATCH" else {}
    return api.request(method, concrete(path, image_id), body=body, headers=kind | headers)


@pytest.mark.parametrize(("path", "method"), BODYLESS)
def test_a_body_where_none_is_expected_is_refused(api, path, method):
    for body in (b"{}", b"x", [b"", b"x"]):
        answer = api.request(method, concrete(path), body=body)
        assert answer.status == 400  # BOD-07, DISC-05, DISC-06
        if method != "HEAD":
            assert "A body is not expected" in answer.text


@pytest.mark.parametrize(("path", "method"), BODYLESS)
def test_an_empty_body_counts_as_none(api, path, method):
    without = api.request(method, concrete(path))
    for headers in ({"content-length": "0", "content-type": "application/octet-stream"}, {"content-length": "00"}):
        assert api.request(method, concrete(path), headers=headers).status == without.status  # BOD-07, BOD-13
    assert api.request(method, concrete(path), body=[]).status == without.status  # BOD-09


def test_lists_ignore_a_body(api):
    assert api.get("/v2/images", body=b"{}").status == 200  # BOD-07


@pytest.mark.parametrize(("method", "path"), JSON)
def test_a_body_other_than_a_json_object_is_refused(api, image_id, method, path):
    for body in (None, b"", [], b"{", b'{"a": 1} x', b"\xef\xbb\xbf{}", b'"\xff"', b"1", b"null", b'"x"', b"true"):
        assert ask(api, method, path, image_id, body).status == 400  # BOD-03, BOD-04
    wrong = b"{}" if method == "PATCH" else b"[]"
    assert ask(api, method, path, image_id, wrong).status == 400  # BOD-05
    for body in (b"[" * 100_000, b'{"a":' * 100_000, b'{"a": "\\ud800"}', b'[{"a": "\\ud800"}]', b"\x1f\x8b\x08\x00"):
        assert ask(api, method, path, image_id, body, **{"content-encoding": "gzip"}).status == 400  # BOD-06, SEC-106


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"-Infinity", b'"a\\u0000b"', b'"\\udc00"', b"[" * 2000])
@pytest.mark.parametrize("key", [b"name", b"other", b"min_ram"])
def test_nul_nan_and_deep_nesting_are_refused(api, key, text):
    closing = b"]" * text.count(b"[")
    body = b'{"%s": %s%s}' % (key, text, closing)
    assert api.post("/v2/images", body=body).status == 400  # BOD-06


def test_the_last_of_duplicate_keys_counts(api):
    made = api.post("/v2/images", body=b'{"name": "first", "name": "last", "x": "1", "x": "2"}')
    assert (made.status, made.json["name"], made.json["x"]) == (201, "last", "2")  # BOD-06, RUL-10


@pytest.mark.parametrize("kind", [None, "text/plain", "application/octet-stream", "nonsense", "application/xml"])
def test_the_content_type_of_json_is_ignored(api, image_id, kind):
    headers = {} if kind is None else {"content-type": kind}
    assert api.post("/v2/images", body=b"{}", headers=headers).status == 201  # BOD-01
    path = f"/v2/images/{image_id}/members/p9"
    assert api.put(path, body=b'{"status": "pending"}', headers=headers).status == 200
    assert api.put(path, body=[b'{"status"', b': "pending"}'], headers=headers).status == 200  # BOD-02, BOD-10


def test_the_size_of_a_document_is_limited(api):
    def document(size):
        return b'{"x": "' + b"y" * 10 + b'"' + b" " * (size - 19) + b"}"

    assert len(document(1 << 20)) == 1 << 20
    assert api.post("/v2/images", body=document(1 << 20)).status == 201  # BOD-11
    refused = api.post("/v2/images", body=document((1 << 20) + 1))
    assert refused.status == 413 and str(1 << 20) in refused.text
    assert api.post("/v2/images", body=[document(1 << 19)] * 3).status == 413
    assert Server().max_json_body >= 1 << 20


def test_expect_100_continue_is_optional(tmp_path):
    with served(tmp_path) as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        for _ in range(2):  # the connection is still good afterwards
            connection.request("POST", "/v2/images", body=b'{"name": "x"}', headers={"Expect": "100-continue"})
            answer = connection.getresponse()
            assert (answer.status, b'"x"' in answer.read()) == (201, True)
        connection.request("GET", f"/v2/images/{NO_IMAGE}", headers={"Content-Type": "application/octet-stream"})
        assert connection.getresponse().status == 404  # BOD-13, CL-12
        connection.close()
