"""Logging in without Keystone: a name and a password, or a token, become an account."""

import time
from collections.abc import Callable, Mapping

from ferrotype.db import logins
from ferrotype.db.engine import Database
from ferrotype.identity import basic, tokens
from ferrotype.identity.accounts import Account, Accounts
from ferrotype.identity.tokens import Signer, Token
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Unauthenticated
from ferrotype.model.times import SECOND

#: What a log-in gives is good for an hour.
LIFETIME = 3600 * SECOND

_WRONG = "Name and password do not belong together, or are unknown."
_NO_TOKEN = "The token is unknown, has ended, or was given back."  # noqa: S105


class Login:
    """Who may log in, and how. ``clock`` tells the time in microseconds since 1970."""

    def __init__(
        self,
        accounts: Accounts,
        passwords: basic.Passwords,
        signer: Signer,
        db: Database,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ):
        self.accounts = accounts
        self._passwords, self._signer, self._db, self._clock = passwords, signer, db, clock

    async def identify(self, headers: Mapping[str, str]) -> Caller:
        """Return the caller whom the headers prove; raise Unauthenticated. What they merely say is not looked at."""
        given = basic.credentials(headers.get("authorization", ""))
        if given:
            return (await self.by_password(*given)).caller()
        text = headers.get("x-auth-token") or headers.get("x-storage-token")
        if text:
            account, token = await self.by_token(text)
            return account.caller(scoped=token is None or token.project is not None)
        raise Unauthenticated("A name and a password are needed, or a token.", basic.CHALLENGE)

    async def by_password(self, name: str, password: str) -> Account:
        """Return the account that name and password belong to."""
        account = self.accounts.users.get(name)
        fits = await self._passwords.fits(name, password, account, self.accounts.dearest)
        if account is None or not fits:
            raise Unauthenticated(_WRONG, basic.CHALLENGE)
        return account

    async def by_token(self, text: str) -> tuple[Account, Token | None]:
        """Return the account whose token this is, and what the token says where a log-in gave it."""
        if account := tokens.holder(self.accounts.tokens, text):
            return account, None
        token = self._signer.read(text)
        account = self.accounts.named(token.user) if token else None
        if token is None or account is None or not await self._holds(token, account):
            raise Unauthenticated(_NO_TOKEN, basic.CHALLENGE)
        return account, token

    async def _holds(self, token: Token, account: Account) -> bool:
        alive = token.expires_at > self._clock() and token.account == self._signer.state(account)
        return alive and not await logins.is_revoked(self._db, token.id)

    def issue(
        self, account: Account, scoped: bool, methods: tuple[str, ...], before: Token | None
    ) -> tuple[str, Token]:
        """Return a new token of the account. One that is got for another token ends when that one ends."""
        issued_at = self._clock()
        token = Token(
            id=tokens.new_id(),
            user=account.name,
            account=self._signer.state(account),
            project=account.project if scoped else None,
            methods=methods,
            issued_at=issued_at,
            expires_at=before.expires_at if before else issued_at + LIFETIME,
        )
        return self._signer.sign(token), token

    async def revoke(self, token: Token) -> None:
        """Give a token back: nobody can use it from now on."""
        await logins.revoke(self._db, token.id, token.expires_at)
