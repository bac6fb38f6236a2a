"""Tokens: API tokens, known by their hash, and tokens that a login issues, known by our signature.

A signed token names a user, a project, and a fingerprint of the account as it was. Roles are not in it: they are
looked up when it is used, and when the user's password or roles in the project change, the token is void.
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

#: How a signed token begins. Every client sends its characters as they are.
PREFIX = "tt1"


class Token(Struct, frozen=True, array_like=True):
    """The payload of a signed token. Times are microseconds since 1970; ``account`` is the account's fingerprint."""

    id: str
    user: str
    account: bytes
    project: str | None
    methods: tuple[str, ...]
    issued_at: int
    expires_at: int


def new() -> str:
    """Return a fresh API token."""
    return secrets.token_urlsafe(32)


def new_id() -> str:
    """Return an id for a signed token; the token cannot be made from it."""
    return secrets.token_urlsafe(16)


def hashed(token: str) -> str:
    """Return the hash by which an API token is known."""
    return hashlib.sha256(token.encode()).hexdigest()


def account_for_token(accounts: Iterable[Account], token: str) -> Account | None:
    """Return the account of an API token. The comparison takes the same time whatever tokens there are."""
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

    def account_fingerprint(self, account: Account, project: str | None) -> bytes:
        """Return a keyed hash of an account's name, password hash and roles in a project."""
        content = msgspec.msgpack.encode((account.name, account.secret, project, account.roles(project)))
        return hmac.digest(self._accounts, content, "sha256")[:16]

    def sign(self, token: Token) -> str:
        """Return the token as clients carry it."""
        payload = f"{PREFIX}.{_text(msgspec.msgpack.encode(token))}"
        return f"{payload}.{self._signature(payload)}"

    def read(self, text: str) -> Token | None:
        """Return the payload of a token; None unless we signed it exactly so."""
        payload, _, signature = text.rpartition(".")
        if not hmac.compare_digest(self._signature(payload).encode(), signature.encode()):
            return None
        prefix, _, content = payload.partition(".")
        if prefix != PREFIX:
            return None
        try:
            return self._decode(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)))
        except (binascii.Error, msgspec.DecodeError):  # Signed by us, and in a form of another version.
            return None

    def _signature(self, payload: str) -> str:
        return _text(hmac.digest(self._tokens, payload.encode(), "sha256"))


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
