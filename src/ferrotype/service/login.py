"""Login without Keystone: a name and a password, or a token, become an account."""

import time
from collections.abc import Callable, Mapping

from ferrotype.db import logins
from ferrotype.db.engine import Database
from ferrotype.identity import basic, tokens
from ferrotype.identity.accounts import Account, Accounts
from ferrotype.identity.tokens import Signer, Token
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Forbidden, Unauthenticated
from ferrotype.model.times import SECOND
from ferrotype.service.account_files import AccountFiles

#: A token that a login issues is valid for an hour.
LIFETIME = 3600 * SECOND

_WRONG = "The user name or the password is wrong."
_NO_TOKEN = "The token is unknown, has expired, or was revoked."  # noqa: S105
_NO_ROLE = "The user '{}' has no role in any project; an administrator gives one with `ferrotype user grant`."


class Login:
    """Who may log in, and how. ``clock`` tells the time in microseconds since 1970."""

    def __init__(
        self,
        files: AccountFiles,
        passwords: basic.Passwords,
        signer: Signer,
        db: Database,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ):
        self.files = files
        self._passwords, self._signer, self._db, self._clock = passwords, signer, db, clock

    @property
    def accounts(self) -> Accounts:
        """All accounts, as the files say now."""
        return self.files.accounts

    async def identify(self, headers: Mapping[str, str], client: str = "") -> Caller:
        """Return the caller whom a password or a token proves; raise Unauthenticated. Other headers are not read.

        With a password the caller acts in the user's default project; raise Forbidden where there is none.
        """
        given = basic.credentials(headers.get("authorization", ""))
        if given:
            account = await self.by_password(*given, client)
            if account.default_project is None:
                raise Forbidden(_NO_ROLE.format(account.name))
            return account.caller(account.default_project)
        text = headers.get("x-auth-token") or headers.get("x-storage-token")
        if text:
            account, token = await self.by_token(text)
            return account.caller(token.project if token else account.default_project)
        raise Unauthenticated(
            "Authentication is required: send a user name and a password, or a token.", basic.CHALLENGE
        )

    async def by_password(self, name: str, password: str, client: str = "") -> Account:
        """Return the account that name and password belong to. Clients take turns while passwords are verified."""
        account = self.accounts.users.get(name)
        right = await self._passwords.verify(name, password, account, self.accounts.max_cost, client)
        if account is None or not right:
            raise Unauthenticated(_WRONG, basic.CHALLENGE)
        return account

    async def by_token(self, text: str) -> tuple[Account, Token | None]:
        """Return the account whose token this is, and the payload of a token that a login issued."""
        if account := tokens.account_for_token(self.accounts.tokens, text):
            return account, None
        token = self._signer.read(text)
        account = self.accounts.named(token.user) if token else None
        if token is None or account is None or not await self._holds(token, account):
            raise Unauthenticated(_NO_TOKEN, basic.CHALLENGE)
        return account, token

    async def _holds(self, token: Token, account: Account) -> bool:
        fingerprint = self._signer.account_fingerprint(account, token.project)
        alive = token.expires_at > self._clock() and token.account == fingerprint
        return alive and not await logins.is_revoked(self._db, token.id)

    def issue(
        self, account: Account, project: str | None, methods: tuple[str, ...], before: Token | None
    ) -> tuple[str, Token]:
        """Return a new token of the account. One that is issued for another token expires when that one expires."""
        issued_at = self._clock()
        token = Token(
            id=tokens.new_id(),
            user=account.name,
            account=self._signer.account_fingerprint(account, project),
            project=project,
            methods=methods,
            issued_at=issued_at,
            expires_at=before.expires_at if before else issued_at + LIFETIME,
        )
        return self._signer.sign(token), token

    async def revoke(self, token: Token) -> None:
        """Revoke a token; it is not accepted any more."""
        await logins.revoke(self._db, token.id, token.expires_at)
