"""Account files, and a service that reads them."""

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
from ferrotype.service.watched_files import GRACE
from ferrotype.testing.client import Client, Reply, config, serving
from ferrotype.testing.process import Served, served

#: The lowest bcrypt cost, so that tests are fast.
COST = 4
ROBOT = "robot-token-Zm9v_-0123"
LINES = {
    "alice:default:admin": "wonder",
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
roles_file = {home}/roles
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
def served_without_keystone(home: Path, wrapper: Sequence[str] = ()) -> Iterator[Served]:
    """Run such a service as a process; its accounts are those of LINES where there are none yet."""
    _people_of(home)
    with served(home, "--config-file", str(settings(home)), wrapper=wrapper) as running:
        yield running


def _people_of(home: Path) -> Accounts:
    users, tokens = home / "users", home / "tokens"
    if not users.exists():
        htpasswd(users)
    if not tokens.exists():
        replace_file(tokens, f"robot:{hashed(ROBOT)}:demo:member\n")
    return Accounts(users, home / "roles", tokens)


def bcrypt_hash(password: str, cost: int = COST) -> str:
    """Return a bcrypt hash."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def htpasswd(path: Path, lines: dict[str, str] = LINES, cost: int = COST) -> Path:
    """Write a file of users, and ``roles`` beside it: ``user:project:roles`` or ``user`` -> password."""
    users = [f"{who.split(':')[0]}:{bcrypt_hash(password, cost)}" for who, password in lines.items()]
    replace_file(path.with_name("roles"), "\n".join(["# their roles", *(who for who in lines if ":" in who), ""]))
    return replace_file(path, "\n".join(["# who may call", "", *users, ""]))


def replace_file(path: Path, text: str) -> Path:
    """Replace a file atomically, readable by its owner only."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(0o600)
    return fresh.replace(path)


@contextmanager
def client_without_keystone(
    home: Path, identity_api: bool = True, background: bool = False, **changes: Any
) -> Iterator[Client]:
    """Yield a client of a service with ``home/users`` and ``home/tokens``; what tests put into a request counts.

    The files are reloaded on request, and with ``background`` periodically.
    """
    made = config(home, **changes)
    auth = replace(made.auth, strategy="http_basic")
    accounts = replace(_people_of(home), identity_api=identity_api)
    with serving(replace(made, auth=auth, accounts=accounts), as_configured=True, background=background) as api:
        yield api


def accounts_of(api: Client) -> KnownAccounts:
    """Return the accounts that a service has loaded."""
    login = api.application._login
    assert login is not None
    return login.accounts


def look_again(api: Client) -> None:
    """Have a service read its account files now, as if they had been the same for long enough."""
    login = api.application._login
    assert login is not None
    login.files.refresh()
    for watched in login.files._watched:
        watched._since -= GRACE
    login.files.refresh()


def basic(name: str, password: str) -> dict[str, str]:
    """Return an HTTP Basic header."""
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


ALICE, BOB, RITA = basic("alice", "wonder"), basic("bob", "pässwörd ☃"), basic("rita", "a:b:c")


def log_in(api: Client, name: str, password: str, scope: Any = None, path: str = "/v3/auth/tokens") -> Reply:
    """Request a token from the built-in Identity API."""
    user = {"name": name, "password": password, "domain": {"name": "Default"}}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if scope is not None:
        auth["scope"] = scope
    return api.post(path, json={"auth": auth})


def token_of(api: Client, name: str, password: str, scope: Any = None) -> dict[str, str]:
    """Log in and return the token as a header."""
    answer = log_in(api, name, password, scope)
    assert answer.status == 201, answer
    return {"x-auth-token": answer.headers["x-subject-token"]}
