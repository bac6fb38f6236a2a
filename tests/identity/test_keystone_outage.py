"""Keystone stops, hangs and restarts; tokens expire. Access never widens, and no request hangs."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keystone_service import Keystone, User, Users, ask, configured, service
from needs import need

from ferrotype.identity.keystone import KeystoneAuth
from ferrotype.identity.limits import KeystoneLimits
from ferrotype.model.errors import Busy, Unauthenticated
from ferrotype.testing.keystone import keystone
from ferrotype.testing.process import Served

TIMEOUT = 2


@pytest.fixture(scope="module")
def identity() -> Iterator[Keystone]:
    """A Keystone that tests may stop and pause."""
    need("keystone")
    with keystone() as running:
        yield running


@pytest.fixture(scope="module")
def users(identity: Keystone) -> Users:
    return Users(identity)


@pytest.fixture(scope="module")
def served(identity: Keystone, users: Users, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("service")
    words = {"authtoken": f"http_connect_timeout = {TIMEOUT}", "default": "allow_anonymous_access = true"}
    with service(identity, home, **words) as running:
        yield running


def until_it_answers(served: Served, token: str, timeout: float = 60) -> None:
    """Return once a token is validated again."""
    began = time.monotonic()
    while ask(served, "GET", "/v2/images", token).status != 200:
        assert time.monotonic() - began < timeout
        time.sleep(0.05)


# SEC-75
@pytest.mark.parametrize("way", ["killed", "paused"])
def test_during_an_outage_cached_tokens_work_and_new_ones_fail_in_time(
    served: Served, users: Users, identity: Keystone, way: str
) -> None:
    cached, new, other = (users.owner.token() for _ in range(3))
    assert ask(served, "GET", "/v2/images", cached).status == 200
    statuses: list[int] = []
    waits: list[float] = []
    latencies: list[float] = []
    beside = 0

    def ask_with_a_new_token(token: str) -> None:
        began = time.monotonic()
        answer = ask(served, "GET", "/v2/images", token)
        statuses.append(answer.status)
        waits.append(time.monotonic() - began)
        assert int(answer.headers["retry-after"]) > 0

    identity.stop() if way == "killed" else identity.pause()
    try:
        waiting = [threading.Thread(target=ask_with_a_new_token, args=(token,)) for token in (new, new, other)]
        for thread in waiting:
            thread.start()
        began = time.monotonic()
        while len(latencies) < 50 or any(thread.is_alive() for thread in waiting):
            asked = time.monotonic()
            assert ask(served, "GET", "/v2/images", cached).status == 200
            latencies.append(time.monotonic() - asked)
            beside += asked > began + TIMEOUT / 2 and all(thread.is_alive() for thread in waiting)
        # Not anonymous access either, although the deployment allows it.
        assert statuses == [503, 503, 503]
        assert max(waits) < TIMEOUT + 1 + 10 * max(latencies)
        # Waiting requests do not block others.
        assert beside or way == "killed"
    finally:
        identity.start() if way == "killed" else identity.resume()
    until_it_answers(served, new)


def short_lived(identity: Keystone, user: User, seconds: int) -> tuple[str, float, float]:
    """Return a token, until when it is certainly valid and from when it has certainly expired (monotonic)."""
    identity.stop()
    identity.configure(token_seconds=seconds)
    identity.start()
    before, token, after = time.monotonic(), user.token(), time.monotonic()
    identity.stop()
    identity.configure(token_seconds=3600)
    identity.start()
    return token, before + seconds - 1, after + seconds + 1  # Keystone counts in whole seconds.


# AUTH-03, AUTH-04, SEC-74
def test_an_expired_token_is_accepted_only_with_a_service_token(
    users: Users, identity: Keystone, tmp_path: Path
) -> None:
    warm, cold = (KeystoneAuth(configured(identity, tmp_path).keystone) for _ in range(2))

    def who(tokens: KeystoneAuth, token: str, service: str = "") -> Any:
        return asyncio.run(tokens.identify({"x-auth-token": token, "x-service-token": service}))

    def cached_while_valid(seconds: int) -> tuple[str, float] | None:
        token, valid, ended = short_lived(identity, users.owner, seconds)
        try:
            assert who(warm, token).project == users.p1
        except Unauthenticated:
            assert time.monotonic() > valid
            return None  # Too late: the machine is busy.
        return token, ended

    found = cached_while_valid(3) or cached_while_valid(10) or cached_while_valid(40)
    assert found
    expired, ended = found
    nova, stranger = users.nova.token(), users.stranger.token()
    time.sleep(max(0, ended - time.monotonic()))
    for tokens in (warm, cold):  # One has it cached, the other asks Keystone.
        with pytest.raises(Unauthenticated):
            who(tokens, expired)
        with pytest.raises(Unauthenticated):
            who(tokens, expired, stranger)
        caller = who(tokens, expired, nova)
        assert (caller.project, caller.service_roles) == (users.p1, {"service"})
        with pytest.raises(Unauthenticated):
            who(tokens, expired)


# QUO-25, DISC-98, DISC-99
def test_during_an_outage_cached_limits_apply_and_unknown_ones_are_503(
    users: Users, identity: Keystone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ferrotype.identity.limits.CACHE_SECONDS", 0.1)
    endpoint = identity.image_endpoint("http://127.0.0.1:1")
    identity.register_limit("image_count_total", 7)
    config = configured(identity, tmp_path, endpoint=endpoint, default="use_keystone_limits = true").unified_limits
    limits = KeystoneLimits(config)

    async def through_an_outage() -> None:
        assert await limits.of(users.p1) == {"image_count_total": 7}
        identity.stop()
        await asyncio.sleep(0.2)
        async with asyncio.timeout(60):
            assert await limits.of(users.p1) == {"image_count_total": 7}
        with pytest.raises(Busy):
            await limits.of(users.p2)
        identity.start()
        identity.limit(users.p1, "image_count_total", 9)
        end = time.monotonic() + 60
        while await limits.of(users.p1) != {"image_count_total": 9}:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)
        assert await limits.of(None) == {"image_count_total": 7}

    asyncio.run(through_an_outage())


def test_requests_fail_while_the_service_cannot_log_in(users: Users, identity: Keystone, tmp_path: Path) -> None:
    file = configured(identity, tmp_path, authtoken="password = wrong").keystone
    with pytest.raises(Busy):
        asyncio.run(KeystoneAuth(file).identify({"x-auth-token": users.owner.token()}))
