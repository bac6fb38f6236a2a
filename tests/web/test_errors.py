"""Every error as clients read it: status, format and text."""

import json as stdlib_json
from pathlib import Path
from types import MappingProxyType

import glanceclient.exc
import openstack.exceptions
import pytest
import requests
from every_route import NO_IMAGE

from ferrotype.config.auth import Auth
from ferrotype.config.file_store import FileStore
from ferrotype.config.limits import Limits
from ferrotype.config.server import Server
from ferrotype.config.stores import StoreConfig, Stores
from ferrotype.model.errors import StoreReadOnly
from ferrotype.stores.driver import Health
from ferrotype.stores.stores import DRIVERS
from ferrotype.testing.client import OCTETS, OWNER, READER, client

DATA = {"content-type": OCTETS}


class Broken:
    """A back end that accepts objects and then raises an unexpected error."""

    properties = MappingProxyType({})

    def __init__(self, store, options, pools):
        pass

    async def put(self, object, batches, size, noted):
        async for _ in batches:
            pass
        return object.name

    async def open(self, handle):
        raise RuntimeError("a secret of the back end")

    async def delete(self, name, handle):
        pass

    async def probe(self):
        return Health(True)

    def url(self, handle):
        return f"broken:{handle}"

    def parse(self, url):
        return url.removeprefix("broken:") if url.startswith("broken:") else None


class Closed(Broken):
    """A store that never takes data."""

    async def put(self, object, batches, size, noted):
        raise StoreReadOnly("it has no objects of ours")


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    directory = tmp_path_factory.mktemp("errors")

    def store(store_id, path, kind="file"):
        return StoreConfig(store_id, kind, options=FileStore(((path, 0),)))

    entries = (
        store("fast", directory / "fast"),
        store("shut", directory, "closed"),  # STOR-22
        store("broken", directory, "broken"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DRIVERS, "broken", Broken)
        patch.setitem(DRIVERS, "closed", Closed)
        with client(
            directory,
            stores=Stores(True, "fast", entries),
            limits=Limits(image_size_cap=1000),
            server=Server(max_json_body=2048),
            auth=Auth(strategy="none", www_authenticate_uri="https://keystone.example.org/v3"),
        ) as api:
            api.caller = OWNER
            api.directory = directory
            yield api


def _lost(api, accept):
    image_id = api.image(b"data")["id"]
    for file in Path(api.directory / "fast").glob(f"*{image_id}*"):
        file.unlink()
    return api.get(f"/v2/images/{image_id}/file", headers=accept)


def _broken(api, accept):
    image_id = api.image()["id"]
    api.put(f"/v2/images/{image_id}/file", body=b"x", headers=DATA | {"x-image-meta-store": "broken"})
    return api.get(f"/v2/images/{image_id}/file", headers=accept)


def _upload(api, accept, size, **headers):
    path = f"/v2/images/{api.image()['id']}/file"
    return api.put(path, body=b"x" * size, headers=DATA | accept | headers)


def _file(api, accept, **headers):
    return api.get(f"/v2/images/{api.image(b'data')['id']}/file", headers=accept | headers)


# status -> how to get it, and a word of its text
ERRORS = {
    300: (lambda api, accept: api.get("/v1/images", headers=accept), ""),
    400: (lambda api, accept: api.post("/v2/images", body=b"{", headers=accept), "JSON"),
    401: (lambda api, accept: api.get("/v2/images", headers=accept | {"x-auth-token": "no"}), "token"),
    403: (lambda api, accept: api.post("/v2/images", json={}, caller=READER, headers=accept), "not allowed"),
    404: (lambda api, accept: api.get(f"/v2/images/{NO_IMAGE}", headers=accept), NO_IMAGE),
    405: (lambda api, accept: api.put("/v2/images", headers=accept), "methods GET, HEAD, POST"),
    409: (
        lambda api, accept: api.post("/v2/images", json={"id": api.image()["id"]}, headers=accept),
        "already exists",
    ),
    410: (lambda api, accept: _upload(api, accept, 1, **{"x-image-meta-store": "shut"}), "store"),
    412: (lambda api, accept: _file(api, accept, **{"if-match": '"x"'}), "If-Match"),
    413: (lambda api, accept: _upload(api, accept, 1001), "1000"),
    415: (lambda api, accept: api.put(f"/v2/images/{NO_IMAGE}/file", body=b"x", headers=accept), OCTETS),
    416: (lambda api, accept: _file(api, accept, range="bytes=9-"), "4 bytes"),
    431: (lambda api, accept: api.get("/", headers=accept | {"x-openstack-request-id": "x" * 65}), "64 characters"),
    500: (_broken, "internal error"),
    501: (lambda api, accept: api.request("FOO", "/v2/nothing", headers=accept), "FOO"),
    503: (_lost, "at the moment"),
}
ASKED = {"glanceclient": "*/*", "list": "application/json", "show": "*/*", "upload": "", "nothing": None}


def answered(reply):
    """Return the answer as the clients' HTTP library hands it on."""
    response = requests.Response()
    response.status_code = reply.status
    response.headers = requests.structures.CaseInsensitiveDict(reply.headers)
    response._content = reply.body
    response.reason = "Because"
    response.url = "http://127.0.0.1:9292/"
    response.request = requests.Request("GET", response.url).prepare()
    return response


@pytest.mark.parametrize("status", ERRORS)
@pytest.mark.parametrize("accept", ASKED.values(), ids=ASKED)
def test_every_error_has_a_form_and_a_request_id(api, status, accept):
    ask, word = ERRORS[status]
    reply = ask(api, {} if accept is None else {"accept": accept})
    assert reply.status == status, reply.text
    assert reply.headers["content-length"] == str(len(reply.body))
    assert reply.headers["x-openstack-request-id"].startswith("req-")  # HDR-01
    if status == 300:
        return
    kind = {"*/*": "text/html; charset=UTF-8", "application/json": "application/json"}
    assert reply.headers["content-type"] == kind.get(accept, "text/plain; charset=UTF-8")  # ERR-11, CL-02, CL-04
    assert word in reply.text and "secret" not in reply.text  # ERR-12
    if accept == "application/json":
        assert list(reply.json) == ["message", "code", "title"]  # ERR-05
        assert reply.json["code"] == f"{status} {reply.json['title']}" and "<" not in reply.json["message"]


@pytest.mark.parametrize("status", ERRORS)
def test_glanceclient_reads_every_error(api, status):
    ask, word = ERRORS[status]
    response = answered(ask(api, {"accept": "*/*"}))
    # It looks into the body of errors alone.
    error = glanceclient.exc.from_response(response, response.content if status >= 400 else None)  # CL-01, ERR-08
    expected = {300: "HTTPMultipleChoices", 404: "HTTPNotFound", 409: "HTTPConflict", 401: "HTTPUnauthorized"}
    assert type(error).__name__ == expected.get(status, type(error).__name__)
    if status != 300:
        assert word in str(error) and str(error).count(f"{status} ") >= 1
        assert "<" not in str(error) and "&" not in str(error)  # CL-05


@pytest.mark.parametrize("status", [status for status in ERRORS if status >= 400])
@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_openstacksdk_reads_every_error(api, status, accept):
    ask, word = ERRORS[status]
    response = answered(ask(api, {"accept": accept}))
    with pytest.raises(openstack.exceptions.HttpException) as caught:
        openstack.exceptions.raise_from_response(response)
    assert word in str(caught.value.details)  # CL-03, ERR-09
    assert caught.value.status_code == status
    assert caught.value.request_id == response.headers["x-openstack-request-id"]


def test_openstacksdk_reports_the_status_of_other_responses(api):
    response = answered(ERRORS[415][0](api, {"accept": ""}))
    with pytest.raises(openstack.exceptions.HttpException) as caught:
        openstack.exceptions.raise_from_response(response)
    assert caught.value.status_code == 415  # ERR-09


def test_details_of_a_failure_are_logged_and_not_sent(api, caplog):
    reply = _broken(api, {"accept": "application/json"})
    # ERR-12, SEC-117
    assert reply.status == 500 and stdlib_json.loads(reply.body)["title"] == "Internal Server Error"
    assert "RuntimeError: a secret of the back end" in caplog.text
    assert "Traceback" not in reply.text and "RuntimeError" not in reply.text


def test_headers_of_single_errors(api):
    assert api.get("/v2/images", headers={"x-auth-token": ""}).headers["www-authenticate"] == (
        'Keystone uri="https://keystone.example.org/v3"'  # AUT-02
    )
    assert int(_lost(api, {}).headers["retry-after"]) > 0
    patch = api.request("PATCH", f"/v2/images/{NO_IMAGE}", body=b"[]", headers={"content-type": "application/json"})
    assert patch.status == 415
    assert patch.headers["accept-patch"] == (  # HDR-07
        "application/openstack-images-v2.0-json-patch, application/openstack-images-v2.1-json-patch"
    )
    assert ERRORS[416][0](api, {}).headers["content-range"] == "bytes */4"


@pytest.mark.parametrize("path", ["/v2/images/<script>", "/v2/stores/<b>x/" + NO_IMAGE])
def test_reflected_input_is_never_markup(api, path):
    method = "DELETE" if "stores" in path else "GET"
    reply = api.request(method, path, headers={"accept": "text/html"})
    assert reply.status in (404, 409) and "<script>" not in reply.text and "<b>" not in reply.text  # SEC-103
    assert "&lt;" in reply.text
