"""Reading the repository, for the tests that guard it."""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ROOT / "src" / "ferrotype"
SPEC = ROOT / "docs" / "spec"


@cache
def files() -> tuple[Path, ...]:
    """Return every file that is in the repository or would be with the next commit."""
    # A clone that belongs to somebody else is read all the same: this lists names and runs nothing.
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return tuple(ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file())


def text_of(path: Path) -> str | None:
    """Return what the file says, or None when it is not text."""
    content = path.read_bytes()
    return None if b"\0" in content else content.decode(errors="replace")


@cache
def product() -> dict[str, ast.Module]:
    """Return the parsed modules of the product by their path below ``ferrotype``, such as ``web/images.py``."""
    return {
        str(path.relative_to(PRODUCT)): ast.parse(path.read_text(), str(path))
        for path in sorted(PRODUCT.rglob("*.py"))
    }
