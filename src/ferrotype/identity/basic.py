"""HTTP Basic: read name and password from an ``Authorization`` header, and verify them.

Verifying a password is slow on purpose. It is done in a thread, once at a time for the same password
(single-flight), and by at most half of the processors; clients take turns. Results are cached for a while under a
keyed hash with a secret of this process: the password itself is stored nowhere. A right one is cached while it is
used, so that a client that guesses cannot lock out its user.
"""

import asyncio
import base64
import binascii
import hmac
import os
import secrets
import time
from collections.abc import Callable
from functools import partial

import bcrypt

from ferrotype.identity.accounts import Account, cost
from ferrotype.identity.fair_queue import FairQueue, Job, QueueFull
from ferrotype.model.errors import Busy
from ferrotype.offload import ThreadPools

#: For the header of a 401 answer.
CHALLENGE = 'Basic realm="Images", charset="UTF-8"'
#: Seconds for which a right password is remembered after its last use, and a wrong one. The latter spares us a client
#: that repeats it.
REMEMBER_RIGHT, REMEMBER_WRONG = 300.0, 10.0
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
    """Verifies passwords. ``processes`` share this machine's processors; ``clock`` tells the time in seconds."""

    def __init__(self, pools: ThreadPools, processes: int = 1, clock: Callable[[], float] = time.monotonic):
        self._pools = pools
        self._key = secrets.token_bytes(32)
        slots = max(1, len(os.sched_getaffinity(0)) // (2 * processes))
        self._queue: FairQueue[bool] = FairQueue(slots, WAITING)
        self._right, self._wrong = _Memory(REMEMBER_RIGHT, clock), _Memory(REMEMBER_WRONG, clock)
        self._in_flight: dict[bytes, Job[bool]] = {}

    async def verify(
        self, name: str, password: str, account: Account | None, max_cost: int, client: str = ""
    ) -> bool:
        """Tell whether the password is the account's. Without an account it is not, which takes the same time.

        ``max_cost`` is the highest cost among all passwords: every wrong one costs as much. Clients, and the names
        that one client gives, take turns. Raises Busy when too many are being verified.
        """
        if "\0" in name + password:
            return False
        # The hash is part of the key: when the user's line changes, what is cached for it no longer counts.
        content = "\0".join((name, account.secret if account else "", password))
        key = hmac.digest(self._key, content.encode(), "sha256")
        if self._right.holds(key):
            self._right.keep(key)
            return True
        if not self._wrong.holds(key):
            try:
                job = self._in_flight.get(key) or self._begin(key, name, password, account, max_cost, client)
                if await asyncio.shield(job.outcome):
                    return True
            except QueueFull:
                await asyncio.sleep(PAUSE)  # Otherwise many clients that guess would retry at once.
                raise Busy("Too many passwords are being verified. Please retry.", retry_after=2) from None
        await asyncio.sleep(PAUSE)
        return False

    def _begin(
        self, key: bytes, name: str, password: str, account: Account | None, max_cost: int, client: str
    ) -> Job[bool]:
        secret = account.secret if account else None
        check = partial(self._pools.offload, _compare, password.encode()[:SIGNIFICANT], secret, max_cost)
        job = self._in_flight[key] = self._queue.submit(client, name, check)
        job.outcome.add_done_callback(partial(self._finish, key))
        return job

    def _finish(self, key: bytes, outcome: asyncio.Future[bool]) -> None:
        del self._in_flight[key]
        if not outcome.cancelled() and outcome.exception() is None:
            (self._right if outcome.result() else self._wrong).keep(key)


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
    """A bounded set whose entries expire a fixed time after they were added last."""

    def __init__(self, seconds: float, clock: Callable[[], float]):
        self._seconds, self._clock = seconds, clock
        self._until: dict[bytes, float] = {}

    def holds(self, key: bytes) -> bool:
        return self._until.get(key, 0.0) > self._clock()

    def keep(self, key: bytes) -> None:
        self._until.pop(key, None)
        if len(self._until) >= MOST:
            del self._until[next(iter(self._until))]  # The oldest.
        self._until[key] = self._clock() + self._seconds
