"""Who is calling, by real tokens of a real Keystone."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cloud import LOGIN, PASSWORD, Keystone, People, ask, configured, service

from ferrotype.identity.facts import MOST_KEPT, MOST_REFUSED, Facts, Kept, could_be_token
from ferrotype.identity.keystone import Tokens
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Unauthenticated
from ferrotype.testing.process import Served


@pytest.fixture(scope="module")
def served(identity: Keystone, people: People, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with service(identity, tmp_path_factory.mktemp("service"), "--workers", "2") as running:
        yield running


@pytest.fixture
def tokens(identity: Keystone, people: People, tmp_path: Any) -> Callable[..., Any]:
    """What decides about tokens, made anew with more lines in its section."""

    def made(**changes: str) -> Tokens:
        return Tokens(configured(identity, tmp_path, **changes).keystone)

    return made


def identified(tokens: Tokens, token: str, **headers: str) -> Caller:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(tokens.identify({"x-auth-token": token, **sent}))


# AUTH-01, SEC-64, DISC-96
@pytest.mark.parametrize(
    ("who", "scope", "status"),
    [
        ("owner", {}, 200),
        ("reader", {}, 200),
        ("stranger", {}, 200),
        ("boss", {}, 200),
        ("outsider", {}, 403),
        ("boss", {"system": True}, 403),
        ("boss", {"domain": "default"}, 403),
        ("owner", {"unscoped": True}, 403),
    ],
)
def test_a_token_opens_what_its_roles_and_scope_allow(served, people, who, scope, status) -> None:
    assert ask(served, "GET", "/v2/images", getattr(people, who).token(**scope)).status == status


# AUTH-02
@pytest.mark.parametrize(
    "token", [None, "", "nonsense", "gAAAAAB" + "x" * 200, "x" * 9000, "a b", "tok\xe9n", "a,b", "../../v3/users"]
)
def test_without_a_valid_token_the_answer_names_keystone(served, identity, token) -> None:
    answer = ask(served, "GET", "/v2/images", token)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == f'Keystone uri="{identity.url}"'


# AUTH-01
def test_the_storage_header_will_do(served, people) -> None:
    assert ask(served, "GET", "/v2/images", X_Storage_Token=people.owner.token()).status == 200


FORGED = {
    "X-Roles": "admin,member,reader",
    "x_roles": "admin",
    "X-User-Id": "boss",
    "X-Is-Admin-Project": "True",
    "X-Identity-Status": "Confirmed",
    "X-Service-Roles": "service,admin",
    "X-Service-Identity-Status": "Confirmed",
    "X-Role": "admin",
    "X-System-Scope": "all",
}


# SEC-65
def test_identity_headers_from_outside_make_nobody_somebody(served, people) -> None:
    image = ask(served, "POST", "/v2/images", people.owner.token(), json={"visibility": "private"}).json["id"]
    path = f"/v2/images/{image}"
    claims = {**FORGED, "X-Project-Id": people.p1, "X-Tenant-Id": people.p1, "x_project_id": people.p1}
    for token, status in ((people.stranger.token(), 404), (people.outsider.token(), 404), (None, 401)):
        assert ask(served, "GET", path, token, **claims).status == status
    assert ask(served, "POST", "/v2/images", people.outsider.token(), json={}, **claims).status == 403
    made = ask(served, "POST", "/v2/images", people.stranger.token(), json={}, **claims)
    assert made.json["owner"] == people.p2
    # POL-04: a role is a role only when Keystone says so
    assert ask(served, "GET", f"{path}/locations", people.owner.token(), **claims).status == 403


# POL-02, AUTH-07
def test_what_keystone_says_becomes_the_caller(tokens, people) -> None:
    mine = tokens()
    owner = identified(mine, people.owner.token())
    assert owner == Caller(
        user=people.owner.id,
        project=people.p1,
        roles=frozenset({"member", "reader"}),  # one was given, the other is implied
        user_domain="default",
        project_domain="default",
    )
    assert identified(mine, people.outsider.token()).roles == {"operator-of-something"}
    system = identified(mine, people.boss.token(system=True))
    assert (system.project, system.domain, system.system) == (None, None, "all")
    domain = identified(mine, people.boss.token(domain="default"))
    assert (domain.project, domain.domain, domain.system) == (None, "default", None)
    nowhere = identified(mine, people.owner.token(unscoped=True))
    assert (nowhere.project, nowhere.roles, nowhere.is_admin) == (None, frozenset(), False)


# AUTH-03, CFG-64
def test_roles_of_a_service_come_from_its_own_token(tokens, people) -> None:
    strict, lax = tokens(), tokens(authtoken="service_token_roles_required = false")
    owner, nova, stranger = people.owner.token(), people.nova.token(), people.stranger.token()
    for mine in (strict, lax):
        caller = identified(mine, owner, x_service_token=nova)
        assert (caller.project, caller.roles) == (people.p1, {"member", "reader"})
        assert caller.service_roles == {"service"}
        assert identified(mine, owner, x_service_token="nonsense").service_roles == frozenset()
        assert identified(mine, owner).service_roles == frozenset()
    assert identified(strict, owner, x_service_token=stranger).service_roles == frozenset()
    assert identified(lax, owner, x_service_token=stranger).service_roles == {"member", "reader"}
    with pytest.raises(Unauthenticated):
        identified(strict, "", x_service_token=nova)


# SEC-74
def test_a_revoked_token_is_believed_no_longer_than_the_cache_keeps_it(tokens, people, identity) -> None:
    mine, token = tokens(authtoken="token_cache_time = 1"), people.owner.token()
    identified(mine, token)
    identity.revoke(token)
    time.sleep(1.05)
    with pytest.raises(Unauthenticated):
        identified(mine, token)
    with pytest.raises(Unauthenticated):
        identified(tokens(), token)


# SEC-74
def test_tokens_of_a_disabled_project_are_refused(tokens, people, identity) -> None:
    project = identity.project("closing")
    token = identity.person("leaver", project, "member").token()
    identity.ask("PATCH", f"/projects/{project}", {"project": {"enabled": False}})
    with pytest.raises(Unauthenticated):
        identified(tokens(), token)


def test_a_credential_that_is_restricted_to_some_requests_is_refused(tokens, people, identity) -> None:
    def credential(name: str, **more: Any) -> str:
        body = {"application_credential": {"name": name, "secret": PASSWORD, **more}}
        path = f"/users/{people.owner.id}/application_credentials"
        made = identity.ask("POST", path, body, people.owner.token())["application_credential"]
        method = {"id": made["id"], "secret": PASSWORD}
        return identity.log_in({"methods": ["application_credential"], "application_credential": method})

    rules = [{"service": "image", "method": "GET", "path": "/v2/images"}]
    mine = tokens()
    assert identified(mine, credential("free")).project == people.p1
    with pytest.raises(Unauthenticated):
        identified(mine, credential("restricted", access_rules=rules))


# CFA-145
def test_the_service_may_log_in_with_an_application_credential_in_a_section_of_its_own(
    tokens, people, identity
) -> None:
    path = f"/users/{people.glance.id}/application_credentials"
    body = {"application_credential": {"name": "glance", "secret": PASSWORD, "unrestricted": False}}
    made = identity.ask("POST", path, body, people.glance.token())["application_credential"]
    login = (
        f"auth_section = glance_login\n[glance_login]\nauth_type = v3applicationcredential\n"
        f"auth_url = {identity.url}\napplication_credential_id = {made['id']}\n"
        f"application_credential_secret = {PASSWORD}\n"
    )
    assert LOGIN not in login
    assert identified(tokens(login=login), people.owner.token()).project == people.p1


def test_many_requests_with_one_new_token_cost_keystone_one_question(tokens, people, identity) -> None:
    mine, token = tokens(), people.owner.token()
    before = identity.requests()

    async def storm() -> list[Caller]:
        return await asyncio.gather(*(mine.identify({"x-auth-token": token}) for _ in range(1000)))

    assert {caller.user for caller in asyncio.run(storm())} == {people.owner.id}
    assert identity.requests() - before == 1


def test_a_cold_storm_costs_one_question_a_worker(served, people, identity) -> None:
    token, before = people.owner.token(), identity.requests()
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: ask(served, "GET", "/v2/images", token).status, range(1000)))
    assert set(answers) == {200}
    assert 1 <= identity.requests() - before <= 2


# SEC-115
def test_neither_tokens_nor_passwords_are_logged_even_when_debugging(identity, people, tmp_path) -> None:
    token, nova, wrong = people.owner.token(), people.nova.token(), "gAAAAAB-made-up-canary"
    with service(identity, tmp_path, default="debug = true") as running:
        assert ask(running, "POST", "/v2/images", token, json={"name": "x"}, X_Service_Token=nova).status == 201
        assert ask(running, "GET", "/v2/images", wrong).status == 401
    log = running.log.read_text()
    assert "DEBUG" in log
    for secret in (PASSWORD, token, nova, wrong):
        assert secret not in log


def test_a_refused_token_is_not_asked_about_again_at_once(tokens, people, identity) -> None:
    mine = tokens()
    before = identity.requests()
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            identified(mine, "made-up")
    assert identity.requests() - before == 1


def test_with_a_negative_cache_time_keystone_is_asked_every_time(tokens, people, identity) -> None:
    mine, token = tokens(authtoken="token_cache_time = -1"), people.owner.token()
    before = identity.requests()
    for _ in range(3):
        identified(mine, token)
    assert identity.requests() - before == 3


def test_what_is_remembered_is_bounded_and_never_a_token() -> None:
    kept, now = Kept(300), time.time()
    for number in range(MOST_KEPT + 10):
        kept.put(number.to_bytes(4, "big"), Facts(Caller(), now + 60, now))
    for number in range(MOST_REFUSED + 10):
        kept.refuse(number)
    assert len(kept._facts) == MOST_KEPT and len(kept._refused) == MOST_REFUSED
    assert kept.get((0).to_bytes(4, "big")) is None and not kept.refused(0)
    assert kept.get((MOST_KEPT).to_bytes(4, "big")) is not None and kept.refused(MOST_REFUSED)


def test_facts_from_the_future_or_too_old_are_not_believed() -> None:
    kept, now = Kept(300), time.time()
    assert not kept.believed(Facts(Caller(), now + 60, now + 10))
    assert not kept.believed(Facts(Caller(), now + 60, now - 301))


@pytest.mark.parametrize("text", ["", " ", "a\nb", "a b", "ä", "x" * 8193, "\x7f"])
def test_what_no_token_can_look_like_is_not_asked_about(text) -> None:
    assert not could_be_token(text)
