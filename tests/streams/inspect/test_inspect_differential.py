"""Mutated images: whatever qemu-img opens with another file is refused, and differences to oslo.utils are known."""

import subprocess
import sys
from pathlib import Path

from needs import need

HERE = Path(__file__).parent


def test_what_qemu_opens_with_another_file_is_refused() -> None:
    # SEC-01, SEC-02, SEC-04, SEC-07 to SEC-12, SEC-21, RUL-71. By hand: --count 20000
    for program in ("qemu-img", "prlimit"):
        need(program)
    command = [sys.executable, HERE / "differential.py", "--count", "500", "--seed", "tests"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
