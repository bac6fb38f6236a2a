"""No module imports itself by way of others: not at import time, not inside a function, not for types alone."""

import ast
from collections.abc import Iterator, Mapping

import pytest
from repository import product

ROOT = "ferrotype"


def module_name(path: str) -> str:
    """Return the dotted name of a module, such as ``ferrotype.web.http`` for ``web/http.py``."""
    parts = [ROOT, *path.removesuffix(".py").split("/")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def names_imported(path: str, tree: ast.Module) -> Iterator[str]:
    """Yield the dotted name of everything that a module imports, wherever in it."""
    package = [ROOT, *path.split("/")[:-1]]
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                base = package[: len(package) - node.level + 1] if node.level else []
                base = base + (node.module.split(".") if node.module else [])
                yield from (".".join([*base, alias.name]) for alias in node.names)
            case ast.Call(func=ast.Name(id="import_module") | ast.Attribute(attr="import_module")):
                yield from (word.value for word in node.args if isinstance(word, ast.Constant))


def import_graph(modules: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Return for each module the modules of the product that it names in an import.

    That importing a module also runs the ``__init__`` of its package is left out: it would make every package that
    re-exports something a cycle.
    """
    known = {module_name(path) for path in modules}
    graph: dict[str, set[str]] = {}
    for path, tree in modules.items():
        edges = graph.setdefault(module_name(path), set())
        for name in names_imported(path, tree):
            while name not in known and "." in name:  # An attribute of a module, not a module.
                name = name.rpartition(".")[0]
            if name in known and name != ROOT:
                edges.add(name)
    return graph


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return every set of modules that import each other, sorted."""
    reachable: dict[str, set[str]] = {}
    for start in graph:
        found: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            module = waiting.pop()
            if module not in found:
                found.add(module)
                waiting += graph[module]
        reachable[start] = found
    groups = {
        frozenset(other for other in reachable[module] if module in reachable[other])
        for module in graph
        if module in reachable[module]
    }
    return sorted(sorted(group) for group in groups)


def test_the_product_has_no_import_cycle() -> None:
    assert cycles(import_graph(product())) == []


@pytest.mark.parametrize(
    "spelling",
    [
        "import ferrotype.web.b",
        "from ferrotype.web import b",
        "from ferrotype.web.b import anything",
        "from . import b",
        "from .b import anything",
        "from ..web.b import anything",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ferrotype.web.b import B",
        "def later():\n    from ferrotype.web import b",
        "import importlib\nimportlib.import_module('ferrotype.web.b')",
    ],
)
def test_a_cycle_is_found_in_every_spelling(spelling: str) -> None:
    modules = {
        "__init__.py": ast.parse(""),
        "web/__init__.py": ast.parse(""),
        "web/a.py": ast.parse(spelling),
        "web/b.py": ast.parse("from ferrotype.web import c"),
        "web/c.py": ast.parse("from ferrotype.web import a"),
        "web/d.py": ast.parse("from ferrotype.web import a"),
    }
    assert cycles(import_graph(modules)) == [["ferrotype.web.a", "ferrotype.web.b", "ferrotype.web.c"]]


def test_imports_that_end_are_no_cycle() -> None:
    modules = {
        "web/__init__.py": ast.parse("from ferrotype.web.a import a"),
        "web/a.py": ast.parse("from ferrotype.web import b, c"),
        "web/b.py": ast.parse("from ferrotype.web import c\nimport os"),
        "web/c.py": ast.parse("from ferrotype import __version__"),
    }
    assert cycles(import_graph(modules)) == []
