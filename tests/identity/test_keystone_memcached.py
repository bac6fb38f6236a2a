"""Processes share what Keystone said through memcached, which need not be trusted."""

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud import PASSWORD, Keystone, People, configured
from needs import need
from pymemcache.client.base import Client

from ferrotype.identity.facts import Facts, key_of
from ferrotype.identity.keystone import Tokens
from ferrotype.identity.memcached import Shared
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Unauthenticated
from ferrotype.testing.process import free_port


@pytest.fixture
def memcached() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A memcached of this test: its port and its process."""
    port = free_port()
    words = [need("memcached"), "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "16"]
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([*words, *user], stdin=subprocess.DEVNULL)
    end = time.monotonic() + 60
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 60):
                break
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        yield port, process
    finally:
        process.kill()
        process.wait(60)


@pytest.fixture
def worker(identity: Keystone, people: People, tmp_path: Path, memcached: Any) -> Callable[..., Tokens]:
    """What decides about tokens in one more process."""

    def made(more: str = "", patience: int = 60) -> Tokens:
        servers = f"memcached_servers = 127.0.0.1:{memcached[0]}\nmemcache_pool_socket_timeout = {patience}\n{more}"
        return Tokens(configured(identity, tmp_path, authtoken=servers).keystone)

    return made


def who(tokens: Tokens, token: str) -> Caller:
    return asyncio.run(tokens.identify({"x-auth-token": token}))


def shared(tokens: Tokens) -> Shared:
    assert tokens._shared is not None
    return tokens._shared


def test_what_one_process_learned_the_others_know(worker, people, identity, memcached) -> None:
    token = people.owner.token()
    first = who(worker(), token)
    before = identity.requests()
    assert who(worker(), token) == first
    assert identity.requests() == before
    # SEC-115: neither the token nor what it means can be read there.
    name = shared(worker())._name(key_of(token))
    entry = Client(("127.0.0.1", memcached[0])).get(name)
    assert entry
    for told in (token, people.owner.id, people.p1, "member", PASSWORD):
        assert told.encode() not in entry and told not in name


# SEC-75
def test_poisoned_entries_make_nobody_anybody(worker, people, identity, memcached, tmp_path) -> None:
    poison = Client(("127.0.0.1", memcached[0]))
    owner, boss = people.owner.token(), people.boss.token()
    reading = shared(worker())
    who(worker(), boss)
    of_boss = poison.get(reading._name(key_of(boss)))
    now = time.time()
    forger = shared(worker("memcache_secret_key = guessed"))
    forger.put(key_of("made-up"), Facts(Caller("u", "p", frozenset({"admin"})), now + 999, now))
    forged = poison.get(forger._name(key_of("made-up")))
    altered = bytes([*of_boss[:-1], of_boss[-1] ^ 1])
    for entry in (of_boss, forged, altered, b"", b"x", b"\x80\x04N.", b"{}" * 5000, of_boss[:20]):
        for token in (owner, "made-up"):
            poison.set(reading._name(key_of(token)), entry, noreply=False)
        assert reading.get(key_of(owner)) is None
        caller = who(worker(), owner)
        assert (caller.user, caller.roles) == (people.owner.id, {"member", "reader"})
        with pytest.raises(Unauthenticated):
            who(worker(), "made-up")


# SEC-75
def test_entries_that_are_too_old_or_of_ended_tokens_are_not_believed(worker, people, memcached) -> None:
    mine, now = worker(), time.time()
    admin = Caller("u", "p", frozenset({"admin"}))
    for facts in (Facts(admin, now + 999, now - 301), Facts(admin, now - 1, now), Facts(admin, now + 999, now + 99)):
        shared(mine).put(key_of("old"), facts)
        assert shared(mine).get(key_of("old")) == facts
        with pytest.raises(Unauthenticated):
            who(worker(), "old")


@pytest.mark.parametrize("way", ["empty", "killed", "paused"])
def test_without_memcached_keystone_is_asked(worker, people, memcached, way) -> None:
    token = people.owner.token()
    who(worker(), token)
    _, process = memcached
    if way == "empty":
        Client(("127.0.0.1", memcached[0])).flush_all()
    else:
        process.send_signal(9 if way == "killed" else 19)
    began = time.monotonic()
    assert who(worker(patience=1), token).project == people.p1
    assert time.monotonic() - began < 30  # It is waited for twice a second at most.
