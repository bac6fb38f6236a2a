"""Tokens: those an operator hands out, known by their hash, and those a log-in gives, known by our signature.

A signed token tells whose it is and which state of the account it was made for. Roles are not in it: they are
looked up when it is used, and when the account's line changed, the token is void.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from ferrotype.identity.accounts import Account

#: Only characters that every client sends as they are.
_MARK = "tt1"


class Token(Struct, frozen=True, array_like=True):
    """What a signed token says. Times are microseconds; ``account`` is the state of the user's line."""

    id: str
    user: str
    account: bytes
    project: str | None
    methods: tuple[str, ...]
    issued_at: int
    expires_at: int


def new() -> str:
    """Return a fresh token for a program."""
    return secrets.token_urlsafe(32)


def new_id() -> str:
    """Return an id for a signed token; who knows it cannot make the token from it."""
    return secrets.token_urlsafe(16)


def hashed(token: str) -> str:
    """Return what is kept of a token that an operator hands out."""
    return hashlib.sha256(token.encode()).hexdigest()


def holder(accounts: Iterable[Account], token: str) -> Account | None:
    """Return the account whose token this is. The time it takes tells nothing of the tokens there are."""
    asked, found = hashed(token), None
    for account in accounts:
        if hmac.compare_digest(account.secret, asked):
            found = account
    return found


class Signer:
    """Makes and reads tokens that are signed with a secret of the deployment."""

    def __init__(self, secret: bytes):
        self._tokens = hmac.digest(secret, b"tokens", "sha256")
        self._accounts = hmac.digest(secret, b"accounts", "sha256")
        self._decode = msgspec.msgpack.Decoder(Token).decode

    def state(self, account: Account) -> bytes:
        """Return a mark of everything that the account's line says; it tells nobody what that is."""
        return hmac.digest(self._accounts, msgspec.msgpack.encode(account), "sha256")[:16]

    def sign(self, token: Token) -> str:
        """Return the token as clients carry it."""
        said = f"{_MARK}.{_text(msgspec.msgpack.encode(token))}"
        return f"{said}.{self._signature(said)}"

    def read(self, text: str) -> Token | None:
        """Return what a token says, or None where it is not one of ours to the last bit."""
        said, _, signature = text.rpartition(".")
        if not hmac.compare_digest(self._signature(said).encode(), signature.encode()):
            return None
        mark, _, content = said.partition(".")
        if mark != _MARK:
            return None
        try:
            return self._decode(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)))
        except (binascii.Error, msgspec.DecodeError):  # Signed by us, and in a form of another version.
            return None

    def _signature(self, said: str) -> str:
        return _text(hmac.digest(self._tokens, said.encode(), "sha256"))


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
