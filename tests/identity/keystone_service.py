"""A Keystone with a set of users, and services that authenticate with it."""

import http.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ferrotype.config.read import read
from ferrotype.testing.keystone import PASSWORD, REGION, Keystone, User
from ferrotype.testing.process import Served, served

SETTINGS = """
[DEFAULT]
bind_host = 127.0.0.1
enabled_backends = fast:file, cheap:file
{default}
[paste_deploy]
flavor = keystone
[database]
connection = {database}
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {home}/fast
[cheap]
filesystem_store_datadir = {home}/cheap
[keystone_authtoken]
www_authenticate_uri = {url}
{login}
{authtoken}
"""
LOGIN = """
auth_type = password
auth_url = {url}
username = glance
password = {password}
user_domain_name = Default
project_name = services
project_domain_name = Default
"""
LIMITS = """
[oslo_limit]
auth_type = password
auth_url = {url}
username = glance
password = {password}
user_domain_name = Default
system_scope = all
endpoint_id = {endpoint}
"""


class Users:
    """Projects and users of these tests."""

    def __init__(self, identity: Keystone):
        self.p1, self.p2, self.services = (identity.project(name) for name in ("p1", "p2", "services"))
        self.owner = identity.user("owner", self.p1, "member")
        self.reader = identity.user("reader", self.p1, "reader")
        self.stranger = identity.user("stranger", self.p2, "member")
        self.outsider = identity.user("outsider", self.p1, "Operator-Of-Something")
        self.admin = identity.user("administrator", self.services, "admin")
        self.glance = identity.user("glance", self.services, "service")
        identity.grant(self.glance, "reader", "system")
        self.nova = identity.user("nova", self.services, "service")
        identity.grant(self.admin, "admin", "domains/default")
        identity.grant(self.admin, "admin", "system")


class Reply(NamedTuple):
    """A response. ``headers`` are by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def ask(
    service: Served,
    method: str,
    path: str,
    token: str | None = None,
    json: Any = None,
    data: Any = None,
    **headers: str,
) -> Reply:
    """Send one request. Header names have underscores for their dashes."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        sent["X-Auth-Token"] = token
    body = data if json is None else msgspec.json.encode(json)
    if json is not None:
        sent.setdefault("Content-Type", "application/json")
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    try:
        connection.request(method, path, body, sent, encode_chunked=False)
        answer = connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def settings(identity: Keystone, home: Path, **changes: str) -> Path:
    """Write a configuration file and return its path; ``changes`` are additional lines by section."""
    words = {"url": identity.url, "password": PASSWORD, "endpoint": changes.pop("endpoint", "")}
    parts = {"default": "", "authtoken": "", "login": LOGIN, "database": f"sqlite:///{home}/t.sqlite", **changes}
    text = SETTINGS.format(home=home, url=identity.url, **parts | {"login": parts["login"].format(**words)})
    if words["endpoint"]:
        text += LIMITS.format(**words)
    file = home / "glance-api.conf"
    home.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@contextmanager
def service(identity: Keystone, home: Path, *words: str, **changes: str) -> Iterator[Served]:
    """Run a service with such a configuration."""
    with served(home, "--config-file", str(settings(identity, home, **changes)), *words) as running:
        yield running


def configured(identity: Keystone, home: Path, **changes: str) -> Any:
    """Return the configuration of such a service."""
    return read([settings(identity, home, **changes)], [], {})


__all__ = ["PASSWORD", "REGION", "Keystone", "Reply", "User", "Users", "ask", "configured", "service", "settings"]
