"""What a token of Keystone was found to mean, and for how long that is believed."""

import re
import time
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from ferrotype.model.caller import Caller

#: Most tokens that a process remembers; of those that were refused, fewer, so that they never drive out others.
MOST_KEPT, MOST_REFUSED = 20_000, 1_000
#: Seconds for which a refused token is not asked about again.
REFUSED_SECONDS = 5.0

_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)


class Facts(msgspec.Struct, frozen=True):
    """Who the token is for, by Keystone's word. The token itself is never kept."""

    caller: Caller
    #: the token's own end, in seconds since 1970
    expires_at: float
    #: when Keystone said so
    validated_at: float

    @property
    def expired(self) -> bool:
        """Whether the token's own end has come."""
        return self.expires_at <= time.time()


def could_be_token(text: str) -> bool:
    """Tell whether any token could look like this: others are not worth a question."""
    return _TOKEN.fullmatch(text) is not None


def key_of(token: str) -> bytes:
    """Return what a token is remembered by."""
    return sha256(token.encode()).digest()


def facts_from(token: dict[str, Any]) -> Facts:
    """Return what Keystone's description of a token says. Raises where it says something else."""
    user, project = token["user"], token.get("project")
    caller = Caller(
        user=user["id"],
        project=project["id"] if project else None,
        roles=frozenset(role["name"].lower() for role in token.get("roles", ())),
        domain=token["domain"]["id"] if token.get("domain") else None,
        system="all" if token.get("system", {}).get("all") else None,
        user_domain=user["domain"]["id"],
        project_domain=project["domain"]["id"] if project else None,
    )
    return Facts(caller, datetime.fromisoformat(token["expires_at"]).timestamp(), time.time())


class Kept:
    """Tokens of which the answer is known. Bounded; nothing is believed longer than ``seconds``."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._facts: dict[bytes, Facts] = {}
        self._refused: dict[Any, float] = {}

    def get(self, key: bytes) -> Facts | None:
        """Return the facts of a token while they are believed, whether it has expired or not."""
        facts = self._facts.get(key)
        if facts is None or self.believed(facts):
            return facts
        del self._facts[key]
        return None

    def believed(self, facts: Facts) -> bool:
        """Tell whether Keystone's word is still young enough."""
        return 0 <= time.time() - facts.validated_at < self._seconds

    def put(self, key: bytes, facts: Facts) -> None:
        """Remember; the oldest makes room."""
        if self.believed(facts):
            self._facts.pop(key, None)
            _make_room(self._facts, MOST_KEPT)
            self._facts[key] = facts

    def refused(self, key: Any) -> bool:
        """Tell whether Keystone has just refused this."""
        return self._refused.get(key, 0.0) > time.monotonic()

    def refuse(self, key: Any) -> None:
        """Remember a refusal for a moment."""
        self._refused.pop(key, None)
        _make_room(self._refused, MOST_REFUSED)
        self._refused[key] = time.monotonic() + REFUSED_SECONDS


def _make_room(kept: dict[Any, Any], most: int) -> None:
    if len(kept) >= most:
        del kept[next(iter(kept))]
