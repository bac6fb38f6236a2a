"""The command line clients as processes, with a home directory of their own, the way a user's terminal runs them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from needs import need

#: What a user's clouds.yaml or shell would add to the commands.
_FOREIGN = ("OS_", "GLANCE", "PYTHONDONTWRITEBYTECODE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


class Outcome(NamedTuple):
    """What a finished command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What the command printed, as JSON."""
        return msgspec.json.decode(self.out)

    @property
    def sentence(self) -> str:
        """The one thing that a command which failed says; fails where that is a traceback, or nothing, or success."""
        assert self.code == 1, self
        assert "Traceback" not in self.err + self.out, self
        assert self.err.strip(), self
        return self.err.strip()


class Terminal:
    """Runs commands against the service at ``url``.

    ``bytecode`` keeps the clients' compiled modules: they start in a fraction of the time.
    """

    def __init__(self, url: str, home: Path, bytecode: Path) -> None:
        self.url = url
        self.home = home
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        self._environment = kept | {"HOME": str(home), "PYTHONPYCACHEPREFIX": str(bytecode), "COLUMNS": "400"}

    def openstack(
        self,
        *words: Any,
        auth: tuple[str, ...] = ("none",),
        url: str = "",
        code: int | None = 0,
        stdin: bytes | None = None,
    ) -> Outcome:
        """Run the openstack command. ``auth`` is the type, then further words such as a token."""
        kind, *more = auth
        where = ["--os-auth-type", kind, *more, "--os-endpoint", url or self.url]
        return self.run(_installed("openstack"), *where, *words, code=code, stdin=stdin)

    def glance(self, *words: Any, code: int | None = 0, stdin: bytes | None = None) -> Outcome:
        """Run the glance command."""
        where = ["--os-image-url", self.url, "--os-auth-token", "anything"]
        return self.run(_installed("glance"), *where, *words, code=code, stdin=stdin)

    def curl(self, *words: Any, code: int | None = 0, stdin: bytes | None = None) -> Outcome:
        """Run curl; paths that begin with /v2 are the service's."""
        urls = [self.url + word if str(word).startswith("/v2") else word for word in words]
        return self.run(need("curl"), "--silent", "--show-error", *urls, code=code, stdin=stdin)

    def run(self, program: Path, *words: Any, code: int | None, stdin: bytes | None) -> Outcome:
        """Run a program without a terminal and expect the exit code, unless that is None.

        Its input is /dev/null, or a pipe that brings ``stdin``.
        """
        done = subprocess.run(
            [str(program), *map(str, words)],
            stdin=subprocess.DEVNULL if stdin is None else None,
            input=stdin,
            capture_output=True,
            cwd=self.home,
            env=self._environment,
            timeout=300,  # Generous: the machines that run this are shared.
            check=False,
        )
        outcome = Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert code is None or outcome.code == code, outcome
        return outcome


def _installed(name: str) -> Path:
    """Return a program that lies beside the interpreter, else on the path."""
    beside = Path(sys.executable).parent / name
    return beside if beside.exists() else Path(shutil.which(name) or name)
