"""Run the real openstack command in a home directory of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec


def openstack(home: Path, *words: Any, code: int = 0) -> Any:
    """Run the command; return its JSON output if requested, otherwise its standard error."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PYTHONDONTWRITE"))
    }
    done = subprocess.run(
        [Path(sys.executable).parent / "openstack", *map(str, words)],
        env=environment | {"HOME": str(home), "PYTHONPYCACHEPREFIX": str(home.parent.parent / "bytecode")},
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return msgspec.json.decode(done.stdout) if "json" in words else done.stderr
