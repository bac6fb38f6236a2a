"""Files of accounts, and a service that reads them."""

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import bcrypt

from ferrotype.config.accounts import Accounts
from ferrotype.identity.accounts import Accounts as KnownAccounts
from ferrotype.identity.tokens import hashed
from ferrotype.testing.client import Client, Reply, config, serving
from ferrotype.testing.process import Served, served

#: The cheapest that there is: tests wait for answers, not for bcrypt.
COST = 4
ROBOT = "robot-token-Zm9v_-0123"
LINES = {
    "alice": "wonder",
    "bob:demo:member,reader": "pässwörd ☃",
    "rita:demo:reader": "a:b:c",
    "сергей:other:Member": "x",
}


SETTINGS = """
[DEFAULT]
auth_strategy = http_basic
bind_host = 127.0.0.1
debug = true
[oslo_middleware]
http_basic_auth_user_file = {home}/users
[identity]
tokens_file = {home}/tokens
[database]
connection = sqlite:///{home}/t.sqlite
[glance_store]
filesystem_store_datadir = {home}/images
"""


def settings(home: Path) -> Path:
    """Write the configuration of a service whose accounts are in ``home``, and return its file."""
    (home / "api.conf").write_text(SETTINGS.format(home=home))
    return home / "api.conf"


@contextmanager
def serving_alone(home: Path, wrapper: Sequence[str] = ()) -> Iterator[Served]:
    """Run such a service as a process; its accounts are the usual ones where there are none yet."""
    _people_of(home)
    with served(home, "--config-file", str(settings(home)), wrapper=wrapper) as running:
        yield running


def _people_of(home: Path) -> tuple[Path, Path]:
    users, tokens = home / "users", home / "tokens"
    if not users.exists():
        htpasswd(users)
    if not tokens.exists():
        rewritten(tokens, f"robot:{hashed(ROBOT)}:demo:member\n")
    return users, tokens


def bcrypted(password: str, cost: int = COST) -> str:
    """Return a bcrypt hash."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def htpasswd(path: Path, lines: dict[str, str] = LINES, cost: int = COST) -> Path:
    """Write a file of users: ``name:project:roles`` -> password."""
    written = []
    for who, password in lines.items():
        name, *more = who.split(":")
        written.append(":".join([name, bcrypted(password, cost), *more]))
    return rewritten(path, "\n".join(["# who may call", "", *written, ""]))


def rewritten(path: Path, text: str) -> Path:
    """Replace a file as careful people do: whole, and for its owner only."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(0o600)
    return fresh.replace(path)


@contextmanager
def standing_alone(home: Path, door: bool = True, upkeep: bool = False, **changes: Any) -> Iterator[Client]:
    """Yield a client of a service with ``home/users`` and ``home/tokens``; what tests put into a request counts.

    It looks at them again when it is told to, and with ``upkeep`` by itself.
    """
    users, tokens = _people_of(home)
    made = config(home, **changes)
    auth = replace(made.auth, strategy="http_basic")
    accounts = Accounts(users, tokens, door)
    with serving(replace(made, auth=auth, accounts=accounts), as_configured=True, upkeep=upkeep) as api:
        yield api


def known(api: Client) -> KnownAccounts:
    """Return the accounts that a service knows."""
    login = api.application._login
    assert login is not None
    return login.accounts


def basic(name: str, password: str) -> dict[str, str]:
    """Return the header of somebody with a password."""
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


ALICE, BOB, RITA = basic("alice", "wonder"), basic("bob", "pässwörd ☃"), basic("rita", "a:b:c")


def log_in(api: Client, name: str, password: str, scope: Any = None, path: str = "/v3/auth/tokens") -> Reply:
    """Ask the door for a token."""
    user = {"name": name, "password": password, "domain": {"name": "Default"}}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if scope is not None:
        auth["scope"] = scope
    return api.post(path, json={"auth": auth})


def token_of(api: Client, name: str, password: str, scope: Any = None) -> dict[str, str]:
    """Return the header of somebody who logged in."""
    answer = log_in(api, name, password, scope)
    assert answer.status == 201, answer
    return {"x-auth-token": answer.headers["x-subject-token"]}
