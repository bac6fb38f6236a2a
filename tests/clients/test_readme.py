"""The quick start of the README, typed in one terminal."""

import os
import re
import subprocess
import sys
from pathlib import Path

from needs import need

from ferrotype.testing.process import served

README = Path(__file__).parents[2] / "README.md"


def commands() -> str:
    """Return the blocks of the first five minutes but for the first, which clones and starts the service."""
    chapter = README.read_text().split("## The first five minutes")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)
    assert "scripts/run" in blocks[0]
    assert len(blocks) == 4
    return "".join(blocks[1:])


def test_readme_quick_start_commands_work(tmp_path: Path, bytecode: Path) -> None:
    need("curl")
    folder = tmp_path / "terminal"
    folder.mkdir()
    with served(tmp_path) as service:
        script = "set -euo pipefail\n" + commands().replace("http://127.0.0.1:9292", service.url)
        environment = {
            "HOME": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "PYTHONPYCACHEPREFIX": str(bytecode),
        }
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
        )
    assert done.returncode == 0, done.stderr
    assert "the same bytes" in done.stdout
    assert done.stdout.count("| first ") == 2  # once for each client that lists
    assert (folder / "copy.raw").read_bytes() == (folder / "disk.raw").read_bytes()
