"""Who may call where there is no Keystone: people with passwords and programs with tokens, from two files.

    users     name:bcrypt hash                     an administrator of the default project
              name:bcrypt hash:project:role,role
    tokens    name:SHA-256 of the token:project:role,role

Both are read at start and whenever they change; what cannot be understood then changes nothing.
"""

import fcntl
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from ferrotype.identity.none import PROJECT
from ferrotype.model.caller import Caller
from ferrotype.model.errors import FerrotypeError

log = logging.getLogger("ferrotype.identity")

#: What the fixed project is called in the files. It is the one that everything without authentication belongs to.
DEFAULT_PROJECT = "default"
#: The only domain there is.
DOMAIN = "default"
#: Roles of a user whose line names none.
ROLES = ("admin", "member", "reader")
#: Each of these roles holds those after it, as they do in a Keystone that nobody changed.
LADDER = ("admin", "manager", "member", "reader")
#: What one check of a password may cost: each step doubles it, and 16 already takes seconds.
COSTS = range(4, 17)

_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_FOR_ALL = 0o006


class BrokenAccounts(FerrotypeError):
    """A file of accounts cannot be read or understood."""


class Account(Struct, frozen=True):
    """Somebody with a name, and what is theirs. ``secret`` is the hash of a password or of a token."""

    name: str
    secret: str
    project: str = PROJECT
    roles: tuple[str, ...] = ROLES

    def caller(self, scoped: bool = True) -> Caller:
        """Return the caller that this account is; without its project it may do nothing with images."""
        if not scoped:
            return Caller(user=self.name, user_domain=DOMAIN)
        roles = frozenset(self.roles)
        return Caller(user=self.name, project=self.project, roles=roles, user_domain=DOMAIN, project_domain=DOMAIN)


def cost(secret: str) -> int:
    """Return the cost of a bcrypt hash."""
    return int(secret[4:6])


def project_name(project: str) -> str:
    """Return what a project is called: its id, but for the fixed one."""
    return DEFAULT_PROJECT if project == PROJECT else project


class Accounts:
    """What the two files say, replaced whole."""

    def __init__(self, users: Path, tokens: Path | None):
        self._files = (users, tokens)
        self._seen: tuple[object, ...] = ()
        self.users: dict[str, Account] = {}
        self.tokens: tuple[Account, ...] = ()
        #: the highest cost among the passwords
        self.dearest = COSTS[0]
        self.read()

    def read(self) -> None:
        """Read the files as they are; raise BrokenAccounts and change nothing."""
        users_file, tokens_file = self._files
        self._seen = self._signature()
        users = {account.name: account for account in accounts_in(users_file, user)}
        tokens = tuple(accounts_in(tokens_file, program)) if tokens_file else ()
        if twice := users.keys() & {account.name for account in tokens}:
            raise BrokenAccounts(f"'{min(twice)}' is in {users_file} and in {tokens_file}; a name belongs to one.")
        self.users, self.tokens = users, tokens
        self.dearest = max((cost(account.secret) for account in users.values()), default=COSTS[0])

    def refresh(self) -> None:
        """Read the files again if they changed; what is broken changes nothing but the log."""
        if self._signature() == self._seen:
            return
        try:
            self.read()
            log.warning("The files of accounts changed; they count from now on.")
        except BrokenAccounts as error:
            log.error("The files of accounts changed and are broken; the accounts before stay: %s", error)

    def named(self, name: str) -> Account | None:
        """Return the account with this name, of whichever file."""
        return self.users.get(name) or next((each for each in self.tokens if each.name == name), None)

    def everybody(self) -> list[Account]:
        """Return all accounts."""
        return [*self.users.values(), *self.tokens]

    def projects(self) -> list[str]:
        """Return the ids of all projects, the fixed one among them, in order."""
        return sorted({PROJECT, *(account.project for account in self.everybody())})

    def _signature(self) -> tuple[object, ...]:
        found: list[object] = []
        for file in self._files:
            try:
                stat = file.stat() if file else None
            except OSError:  # Reading it says what is wrong with it.
                stat = None
            found.append(stat and (stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)


def accounts_in(file: Path, of: Callable[[list[str]], Account]) -> list[Account]:
    """Return the accounts of a file's lines; raise BrokenAccounts naming the first line that is wrong."""
    try:
        lines = file.read_text("utf-8-sig").splitlines()
        mode = file.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenAccounts(f"{file} cannot be read: {error}") from error
    if mode & _FOR_ALL:
        log.warning("%s can be read or changed by everybody on this machine: chmod o= %s", file, file)
    found: dict[str, Account] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            account = of(line.strip().split(":"))
            if account.name in found:
                raise ValueError(f"'{account.name}' is there twice")
        except ValueError as error:
            raise BrokenAccounts(f"{file}, line {number}: {error}.") from None
        found[account.name] = account
    return list(found.values())


def add(file: Path, fields: list[str]) -> None:
    """Append a program's line to its file, which is made for its owner alone where there is none."""
    line = ":".join(fields)
    try:
        account = program(line.split(":"))
    except ValueError as error:
        raise BrokenAccounts(f"This cannot be added: {error}.") from None
    with open(os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+b") as lines:  # noqa: PTH123
        fcntl.flock(lines, fcntl.LOCK_EX)
        if any(each.name == account.name for each in accounts_in(file, program)):
            raise BrokenAccounts(f"{file} has a line for '{account.name}' already; remove that first.")
        lines.seek(0)
        text = lines.read()
        start = b"\n" if text and not text.endswith(b"\n") else b""
        lines.write(start + line.encode() + b"\n")
        lines.flush()
        os.fsync(lines.fileno())


def user(fields: list[str]) -> Account:
    """Return the account of a line with a password; raise ValueError with what is wrong, never with a hash."""
    if len(fields) not in (2, 4):
        raise ValueError("a line must be name:hash or name:hash:project:role,role")
    name, secret, *more = fields
    form = _BCRYPT.fullmatch(secret)
    _check_name(name)
    if not form:
        raise ValueError(f"the password of '{name}' is no bcrypt hash; `htpasswd -B -C 10` makes such")
    if int(form[1]) not in COSTS:
        raise ValueError(f"the hash of '{name}' must have a cost from {COSTS[0]} to {COSTS[-1]}")
    return _account(name, secret, *more) if more else Account(name, secret)


def program(fields: list[str]) -> Account:
    """Return the account of a line with a token; raise ValueError with what is wrong, never with a hash."""
    if len(fields) != 4:
        raise ValueError("a line must be name:hash:project:role,role")
    name, secret, project, roles = fields
    _check_name(name)
    if not _SHA256.fullmatch(secret.lower()):
        raise ValueError(
            f"the token of '{name}' must be its SHA-256 in 64 hex digits; `ferrotype token new` makes one"
        )
    return _account(name, secret.lower(), project, roles)


def _account(name: str, secret: str, project: str, roles: str) -> Account:
    words = [role.lower() for role in roles.split(",")]
    for word in (project, *words):
        if not _WORD.fullmatch(word):
            raise ValueError(f"a project or role of '{name}' must be 1 to 64 letters, digits and . _ - @")
    steps = [LADDER.index(word) for word in words if word in LADDER]
    held = dict.fromkeys([*words, *(LADDER[min(steps) :] if steps else ())])
    return Account(name, secret, PROJECT if project == DEFAULT_PROJECT else project, tuple(held))


def _check_name(name: str) -> None:
    if not name.isprintable() or name != name.strip() or not 1 <= len(name) <= 255:
        raise ValueError("a name must have 1 to 255 characters that can be printed, and no blank at either end")
