"""The commands of the README, typed in one terminal."""

import os
import re
import subprocess
import sys
from pathlib import Path

from needs import need

from ferrotype.testing.process import served

README = Path(__file__).parents[2] / "README.md"


def blocks(heading: str) -> list[str]:
    """Return what a chapter says to type."""
    chapter = README.read_text().split(f"## {heading}")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)


def commands() -> str:
    """Return the blocks of the first five minutes but for the first, which clones and starts the service."""
    first, *others = blocks("The first five minutes")
    assert "scripts/run" in first
    assert len(others) == 3
    return "".join(others)


def typed(script: str, folder: Path, bytecode: Path) -> "subprocess.CompletedProcess[str]":
    """Type commands in a terminal whose ``PATH`` begins with our programs."""
    environment = {
        "HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LANG": "C.UTF-8",
        "PYTHONPYCACHEPREFIX": str(bytecode),
    }
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{script}"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def test_readme_quick_start_commands_work(tmp_path: Path, bytecode: Path) -> None:
    need("curl")
    folder = tmp_path / "terminal"
    folder.mkdir()
    with served(tmp_path) as service:
        done = typed(commands().replace("http://127.0.0.1:9292", service.url), folder, bytecode)
    assert done.returncode == 0, done.stderr
    assert "the same bytes" in done.stdout
    assert done.stdout.count("| first ") == 2  # once for each client that lists
    assert (folder / "copy.raw").read_bytes() == (folder / "disk.raw").read_bytes()


def test_passwords_go_as_the_readme_says(tmp_path: Path, bytecode: Path) -> None:
    need("curl")
    need("htpasswd")
    before, after = blocks("With passwords")
    prepare, run, rest = before.partition("scripts/run --config-file basic.conf\n")
    assert run and not rest
    prepare = prepare.replace("htpasswd -cB", "htpasswd -cbB").replace("users alice", "users alice wonder")
    done = typed(prepare.replace(".venv/bin/", ""), tmp_path, bytecode)
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "roles").read_text() == "alice:default:admin\n"
    with served(tmp_path, "--config-file", str(tmp_path / "basic.conf")) as service:
        ask = after.replace("http://127.0.0.1:9292", service.url)
        ask = ask.replace("curl -u alice ", "curl -sf -u alice:wonder ").replace(
            "--os-password ...", "--os-password wonder"
        )
        done = typed(ask + "openstack --version\n", tmp_path, bytecode)
    assert done.returncode == 0, done.stderr
    assert '"images":[]' in done.stdout.replace(" ", "")
