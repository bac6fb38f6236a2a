"""Accounts where there is no Keystone: users with passwords and roles, and API tokens, from three files.

    users     user:bcrypt hash                                as htpasswd writes it
    roles     user:project:role,role                          a line for each project of a user
    tokens    name:SHA-256 of the token:project:role,role

A user without a line in the file of roles has no rights. A file whose last line has no line end is refused: a
truncated line must never grant more than the whole line (ACC-03).
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from ferrotype.identity.none import PROJECT
from ferrotype.model.caller import Caller
from ferrotype.model.errors import FerrotypeError

#: What the fixed project is called in the files. Everything that is made without authentication belongs to it.
DEFAULT_PROJECT = "default"
#: The only domain there is.
DOMAIN = "default"
#: Each of these roles implies those after it, as in a Keystone with its default roles.
IMPLIED_ROLES = ("admin", "manager", "member", "reader")
#: Allowed costs of a bcrypt hash: each step doubles the time of a check, and 16 already takes seconds.
ALLOWED_COSTS = range(4, 17)

_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)


class BrokenAccounts(FerrotypeError):
    """An account file cannot be read or understood. The message has a line number and never a hash."""


class Grant(Struct, frozen=True):
    """What an account may do in one project."""

    project: str
    roles: tuple[str, ...]


class Account(Struct, frozen=True):
    """A user or an API token. ``secret`` is the hash of the password or of the token."""

    name: str
    secret: str
    #: one for each project, the default project's first
    grants: tuple[Grant, ...] = ()

    @property
    def default_project(self) -> str | None:
        """The project of requests that name none: that of the first line. None where there are no roles."""
        return self.grants[0].project if self.grants else None

    def roles(self, project: str | None) -> tuple[str, ...]:
        """Return the roles in a project, none where there are none."""
        return next((grant.roles for grant in self.grants if grant.project == project), ())

    def caller(self, project: str | None) -> Caller:
        """Return the caller that this account is in one of its projects; without a project it has no roles."""
        if project is None:
            return Caller(user=self.name, user_domain=DOMAIN)
        roles = frozenset(self.roles(project))
        return Caller(user=self.name, project=project, roles=roles, user_domain=DOMAIN, project_domain=DOMAIN)


class Accounts:
    """All accounts. A user and an API token never have the same name."""

    def __init__(
        self,
        users: Mapping[str, str],
        roles: Mapping[tuple[str, str], tuple[str, ...]],
        tokens: Mapping[str, Account],
    ):
        grants: dict[str, list[Grant]] = {}
        for (name, project), held in roles.items():
            grants.setdefault(name, []).append(Grant(project, held))
        self.users = {name: Account(name, secret, tuple(grants.get(name, ()))) for name, secret in users.items()}
        self.tokens = tuple(tokens.values())
        #: the highest cost among the passwords
        self.max_cost = max(map(cost, users.values()), default=ALLOWED_COSTS[0])

    def named(self, name: str) -> Account | None:
        """Return the account with this name, user or API token."""
        return self.users.get(name) or next((each for each in self.tokens if each.name == name), None)

    def all(self) -> list[Account]:
        """Return all accounts."""
        return [*self.users.values(), *self.tokens]

    def projects(self) -> list[str]:
        """Return the ids of all projects, the fixed one among them, in order."""
        return sorted({PROJECT, *(grant.project for account in self.all() for grant in account.grants)})


def cost(secret: str) -> int:
    """Return the cost of a bcrypt hash."""
    return int(secret[4:6])


def project_id(name: str) -> str:
    """Return the id of the project that the files call ``name``: the same, but for the fixed project."""
    return PROJECT if name == DEFAULT_PROJECT else name


def project_name(project: str) -> str:
    """Return what a project is called: its id, but for the fixed one."""
    return DEFAULT_PROJECT if project == PROJECT else project


# -- reading ------------------------------------------------------------------------------------


def read_users(text: str) -> dict[str, str]:
    """Return the hash of each user; raise BrokenAccounts naming the first line that is wrong."""
    found: dict[str, str] = {}
    for fields in _lines(text):
        name, secret = _user(fields)
        if name in found:
            raise fields.error(f"'{name}' is there twice")
        found[name] = secret
    return found


def read_roles(text: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the roles by user and project, in the order of the lines; raise BrokenAccounts as ``read_users``."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for fields in _lines(text):
        if len(fields) != 3:
            raise fields.error("a line must be user:project:role,role")
        name, project, roles = fields
        grant = _grant(fields, name, project, roles)
        if (name, grant.project) in found:
            raise fields.error(f"'{name}' has two lines for project '{project}'")
        found[name, grant.project] = grant.roles
    return found


def read_tokens(text: str) -> dict[str, Account]:
    """Return the API tokens by name; raise BrokenAccounts as ``read_users``."""
    found: dict[str, Account] = {}
    for fields in _lines(text):
        if len(fields) != 4:
            raise fields.error("a line must be name:hash:project:role,role")
        name, secret, project, roles = fields
        grant = _grant(fields, name, project, roles)
        if not _SHA256.fullmatch(secret.lower()):
            raise fields.error(f"the token of '{name}' must be its SHA-256 in 64 hex digits (`ferrotype token new`)")
        if name in found:
            raise fields.error(f"'{name}' is there twice")
        found[name] = Account(name, secret.lower(), (grant,))
    return found


class _Fields(list[str]):
    """The fields of a line that has the given number."""

    number = 0

    def error(self, problem: str) -> BrokenAccounts:
        return BrokenAccounts(f"line {self.number}: {problem}")


def _lines(text: str) -> Iterator[_Fields]:
    """Yield the fields of every line that is neither blank nor a comment."""
    lines = text.splitlines()
    if text.strip() and not text.endswith(("\n", "\r")):
        raise BrokenAccounts(f"line {len(lines)}: it has no line end, so it may be truncated")
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            fields = _Fields(line.strip().split(":"))
            fields.number = number
            yield fields


def _user(fields: _Fields) -> tuple[str, str]:
    if len(fields) == 4:
        name, _, project, roles = fields
        command = f"ferrotype user grant {name} --project {project}" + "".join(
            f" --role {role}" for role in roles.split(",")
        )
        raise fields.error(
            f"it must be name:hash, as htpasswd writes it. Roles are in [identity] roles_file: remove what"
            f" follows the hash of '{name}' and run `{command}`"
        )
    if len(fields) != 2:
        raise fields.error("a line must be name:hash, as htpasswd writes it")
    name, secret = fields
    _check_name(fields, name)
    form = _BCRYPT.fullmatch(secret)
    if not form:
        raise fields.error(f"the password of '{name}' is not a bcrypt hash (`htpasswd -B -C 10`)")
    if int(form[1]) not in ALLOWED_COSTS:
        costs = f"from {ALLOWED_COSTS[0]} to {ALLOWED_COSTS[-1]}"
        raise fields.error(f"the bcrypt hash of '{name}' must have a cost {costs}")
    return name, secret


def _grant(fields: _Fields, name: str, project: str, roles: str) -> Grant:
    _check_name(fields, name)
    words = [role.lower() for role in roles.split(",")]
    for word in (project, *words):
        if not _WORD.fullmatch(word):
            raise fields.error(f"a project or role of '{name}' must be 1 to 64 letters, digits and . _ - @")
    levels = [IMPLIED_ROLES.index(word) for word in words if word in IMPLIED_ROLES]
    held = dict.fromkeys([*words, *(IMPLIED_ROLES[min(levels) :] if levels else ())])
    return Grant(project_id(project), tuple(held))


def _check_name(fields: _Fields, name: str) -> None:
    if not name.isprintable() or name != name.strip() or name.startswith("#") or not 1 <= len(name) <= 255:
        raise fields.error("a name must have 1 to 255 printable characters, no space at either end and no # in front")


# -- changing -----------------------------------------------------------------------------------


def add_token(file: Path, fields: Sequence[str]) -> None:
    """Append an API token's line to its file; raise BrokenAccounts where the file could not be read afterwards."""

    def added(lines: list[str]) -> list[str]:
        if any(line.split(":")[0] == fields[0] for line in lines):
            raise BrokenAccounts(f"{file} has a line for '{fields[0]}' already; remove that first")
        return [*lines, ":".join(fields)]

    _edit(file, added, read_tokens)


def grant(file: Path, user: str, project: str, roles: Collection[str]) -> None:
    """Give a user more roles in a project; raise BrokenAccounts where the file could not be read afterwards."""

    def granted(lines: list[str]) -> list[str]:
        for at, line in enumerate(lines):
            if _is_of(line, user, project):
                held = line.split(":")[2].split(",")
                more = [role for role in roles if role not in held]
                return [*lines[:at], ":".join([user, project, ",".join([*held, *more])]), *lines[at + 1 :]]
        return [*lines, ":".join([user, project, ",".join(dict.fromkeys(roles))])]

    _edit(file, granted, read_roles)


def revoke(file: Path, user: str, project: str | None, roles: Collection[str]) -> None:
    """Take roles from a user: these or all, in one project or in all. Raises BrokenAccounts where there are none."""

    def revoked(lines: list[str]) -> list[str]:
        left: list[str] = []
        for line in lines:
            if not _is_of(line, user, project):
                left.append(line)
                continue
            name, place, held = line.split(":")
            kept = [role for role in held.split(",") if roles and role not in roles]
            if kept:
                left.append(":".join([name, place, ",".join(kept)]))
        if left == lines:
            raise BrokenAccounts(f"{file} has no such role of '{user}'")
        return left or ["# user:project:role,role"]

    _edit(file, revoked, read_roles)


def _is_of(line: str, user: str, project: str | None) -> bool:
    fields = line.split(":")
    return len(fields) == 3 and fields[0] == user and project in (None, fields[1])


def _edit(file: Path, edited: Callable[[list[str]], list[str]], read: Callable[[str], object]) -> None:
    """Replace a file by one with other lines, atomically; it keeps its owner and mode. Others wait meanwhile."""
    file = file.resolve()
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        about = file.stat() if file.exists() else None
        text = file.read_text("utf-8-sig") if about else ""
        lines = edited(text.splitlines())
        if any(len(line.splitlines()) > 1 for line in lines):
            raise BrokenAccounts("This cannot be written: it has a line break in it")
        fresh = "".join(line + "\n" for line in lines)
        for content in (text, fresh):
            try:
                read(content)
            except BrokenAccounts as error:
                where = f"{file}, " if content is text else "This cannot be written: "
                raise BrokenAccounts(f"{where}{error}") from None
        handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # mode 0600
        try:
            with open(handle, "w", encoding="utf-8") as out:  # noqa: PTH123 - a descriptor, not a path
                out.write(fresh)
                if about:
                    os.fchmod(handle, about.st_mode & 0o777)
                    if (about.st_uid, about.st_gid) != (os.geteuid(), os.getegid()):
                        os.fchown(handle, about.st_uid, about.st_gid)
                out.flush()
                os.fsync(handle)
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink()
            raise
        os.fsync(folder)
    finally:
        os.close(folder)
