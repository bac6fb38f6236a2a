"""The files of users, roles and API tokens, watched: all accounts are replaced when one of them changes."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ferrotype.config.accounts import Accounts as AccountsConfig
from ferrotype.identity.accounts import (
    Accounts,
    BrokenAccounts,
    project_name,
    read_roles,
    read_tokens,
    read_users,
)
from ferrotype.service.watched_files import BrokenFiles, Entries, Snapshot, WatchedFiles

log = logging.getLogger("ferrotype.identity")

#: Most accounts that the log names when a change adds roles.
_NAMES = 20
#: File permissions that cause a warning: for a file with hashes, and for one without.
_SECRET, _PLAIN = 0o006, 0o002


class AccountFiles:
    """The accounts of three files. Each file is watched by itself, so an invalid one does not delay the others.

    Raises BrokenFiles if one is invalid at the start.
    """

    def __init__(
        self,
        config: AccountsConfig,
        snapshot: Snapshot | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        def watch(name: str, file: Path | None, read: Callable[[str], Entries], about: str = "") -> WatchedFiles[Any]:
            def find() -> list[Path]:
                try:
                    return [file] if file and file.stat() else []
                except FileNotFoundError:
                    raise BrokenFiles(f"{file} does not exist{about}") from None
                except OSError as error:
                    raise BrokenFiles(f"{file} cannot be reached: {error.strerror}") from None

            def parse(path: Path, text: str) -> Entries:
                try:
                    return read(text)
                except BrokenAccounts as error:
                    raise BrokenFiles(f"{path}, {error}") from None

            def combine(files: Mapping[Path, Entries]) -> Entries:
                found = files[file] if file else read("")
                others = self._others.get(name)
                if both := found.keys() & (others.current.keys() if others else set()):
                    raise BrokenFiles(f"{file}: '{min(both)}' is a user and an API token, and must be one of them")
                return found

            return WatchedFiles(name, find, parse, combine, snapshot, clock)

        self._config = config
        #: names in one of these files must not be in the other
        self._others: dict[str, WatchedFiles[Any]] = {}
        users = watch("http_basic_auth_user_file", config.users, read_users, "; `htpasswd -cB -C 10` makes it")
        roles = watch("roles_file", config.roles, read_roles, "; `ferrotype user grant` makes it")
        self._others["tokens_file"] = users
        tokens = watch("tokens_file", config.tokens, read_tokens, "; `ferrotype token new` makes it")
        self._others["http_basic_auth_user_file"] = tokens
        self._watched = users, roles, tokens
        self.accounts = Accounts(*(watched.current for watched in self._watched))
        self._warn_of_permissions()

    def refresh(self) -> bool:
        """Check the files; return whether ``accounts`` has changed. Logs every account that has gained roles."""
        changed = [watched.refresh() for watched in self._watched]
        if True not in changed:
            return False
        for watched in self._watched:
            watched.reconsider()
        before, self.accounts = self.accounts, Accounts(*(watched.current for watched in self._watched))
        self._warn_of_permissions()
        gains = _gains(before, self.accounts)
        for gain in gains[:_NAMES]:
            log.warning("%s", gain)
        if len(gains) > _NAMES:
            log.warning("%d more users and API tokens have gained roles", len(gains) - _NAMES)
        return True

    def _warn_of_permissions(self) -> None:
        files = ((self._config.users, _SECRET), (self._config.tokens, _SECRET), (self._config.roles, _PLAIN))
        for file, too_much in files:
            if file and file.exists() and file.stat().st_mode & too_much:
                log.warning("%s is open to every user of this machine: chmod o= %s", file, file)


def _gains(before: Accounts, after: Accounts) -> list[str]:
    """Return a line for each project in which an account has more roles than before."""
    found = []
    for account in after.all():
        earlier = before.named(account.name)
        for grant in account.grants:
            held = earlier.roles(grant.project) if earlier else ()
            if gained := [role for role in grant.roles if role not in held]:
                project = project_name(grant.project)
                found.append(f"'{account.name}' has gained roles: project={project} roles={','.join(gained)}")
    return found
