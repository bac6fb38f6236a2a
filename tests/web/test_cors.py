"""CORS headers for pages of other origins."""

import pytest
from every_route import NO_IMAGE

from ferrotype.config.auth import Auth
from ferrotype.config.cors import Cors
from ferrotype.testing.client import client

PAGE, OTHER = "https://dashboard.example.org", "http://10.0.0.5:8080"
ASKED = [
    ("GET", "/v2/images", 200), ("GET", "/", 300), ("GET", "/versions", 200), ("GET", "/v1/images", 300),
    ("POST", "/v2/images", 201), ("GET", f"/v2/images/{NO_IMAGE}", 404), ("PUT", "/v2/images", 405),
    ("GET", "/healthcheck", 200), ("HEAD", "/v2/images", 200), ("FOO", "/v2/nothing", 501), ("GET", "/%ff", 400),
]  # fmt: skip
EXPOSED = "X-Image-Meta-Checksum,X-Auth-Token,X-Subject-Token,X-Service-Token,X-OpenStack-Request-ID"


def cors(answer):
    return {
        name: value for name, value in answer.headers.items() if name.startswith("access-control") or name == "vary"
    }


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    section = Cors(origins=(PAGE, OTHER))
    with client(tmp_path_factory.mktemp("cors"), cors=section, auth=Auth(strategy="keystone")) as api:
        yield api


def preflight(api, origin=PAGE, method="PUT", headers=None, path="/v2/images"):
    asked = {"origin": origin, "access-control-request-method": method, "x-auth-token": "unknown"}
    asked |= {} if headers is None else {"access-control-request-headers": headers}
    return api.request("OPTIONS", path, headers={name: value for name, value in asked.items() if value is not None})


@pytest.mark.parametrize("origin", [PAGE, OTHER])
@pytest.mark.parametrize(("method", "path", "status"), ASKED)
def test_a_listed_origin_may_read_every_answer(api, origin, method, path, status):
    body = {"json": {}} if method == "POST" else {}
    answer = api.request(method, path, headers={"origin": origin}, **body)
    assert answer.status == status
    assert cors(answer) == {  # COR-01, SEC-102
        "vary": "Origin",
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": EXPOSED,
    }


def test_a_listed_origin_may_read_a_401_response(api):
    answer = api.get("/v2/images", headers={"origin": PAGE, "x-auth-token": "unknown"})
    assert answer.status == 401 and cors(answer)["access-control-allow-origin"] == PAGE  # COR-01


@pytest.mark.parametrize(
    "origin", ["null", "https://evil.example.org", PAGE + ".evil.org", PAGE + "/", PAGE.upper(), ""]
)
def test_other_origins_get_no_cors_headers(api, origin):
    answer = api.get("/v2/images", headers={"origin": origin})
    assert answer.status == 200 and cors(answer) == {}  # COR-01, SEC-102
    answer = preflight(api, origin)
    assert (answer.status, answer.body, cors(answer)) == (200, b"", {})  # COR-02


def test_requests_without_origin_get_no_cors_headers(api):
    assert cors(api.get("/v2/images")) == {} == cors(preflight(api, None))


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/v2/images", "/v2/nothing", "/", "/healthcheck"])
def test_a_preflight_from_a_listed_origin_is_allowed(api, method, path):
    answer = preflight(api, method=method, headers="X-Auth-Token, content-type,X-OPENSTACK-REQUEST-ID", path=path)
    assert answer.status == 200 and answer.body == (b"OK" if path == "/healthcheck" else b"")
    assert cors(answer) == {  # COR-02, COR-03
        "vary": "Origin",
        "access-control-allow-origin": PAGE,
        "access-control-allow-credentials": "true",
        "access-control-max-age": "3600",
        "access-control-allow-methods": method,
        "access-control-allow-headers": "X-Auth-Token,content-type,X-OPENSTACK-REQUEST-ID",
    }
    assert "access-control-allow-headers" not in cors(preflight(api, method=method))


@pytest.mark.parametrize(
    "name", (*Cors.allow_headers, "Accept", "Accept-Language", "Content-Language", "Content-Type")
)
def test_headers_that_pages_need_may_be_sent(api, name):
    assert cors(preflight(api, headers=name))["access-control-allow-headers"] == name  # COR-03


@pytest.mark.parametrize(
    ("method", "headers"),
    [("TRACE", None), ("get", None), (None, None), ("", None), ("GET", "X-Evil"), ("GET", "X-Auth-Token, X-Evil")],
)
def test_a_preflight_for_other_methods_or_headers_is_not_allowed(api, method, headers):
    answer = preflight(api, method=method, headers=headers)
    assert (answer.status, answer.body, cors(answer)) == (200, b"", {})  # COR-02


def test_without_listed_origins_there_are_no_cors_headers(tmp_path):
    with client(tmp_path) as api:
        assert cors(api.get("/v2/images", headers={"origin": PAGE})) == {} == cors(preflight(api))  # COR-01, CFG-65


def test_the_cors_options_are_used(tmp_path):
    section = Cors((PAGE,), False, 0, ("GET", "LINK"), ("X-Mine",), ())
    with client(tmp_path, cors=section) as api:  # CFG-65
        allowed = {"vary": "Origin", "access-control-allow-origin": PAGE}
        assert cors(api.get("/", headers={"origin": PAGE})) == allowed
        lists = {"access-control-allow-methods": "LINK", "access-control-allow-headers": "x-mine"}
        assert cors(preflight(api, method="LINK", headers="x-mine")) == allowed | lists
        assert cors(preflight(api, method="PUT")) == {} == cors(preflight(api, method="GET", headers="X-Auth-Token"))


def test_a_wildcard_never_allows_credentials(tmp_path):
    with client(tmp_path, cors=Cors(("*",)), auth=Auth(strategy="keystone")) as api:
        answer = cors(api.get("/", headers={"origin": "https://any.example.org"}))
        assert answer["access-control-allow-origin"] == "*"  # SEC-102
        assert "access-control-allow-credentials" not in answer
        assert "access-control-allow-credentials" not in cors(preflight(api, "null"))
