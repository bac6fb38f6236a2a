"""Headers of responses, request ids, and Unicode in headers and paths."""

import hashlib

import pytest
from every_route import NO_IMAGE

from ferrotype.config.server import Server
from ferrotype.testing.client import OCTETS, OWNER, client

ID = "x-openstack-request-id"
#: A code point beyond the Basic Multilingual Plane, as UTF-8 has it in four bytes.
FAR = "\U0001f5bc"


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with client(tmp_path_factory.mktemp("headers")) as api:
        api.caller = OWNER
        yield api


@pytest.fixture(scope="module")
def image(api):
    return api.image(b"0123456789")


EVERYWHERE = [
    ("GET", "/"), ("GET", "/versions"), ("GET", "/v2/"), ("GET", "/v1/images"), ("GET", "/healthcheck"),
    ("OPTIONS", "/v2/images"), ("GET", "/v2/images"), ("GET", f"/v2/images/{NO_IMAGE}"), ("PUT", "/v2/images"),
    ("GET", "/v2/nothing"), ("FOO", "/v2/nothing"), ("GET", "/v2/info/import"), ("GET", "/v2/info/usage"),
    ("GET", "/v2/info/stores/detail"), ("POST", "/v2/images"), ("GET", "/%ff"), ("HEAD", "/healthcheck"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), EVERYWHERE)
def test_every_answer_carries_a_request_id(api, method, path):
    first, second = api.request(method, path), api.request(method, path)
    assert first.headers[ID].startswith("req-") and len(first.headers[ID]) == 40  # HDR-01
    assert first.headers[ID] != second.headers[ID]
    assert api.request(method, path, headers={ID: "req-mine"}).headers[ID] == "req-mine"  # HDR-02
    assert api.request(method, path, headers={ID: "mine"}).headers[ID] == "req-mine"
    assert len(api.request(method, path, headers={ID: ""}).headers[ID]) == 40
    assert api.request(method, path, headers={ID: "x" * 64}).headers[ID] == "req-" + "x" * 64
    long = api.request(method, path, headers={ID: "x" * 65})
    assert long.status == 431 and len(long.headers[ID]) == 40  # HDR-03, DISC-14, SEC-98, CFG-03


def test_answers_without_a_body_carry_a_request_id_too(api, image):
    for method, path in (("GET", "/file"), ("PUT", "/tags/x"), ("POST", "/actions/deactivate"), ("DELETE", "")):
        answer = api.request(method, f"/v2/images/{image['id']}{path}" if path != "" else _fresh(api))
        assert answer.status in (200, 204) and answer.headers[ID].startswith("req-")  # HDR-01
    api.post(f"/v2/images/{image['id']}/actions/reactivate")


def _fresh(api):
    return f"/v2/images/{api.image()['id']}"


@pytest.mark.parametrize("given", ["a b", "a\r\nx: y", "a\nb", "\u00e9", "a,b", "<script>", "a\x00", "%0a", "\u00a0"])
def test_a_request_id_with_odd_characters_is_replaced(api, given):
    answer = api.get("/v2/images", headers={ID: given})
    assert answer.status == 200 and len(answer.headers[ID]) == 40  # SEC-98, SEC-99, RUL-10


def test_the_length_of_request_ids_is_configurable(tmp_path):
    with client(tmp_path, server=Server(max_request_id_length=0)) as api:
        assert api.get("/", headers={ID: "x" * 5000}).headers[ID] == "req-" + "x" * 5000  # HDR-03, CFG-03
    with client(tmp_path, server=Server(max_request_id_length=5)) as api:
        assert api.get("/", headers={ID: "x" * 6}).status == 431


def test_json_is_sent_as_plain_utf8(api):
    made = api.post("/v2/images", json={"name": "Gr\u00fc\u00dfe"})
    assert made.headers["content-type"] == "application/json"  # HDR-04
    assert "Gr\u00fc\u00dfe".encode() in made.body
    for path in (made.json["self"], "/v2/images", "/v2/schemas/image", "/v2/info/stores"):
        assert api.get(path).headers["content-type"] == "application/json"


def test_create_has_location_and_import_methods_headers(api, tmp_path):
    made = api.post("/v2/images", json={}, headers={"host": "localhost:99"})
    assert made.headers["location"] == f"http://localhost:99/v2/images/{made.json['id']}"  # HDR-05
    assert made.headers["openstack-image-store-ids"] == "fast,cheap"  # HDR-06, DISC-42
    methods = api.get("/v2/info/import").json["import-methods"]["value"]
    assert made.headers.get("openstack-image-import-methods", "") == ",".join(methods)  # HDR-06, DISC-25
    assert ("openstack-image-import-methods" in made.headers) == bool(methods)
    with client(tmp_path, single=True, server=Server(public_endpoint="https://images.example.org/x")) as single:
        made = single.post("/v2/images", json={})
        assert "openstack-image-store-ids" not in made.headers  # DISC-42
        assert made.headers["location"].startswith("http://127.0.0.1:9292/v2/images/")  # HDR-05


@pytest.mark.parametrize("wanted", [{}, {"range": "bytes=2-4"}])
def test_data_have_the_octet_stream_type(api, image, wanted):
    answer = api.get(f"/v2/images/{image['id']}/file", headers=wanted)
    assert answer.headers["content-type"] == "application/octet-stream"  # HDR-08, SEC-103
    assert answer.headers["content-md5"] == hashlib.md5(b"0123456789").hexdigest()
    assert int(answer.headers["content-length"]) == len(answer.body) == (3 if wanted else 10)
    assert answer.headers["x-content-type-options"] == "nosniff"  # RUL-14
    assert answer.headers["content-disposition"] == "attachment"  # SEC-103: a page in it is kept, not opened
    assert answer.headers["accept-ranges"] == "bytes" and image["os_hash_value"] in answer.headers["etag"]  # HDR-09


def test_conditional_requests_are_authorized_first(api, image):
    path = f"/v2/images/{image['id']}/file"
    etag = api.get(path).headers["etag"]
    same = api.get(path, headers={"if-none-match": etag})
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", etag)  # HDR-09, IMG-DL-17, RUL-11
    assert "content-length" not in same.headers
    assert api.get(path, headers={"if-match": '"other"'}).status == 412
    assert api.get(path, headers={"range": "bytes=0-1", "if-range": '"other"'}).status == 200
    assert api.get(path, headers={"if-none-match": etag, "x-auth-token": "nobody's"}).status == 401


@pytest.mark.parametrize("accepted", ["gzip", "gzip, deflate, br", "*"])
def test_nothing_is_compressed(api, image, accepted):
    for path in ("/v2/images", f"/v2/images/{image['id']}", f"/v2/images/{image['id']}/file", "/", "/v2/nothing"):
        with_it = api.get(path, headers={"accept-encoding": accepted})
        assert "content-encoding" not in with_it.headers and with_it.body == api.get(path).body  # HDR-10, SEC-106


def test_204_responses_have_no_content_headers(api):
    image_id = api.image()["id"]
    path = f"/v2/images/{image_id}"
    data = api.put(f"{path}/file", body=b"x", headers={"content-type": OCTETS})
    api.post(f"{path}/members", json={"member": "p9"})
    asked = [data, api.put(f"{path}/tags/t"), api.delete(f"{path}/members/p9"), api.delete(path)]
    for answer in (*asked, api.get(f"/v2/images/{api.image()['id']}/file")):
        assert (answer.status, answer.body) == (204, b"")  # ERR-13, CLI-08
        assert not {"content-type", "content-length"} & answer.headers.keys()


@pytest.mark.parametrize("text", [FAR, f"a{FAR}b", "\u00e9", "\uffff", "\u202e"])
def test_every_character_can_be_used_everywhere(api, text):
    made = api.post("/v2/images", json={"name": text, f"k{text}": text, "tags": [text], "visibility": "shared"})
    assert made.status == 201, made.text  # UNI-01
    shown = api.get(made.json["self"]).json
    assert (shown["name"], shown[f"k{text}"], shown["tags"]) == (text, text, [text])
    member = api.post(made.json["self"] + "/members", json={"member": text})
    assert member.status == 200 and member.json["member_id"] == text
    assert [each["id"] for each in api.get(f"/v2/images?name={_quoted(text)}").json["images"]] == [made.json["id"]]
    assert api.get(f"/v2/images?name={_quoted(text)}x").json["images"] == []  # UNI-02


def _quoted(text):
    return "".join(f"%{byte:02X}" for byte in text.encode())


@pytest.mark.parametrize("tag", ["\u00e9", FAR, "a b", "a+b", "100%"])
def test_a_tag_in_a_path_is_decoded_once(api, tag):
    path = _fresh(api)
    assert api.put(f"{path}/tags/{_quoted(tag)}").status == 204
    assert api.get(path).json["tags"] == [tag]  # UNI-04
    assert api.delete(f"{path}/tags/{_quoted(tag)}").status == 204


@pytest.mark.parametrize("path", ["/v2/images?name=%ff", "/v2/images?%ff=1", "/v2/images?tag=%ed%a0%80"])
def test_a_query_that_is_not_utf8_is_refused(api, path):
    assert api.get(path).status == 400  # UNI-03


@pytest.mark.parametrize("path", ["/v2/images/%ff", "/%c3%28", "/v2/images/%ed%a0%80", "/v2/images/a%00b"])
def test_a_path_that_is_not_utf8_is_refused(api, path):
    assert api.get(path).status == 400  # UNI-03, RUL-63
