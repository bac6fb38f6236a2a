"""A real Keystone for tests: from PyPI, on SQLite and a free port, removed when the block ends.

    with keystone() as identity:
        project = identity.project("p1")
        owner = identity.user("owner", project, "member")
        owner.token()

It can be stopped, paused and restarted, and it counts requests.
``python -m ferrotype.testing.keystone`` installs it, once, into the checkout's ``.cache``.
"""

import base64
import contextlib
import fcntl
import hashlib
import http.client
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ferrotype.testing.process import free_port

_CHECKOUT = Path(__file__).parents[3]
_LOCK = _CHECKOUT / "requirements" / "keystone.lock"
_HOME = _CHECKOUT / ".cache" / "keystone"

REGION = "RegionOne"
#: The password of every user, including the administrator.
PASSWORD = "canary-password"  # noqa: S105

INSTALL_SECONDS, COMMAND_SECONDS, START_SECONDS = 900, 120, 60

_SETTINGS = """
[DEFAULT]
log_file = {home}/keystone.log
[database]
connection = sqlite:///{home}/keystone.sqlite
[fernet_tokens]
key_repository = {home}/fernet
[fernet_receipts]
key_repository = {home}/receipts
[credential]
key_repository = {home}/credential
[identity]
password_hash_rounds = 4
[token]
expiration = {token_seconds}
[cache]
enabled = true
backend = dogpile.cache.memory
[oslo_policy]
policy_file = {home}/policy.yaml
"""

#: Serves Keystone and logs its requests. It exits with its parent process.
_PROGRAM = """
import os, sys, threading, time

port, request_log = int(sys.argv[1]), open(sys.argv[2], "a", buffering=1)
parent = os.getppid()
del sys.argv[1:]

import waitress
from keystone.wsgi.api import application

def logged(environ, start_response):
    request_log.write(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}\\n")
    return application(environ, start_response)

def exit_with_parent():
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)

threading.Thread(target=exit_with_parent, daemon=True).start()
waitress.serve(logged, host="127.0.0.1", port=port, threads=4, _quiet=True)
"""


class KeystoneRefused(Exception):
    """Keystone answered with an error."""


class User(msgspec.Struct):
    """A user of Keystone, who logs in to ``project`` by default."""

    keystone: "Keystone"
    id: str
    name: str
    project: str | None

    def token(self, **scope: Any) -> str:
        """Log in and return the token. ``scope`` is ``project``, ``domain``, ``system`` or ``unscoped``."""
        return self.keystone.token(self.name, **(scope or {"project": self.project}))

    def words(self) -> tuple[str, ...]:
        """Return the log-in options of the openstack command."""
        return (
            "--os-auth-url", self.keystone.url, "--os-username", self.name, "--os-password", PASSWORD,
            "--os-user-domain-name", "Default", "--os-project-id", self.project or "",
            "--os-region-name", REGION, "--os-identity-api-version", "3",
        )  # fmt: skip


class Keystone:
    """A running Keystone. ``url`` is for clients; ``request_log`` is the file with every request."""

    def __init__(self, programs: Path, home: Path, token_seconds: int):
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v3"
        self.request_log = home / "requests"
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self._admin = ""
        self._roles: dict[str, str] = {}
        self._image_service = ""
        self.configure(token_seconds)

    # -- the process ----------------------------------------------------------------------------

    def configure(self, token_seconds: int) -> None:
        """Write the configuration; it takes effect at the next start."""
        (self.home / "keystone.conf").write_text(_SETTINGS.format(home=self.home, token_seconds=token_seconds))

    def start(self) -> None:
        """Start it and wait until it answers."""
        environment = {"OS_KEYSTONE_CONFIG_DIR": str(self.home), "PATH": str(self._programs)}
        with (self.home / "output").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  every word is ours
                [self._programs / "python", "-W", "ignore", "-c", _PROGRAM, str(self.port), str(self.request_log)],
                env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._request("GET", "", None, {})
                return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"Keystone does not answer: {(self.home / 'output').read_text()[-4000:]}")

    def stop(self) -> None:
        """Kill it: connections are refused from now on."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def pause(self) -> None:
        """Make it hang: connections are accepted and get no response."""
        self._running.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after a pause."""
        self._running.send_signal(signal.SIGCONT)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("Keystone was not started")
        return self._process

    def requests(self, method: str = "GET", path: str = "/v3/auth/tokens") -> int:
        """Return the number of such requests; by default, of token validations."""
        return self.request_log.read_text().splitlines().count(f"{method} {path}") if self.request_log.exists() else 0

    # -- the API --------------------------------------------------------------------------------

    def _request(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            content = None if body is None else msgspec.json.encode(body)
            connection.request(method, f"/v3{path}", content, {"content-type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """Send a request as the administrator, or with a token; return the document. Raises KeystoneRefused."""
        status, _, content = self._request(method, path, body, {"x-auth-token": token or self._administrator()})
        if status >= 400:
            raise KeystoneRefused(f"{method} {path}: {status} {content.decode(errors='replace')}")
        return msgspec.json.decode(content) if content else None

    def _administrator(self) -> str:
        self._admin = self._admin or self.token("admin", system=True)
        return self._admin

    def token(
        self, user: str, project: str | None = None, domain: str | None = None, system: bool = False, **_: Any
    ) -> str:
        """Log in with the common password and return the token; by default it is unscoped."""
        scope: Any = "unscoped"
        if project:
            scope = {"project": {"id": project}}
        elif domain or system:
            scope = {"domain": {"id": domain}} if domain else {"system": {"all": True}}
        credentials = {"name": user, "domain": {"id": "default"}, "password": PASSWORD}
        return self.log_in({"methods": ["password"], "password": {"user": credentials}}, scope)

    def log_in(self, identity: Mapping[str, Any], scope: Any = None) -> str:
        """Log in by any method and return the token. Raises KeystoneRefused."""
        auth = {"identity": identity} | ({"scope": scope} if scope else {})
        status, headers, content = self._request("POST", "/auth/tokens", {"auth": auth}, {})
        if status != 201:
            raise KeystoneRefused(f"log in: {status} {content.decode(errors='replace')}")
        return headers["x-subject-token"]

    def revoke(self, token: str) -> None:
        """Make a token invalid."""
        headers = {"x-auth-token": self._administrator(), "x-subject-token": token}
        self._request("DELETE", "/auth/tokens", None, headers)

    # -- projects, users and roles --------------------------------------------------------------

    def project(self, name: str) -> str:
        """Create a project and return its ID."""
        made = self.ask("POST", "/projects", {"project": {"name": name, "domain_id": "default"}})
        return str(made["project"]["id"])

    def user(self, name: str, project: str | None, *roles: str) -> User:
        """Create a user with these roles on a project."""
        entry = {"name": name, "password": PASSWORD, "domain_id": "default", "default_project_id": project}
        made = User(self, self.ask("POST", "/users", {"user": entry})["user"]["id"], name, project)
        for role in roles:
            self.grant(made, role, f"projects/{project}")
        return made

    def grant(self, user: User, role: str, on: str) -> None:
        """Give a role on ``projects/<id>``, ``domains/<id>`` or ``system``."""
        self.ask("PUT", f"/{on}/users/{user.id}/roles/{self.role(role)}")

    def role(self, name: str) -> str:
        """Return the ID of a role; create it if there is none of that name."""
        if name not in self._roles:
            self._roles = {each["name"]: each["id"] for each in self.ask("GET", "/roles")["roles"]}
        if name not in self._roles:
            self._roles[name] = self.ask("POST", "/roles", {"role": {"name": name}})["role"]["id"]
        return self._roles[name]

    # -- the image service ----------------------------------------------------------------------

    def image_endpoint(self, url: str) -> str:
        """Add the image service to the catalog and return the ID of its public endpoint."""
        service = self.ask("POST", "/services", {"service": {"type": "image", "name": "glance"}})["service"]
        self._image_service = service["id"]
        made = {}
        for interface in ("internal", "admin", "public"):
            entry = {"service_id": service["id"], "interface": interface, "url": url, "region_id": REGION}
            made[interface] = self.ask("POST", "/endpoints", {"endpoint": entry})["endpoint"]["id"]
        return str(made["public"])

    def move_image_endpoint(self, url: str) -> None:
        """Change the URL of the image service in the catalog."""
        for endpoint in self.ask("GET", f"/endpoints?service_id={self._image_service}")["endpoints"]:
            self.ask("PATCH", f"/endpoints/{endpoint['id']}", {"endpoint": {"url": url}})

    def register_limit(self, resource: str, default: int) -> None:
        """Register a default limit for a resource of the image service."""
        entry = {"resource_name": resource, "default_limit": default}
        self._set_limit("registered_limits", entry, f"resource_name={resource}")

    def limit(self, project: str, resource: str, most: int) -> None:
        """Set the limit of one project for a registered resource."""
        entry = {"resource_name": resource, "project_id": project, "resource_limit": most}
        self._set_limit("limits", entry, f"resource_name={resource}&project_id={project}")

    def _set_limit(self, kind: str, entry: dict[str, Any], which: str) -> None:
        found = self.ask("GET", f"/{kind}?service_id={self._image_service}&{which}")[kind]
        for each in found:
            changes = {name: entry[name] for name in ("default_limit", "resource_limit") if name in entry}
            self.ask("PATCH", f"/{kind}/{each['id']}", {kind.removesuffix("s"): changes})
        if not found:
            self.ask("POST", f"/{kind}", {kind: [{**entry, "service_id": self._image_service, "region_id": REGION}]})


def find() -> Path | None:
    """Return the bin directory of the installed Keystone, or None."""
    programs = _HOME / "venv" / "bin"
    return programs if _LOCK.exists() and _read(_HOME / "holds") == _wanted() else None


def prepare() -> Path:
    """Install Keystone unless it is installed, and return its bin directory. The first time takes a minute."""
    _HOME.mkdir(parents=True, exist_ok=True)
    with (_HOME / "turn").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found := find():
            return found
        programs = _HOME / "venv" / "bin"
        if _read(_HOME / "installed") != _wanted():
            shutil.rmtree(_HOME / "venv", ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(_HOME / "venv")], COMMAND_SECONDS)
            pip = [str(programs / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
            _run([*pip, "install", "--require-hashes", "-r", str(_LOCK)], INSTALL_SECONDS)
            (_HOME / "installed").write_text(_wanted())
        shutil.rmtree(_HOME / "template", ignore_errors=True)
        _make_template(programs, _HOME / "template")
        (_HOME / "holds").write_text(_wanted())
        return programs


def _make_template(programs: Path, template: Path) -> None:
    """Create the database and the keys that every test's Keystone starts with: copying them is faster."""
    for keys in ("fernet", "receipts", "credential"):
        (template / keys).mkdir(parents=True, mode=0o700)
        for name in ("0", "1"):  # The staged key and the current one.
            (template / keys / name).write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
    (template / "policy.yaml").write_text("{}\n")
    (template / "keystone.conf").write_text(_SETTINGS.format(home=template, token_seconds=3600))
    manage = [str(programs / "keystone-manage"), "--config-file", str(template / "keystone.conf")]
    _run([*manage, "db_sync"], COMMAND_SECONDS)
    words = ["--bootstrap-password", PASSWORD, "--bootstrap-region-id", REGION]
    for interface in ("public", "internal", "admin"):
        words += [f"--bootstrap-{interface}-url", "http://placeholder/v3"]
    _run([*manage, "bootstrap", *words], COMMAND_SECONDS)


@contextmanager
def keystone(token_seconds: int = 3600) -> Iterator[Keystone]:
    """Run a Keystone with ``admin`` as its only user, and remove it afterwards."""
    programs = prepare()
    with tempfile.TemporaryDirectory(prefix="ferrotype-keystone-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        shutil.copytree(_HOME / "template", home, dirs_exist_ok=True)
        running = Keystone(programs, home, token_seconds)
        with contextlib.closing(sqlite3.connect(home / "keystone.sqlite")) as database:
            database.execute("UPDATE endpoint SET url = ?", (running.url,))
            database.commit()
        running.start()
        try:
            yield running
        finally:
            running.stop()


def _wanted() -> str:
    return hashlib.sha256(_LOCK.read_bytes() + f"{sys.version} {_SETTINGS}".encode()).hexdigest()


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _run(words: Sequence[str], timeout: float) -> None:
    done = subprocess.run(  # noqa: S603  every word is ours
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed: {(done.stderr or done.stdout)[-4000:]}")


if __name__ == "__main__":
    sys.stdout.write(f"{prepare()}\n")
