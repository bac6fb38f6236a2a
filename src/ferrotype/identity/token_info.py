"""What Keystone says about a token, and this process's cache of it."""

import re
import time
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from ferrotype.model.caller import Caller

#: Most tokens in the cache; fewer rejected ones, so that invalid tokens never evict valid ones.
MAX_CACHED, MAX_REJECTED = 20_000, 1_000
#: Seconds for which a rejected token is not validated again (negative caching).
REJECTED_SECONDS = 5.0

_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)


class TokenInfo(msgspec.Struct, frozen=True):
    """The caller that a token belongs to, as Keystone validated it. The token itself is never stored."""

    caller: Caller
    #: seconds since 1970
    expires_at: float
    #: when Keystone validated the token, in seconds since 1970
    validated_at: float

    @property
    def expired(self) -> bool:
        """Whether the token has expired."""
        return self.expires_at <= time.time()


def could_be_token(text: str) -> bool:
    """Tell whether the string has the form of a token; Keystone is not asked about others."""
    return _TOKEN.fullmatch(text) is not None


def token_form(token: str) -> str:
    """Return ``fernet``, ``jws`` or ``other``: made-up tokens seldom have the form of Keystone's."""
    if token.startswith("gAAAAA"):  # Version 0x80, and a time in seconds of 64 bits.
        return "fernet"
    return "jws" if token.startswith("eyJ") and token.count(".") == 2 else "other"


def cache_key(token: str) -> bytes:
    """Return the hash by which a token is cached."""
    return sha256(token.encode()).digest()


def parse_token(token: dict[str, Any]) -> TokenInfo:
    """Parse Keystone's description of a token. Raises KeyError, TypeError, ValueError or AttributeError."""
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
    return TokenInfo(caller, datetime.fromisoformat(token["expires_at"]).timestamp(), time.time())


class TokenCache:
    """A bounded cache of validated and rejected tokens. A validation is reused for at most ``seconds``."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._valid: dict[bytes, TokenInfo] = {}
        self._rejected: dict[Any, float] = {}

    def get(self, key: bytes) -> TokenInfo | None:
        """Return the cached validation of a token, whether or not the token has expired since."""
        info = self._valid.get(key)
        if info is None or self.is_current(info):
            return info
        del self._valid[key]
        return None

    def is_current(self, info: TokenInfo) -> bool:
        """Tell whether a validation is recent enough to be used."""
        return 0 <= time.time() - info.validated_at < self._seconds

    def put(self, key: bytes, info: TokenInfo) -> None:
        """Cache a validation; the oldest entry is evicted when the cache is full."""
        if self.is_current(info):
            self._valid.pop(key, None)
            _evict_oldest(self._valid, MAX_CACHED)
            self._valid[key] = info

    def is_rejected(self, key: Any) -> bool:
        """Tell whether Keystone rejected this token within the last seconds."""
        return self._rejected.get(key, 0.0) > time.monotonic()

    def reject(self, key: Any) -> None:
        """Cache a rejection for ``REJECTED_SECONDS``."""
        self._rejected.pop(key, None)
        _evict_oldest(self._rejected, MAX_REJECTED)
        self._rejected[key] = time.monotonic() + REJECTED_SECONDS


def _evict_oldest(cache: dict[Any, Any], most: int) -> None:
    if len(cache) >= most:
        del cache[next(iter(cache))]
