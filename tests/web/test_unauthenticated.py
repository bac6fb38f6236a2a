"""Authentication disabled: full access from this host, protected against DNS rebinding and CSRF."""

import http.client
import json

import pytest

from ferrotype.config.auth import Auth
from ferrotype.config.cors import Cors
from ferrotype.config.server import Server
from ferrotype.identity.none import PROJECT
from ferrotype.testing.client import client
from ferrotype.testing.process import served

WRITES = ("POST", "PUT", "PATCH", "DELETE", "FOO")


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with client(tmp_path_factory.mktemp("alone"), cors=Cors(origins=("https://dashboard.example.org",))) as api:
        yield api


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:9292", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:9292", "localhost:"],
)
def test_a_loopback_host_is_accepted(api, host):
    for path in ("/", "/v2/images", "/healthcheck", "/v2/info/stores"):
        assert api.get(path, headers={"host": host}).status in (200, 300)  # RUL-43


@pytest.mark.parametrize(
    "host",
    ["evil.example.org", "localhost.evil.org", "localhost@evil.org", "127.0.0.1.nip.io", "10.0.0.1", "", "[::1",
     "::1]", "localhost:80@evil.org", "127.1", "0.0.0.0", "[::2]:80"],
)  # fmt: skip
def test_dns_rebinding_is_refused_on_every_path(api, host):
    for method in ("GET", "HEAD", "OPTIONS", *WRITES):
        for path in ("/", "/v2/images", "/healthcheck", "/versions", "/v2/nothing"):
            assert api.request(method, path, headers={"host": host}).status == 403  # RUL-43, SEC-101


def test_the_bound_address_is_accepted(tmp_path):
    with client(tmp_path, server=Server(bind_host="127.0.0.2")) as api:
        assert api.get("/v2/images", headers={"host": "127.0.0.2:9292"}).status == 200  # RUL-43
        assert api.get("/v2/images", headers={"host": "127.0.0.3:9292"}).status == 403


def test_any_host_is_accepted_with_allow_unauthenticated_listen(tmp_path):
    with client(tmp_path, auth=Auth(allow_unauthenticated_listen=True)) as api:
        assert api.get("/v2/images", headers={"host": "images.example.org"}).status == 200
        foreign = {"host": "images.example.org", "origin": "http://evil.example.org"}
        assert api.post("/v2/images", json={}, headers=foreign).status == 403  # RUL-43


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example.org", "null", "", "http://127.0.0.1:8080", "http://localhost:9292", "127.0.0.1:9292",
     "http://[::1", "http://127.0.0.1:9292@evil.org", "http://127.0.0.1:9292.evil.org", "file://"],
)  # fmt: skip
@pytest.mark.parametrize("method", WRITES)
def test_csrf_from_another_origin_is_refused(api, origin, method):
    before = api.get("/v2/images").body
    answer = api.request(method, "/v2/images", headers={"origin": origin}, body=b"{}")
    assert answer.status == 403 and api.get("/v2/images").body == before  # RUL-43
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_own_and_allowed_origins_may_make_changes(api):
    for origin in ("http://127.0.0.1:9292", "https://dashboard.example.org"):
        assert api.post("/v2/images", json={}, headers={"origin": origin}).status == 201  # RUL-43, COR-01


def test_with_authentication_any_host_is_accepted(tmp_path):
    with client(tmp_path, auth=Auth(strategy="keystone")) as api:
        headers = {"host": "images.example.org", "origin": "http://evil.example.org"}
        assert api.post("/v2/images", json={}, headers=headers).status == 201


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with served(tmp_path_factory.mktemp("served")) as service:
        yield service


def ask(service, method, path, headers=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text.startswith(b"{") else text
    finally:
        connection.close()


@pytest.mark.parametrize("token", [None, "notused", "", "x" * 5000])
def test_every_caller_is_the_administrator_of_one_project(service, token):
    headers = {} if token is None else {"X-Auth-Token": token}
    status, image = ask(service, "POST", "/v2/images", headers, b'{"visibility": "public"}')
    assert (status, image["owner"], image["visibility"]) == (201, PROJECT, "public")  # AUTH-08, AUT-07, RUL-43, CL-12
    assert ask(service, "GET", "/v2/images?limit=1", headers)[0] == 200  # CL-71
    status, image = ask(service, "POST", "/v2/images", headers, b'{"owner": "other-user"}')
    assert (status, image["owner"]) == (201, "other-user")
    assert ask(service, "GET", image["self"], headers)[0] == 200
    assert ask(service, "GET", "/v2/info/stores/detail", headers)[0] == 200  # DISC-110
    assert ask(service, "POST", f"{image['self']}/actions/deactivate", headers)[0] == 403


@pytest.mark.parametrize("spell", [str, str.lower, str.upper, lambda name: name.replace("-", "_")])
def test_forged_identity_headers_are_ignored(service, spell):
    claims = {
        "X-Roles": "reader", "X-Project-Id": "evil", "X-Tenant-Id": "evil", "X-User-Id": "evil", "X-Tenant": "evil",
        "X-Is-Admin-Project": "False", "X-Identity-Status": "Invalid", "X-Service-Roles": "service",
    }  # fmt: skip
    headers = {spell(name): value for name, value in claims.items()}
    status, image = ask(service, "POST", "/v2/images", headers, b'{"visibility": "public"}')
    assert (status, image["owner"]) == (201, PROJECT)  # SEC-65


def test_underscores_in_header_names_are_not_dashes(tmp_path):
    with client(tmp_path, auth=Auth(strategy="keystone")) as api:
        api.get("/v2/images")
        token = next(iter(api._callers))
        assert api.get("/v2/images", headers={"x-auth-token": token}).status == 200
        assert api.get("/v2/images", headers={"x-auth-token": "", "x_auth_token": token}).status == 401  # SEC-65
