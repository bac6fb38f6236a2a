"""What a check of a password costs, whom it holds up, and what is remembered of it."""

import asyncio
import threading
import time

import bcrypt
import pytest
from local_accounts import bcrypt_hash

from ferrotype.identity import basic as passwords
from ferrotype.identity.accounts import Account
from ferrotype.model.errors import Busy
from ferrotype.offload import ThreadPools


@pytest.fixture
def pools():
    pools = ThreadPools(threads=4)
    yield pools
    pools.close()


def account(cost: int, password: str = "wonder") -> Account:
    return Account("alice", bcrypt_hash(password, cost))


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Held:
    """bcrypt itself, whose checks end once ``go`` is set; it is too late when nobody has set it for a minute."""

    def __init__(self, monkeypatch):
        self.begun, self.go, self.checks = threading.Event(), threading.Event(), 0
        self._real = bcrypt.checkpw
        monkeypatch.setattr(bcrypt, "checkpw", self)

    def __call__(self, password: bytes, secret: bytes) -> bool:
        self.checks += 1
        self.begun.set()
        assert self.go.wait(60)
        return self._real(password, secret)


class Counting:
    """bcrypt itself, with a count of the checks and of how many ran at once."""

    def __init__(self, monkeypatch):
        self.checks = self.running = self.most = 0
        self.costs: list[int] = []
        self._lock = threading.Lock()
        self._real = bcrypt.checkpw
        monkeypatch.setattr(bcrypt, "checkpw", self)

    def __call__(self, password: bytes, secret: bytes) -> bool:
        with self._lock:
            self.checks += 1
            self.running += 1
            self.most = max(self.most, self.running)
            self.costs.append(int(secret[4:6]))
        try:
            return self._real(password, secret)
        finally:
            with self._lock:
                self.running -= 1


def test_a_right_password_is_checked_again_after_a_pause(pools, monkeypatch):
    counting = Counting(monkeypatch)

    async def repeat() -> None:
        clock = Clock()
        checker, alice = passwords.Passwords(pools, clock=clock), account(4)
        for _ in range(20):
            assert await checker.verify("alice", "wonder", alice, 4)
        assert counting.checks == 1
        clock.now += passwords.REMEMBER_RIGHT + 1
        assert await checker.verify("alice", "wonder", alice, 4)
        assert counting.checks == 2

    asyncio.run(repeat())


def test_a_user_in_constant_use_is_served_through_a_quarter_of_an_hour_of_guessing(pools, monkeypatch):
    held = Held(monkeypatch)
    monkeypatch.setattr(passwords, "PAUSE", 0.0)

    async def guessed() -> None:
        clock = Clock()
        checker, alice = passwords.Passwords(pools, clock=clock), account(4)
        held.go.set()
        assert await checker.verify("alice", "wonder", alice, 4)
        held.go.clear()
        guesses = [
            asyncio.create_task(checker.verify("alice", f"guess {n}", alice, 4)) for n in range(passwords.WAITING)
        ]
        assert await asyncio.to_thread(held.begun.wait, 60)
        for _ in range(180):
            clock.now += 5
            with pytest.raises(Busy):
                await checker.verify("alice", "one more guess", alice, 4)
            async with asyncio.timeout(30):
                assert await checker.verify("alice", "wonder", alice, 4)
        clock.now += 3600  # Not in use any more: the password is like any other.
        with pytest.raises(Busy):
            await checker.verify("alice", "wonder", alice, 4)
        held.go.set()
        assert not any(await asyncio.gather(*guesses))

    asyncio.run(guessed())


def test_another_user_gets_a_turn_while_one_is_guessed_at(pools, monkeypatch):
    held = Held(monkeypatch)
    monkeypatch.setattr(passwords, "PAUSE", 0.0)
    order: list[str] = []

    async def verified(checker: passwords.Passwords, name: str, password: str, client: str) -> bool:
        try:
            return await checker.verify(name, password, account(4), 4, client)
        except Busy:
            return False
        finally:
            order.append(name)

    async def guessed() -> list[bool]:
        checker = passwords.Passwords(pools)
        guesses = [
            asyncio.create_task(verified(checker, "alice", f"{n}", "192.0.2.1")) for n in range(passwords.WAITING)
        ]
        assert await asyncio.to_thread(held.begun.wait, 60)
        others = [
            asyncio.create_task(verified(checker, name, "wonder", client))
            for name, client in (("bob", "192.0.2.1"), ("alice of another client", "192.0.2.2"))
        ]
        await asyncio.sleep(0)
        held.go.set()
        await asyncio.gather(*guesses)
        return await asyncio.gather(*others)

    assert asyncio.run(guessed()) == [True, True]
    assert max(order.index("bob"), order.index("alice of another client")) < 8


def test_one_password_is_checked_once_however_many_ask_at_once(pools, monkeypatch):
    counting = Counting(monkeypatch)

    async def together() -> list[bool]:
        checker, alice = passwords.Passwords(pools), account(8)
        return await asyncio.gather(*(checker.verify("alice", "wonder", alice, 8) for _ in range(500)))

    assert all(asyncio.run(together()))
    assert counting.checks == 1


def test_whoever_goes_away_does_not_take_the_check_of_others_along(pools, monkeypatch):
    held = Held(monkeypatch)

    async def one_leaves() -> bool:
        checker, alice = passwords.Passwords(pools), account(4)
        first, second = (asyncio.create_task(checker.verify("alice", "wonder", alice, 4)) for _ in range(2))
        assert await asyncio.to_thread(held.begun.wait, 60)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        held.go.set()
        return await second

    assert asyncio.run(one_leaves())
    assert held.checks == 1


def test_guessing_leaves_processors_to_others_and_is_turned_away_beyond_a_bound(pools, monkeypatch):
    counting = Counting(monkeypatch)
    monkeypatch.setattr(passwords.os, "sched_getaffinity", lambda _: set(range(4)))
    monkeypatch.setattr(passwords, "PAUSE", 0.0)

    async def guess() -> list[bool | BaseException]:
        checker, alice = passwords.Passwords(pools), account(6)
        guesses = (checker.verify("alice", f"guess {n}", alice, 6) for n in range(200))
        return await asyncio.gather(*guesses, return_exceptions=True)

    outcomes = asyncio.run(guess())
    assert [outcome for outcome in outcomes if isinstance(outcome, bool)] == [False] * passwords.WAITING
    assert sum(isinstance(outcome, Busy) for outcome in outcomes) == 200 - passwords.WAITING
    assert counting.most <= 2


def test_a_known_user_gets_in_while_somebody_guesses(pools, monkeypatch):
    monkeypatch.setattr(passwords, "PAUSE", 0.0)

    async def both() -> list[bool]:
        checker, alice = passwords.Passwords(pools), account(4)
        assert await checker.verify("alice", "wonder", alice, 4)
        held = Held(monkeypatch)
        guesses = [asyncio.create_task(checker.verify("alice", f"{n}", alice, 4)) for n in range(30)]
        assert await asyncio.to_thread(held.begun.wait, 60)
        try:
            async with asyncio.timeout(30):
                assert await checker.verify("alice", "wonder", alice, 4)
            assert not any(guess.done() for guess in guesses)
        finally:
            held.go.set()
        return await asyncio.gather(*guesses)

    assert asyncio.run(both()) == [False] * 30


def test_a_wrong_password_costs_as_much_whoever_it_is_for_and_is_answered_late(pools, monkeypatch):
    counting = Counting(monkeypatch)
    monkeypatch.setattr(passwords, "PAUSE", 0.2)
    people = {"cheap": account(4), "middle": account(6), "dear": account(8), "nobody": None}

    async def spent(name: str) -> int:
        counting.costs.clear()
        checker, began = passwords.Passwords(pools), time.monotonic()
        assert not await checker.verify(name, "wrong", people[name], 8)
        assert time.monotonic() - began >= 0.2
        return sum(2**cost for cost in counting.costs)

    assert {name: asyncio.run(spent(name)) for name in people} == dict.fromkeys(people, 2**8)


def test_a_client_that_repeats_a_wrong_password_costs_one_check(pools, monkeypatch):
    counting = Counting(monkeypatch)
    monkeypatch.setattr(passwords, "PAUSE", 0.0)

    async def repeat() -> None:
        checker, alice = passwords.Passwords(pools), account(4)
        for _ in range(20):
            assert not await checker.verify("alice", "wrong", alice, 4)

    asyncio.run(repeat())
    assert counting.checks == 1


def test_only_so_many_passwords_are_remembered_and_guesses_do_not_drive_out_the_right_ones(pools, monkeypatch):
    counting = Counting(monkeypatch)
    monkeypatch.setattr(passwords, "PAUSE", 0.0)
    monkeypatch.setattr(passwords, "MOST", 8)

    async def many() -> None:
        checker, alice = passwords.Passwords(pools), account(4)
        assert await checker.verify("alice", "wonder", alice, 4)
        for n in range(20):
            assert not await checker.verify("alice", f"{n}", alice, 4)
        before = counting.checks
        assert await checker.verify("alice", "wonder", alice, 4)
        assert counting.checks == before
        assert len(checker._wrong._until) == 8

    asyncio.run(many())


def test_what_is_remembered_is_not_the_password(pools):
    async def remembered() -> str:
        checker = passwords.Passwords(pools)
        assert await checker.verify("alice", "canary-wonder", account(4, "canary-wonder"), 4)
        return repr(vars(checker)) + repr(checker._right._until)

    assert "canary" not in asyncio.run(remembered())  # SEC-115


def test_a_long_password_counts_as_far_as_bcrypt_looks(pools):
    long = "ä" * 60
    alice = Account("alice", bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode())

    async def check(password: str) -> bool:
        return await passwords.Passwords(pools).verify("alice", password, alice, 4)

    assert asyncio.run(check(long))
    assert not asyncio.run(check("ä" * 35))
