"""The house has floors, and imports run downhill only.

floor 7   __main__
      6   cli
      5   app  serve
      4   web  tasks
      3   service
      2   db  stores  streams  identity  rules  logs  cache  notify
      1   model  config  offload

A room is a folder or a file right below ``ferrotype``. Rooms on one floor do not
know each other. ``testing`` stands beside the house: it may look into every
room, and none looks back.
"""

import ast
from collections.abc import Mapping

from repository import PRODUCT, product

FLOORS = {
    "__main__": 7,
    "cli": 6,
    "app": 5,
    "serve": 5,
    "web": 4,
    "tasks": 4,
    "service": 3,
    "db": 2,
    "stores": 2,
    "streams": 2,
    "identity": 2,
    "rules": 2,
    "logs": 2,
    "cache": 2,
    "notify": 2,
    "model": 1,
    "config": 1,
    "offload": 1,
}
BESIDE = "testing"

LONGEST = 400
#: Files that may be longer, each with its reason. The list only shrinks.
LONGER = {
    "config/options.py": "one row for each option that an operator may have written",
}


def room_of(path: str) -> str:
    """Return the room of a module: ``web`` for ``web/images.py``, ``""`` for the package itself."""
    room = path.split("/")[0].removesuffix(".py")
    return "" if room == "__init__" else room


def rooms_imported(path: str, tree: ast.Module) -> set[str]:
    """Return the rooms whose doors a module opens, in whatever way and at whatever time."""
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


def climbs(modules: Mapping[str, ast.Module]) -> list[str]:
    """Return a sentence for every import that does not run downhill."""
    found = []
    for path, tree in modules.items():
        room = room_of(path)
        if room == BESIDE:
            continue
        floor = FLOORS.get(room, 0)
        for other in sorted(rooms_imported(path, tree) - {room}):
            if other == BESIDE:
                found.append(f"{path} imports {BESIDE}, which is for tests only")
            elif FLOORS.get(other, floor) >= floor:
                found.append(f"{path} (floor {floor}) imports {other} (floor {FLOORS.get(other, 'unknown')})")
    return found


def test_imports_run_downhill_only() -> None:
    assert climbs(product()) == []


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in product()} - {"", BESIDE}
    assert rooms <= FLOORS.keys(), f"no floor is named for {sorted(rooms - FLOORS.keys())}"


def test_a_climb_is_seen_in_every_disguise() -> None:
    disguises = [
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
    for disguise in disguises:
        assert len(climbs({"db/images.py": ast.parse(disguise)})) == 1, disguise


def test_a_way_down_is_free() -> None:
    downhill = "from ferrotype import __version__\nfrom ferrotype.model import image\nfrom . import tables"
    assert climbs({"db/images.py": ast.parse(downhill)}) == []


def test_every_module_says_what_it_is() -> None:
    silent = [path for path, tree in product().items() if not ast.get_docstring(tree)]
    assert silent == [], "a module's docstring is the sign on its door"


def test_no_file_is_longer_than_its_topic() -> None:
    lengths = {path: len((PRODUCT / path).read_text().splitlines()) for path in product()}
    long = {path for path, lines in lengths.items() if lines > LONGEST}
    assert long - LONGER.keys() == set(), f"longer than {LONGEST} lines: split by topic"
    assert LONGER.keys() - long == set(), "no longer long: take it off the list"
