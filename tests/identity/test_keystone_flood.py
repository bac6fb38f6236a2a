"""Floods of made-up tokens, while Keystone takes its time: others' tokens are validated all the same."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator

import pytest
from stand_in import StandIn, stand_in

from ferrotype.identity.keystone import THREADS, KeystoneAuth
from ferrotype.identity.session import MAX_IN_FLIGHT
from ferrotype.identity.token_info import token_form
from ferrotype.model.errors import Busy, Unauthenticated

FLOOD = "198.51.100.1"
#: seconds of one validation
SLOW = 0.01


@pytest.fixture
def keystone() -> Iterator[StandIn]:
    with stand_in() as keystone:
        keystone.seconds = SLOW
        yield keystone


async def flood(auth: KeystoneAuth, made_up: Callable[[], str], over: asyncio.Event) -> None:
    """Send one made-up token after the other until it is over."""
    while not over.is_set():
        with contextlib.suppress(Unauthenticated, Busy):
            await auth.identify({"x-auth-token": made_up()}, FLOOD)
        await asyncio.sleep(SLOW)


async def flooded(
    auth: KeystoneAuth, connections: int, made_up: Callable[[], str], client: str, valid: Callable[[int], str]
) -> list[str | None]:
    """Return the users of four valid tokens that a client brings, one after the other, during a flood."""
    over = asyncio.Event()
    floods = [asyncio.create_task(flood(auth, made_up, over)) for _ in range(connections)]
    try:
        await asyncio.sleep(3 * SLOW)
        return [(await auth.identify({"x-auth-token": valid(number)}, client)).user for number in range(4)]
    finally:
        over.set()
        await asyncio.gather(*floods)


def fernet() -> str:
    return "gAAAAAB" + secrets.token_urlsafe(130)


def plain(number: int) -> str:
    return f"valid-{number}"


# SEC-75
@pytest.mark.parametrize(
    ("connections", "client"), [(320, FLOOD), (2 * MAX_IN_FLIGHT, "192.0.2.1")], ids=["same client", "another client"]
)
def test_valid_tokens_are_validated_during_a_flood(keystone: StandIn, connections: int, client: str) -> None:
    auth = KeystoneAuth(keystone.config())
    try:
        seen = asyncio.run(flooded(auth, connections, secrets.token_hex, client, plain))
    finally:
        auth.close()
    assert seen == [plain(number) for number in range(4)]


# SEC-75
def test_tokens_of_another_form_are_validated_during_a_flood_of_the_same_client(keystone: StandIn) -> None:
    auth = KeystoneAuth(keystone.config(timeout=3))
    try:
        seen = asyncio.run(flooded(auth, 2 * MAX_IN_FLIGHT, fernet, FLOOD, plain))
    finally:
        auth.close()
    assert seen == [plain(number) for number in range(4)]


def test_what_no_request_waits_for_any_more_is_not_validated(keystone: StandIn) -> None:
    keystone.seconds = 1.5
    auth = KeystoneAuth(keystone.config(timeout=1))

    async def give_up() -> list[object]:
        tokens = [{"x-auth-token": secrets.token_hex()} for _ in range(10 * THREADS)]
        return await asyncio.gather(*(auth.identify(token) for token in tokens), return_exceptions=True)

    try:
        assert {type(outcome) for outcome in asyncio.run(give_up())} == {Busy}
    finally:
        auth.close()
    assert len(keystone.asked) <= 2 * THREADS


@pytest.mark.parametrize(
    ("token", "form"),
    [
        ("gAAAAABnxyz" + "x" * 180, "fernet"),
        ("eyJhbGciOiJFUzI1NiJ9.e30.c2ln", "jws"),
        ("0123456789abcdef0123456789abcdef", "other"),
        ("eyJ", "other"),
    ],
)
def test_the_forms_of_tokens(token: str, form: str) -> None:
    assert token_form(token) == form
