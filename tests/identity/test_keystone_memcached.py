"""Processes share token validations through memcached, which need not be trusted."""

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
from keystone_service import PASSWORD, Keystone, Users, configured
from needs import need
from pymemcache.client.base import Client

from ferrotype.identity.keystone import KeystoneAuth
from ferrotype.identity.memcached import MemcachedTokenCache
from ferrotype.identity.token_info import TokenInfo, cache_key
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
def worker(identity: Keystone, users: Users, tmp_path: Path, memcached: Any) -> Callable[..., KeystoneAuth]:
    """Make the KeystoneAuth of one more process."""

    def made(more: str = "", timeout: int = 60) -> KeystoneAuth:
        servers = f"memcached_servers = 127.0.0.1:{memcached[0]}\nmemcache_pool_socket_timeout = {timeout}\n{more}"
        return KeystoneAuth(configured(identity, tmp_path, authtoken=servers).keystone)

    return made


def who(auth: KeystoneAuth, token: str) -> Caller:
    return asyncio.run(auth.identify({"x-auth-token": token}))


def cache_of(auth: KeystoneAuth) -> MemcachedTokenCache:
    assert auth._memcached is not None
    return auth._memcached


def test_processes_share_validations(worker, users, identity, memcached) -> None:
    token = users.owner.token()
    first = who(worker(), token)
    before = identity.requests()
    assert who(worker(), token) == first
    assert identity.requests() == before
    # SEC-115: neither the token nor what it means can be read there.
    name = cache_of(worker())._name(cache_key(token))
    entry = Client(("127.0.0.1", memcached[0])).get(name)
    assert entry
    for secret in (token, users.owner.id, users.p1, "member", PASSWORD):
        assert secret.encode() not in entry and secret not in name


# SEC-75
def test_forged_entries_are_ignored(worker, users, identity, memcached, tmp_path) -> None:
    poison = Client(("127.0.0.1", memcached[0]))
    owner, admin = users.owner.token(), users.admin.token()
    reading = cache_of(worker())
    who(worker(), admin)
    admin_entry = poison.get(reading._name(cache_key(admin)))
    now = time.time()
    forger = cache_of(worker("memcache_secret_key = guessed"))
    forger.put(cache_key("made-up"), TokenInfo(Caller("u", "p", frozenset({"admin"})), now + 999, now))
    forged = poison.get(forger._name(cache_key("made-up")))
    altered = bytes([*admin_entry[:-1], admin_entry[-1] ^ 1])
    for entry in (admin_entry, forged, altered, b"", b"x", b"\x80\x04N.", b"{}" * 5000, admin_entry[:20]):
        for token in (owner, "made-up"):
            poison.set(reading._name(cache_key(token)), entry, noreply=False)
        assert reading.get(cache_key(owner)) is None
        caller = who(worker(), owner)
        assert (caller.user, caller.roles) == (users.owner.id, {"member", "reader"})
        with pytest.raises(Unauthenticated):
            who(worker(), "made-up")


# SEC-75
def test_outdated_entries_and_expired_tokens_are_ignored(worker, users, memcached) -> None:
    auth, now = worker(), time.time()
    admin = Caller("u", "p", frozenset({"admin"}))
    for info in (
        TokenInfo(admin, now + 999, now - 301),
        TokenInfo(admin, now - 1, now),
        TokenInfo(admin, now + 999, now + 99),
    ):
        cache_of(auth).put(cache_key("old"), info)
        assert cache_of(auth).get(cache_key("old")) == info
        with pytest.raises(Unauthenticated):
            who(worker(), "old")


@pytest.mark.parametrize("way", ["empty", "killed", "paused"])
def test_without_memcached_keystone_is_asked(worker, users, memcached, way) -> None:
    token = users.owner.token()
    who(worker(), token)
    _, process = memcached
    if way == "empty":
        Client(("127.0.0.1", memcached[0])).flush_all()
    else:
        process.send_signal(9 if way == "killed" else 19)
    began = time.monotonic()
    assert who(worker(timeout=1), token).project == users.p1
    assert time.monotonic() - began < 30  # The timeout is one second for each call.
