"""HTTP Basic: valid and invalid credentials, and what a browser sends for another site."""

import base64
import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import bcrypt
import pytest
from local_accounts import (
    ALICE,
    BOB,
    RITA,
    accounts_of,
    basic,
    client_without_keystone,
    htpasswd,
    served_without_keystone,
)

from ferrotype.config.auth import Auth
from ferrotype.config.cors import Cors
from ferrotype.identity.none import PROJECT


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with client_without_keystone(
        tmp_path_factory.mktemp("basic"), cors=Cors(origins=("https://dashboard.example.org",))
    ) as api:
        yield api


@pytest.mark.parametrize(
    ("headers", "project", "may_publish"),
    [(ALICE, PROJECT, True), (BOB, "demo", False), (basic("сергей", "x"), "other", False)],
)
def test_a_user_works_in_the_project_of_their_line_with_its_roles(api, headers, project, may_publish):
    made = api.post("/v2/images", json={}, headers=headers)
    assert (made.status, made.json["owner"]) == (201, project)  # AUTH-07, AUTH-09
    public = api.post("/v2/images", json={"visibility": "public"}, headers=headers)
    assert public.status == (201 if may_publish else 403)


def test_a_reader_reads_and_colons_belong_to_the_password(api):
    assert api.get("/v2/images", headers=RITA).status == 200
    assert api.post("/v2/images", json={}, headers=RITA).status == 403


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_the_scheme_is_case_insensitive(api, scheme):
    headers = {"authorization": ALICE["authorization"].replace("Basic", scheme)}
    assert api.get("/v2/images", headers=headers).status == 200


WRONG = {
    "nothing": {},
    "another password": basic("alice", "wonder "),
    "no password": basic("alice", ""),
    "a password that begins right": basic("alice", "wonde"),
    "unknown user": basic("nobody", "wonder"),
    "another case": basic("Alice", "wonder"),
    "no name": basic("", "wonder"),
    "a NUL": basic("alice", "wonder\0"),
    "a NUL in the name": basic("alice\0", "wonder"),
    "no base64": {"authorization": "Basic alice:wonder"},
    "no colon": {"authorization": "Basic " + base64.b64encode(b"alice").decode()},
    "no UTF-8": {"authorization": "Basic " + base64.b64encode("bob:pässwörd ☃".encode("utf-16")).decode()},
    "another scheme": {"authorization": "Bearer " + ALICE["authorization"].partition(" ")[2]},
    "two at once": {"authorization": f"{ALICE['authorization']}, {ALICE['authorization']}"},
    "the hash": None,
}


@pytest.mark.parametrize("case", WRONG)
def test_invalid_credentials_get_a_basic_challenge(api, case):
    headers = WRONG[case]
    if headers is None:
        headers = basic("alice", accounts_of(api).users["alice"].secret)
    answer = api.get("/v2/images", headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="Images", charset="UTF-8"'  # AUTH-09


def test_health_and_versions_need_no_password(api):
    assert [api.get(path).status for path in ("/healthcheck", "/versions", "/v2/", "/")] == [200, 200, 200, 300]


@pytest.mark.parametrize("spell", [str, str.lower, str.upper, lambda name: name.replace("-", "_")])
def test_forged_identity_headers_are_ignored(api, spell):
    claims = {
        "X-Roles": "admin", "X-Role": "admin", "X-Project-Id": "evil", "X-Tenant-Id": "evil", "X-User-Id": "evil",
        "X-User": "evil", "X-Is-Admin-Project": "True", "X-Identity-Status": "Confirmed",
        "X-Service-Roles": "service", "X-Service-Token": "service",
    }  # fmt: skip
    forged = {spell(name): value for name, value in claims.items()}
    made = api.post("/v2/images", json={}, headers=forged | BOB)
    assert made.json["owner"] == "demo"  # SEC-65
    assert api.post("/v2/images", json={"visibility": "public"}, headers=forged | BOB).status == 403  # SEC-65
    assert api.get("/v2/images", headers=forged).status == 401  # SEC-65
    underscored = {"X_Auth_Token": "robot-token-Zm9v_-0123", "X_Authorization": BOB["authorization"]}
    assert api.get("/v2/images", headers=underscored).status == 401  # SEC-65


@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", "http://127.0.0.1:9292.evil.org"])
def test_csrf_from_another_origin_is_refused(api, origin):
    assert api.post("/v2/images", json={}, headers=ALICE | {"origin": origin}).status == 403
    assert api.get("/v2/images", headers=ALICE | {"origin": origin}).status == 200


@pytest.mark.parametrize("origin", ["http://127.0.0.1:9292", "https://dashboard.example.org"])
def test_own_and_allowed_origins_may_make_changes(api, origin):
    assert api.post("/v2/images", json={}, headers=ALICE | {"origin": origin}).status == 201


def test_anonymous_access_allows_reading_only(tmp_path):
    with client_without_keystone(tmp_path, auth=Auth(allow_anonymous=True)) as api:
        assert api.post("/v2/images", json={}).status in (401, 403)  # AUTH-02, SEC-75
        assert api.get("/v3/projects").status == 401
        assert api.post("/v2/images", json={}, headers=BOB).status == 201


def test_other_requests_are_served_while_passwords_are_checked(tmp_path, monkeypatch):
    begun, go, check = threading.Event(), threading.Event(), bcrypt.checkpw

    def held(password: bytes, secret: bytes) -> bool:
        begun.set()
        if not go.wait(30):  # The test failed before it set the event.
            go.set()
        return check(password, secret)

    with client_without_keystone(tmp_path) as api, ThreadPoolExecutor(16) as pool:
        assert api.get("/v2/images", headers=BOB).status == 200
        monkeypatch.setattr(bcrypt, "checkpw", held)
        guesses = [pool.submit(api.get, "/v2/images", headers=basic("alice", f"{n}")) for n in range(16)]
        assert begun.wait(60)
        for _ in range(30):
            assert api.get("/v2/images", headers=BOB).status == 200
        assert not go.is_set() and not any(guess.done() for guess in guesses)
        go.set()
        assert {guess.result().status for guess in guesses} == {401}


def test_no_password_is_in_the_log(tmp_path):
    htpasswd(tmp_path / "users", {"eve": "canary-1"})
    with served_without_keystone(tmp_path) as service:
        tokens = []
        for password in ("canary-1", "canary-2"):
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
            connection.request("GET", "/v2/images", headers=basic("eve", password))
            assert connection.getresponse().read()
            user = {"name": "eve", "password": password}
            body = json.dumps({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}})
            connection.request("POST", "/v3/auth/tokens", body)
            answer = connection.getresponse()
            tokens.append(answer.headers.get("x-subject-token"))
            assert answer.read()
        good = tokens[0]
        for path, headers in (("/v2/images", {"X-Auth-Token": good}), ("/v2/images", {"X-Auth-Token": good + "x"})):
            connection.request("GET", path, headers=headers)
            assert connection.getresponse().read()
    log = service.log.read_text()
    assert "eve" in log
    assert "canary" not in log and good not in log and good.split(".")[1] not in log  # SEC-115
