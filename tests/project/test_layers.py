"""Imports point to lower layers only.

layer 8   __main__
      7   cli
      6   app  server
      5   web  background  admin
      4   service
      3   db  stores  streams  identity  rules  logs
      2   config
      1   model  offload

A layer's packages do not import each other. ``testing`` is test-only: it may import every package, and no package
imports it.
"""

import ast
from collections.abc import Mapping

from repository import PRODUCT, product

LAYERS = {
    "__main__": 8,
    "cli": 7,
    "app": 6,
    "server": 6,
    "web": 5,
    "background": 5,
    "admin": 5,
    "service": 4,
    "db": 3,
    "stores": 3,
    "streams": 3,
    "identity": 3,
    "rules": 3,
    "logs": 3,
    "config": 2,
    "model": 1,
    "offload": 1,
}
TEST_ONLY = "testing"

LONGEST = 400
#: Files that may be longer, each with its reason. The list only shrinks.
LONGER: dict[str, str] = {}


def package_of(path: str) -> str:
    """Return the package of a module: ``web`` for ``web/images.py``, ``""`` for the package itself."""
    package = path.split("/")[0].removesuffix(".py")
    return "" if package == "__init__" else package


def packages_imported(path: str, tree: ast.Module) -> set[str]:
    """Return the packages whose doors a module opens, in whatever way and at whatever time."""
    package = ["ferrotype", *path.split("/")[:-1]]
    names: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names += [alias.name for alias in node.names]
            case ast.ImportFrom():
                base = package[: len(package) - node.level + 1] if node.level else []
                base += node.module.split(".") if node.module else []
                names += [".".join([*base, alias.name]) for alias in node.names]
            case ast.Call(func=ast.Name(id="import_module") | ast.Attribute(attr="import_module")):
                names += [word.value for word in node.args if isinstance(word, ast.Constant)]
    ours = [name.split(".") for name in names if isinstance(name, str) and name.startswith("ferrotype.")]
    return {parts[1] for parts in ours if not parts[1].startswith("__")}


def upward_imports(modules: Mapping[str, ast.Module]) -> list[str]:
    """Return a sentence for every import that does not run downward."""
    found = []
    for path, tree in modules.items():
        package = package_of(path)
        if package == TEST_ONLY:
            continue
        layer = LAYERS.get(package, 0)
        for other in sorted(packages_imported(path, tree) - {package}):
            if other == TEST_ONLY:
                found.append(f"{path} imports {TEST_ONLY}, which is for tests only")
            elif LAYERS.get(other, layer) >= layer:
                found.append(f"{path} (layer {layer}) imports {other} (layer {LAYERS.get(other, 'unknown')})")
    return found


def test_imports_point_to_lower_layers_only() -> None:
    assert upward_imports(product()) == []


def test_every_package_has_a_layer() -> None:
    packages = {package_of(path) for path in product()} - {"", TEST_ONLY}
    assert packages <= LAYERS.keys(), f"no layer is named for {sorted(packages - LAYERS.keys())}"


def test_an_upward_import_is_found_in_every_spelling() -> None:
    spellings = [
        "import ferrotype.web.errors",
        "from ferrotype import web",
        "from ferrotype.web import errors",
        "from ..web import errors",
        "from .. import web",
        "def later():\n    from ferrotype.web import errors",
        "import importlib\nimportlib.import_module('ferrotype.web.errors')",
        "from ferrotype import testing",
        "from ferrotype import stores",
        "from ferrotype import nowhere",
    ]
    for spelling in spellings:
        assert len(upward_imports({"db/images.py": ast.parse(spelling)})) == 1, spelling


def test_downward_imports_are_allowed() -> None:
    downward = "from ferrotype import __version__\nfrom ferrotype.model import image\nfrom . import tables"
    assert upward_imports({"db/images.py": ast.parse(downward)}) == []


def test_every_module_has_a_docstring() -> None:
    silent = [path for path, tree in product().items() if not ast.get_docstring(tree)]
    assert silent == [], "every module needs a docstring"


def test_no_module_exceeds_the_line_limit() -> None:
    lengths = {path: len((PRODUCT / path).read_text().splitlines()) for path in product()}
    long = {path for path, lines in lengths.items() if lines > LONGEST}
    assert long - LONGER.keys() == set(), f"longer than {LONGEST} lines: split by topic"
    assert LONGER.keys() - long == set(), "no longer long: take it off the list"
