"""Names and passwords: out of an ``Authorization`` header, and whether they belong together.

A check of a password is slow on purpose, so it is done in a thread, never twice at a time for the same password,
and not more of them at once than leave processors for everybody else. What was found is remembered for a while
under a key that is made with a secret of this process: the password itself is nowhere kept.
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
#: Seconds before somebody hears that a password was wrong, or could not be checked.
PAUSE = 0.5
#: Checks that are under way or waiting; whoever comes then is told to come back.
WAITING = 32
#: Passwords that are remembered at once.
MOST = 1024
#: More of a password has never counted with bcrypt.
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
    """Tells right from wrong passwords. ``processes`` are those that share this machine's processors."""

    def __init__(self, pools: ThreadPools, processes: int = 1):
        self._pools = pools
        self._key = secrets.token_bytes(32)
        self._free = asyncio.Semaphore(max(1, len(os.sched_getaffinity(0)) // (2 * processes)))
        self._right, self._wrong = _Memory(REMEMBER_RIGHT), _Memory(REMEMBER_WRONG)
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}

    async def fits(self, name: str, password: str, account: Account | None, dearest: int) -> bool:
        """Tell whether the password is the account's; where there is none it is not, and that takes as long.

        ``dearest`` is the highest cost among all passwords: every wrong one costs as much. Raises Busy when
        too many are being checked.
        """
        if "\0" in name + password:
            return False
        # A hash is part of the key: when the account's line changes, nothing remembered of it counts.
        told = "\0".join((name, account.secret if account else "", password))
        key = hmac.digest(self._key, told.encode(), "sha256")
        if self._right.holds(key):
            return True
        if not self._wrong.holds(key):
            work = self._under_way.get(key)
            if work is None:
                if len(self._under_way) >= WAITING:
                    await asyncio.sleep(PAUSE)  # Else a crowd that guesses would ask again at once.
                    raise Busy("Too many passwords are being checked at present; please try again.", retry_after=2)
                work = self._begin(key, password, account, dearest)
            if await asyncio.shield(work):
                return True
        await asyncio.sleep(PAUSE)
        return False

    def _begin(self, key: bytes, password: str, account: Account | None, dearest: int) -> asyncio.Task[bool]:
        secret = account.secret if account else None
        work = asyncio.create_task(self._check(key, password.encode()[:SIGNIFICANT], secret, dearest))
        self._under_way[key] = work
        return work

    async def _check(self, key: bytes, password: bytes, secret: str | None, dearest: int) -> bool:
        try:
            async with self._free:
                right = await self._pools.offload(_compare, password, secret, dearest)
        finally:
            del self._under_way[key]
        (self._right if right else self._wrong).keep(key)
        return right


def _compare(password: bytes, secret: str | None, dearest: int) -> bool:
    if secret is None:
        bcrypt.checkpw(password, _nobodys(dearest))
        return False
    if bcrypt.checkpw(password, secret.encode()):
        return True
    for step in range(cost(secret), dearest):  # Each costs as much as all before it: the sum is that of the dearest.
        bcrypt.checkpw(password, _nobodys(step))
    return False


def _nobodys(step: int) -> bytes:
    """Return a hash of this cost that no password has."""
    return b"$2b$%02d$" % step + b"." * 53


class _Memory:
    """A bounded set that forgets each entry a fixed time after it came."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._until: dict[bytes, float] = {}

    def holds(self, key: bytes) -> bool:
        return self._until.get(key, 0.0) > time.monotonic()

    def keep(self, key: bytes) -> None:
        self._until.pop(key, None)
        if len(self._until) >= MOST:
            del self._until[next(iter(self._until))]  # The oldest, as all stay equally long.
        self._until[key] = time.monotonic() + self._seconds
