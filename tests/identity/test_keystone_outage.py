"""Keystone goes away, hangs, and comes back; tokens end. Nobody becomes anybody by it, and nothing hangs."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud import Keystone, People, Person, ask, configured, service
from needs import need

from ferrotype.identity.keystone import Tokens
from ferrotype.identity.limits import Registered
from ferrotype.model.errors import Busy, Unauthenticated
from ferrotype.testing.keystone import keystone
from ferrotype.testing.process import Served

PATIENCE = 2


@pytest.fixture(scope="module")
def identity() -> Iterator[Keystone]:
    """A Keystone that may be disturbed."""
    need("keystone")
    with keystone() as running:
        yield running


@pytest.fixture(scope="module")
def people(identity: Keystone) -> People:
    return People(identity)


@pytest.fixture(scope="module")
def served(identity: Keystone, people: People, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("service")
    words = {"authtoken": f"http_connect_timeout = {PATIENCE}", "default": "allow_anonymous_access = true"}
    with service(identity, home, **words) as running:
        yield running


def until_it_answers(served: Served, token: str, patience: float = 60) -> None:
    """Return once a token is validated again."""
    began = time.monotonic()
    while ask(served, "GET", "/v2/images", token).status != 200:
        assert time.monotonic() - began < patience
        time.sleep(0.05)


# SEC-75
@pytest.mark.parametrize("way", ["killed", "paused"])
def test_without_keystone_known_tokens_work_and_new_ones_wait_no_longer_than_they_must(
    served: Served, people: People, identity: Keystone, way: str
) -> None:
    known, new, other = (people.owner.token() for _ in range(3))
    assert ask(served, "GET", "/v2/images", known).status == 200
    statuses: list[int] = []
    waits: list[float] = []
    usual: list[float] = []
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
        while len(usual) < 50 or any(thread.is_alive() for thread in waiting):
            asked = time.monotonic()
            assert ask(served, "GET", "/v2/images", known).status == 200
            usual.append(time.monotonic() - asked)
            beside += asked > began + PATIENCE / 2 and all(thread.is_alive() for thread in waiting)
        # Where nobody may be asked, nobody is let in as somebody without a name either.
        assert statuses == [503, 503, 503]
        assert max(waits) < PATIENCE + 1 + 10 * max(usual)
        # Those who wait disturb nobody.
        assert beside or way == "killed"
    finally:
        identity.start() if way == "killed" else identity.resume()
    until_it_answers(served, new)


def short_lived(identity: Keystone, person: Person, seconds: int) -> tuple[str, float, float]:
    """Return a token, until when it is surely valid and from when it surely is not, by ``time.monotonic``."""
    identity.stop()
    identity.settle(token_seconds=seconds)
    identity.start()
    before, token, after = time.monotonic(), person.token(), time.monotonic()
    identity.stop()
    identity.settle(token_seconds=3600)
    identity.start()
    return token, before + seconds - 1, after + seconds + 1  # Keystone counts in whole seconds.


# AUTH-03, AUTH-04, SEC-74
def test_an_expired_token_passes_only_beside_a_token_of_a_service(
    people: People, identity: Keystone, tmp_path: Path
) -> None:
    mine, fresh = (Tokens(configured(identity, tmp_path).keystone) for _ in range(2))

    def who(tokens: Tokens, token: str, service: str = "") -> Any:
        return asyncio.run(tokens.identify({"x-auth-token": token, "x-service-token": service}))

    def known_while_it_was_valid(seconds: int) -> tuple[str, float] | None:
        token, valid, ended = short_lived(identity, people.owner, seconds)
        try:
            assert who(mine, token).project == people.p1
        except Unauthenticated:
            assert time.monotonic() > valid
            return None  # Too late: this machine is busy.
        return token, ended

    found = known_while_it_was_valid(3) or known_while_it_was_valid(10) or known_while_it_was_valid(40)
    assert found
    fleeting, ended = found
    nova, stranger = people.nova.token(), people.stranger.token()
    time.sleep(max(0, ended - time.monotonic()))
    for tokens in (mine, fresh):  # One knows it from before, the other has to ask.
        with pytest.raises(Unauthenticated):
            who(tokens, fleeting)
        with pytest.raises(Unauthenticated):
            who(tokens, fleeting, stranger)
        caller = who(tokens, fleeting, nova)
        assert (caller.project, caller.service_roles) == (people.p1, {"service"})
        with pytest.raises(Unauthenticated):
            who(tokens, fleeting)


# QUO-25, DISC-98, DISC-99
def test_limits_that_were_known_go_on_and_unknown_ones_are_refused(
    people: People, identity: Keystone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ferrotype.identity.limits.FRESH", 0.1)
    endpoint = identity.image_endpoint("http://127.0.0.1:1")
    identity.register_limit("image_count_total", 7)
    config = configured(identity, tmp_path, endpoint=endpoint, default="use_keystone_limits = true").unified_limits
    limits = Registered(config)

    async def through_an_outage() -> None:
        assert await limits.of(people.p1) == {"image_count_total": 7}
        identity.stop()
        await asyncio.sleep(0.2)
        async with asyncio.timeout(60):
            assert await limits.of(people.p1) == {"image_count_total": 7}
        with pytest.raises(Busy):
            await limits.of(people.p2)
        identity.start()
        identity.limit(people.p1, "image_count_total", 9)
        end = time.monotonic() + 60
        while await limits.of(people.p1) != {"image_count_total": 9}:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)
        assert await limits.of(None) == {"image_count_total": 7}

    asyncio.run(through_an_outage())


def test_a_service_that_may_not_log_in_lets_nobody_in(people: People, identity: Keystone, tmp_path: Path) -> None:
    file = configured(identity, tmp_path, authtoken="password = wrong").keystone
    with pytest.raises(Busy):
        asyncio.run(Tokens(file).identify({"x-auth-token": people.owner.token()}))
