"""Authentication with real tokens of a real Keystone."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from keystone_service import LOGIN, PASSWORD, Keystone, Users, ask, configured, service

from ferrotype.identity.keystone import KeystoneAuth
from ferrotype.identity.token_info import MAX_CACHED, MAX_REJECTED, TokenCache, TokenInfo, could_be_token
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Unauthenticated
from ferrotype.testing.process import Served


@pytest.fixture(scope="module")
def served(identity: Keystone, users: Users, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with service(identity, tmp_path_factory.mktemp("service"), "--workers", "2") as running:
        yield running


@pytest.fixture
def new_auth(identity: Keystone, users: Users, tmp_path: Any) -> Callable[..., Any]:
    """Make a KeystoneAuth, with more lines in its configuration section."""

    def made(**changes: str) -> KeystoneAuth:
        return KeystoneAuth(configured(identity, tmp_path, **changes).keystone)

    return made


def identified(auth: KeystoneAuth, token: str, **headers: str) -> Caller:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(auth.identify({"x-auth-token": token, **sent}))


# AUTH-01, SEC-64, DISC-96
@pytest.mark.parametrize(
    ("who", "scope", "status"),
    [
        ("owner", {}, 200),
        ("reader", {}, 200),
        ("stranger", {}, 200),
        ("admin", {}, 200),
        ("outsider", {}, 403),
        ("admin", {"system": True}, 403),
        ("admin", {"domain": "default"}, 403),
        ("owner", {"unscoped": True}, 403),
    ],
)
def test_a_token_gives_the_access_of_its_roles_and_scope(served, users, who, scope, status) -> None:
    assert ask(served, "GET", "/v2/images", getattr(users, who).token(**scope)).status == status


# AUTH-02
@pytest.mark.parametrize(
    "token", [None, "", "nonsense", "gAAAAAB" + "x" * 200, "x" * 9000, "a b", "tok\xe9n", "a,b", "../../v3/users"]
)
def test_a_401_response_names_keystone(served, identity, token) -> None:
    answer = ask(served, "GET", "/v2/images", token)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == f'Keystone uri="{identity.url}"'


# AUTH-01
def test_x_storage_token_is_accepted(served, users) -> None:
    assert ask(served, "GET", "/v2/images", X_Storage_Token=users.owner.token()).status == 200


FORGED = {
    "X-Roles": "admin,member,reader",
    "x_roles": "admin",
    "X-User-Id": "admin",
    "X-Is-Admin-Project": "True",
    "X-Identity-Status": "Confirmed",
    "X-Service-Roles": "service,admin",
    "X-Service-Identity-Status": "Confirmed",
    "X-Role": "admin",
    "X-System-Scope": "all",
}


# SEC-65
def test_forged_identity_headers_are_ignored(served, users) -> None:
    image = ask(served, "POST", "/v2/images", users.owner.token(), json={"visibility": "private"}).json["id"]
    path = f"/v2/images/{image}"
    claims = {**FORGED, "X-Project-Id": users.p1, "X-Tenant-Id": users.p1, "x_project_id": users.p1}
    for token, status in ((users.stranger.token(), 404), (users.outsider.token(), 404), (None, 401)):
        assert ask(served, "GET", path, token, **claims).status == status
    assert ask(served, "POST", "/v2/images", users.outsider.token(), json={}, **claims).status == 403
    made = ask(served, "POST", "/v2/images", users.stranger.token(), json={}, **claims)
    assert made.json["owner"] == users.p2
    # POL-04: a role is a role only when Keystone says so
    assert ask(served, "GET", f"{path}/locations", users.owner.token(), **claims).status == 403


# POL-02, AUTH-07
def test_the_caller_has_the_identity_that_keystone_reports(new_auth, users) -> None:
    auth = new_auth()
    owner = identified(auth, users.owner.token())
    assert owner == Caller(
        user=users.owner.id,
        project=users.p1,
        roles=frozenset({"member", "reader"}),  # one was given, the other is implied
        user_domain="default",
        project_domain="default",
    )
    assert identified(auth, users.outsider.token()).roles == {"operator-of-something"}
    system = identified(auth, users.admin.token(system=True))
    assert (system.project, system.domain, system.system) == (None, None, "all")
    domain = identified(auth, users.admin.token(domain="default"))
    assert (domain.project, domain.domain, domain.system) == (None, "default", None)
    nowhere = identified(auth, users.owner.token(unscoped=True))
    assert (nowhere.project, nowhere.roles, nowhere.is_admin) == (None, frozenset(), False)


# AUTH-03, CFG-64
def test_service_roles_come_from_the_service_token(new_auth, users) -> None:
    strict, lax = new_auth(), new_auth(authtoken="service_token_roles_required = false")
    owner, nova, stranger = users.owner.token(), users.nova.token(), users.stranger.token()
    for auth in (strict, lax):
        caller = identified(auth, owner, x_service_token=nova)
        assert (caller.project, caller.roles) == (users.p1, {"member", "reader"})
        assert caller.service_roles == {"service"}
        assert identified(auth, owner, x_service_token="nonsense").service_roles == frozenset()
        assert identified(auth, owner).service_roles == frozenset()
    assert identified(strict, owner, x_service_token=stranger).service_roles == frozenset()
    assert identified(lax, owner, x_service_token=stranger).service_roles == {"member", "reader"}
    with pytest.raises(Unauthenticated):
        identified(strict, "", x_service_token=nova)


# SEC-74
def test_a_revoked_token_is_refused_once_its_cache_entry_expires(new_auth, users, identity) -> None:
    auth, token = new_auth(authtoken="token_cache_time = 1"), users.owner.token()
    identified(auth, token)
    identity.revoke(token)
    time.sleep(1.05)
    with pytest.raises(Unauthenticated):
        identified(auth, token)
    with pytest.raises(Unauthenticated):
        identified(new_auth(), token)


# SEC-74
def test_tokens_of_a_disabled_project_are_refused(new_auth, users, identity) -> None:
    project = identity.project("closing")
    token = identity.user("leaver", project, "member").token()
    identity.ask("PATCH", f"/projects/{project}", {"project": {"enabled": False}})
    with pytest.raises(Unauthenticated):
        identified(new_auth(), token)


def test_an_application_credential_with_access_rules_is_refused(new_auth, users, identity) -> None:
    def credential(name: str, **more: Any) -> str:
        body = {"application_credential": {"name": name, "secret": PASSWORD, **more}}
        path = f"/users/{users.owner.id}/application_credentials"
        made = identity.ask("POST", path, body, users.owner.token())["application_credential"]
        method = {"id": made["id"], "secret": PASSWORD}
        return identity.log_in({"methods": ["application_credential"], "application_credential": method})

    rules = [{"service": "image", "method": "GET", "path": "/v2/images"}]
    auth = new_auth()
    assert identified(auth, credential("free")).project == users.p1
    with pytest.raises(Unauthenticated):
        identified(auth, credential("restricted", access_rules=rules))


# CFA-145
def test_the_service_can_log_in_with_an_application_credential(new_auth, users, identity) -> None:
    path = f"/users/{users.glance.id}/application_credentials"
    body = {"application_credential": {"name": "glance", "secret": PASSWORD, "unrestricted": False}}
    made = identity.ask("POST", path, body, users.glance.token())["application_credential"]
    login = (
        f"auth_section = glance_login\n[glance_login]\nauth_type = v3applicationcredential\n"
        f"auth_url = {identity.url}\napplication_credential_id = {made['id']}\n"
        f"application_credential_secret = {PASSWORD}\n"
    )
    assert LOGIN not in login
    assert identified(new_auth(login=login), users.owner.token()).project == users.p1


def test_concurrent_requests_with_one_new_token_are_validated_once(new_auth, users, identity) -> None:
    auth, token = new_auth(), users.owner.token()
    before = identity.requests()

    async def storm() -> list[Caller]:
        return await asyncio.gather(*(auth.identify({"x-auth-token": token}) for _ in range(1000)))

    assert {caller.user for caller in asyncio.run(storm())} == {users.owner.id}
    assert identity.requests() - before == 1


def test_a_thundering_herd_is_one_validation_per_worker(served, users, identity) -> None:
    token, before = users.owner.token(), identity.requests()
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: ask(served, "GET", "/v2/images", token).status, range(1000)))
    assert set(answers) == {200}
    assert 1 <= identity.requests() - before <= 2


# SEC-115
def test_neither_tokens_nor_passwords_are_logged_even_when_debugging(identity, users, tmp_path) -> None:
    token, nova, wrong = users.owner.token(), users.nova.token(), "gAAAAAB-made-up-canary"
    with service(identity, tmp_path, default="debug = true") as running:
        assert ask(running, "POST", "/v2/images", token, json={"name": "x"}, X_Service_Token=nova).status == 201
        assert ask(running, "GET", "/v2/images", wrong).status == 401
    log = running.log.read_text()
    assert "DEBUG" in log
    for secret in (PASSWORD, token, nova, wrong):
        assert secret not in log


def test_a_rejected_token_is_cached_for_some_seconds(new_auth, users, identity) -> None:
    auth = new_auth()
    before = identity.requests()
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            identified(auth, "made-up")
    assert identity.requests() - before == 1


def test_a_negative_cache_time_disables_the_cache(new_auth, users, identity) -> None:
    auth, token = new_auth(authtoken="token_cache_time = -1"), users.owner.token()
    before = identity.requests()
    for _ in range(3):
        identified(auth, token)
    assert identity.requests() - before == 3


def test_the_token_cache_is_bounded() -> None:
    cache, now = TokenCache(300), time.time()
    for number in range(MAX_CACHED + 10):
        cache.put(number.to_bytes(4, "big"), TokenInfo(Caller(), now + 60, now))
    for number in range(MAX_REJECTED + 10):
        cache.reject(number)
    assert len(cache._valid) == MAX_CACHED and len(cache._rejected) == MAX_REJECTED
    assert cache.get((0).to_bytes(4, "big")) is None and not cache.is_rejected(0)
    assert cache.get((MAX_CACHED).to_bytes(4, "big")) is not None and cache.is_rejected(MAX_REJECTED)


def test_validations_that_are_too_old_or_in_the_future_are_not_used() -> None:
    cache, now = TokenCache(300), time.time()
    assert not cache.is_current(TokenInfo(Caller(), now + 60, now + 10))
    assert not cache.is_current(TokenInfo(Caller(), now + 60, now - 301))


@pytest.mark.parametrize("text", ["", " ", "a\nb", "a b", "ä", "x" * 8193, "\x7f"])
def test_malformed_tokens_are_not_sent_to_keystone(text) -> None:
    assert not could_be_token(text)
