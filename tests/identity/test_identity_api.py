"""The built-in Identity v3 API: log-in, the life of a token, and look-ups of projects and users."""

import base64
import calendar
import time
from dataclasses import replace

import pytest
from local_accounts import (
    ALICE,
    BOB,
    RITA,
    ROBOT,
    accounts_of,
    basic,
    client_without_keystone,
    htpasswd,
    log_in,
    look_again,
    replace_file,
    token_of,
)

from ferrotype.config.server import Server
from ferrotype.db import logins
from ferrotype.identity.accounts import Account
from ferrotype.identity.none import PROJECT
from ferrotype.identity.tokens import Signer, Token
from ferrotype.model.times import SECOND
from ferrotype.testing.client import config, serving

BOBS = "pässwörd ☃"
PUBLIC = "https://images.example.org:8443/under"


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with client_without_keystone(tmp_path_factory.mktemp("identity"), server=Server(public_endpoint=PUBLIC)) as api:
        yield api


def identity(name="bob", password=BOBS, **user):
    return {"methods": ["password"], "password": {"user": {"name": name, "password": password, **user}}}


def post(api, auth, path="/v3/auth/tokens"):
    return api.post(path, json={"auth": auth}, headers={"accept": "application/json"})


# Discovery.


def test_version_links_use_the_public_endpoint(api):
    # CL-23, CL-50
    versions = api.get("/identity")
    assert versions.status == 300
    [version] = versions.json["versions"]["values"]
    assert version["links"] == [{"rel": "self", "href": f"{PUBLIC}/identity/v3/"}]
    assert (version["id"][:2], version["status"]) == ("v3", "stable")
    for path in ("/identity/v3", "/identity/v3/"):
        assert api.get(path).json == {"version": version}
    assert api.get("/v3/").json["version"]["links"][0]["href"] == f"{PUBLIC}/v3/"
    assert api.request("HEAD", "/v3").body == b""


def test_the_image_api_keeps_its_paths(api):
    assert api.get("/").status == 300 and "v2.17" in api.get("/").text
    assert api.get("/images", headers=BOB).status == 200  # CL-48


# What clients send to log in; every shape is one that gophercloud or keystoneauth makes.

DEFAULT = {"name": "Default"}
SHAPES = {
    "name and domain name": ({"identity": identity(domain=DEFAULT)}, "demo"),
    "name and domain id": ({"identity": identity(domain={"id": "default"})}, "demo"),
    "user id": ({"identity": identity(name=None, id="bob")}, "demo"),
    "no domain": ({"identity": identity()}, "demo"),
    "project name and domain name": (
        {"identity": identity(domain=DEFAULT), "scope": {"project": {"name": "demo", "domain": DEFAULT}}},
        "demo",
    ),
    "project id": ({"identity": identity(domain=DEFAULT), "scope": {"project": {"id": "demo"}}}, "demo"),
    "project name and domain id": (
        {"identity": identity(), "scope": {"project": {"name": "demo", "domain": {"id": "default"}}}},
        "demo",
    ),
    "the fixed project by name": (
        {"identity": identity("alice", "wonder"), "scope": {"project": {"name": "default", "domain": DEFAULT}}},
        PROJECT,
    ),
    "the fixed project by id": (
        {"identity": identity("alice", "wonder"), "scope": {"project": {"id": PROJECT}}},
        PROJECT,
    ),
    "unscoped": ({"identity": identity(), "scope": "unscoped"}, None),
    "unscoped as an object": ({"identity": identity(), "scope": {"unscoped": {}}}, None),
}


@pytest.mark.parametrize("path", ["/v3/auth/tokens", "/identity/v3/auth/tokens"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_log_in_gives_a_token_for_its_project(api, shape, path):
    auth, project = SHAPES[shape]
    answer = post(api, auth, path)
    assert answer.status == 201  # CL-70
    token = {"x-auth-token": answer.headers["x-subject-token"]}
    assert answer.json["token"].get("project", {}).get("id") == project
    assert ("catalog" in answer.json["token"], "roles" in answer.json["token"]) == (project is not None,) * 2
    made = api.post("/v2/images", json={}, headers=token)
    assert made.status == (201 if project else 403)
    assert project is None or made.json["owner"] == project


def test_a_token_document_has_keystones_format(api):
    token = post(api, {"identity": identity()}).json["token"]
    domain = {"id": "default", "name": "Default"}
    assert token["user"] == {"id": "bob", "name": "bob", "domain": domain, "password_expires_at": None}
    assert token["project"] == {"id": "demo", "name": "demo", "domain": domain}
    assert token["methods"] == ["password"]
    assert token["roles"] == [{"id": role, "name": role} for role in ("member", "reader")]
    issued, expires = (time.strptime(token[f"{name}_at"], "%Y-%m-%dT%H:%M:%S.%fZ") for name in ("issued", "expires"))
    assert calendar.timegm(expires) - calendar.timegm(issued) == 3600


def test_the_catalog_names_the_image_service_without_a_version(api):
    catalog = post(api, {"identity": identity()}).json["token"]["catalog"]
    urls = {(each["type"], end["interface"]): end["url"] for each in catalog for end in each["endpoints"]}
    interfaces = ("public", "internal", "admin")
    assert urls == {("image", interface): PUBLIC for interface in interfaces} | {  # CL-22
        ("identity", interface): f"{PUBLIC}/identity" for interface in interfaces
    }
    ids = [end["id"] for each in catalog for end in each["endpoints"]]
    assert len(set(ids)) == 6


REFUSED = {
    "wrong password": ({"identity": identity(password="wrong")}, 401),
    "unknown user": ({"identity": identity("nobody")}, 401),
    "an operator's token as password": ({"identity": identity("robot", ROBOT)}, 401),
    "another domain": ({"identity": identity(domain={"name": "heat"})}, 401),
    "another domain's id": ({"identity": identity(domain={"id": "heat"})}, 401),
    "another project": ({"identity": identity(), "scope": {"project": {"id": "other"}}}, 401),
    "a project that is not there": ({"identity": identity(), "scope": {"project": {"id": "none"}}}, 401),
    "a project of another domain": (
        {"identity": identity(), "scope": {"project": {"name": "demo", "domain": {"name": "heat"}}}},
        401,
    ),
    "the fixed project": ({"identity": identity(), "scope": {"project": {"name": "default"}}}, 401),
    "a domain": ({"identity": identity(), "scope": {"domain": {"id": "default"}}}, 401),
    "the system": ({"identity": identity("alice", "wonder"), "scope": {"system": {"all": True}}}, 401),
    "two scopes": ({"identity": identity(), "scope": {"project": {"id": "demo"}, "domain": {"id": "x"}}}, 401),
    "another method": ({"identity": {"methods": ["totp"], "totp": {}}}, 401),
    "an application credential": (
        {"identity": {"methods": ["application_credential"], "application_credential": {"id": "a", "secret": "b"}}},
        401,
    ),
    "one method too many": ({"identity": {**identity(), "methods": ["password", "totp"]}}, 401),
    "no method": ({"identity": {"methods": []}}, 401),
    "a forged token": ({"identity": {"methods": ["token"], "token": {"id": "tt1.aaaa.bbbb"}}}, 401),
    "no user": ({"identity": {"methods": ["password"], "password": {"user": {"password": "x"}}}}, 400),
    "no password object": ({"identity": {"methods": ["password"]}}, 400),
    "a number for a name": ({"identity": identity(name=7)}, 400),
    "a list for a project": ({"identity": identity(), "scope": {"project": []}}, 400),
    "nothing": ({}, 400),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_log_ins_are_refused_in_identitys_error_format(api, case):
    auth, status = REFUSED[case]
    answer = post(api, auth)
    error = answer.json["error"]
    assert (answer.status, error["code"], error["title"]) == (
        status, status, {400: "Bad Request", 401: "Unauthorized"}[status],
    )  # fmt: skip
    assert isinstance(error["message"], str)
    assert "x-subject-token" not in answer.headers
    if status == 401:
        assert answer.headers["www-authenticate"] == f'Keystone uri="{PUBLIC}/identity/v3"'


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"auth"', b"\xff", b"[" * 5000, b'{"auth": {}}'])
def test_an_invalid_body_is_refused(api, body):
    answer = api.post("/v3/auth/tokens", body=body)
    assert (answer.status, answer.json["error"]["code"]) == (400, 400)  # SEC-107


def test_a_body_that_is_too_large_is_refused(api):
    assert api.post("/v3/auth/tokens", body=b" " * 70_000).json["error"]["code"] == 413  # SEC-107


# A token's life.


def test_a_token_from_a_token_expires_at_the_same_time(api):
    first = post(api, {"identity": identity(), "scope": "unscoped"})
    again = {"methods": ["token"], "token": {"id": first.headers["x-subject-token"]}}
    second = post(api, {"identity": again, "scope": {"project": {"name": "demo", "domain": DEFAULT}}})
    assert second.status == 201
    assert second.json["token"]["expires_at"] == first.json["token"]["expires_at"]
    assert second.json["token"]["project"]["id"] == "demo"
    assert second.json["token"]["audit_ids"] != first.json["token"]["audit_ids"]
    both = {**identity("rita", "a:b:c"), **again, "methods": ["password", "token"]}
    assert post(api, {"identity": both}).status == 401  # Password and token of different users.


def test_a_token_is_invalid_with_any_character_changed(api):
    good = token_of(api, "bob", BOBS)["x-auth-token"]
    assert api.get("/v2/images", headers={"x-auth-token": good}).status == 200
    for place in range(0, len(good), 7):
        changed = good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
        assert api.get("/v2/images", headers={"x-auth-token": changed}).status == 401, place
    for changed in (
        good[:-1],
        good + "A",
        good + "=",
        good.upper(),
        good.replace("tt1.", "tt2.", 1),
        good[4:],
        "tt1..",
    ):
        assert api.get("/v2/images", headers={"x-auth-token": changed}).status == 401


def test_a_token_of_another_deployment_is_invalid(api, tmp_path):
    with client_without_keystone(tmp_path) as other:
        foreign = token_of(other, "bob", BOBS)
        assert other.get("/v2/images", headers=foreign).status == 200
    assert api.get("/v2/images", headers=foreign).status == 401


def signed(api, **changes) -> str:
    login = api.application._login
    account = accounts_of(api).users["bob"]
    now = time.time_ns() // 1000
    token = Token(
        "id", "bob", login._signer.account_fingerprint(account, "demo"), "demo", ("password",), now, now + SECOND * 60
    )
    fields = {name: getattr(token, name) for name in token.__struct_fields__} | changes
    return login._signer.sign(Token(**fields))


def test_a_token_expires(api):
    now = time.time_ns() // 1000
    assert api.get("/v2/images", headers={"x-auth-token": signed(api)}).status == 200
    old = {"x-auth-token": signed(api, expires_at=now - 1)}
    assert api.get("/v2/images", headers=old).status == 401  # SEC-74
    assert post(api, {"identity": {"methods": ["token"], "token": {"id": old["x-auth-token"]}}}).status == 401
    assert api.get("/v3/auth/tokens", headers=ALICE | {"x-subject-token": old["x-auth-token"]}).status == 404
    assert api.get("/v2/images", headers={"x-auth-token": signed(api, user="nobody")}).status == 401


def test_a_revoked_token_is_invalid_on_every_node_at_once(database_url, tmp_path):
    node = {"database_url": database_url}
    with client_without_keystone(tmp_path, **node) as api, client_without_keystone(tmp_path, **node) as another_node:
        token = token_of(api, "bob", BOBS)
        subject = token | {"x-subject-token": token["x-auth-token"]}
        assert another_node.get("/v2/images", headers=token).status == 200
        assert api.delete("/v3/auth/tokens", headers=subject).status == 204
        for node in (api, another_node):
            assert node.get("/v2/images", headers=token).status == 401  # SEC-74
        assert api.delete("/v3/auth/tokens", headers=subject).status == 401
        assert api.get("/v2/images", headers=token_of(api, "bob", BOBS)).status == 200


def test_revocations_of_expired_tokens_are_not_kept(database_url, tmp_path):
    with client_without_keystone(tmp_path, database_url=database_url) as api:
        db = api.application.ctx.db
        later = time.time_ns() // 1000 + 60 * SECOND
        api.run(logins.revoke(db, "old", 1))
        api.run(logins.revoke(db, "new", later))
        api.run(logins.revoke(db, "new", later))
        assert [api.run(logins.is_revoked(db, token)) for token in ("old", "new")] == [False, True]


def test_all_processes_sign_with_the_secret_that_the_first_one_created(database_url, tmp_path):
    with client_without_keystone(tmp_path, database_url=database_url) as api:
        first = api.run(logins.secret(api.application.ctx.db, "tokens"))
        token = token_of(api, "bob", BOBS)
    with client_without_keystone(tmp_path, database_url=database_url) as api:
        assert api.run(logins.secret(api.application.ctx.db, "tokens")) == first
        assert api.run(logins.secret(api.application.ctx.db, "another")) != first
        assert len(first) == 32
        assert api.get("/v2/images", headers=token).status == 200


# ACC-12
@pytest.mark.parametrize(
    "line", ["bob:demo:member,reader", "bob:demo:reader", "bob:other:member,reader", "bob", "zoe:demo:member"]
)
def test_a_token_is_invalid_once_the_line_of_its_user_changed(tmp_path, line):
    with client_without_keystone(tmp_path) as api:
        token = token_of(api, "bob", BOBS)
        htpasswd(tmp_path / "users", {"alice": "wonder", line: "new"})
        look_again(api)
        assert api.get("/v2/images", headers=token).status == 401  # SEC-74


def test_a_token_contains_no_part_of_the_password_hash(api):
    token = token_of(api, "bob", BOBS)["x-auth-token"]
    content = base64.urlsafe_b64decode(token.split(".")[1] + "==")
    assert b"bob" in content
    assert b"$2b$" not in content and accounts_of(api).users["bob"].secret.encode()[-20:] not in content  # SEC-115
    one, other = (Signer(secret).account_fingerprint(Account("bob", "hash"), "p") for secret in (b"1", b"2"))
    assert one != other


# Looking at tokens, projects and users.


@pytest.mark.parametrize(("who", "status"), [(BOB, 200), (ALICE, 200), (RITA, 403)])
def test_a_token_is_shown_to_its_user_and_to_administrators(api, who, status):
    made = log_in(api, "bob", BOBS)
    subject = {"x-subject-token": made.headers["x-subject-token"]}
    shown = api.get("/v3/auth/tokens", headers=who | subject)
    assert shown.status == status
    assert api.request("HEAD", "/v3/auth/tokens", headers=who | subject).status == status
    if status == 200:
        assert shown.json == made.json
        assert shown.headers["x-subject-token"] == subject["x-subject-token"]
        assert "catalog" not in api.get("/v3/auth/tokens?nocatalog", headers=who | subject).json["token"]
    else:
        assert api.delete("/v3/auth/tokens", headers=who | subject).status == 403
        assert api.get("/v2/images", headers={"x-auth-token": subject["x-subject-token"]}).status == 200


@pytest.mark.parametrize("subject", [{}, {"x-subject-token": "x"}, {"x-subject-token": ROBOT}])
def test_a_token_that_no_log_in_issued_is_not_found(api, subject):
    assert api.get("/v3/auth/tokens", headers=ALICE | subject).status == 404


def names(answer, kind):
    return [each["name"] for each in answer.json[kind]]


def test_an_administrator_finds_projects_and_users_by_name(api):
    assert names(api.get("/v3/projects", headers=ALICE), "projects") == ["default", "demo", "other"]
    assert names(api.get("/v3/projects?name=demo", headers=ALICE), "projects") == ["demo"]
    assert names(api.get("/v3/projects?name=demo&domain_id=heat", headers=ALICE), "projects") == []
    assert names(api.get("/v3/users?name=rita", headers=ALICE), "users") == ["rita"]
    assert set(names(api.get("/v3/users", headers=ALICE), "users")) == {"alice", "bob", "rita", "сергей", "robot"}
    assert api.get("/v3/projects/demo", headers=ALICE).json["project"]["id"] == "demo"
    assert api.get("/v3/projects/none", headers=ALICE).json["error"]["code"] == 404
    assert api.get("/v3/users/bob", headers=ALICE).json["user"]["default_project_id"] == "demo"
    assert api.get("/v3/users/none", headers=ALICE).status == 404
    assert names(api.get("/v3/domains", headers=ALICE), "domains") == ["Default"]
    assert api.get("/v3/domains/default", headers=ALICE).json["domain"]["name"] == "Default"
    assert api.get("/v3/domains/heat", headers=ALICE).status == 404


def test_other_users_see_themselves_and_their_project(api):
    for path in ("/v3/projects", "/v3/users", "/v3/projects/other", "/v3/projects/none", "/v3/users/alice"):
        answer = api.get(path, headers=BOB)
        assert (answer.status, answer.json["error"]["code"]) == (403, 403), path  # CL-62
    assert api.get("/v3/projects/demo", headers=BOB).status == 200
    assert api.get("/v3/users/bob", headers=BOB).json["user"]["name"] == "bob"
    for path in ("/v3/auth/projects", "/v3/users/bob/projects"):
        assert names(api.get(path, headers=BOB), "projects") == ["demo"]
    assert api.get("/v3/users/rita/projects", headers=BOB).status == 403
    assert [each["type"] for each in api.get("/v3/auth/catalog", headers=BOB).json["catalog"]] == [
        "image",
        "identity",
    ]


def test_an_unscoped_token_can_list_its_projects_only(api):
    token = token_of(api, "alice", "wonder", "unscoped")
    assert names(api.get("/v3/auth/projects", headers=token), "projects") == ["default"]
    for path in ("/v3/projects", "/v3/users", "/v3/auth/catalog"):
        assert api.get(path, headers=token).status == 403


@pytest.mark.parametrize(
    "path",
    ["auth/tokens", "auth/catalog", "auth/projects", "projects", "projects/demo", "users", "users/bob", "domains"],
)
def test_an_invalid_token_gets_401_on_every_path(api, path):
    answer = api.get(f"/identity/v3/{path}", headers={"x-auth-token": "wrong"})
    assert answer.status == 401
    assert set(answer.json) == {"error"}


def test_unknown_paths_and_methods_are_errors_in_identitys_format(api):
    for path in ("/v3/none", "/v3/auth", "/v3/auth/tokens/x", "/identity/v2.0", "/identity/v2.0/tokens"):
        assert api.get(path, headers=ALICE).json["error"]["code"] == 404
    answer = api.request("PATCH", "/v3/projects/demo", headers=ALICE)
    assert (answer.json["error"]["code"], answer.headers["allow"]) == (405, "GET")


def test_the_door_can_stay_shut(tmp_path):
    with client_without_keystone(tmp_path, identity_api=False) as api:
        assert api.get("/v3").status == api.post("/v3/auth/tokens", body=b"{}").status == 300
        assert api.get("/v2/images", headers=BOB).status == 200


@pytest.mark.parametrize("strategy", ["none", "keystone"])
def test_the_identity_api_exists_with_http_basic_only(tmp_path, strategy):
    made = config(tmp_path)
    with serving(replace(made, auth=replace(made.auth, strategy=strategy))) as api:
        for path in ("/v3", "/identity", "/v3/auth/tokens"):
            assert "versions" in api.get(path).json and "values" not in api.get(path).text


# Users with several projects, and with none.


def test_a_token_is_for_the_project_that_its_scope_names(tmp_path):
    htpasswd(tmp_path / "users", {"alice:default:admin": "wonder", "bob:demo:reader": BOBS})
    roles = (tmp_path / "roles").read_text()
    replace_file(tmp_path / "roles", roles + "bob:lab:member\nbob:default:reader\n")
    with client_without_keystone(tmp_path) as api:
        for scope, project, held in (
            (None, "demo", {"reader"}),  # ACC-11: the first line's
            ({"project": {"name": "lab", "domain": {"id": "default"}}}, "lab", {"member", "reader"}),
            ({"project": {"id": "lab"}}, "lab", {"member", "reader"}),
            ({"project": {"name": "default"}}, PROJECT, {"reader"}),
        ):
            answer = log_in(api, "bob", BOBS, scope)
            shown = answer.json["token"]
            assert (shown["project"]["id"], {role["name"] for role in shown["roles"]}) == (project, held)
            token = {"x-auth-token": answer.headers["x-subject-token"]}
            made = api.post("/v2/images", json={}, headers=token)
            assert made.status == (201 if project == "lab" else 403)
            assert project != "lab" or made.json["owner"] == "lab"
        for scope in ({"project": {"id": "elsewhere"}}, {"project": {"name": "Lab"}}, {"project": {}}):
            assert log_in(api, "bob", BOBS, scope).status == 401
        assert names(api.get("/v3/auth/projects", headers=token), "projects") == ["demo", "lab", "default"]
        assert api.get("/v3/projects/lab", headers=token).status == 200
        assert api.get("/v3/projects/other", headers=token).status == 403
        assert api.post("/v2/images", json={}, headers=basic("bob", BOBS)).status == 403  # reader of demo
        lab, demo = (token_of(api, "bob", BOBS, {"project": {"id": each}}) for each in ("lab", "demo"))
        replace_file(tmp_path / "roles", roles + "bob:lab:reader\n")
        look_again(api)
        assert api.get("/v2/images", headers=lab).status == 401  # SEC-74: its roles changed
        assert api.get("/v2/images", headers=demo).status == 200
        assert log_in(api, "bob", BOBS, {"project": {"name": "default"}}).status == 401


def test_a_user_without_roles_logs_in_and_may_do_nothing(tmp_path):
    htpasswd(tmp_path / "users", {"alice:default:admin": "wonder", "eve": "x"})
    with client_without_keystone(tmp_path) as api:
        refused = api.get("/v2/images", headers=basic("eve", "x"))
        assert refused.status == 403 and "'eve' has no role in any project" in refused.text  # ACC-02
        assert api.get("/v2/images", headers=basic("eve", "wrong")).status == 401
        answer = log_in(api, "eve", "x")
        assert (answer.status, "project" in answer.json["token"]) == (201, False)
        token = {"x-auth-token": answer.headers["x-subject-token"]}
        assert names(api.get("/v3/auth/projects", headers=token), "projects") == []
        assert api.get("/v2/images", headers=token).status == 403
        assert api.post("/v2/images", json={}, headers=token).status == 403
        assert log_in(api, "eve", "x", {"project": {"name": "default"}}).status == 401
