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
    """Return every file that git tracks or would add with the next commit."""
    # A clone of another user is read as well: this lists names and runs nothing.
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


def git(root: Path, *words: str) -> str | None:
    """Return what git says of a repository, or None when it fails: there is no git, no repository, no such commit."""
    # A clone of another user is read as well: nothing of it is run.
    command = ["git", "-c", "safe.directory=*", *words]
    try:
        return subprocess.run(command, cwd=root, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def subjects(base: str, root: Path = ROOT) -> list[str]:
    """Return the subjects of the commits since ``base``, merges left out.

    A shallow clone without ``base`` has later commits only: all of them. Without history there are none.
    """
    if git(root, "cat-file", "-e", f"{base}^{{commit}}") is not None:
        log = git(root, "log", "--no-merges", "--format=%s", f"{base}..HEAD")
    elif git(root, "rev-parse", "--is-shallow-repository") == "true\n":
        log = git(root, "log", "--no-merges", "--format=%s")
    else:
        log = None
    return (log or "").splitlines()
