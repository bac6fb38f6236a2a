"""The wheel in an environment of its own, with an empty home directory, as users install and run it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from distributions import Distributions, run
from needs import need
from repository import ROOT

import ferrotype

pytestmark = pytest.mark.slow

LISTENING = re.compile(r"listens on (http://\S+);")


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a user with an empty home directory who has no checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "PYTHON", "OS_"))}
    home.mkdir()
    return kept | {"HOME": str(home)}


def pythons() -> list[str]:
    """Return the interpreters on this machine of all versions that the package claims to support, ours first."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    versions = [match[1] for each in classifiers if (match := re.search(r":: (3\.\d+)$", each))]
    found = [sys.executable]
    for version in versions:
        path = shutil.which(f"python{version}")
        # A shim of a version manager may be there without the interpreter.
        works = path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0
        if path and works and sys.version_info[:2] != tuple(map(int, version.split("."))):
            found.append(path)
    return found


def exercise(command: list[str], home: Path) -> None:
    """Serve a new data directory with the command, move an image through it, and stop it."""
    need("curl")
    env = environment(home)

    def ferrotype_says(*words: str) -> str:
        return run([*command, *words], env=env, cwd=home)

    assert ferrotype_says("--version") == f"ferrotype, version {ferrotype.__version__}\n"
    with (home.parent / "log").open("w+") as log:
        serving = subprocess.Popen([*command, "serve", "--port", "0"], env=env, cwd=home, stdout=log, stderr=log)
        try:
            url = listening_at(Path(log.name), serving)
            curl = ["curl", "--silent", "--show-error", "--fail", "--retry", "9", "--retry-connrefused"]
            body = '{"name": "first", "disk_format": "raw", "container_format": "bare"}'
            created = run([*curl, "--json", body, f"{url}/v2/images"])
            file = f"{url}/v2/images/{json.loads(created)['id']}/file"
            data = os.urandom(3 << 20)
            (home.parent / "disk").write_bytes(data)
            run([*curl, "-T", home.parent / "disk", "-H", "Content-Type: application/octet-stream", file])
            run([*curl, "--output", home.parent / "copy", file])
            assert (home.parent / "copy").read_bytes() == data
            shown = json.loads(run([*curl, file.removesuffix("/file")]))
            assert (shown["status"], shown["os_hash_value"]) == ("active", hashlib.sha512(data).hexdigest())
            assert "0001" in ferrotype_says("db", "version")
            ferrotype_says("config", "check")
            ferrotype_says("check")
            serving.terminate()
            assert serving.wait(60) == 0, Path(log.name).read_text()
        finally:
            serving.kill()
            serving.wait()
    assert (home / ".local" / "share" / "ferrotype" / "ferrotype.sqlite").exists()


def listening_at(log: Path, process: "subprocess.Popen[bytes]") -> str:
    end = time.monotonic() + 120
    while not (found := LISTENING.search(log.read_text())):
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    return found[1]


def test_wheel_works_after_pip_install_in_an_empty_environment(distributions: Distributions, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    run([sys.executable, "-m", "venv", venv])
    run([venv / "bin" / "python", "-m", "pip", "install", "--quiet", distributions.wheel], cwd=tmp_path)
    found = run([venv / "bin" / "python", "-c", "import ferrotype; print(ferrotype.__file__)"], cwd=tmp_path)
    assert Path(found.strip()).is_relative_to(venv)
    exercise([str(venv / "bin" / "ferrotype")], tmp_path / "home")


@pytest.mark.parametrize("python", pythons(), ids=lambda path: Path(path).name)
def test_wheel_works_with_uvx(distributions: Distributions, tmp_path: Path, python: str) -> None:
    uvx = [str(Path(sys.executable).with_name("uvx")), "--quiet", "--no-python-downloads"]
    uvx += ["--cache-dir", str(tmp_path / "cache"), "--python", python]
    exercise([*uvx, "--from", str(distributions.wheel), "ferrotype"], tmp_path / "home")
