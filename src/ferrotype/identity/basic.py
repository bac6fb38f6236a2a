"""HTTP Basic: read name and password from an ``Authorization`` header, and verify them.

Verifying a password is slow on purpose. It is done in a thread, once at a time for the same password
(single-flight), and by at most half of the processors. Results are cached for a while under a keyed hash with a
secret of this process: the password itself is stored nowhere.
"""

import asyncio
import base64
import binascii
import hmac
import os
import secrets
import time

import bcrypt

from ferrotype.identity.accounts import Account, cost
from ferrotype.model.errors import Busy
from ferrotype.offload import ThreadPools

#: For the header of a 401 answer.
CHALLENGE = 'Basic realm="Images", charset="UTF-8"'
#: Seconds for which a right and a wrong password are remembered. The latter spares us a client that repeats it.
REMEMBER_RIGHT, REMEMBER_WRONG = 60.0, 10.0
#: Seconds before the answer that a password is wrong, or cannot be verified now.
PAUSE = 0.5
#: Checks that may run or wait; further ones are refused with Retry-After.
WAITING = 32
#: Most passwords in the cache.
MOST = 1024
#: Bytes of a password that bcrypt looks at.
SIGNIFICANT = 72


def credentials(header: str) -> tuple[str, str] | None:
    """Return name and password from the value of an ``Authorization`` header, or None where there are none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if colon else None


class Passwords:
    """Verifies passwords. ``processes`` share this machine's processors."""

    def __init__(self, pools: ThreadPools, processes: int = 1):
        self._pools = pools
        self._key = secrets.token_bytes(32)
        self._free = asyncio.Semaphore(max(1, len(os.sched_getaffinity(0)) // (2 * processes)))
        self._right, self._wrong = _Memory(REMEMBER_RIGHT), _Memory(REMEMBER_WRONG)
        self._in_flight: dict[bytes, asyncio.Task[bool]] = {}

    async def verify(self, name: str, password: str, account: Account | None, max_cost: int) -> bool:
        """Tell whether the password is the account's. Without an account it is not, which takes the same time.

        ``max_cost`` is the highest cost among all passwords: every wrong one costs as much. Raises Busy when
        too many are being verified.
        """
        if "\0" in name + password:
            return False
        # The hash is part of the key: when the user's line changes, what is cached for it no longer counts.
        content = "\0".join((name, account.secret if account else "", password))
        key = hmac.digest(self._key, content.encode(), "sha256")
        if self._right.holds(key):
            return True
        if not self._wrong.holds(key):
            work = self._in_flight.get(key)
            if work is None:
                if len(self._in_flight) >= WAITING:
                    await asyncio.sleep(PAUSE)  # Otherwise many clients that guess would retry at once.
                    raise Busy("Too many passwords are being verified. Please retry.", retry_after=2)
                work = self._begin(key, password, account, max_cost)
            if await asyncio.shield(work):
                return True
        await asyncio.sleep(PAUSE)
        return False

    def _begin(self, key: bytes, password: str, account: Account | None, max_cost: int) -> asyncio.Task[bool]:
        secret = account.secret if account else None
        work = asyncio.create_task(self._check(key, password.encode()[:SIGNIFICANT], secret, max_cost))
        self._in_flight[key] = work
        return work

    async def _check(self, key: bytes, password: bytes, secret: str | None, max_cost: int) -> bool:
        try:
            async with self._free:
                right = await self._pools.offload(_compare, password, secret, max_cost)
        finally:
            del self._in_flight[key]
        (self._right if right else self._wrong).keep(key)
        return right


def _compare(password: bytes, secret: str | None, max_cost: int) -> bool:
    if secret is None:
        bcrypt.checkpw(password, _dummy_hash(max_cost))
        return False
    if bcrypt.checkpw(password, secret.encode()):
        return True
    # Each step costs as much as all before it, so that together they cost as much as one check at max_cost.
    for step in range(cost(secret), max_cost):
        bcrypt.checkpw(password, _dummy_hash(step))
    return False


def _dummy_hash(step: int) -> bytes:
    """Return a hash of this cost that belongs to no password."""
    return b"$2b$%02d$" % step + b"." * 53


class _Memory:
    """A bounded set whose entries expire a fixed time after they were added."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._until: dict[bytes, float] = {}

    def holds(self, key: bytes) -> bool:
        return self._until.get(key, 0.0) > time.monotonic()

    def keep(self, key: bytes) -> None:
        self._until.pop(key, None)
        if len(self._until) >= MOST:
            del self._until[next(iter(self._until))]  # The oldest.
        self._until[key] = time.monotonic() + self._seconds
