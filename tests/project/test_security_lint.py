"""Static checks of the product for dangerous calls and for SQL built from strings."""

import ast
import re
from collections.abc import Iterator

import pytest
from repository import product

#: Modules that turn bytes from elsewhere into objects, code or files that the sender chooses.
MODULES = {"pickle", "marshal", "shelve", "dill", "cPickle", "xml", "commands"}
#: Calls by their dotted name, with or without the module in front.
CALLS = {
    "eval": "evaluates text as code",
    "exec": "evaluates text as code",
    "os.system": "starts a shell",
    "os.popen": "starts a shell",
    "subprocess.getoutput": "starts a shell",
    "subprocess.getstatusoutput": "starts a shell",
    "asyncio.create_subprocess_shell": "starts a shell",
    "create_subprocess_shell": "starts a shell",
    "tempfile.mktemp": "names a file that another process may create first",
    "mktemp": "names a file that another process may create first",
    "shutil.unpack_archive": "lets an archive name the files it writes",
}
METHODS = {"extractall": "lets an archive name the files it writes"}
#: Where SQL is handed over.
EXECUTORS = {"execute", "executemany", "executescript", "exec_driver_sql"}
EXECUTORS |= {"fetch", "fetchrow", "fetchval", "text"}
SQL = re.compile(r"\s*(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|DROP|PRAGMA|WITH|TRUNCATE|VALUES)\s")
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")

#: "path: what is said" -> why it is right there. The list only shrinks.
ALLOWED: dict[str, str] = {}


def findings(path: str, tree: ast.Module) -> Iterator[str]:
    """Yield "path: line: what is said" for everything in the module that is not allowed."""
    handed_over = {
        id(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and node.args and dotted(node.func).split(".")[-1] in EXECUTORS
    }
    for node in ast.walk(tree):
        for said in judge(node, id(node) in handed_over):
            yield f"{path}: {getattr(node, 'lineno', 0)}: {said}"


def judge(node: ast.AST, handed_over: bool) -> Iterator[str]:
    match node:
        case ast.Import():
            yield from (f"imports {a.name}" for a in node.names if a.name.split(".")[0] in MODULES)
        case ast.ImportFrom(module=str(module)) if module.split(".")[0] in MODULES and not node.level:
            yield f"imports {module}"
        # With isinstance it tells the type checker what is so already, and decides nothing.
        case ast.Assert(test=test) if not (isinstance(test, ast.Call) and dotted(test.func) == "isinstance"):
            yield "assert decides something, and python -O leaves it out"
        case ast.Call():
            yield from judge_call(node)
    if is_built(node) and (handed_over or SQL.match(first_words(node))):
        yield "SQL is built from strings: bind values, and take names from constants"


def judge_call(node: ast.Call) -> Iterator[str]:
    name = dotted(node.func)
    if name in CALLS:
        yield f"{name} {CALLS[name]}"
    if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        yield f"{node.func.attr} {METHODS[node.func.attr]}"
    for word in node.keywords:
        if word.arg == "shell" and not (isinstance(word.value, ast.Constant) and word.value.value is False):
            yield "starts a shell"
    if name in {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}:
        yield f"{name} builds objects: use yaml.safe_load"


def is_built(node: ast.AST) -> bool:
    """Tell whether a string is put together from something that is no constant of a module."""
    match node:
        case ast.JoinedStr():
            values = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
            return not all(is_constant(value) for value in values)
        case ast.BinOp(op=ast.Add() | ast.Mod()):
            return is_text(node.left) and not is_constant(node.right)
        case ast.Call(func=ast.Attribute(attr="format", value=value)):
            return is_text(value)
    return False


def is_text(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=str()) | ast.JoinedStr():
            return True
        case ast.BinOp(op=ast.Add() | ast.Mod()):
            return is_text(node.left)
    return False


def is_constant(node: ast.AST) -> bool:
    match node:
        case ast.Constant() | ast.JoinedStr():
            return not is_built(node)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return CONSTANT.fullmatch(name) is not None
    return False


def first_words(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=[first, *_]):
            return first_words(first)
        case ast.BinOp(left=left):
            return first_words(left)
        case ast.Call(func=ast.Attribute(value=value)):
            return first_words(value)
    return ""


def dotted(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{dotted(value)}.{name}"
    return "?"


def without_line(finding: str) -> str:
    path, _, said = finding.split(": ", 2)
    return f"{path}: {said}"


# SEC-144
def test_product_has_no_dangerous_calls() -> None:
    found = [finding for path, tree in product().items() for finding in findings(path, tree)]
    assert [finding for finding in found if without_line(finding) not in ALLOWED] == []
    assert ALLOWED.keys() - {without_line(finding) for finding in found} == set(), "gone: take it off the list"


# SEC-144
@pytest.mark.parametrize(
    "code",
    [
        "subprocess.run(x, shell=True)",
        "subprocess.run(x, shell=flag)",
        "os.system(x)",
        "eval(x)",
        "import pickle",
        "from pickle import loads",
        "import xml.etree.ElementTree",
        "yaml.load(x, Loader=yaml.Loader)",
        "tempfile.mktemp()",
        "assert x > 0",
        "tarfile.open(x).extractall(y)",
        'f"SELECT * FROM images WHERE id = {x}"',
        '"SELECT * FROM images WHERE id = " + x',
        '"SELECT * FROM images WHERE id = %s" % x',
        '"DELETE FROM {}".format(x)',
        'db.execute(f"vacuum {x}")',
        'text("order by " + x)',
    ],
)
def test_dangerous_code_is_detected(code: str) -> None:
    assert list(findings("x.py", ast.parse(code))) != []


@pytest.mark.parametrize(
    "code",
    [
        "subprocess.run(x, shell=False)",
        "yaml.safe_load(x)",
        "assert isinstance(x, Exchange)",
        'raise Conflict(f"image {x} cannot go there")',
        'f"SELECT {COLUMNS} FROM images"',
        'db.execute("SELECT 1 WHERE id = $1", x)',
        '"SELECT " + tables.COLUMNS',
        'f"Update of {x}"',
    ],
)
def test_harmless_code_is_accepted(code: str) -> None:
    assert list(findings("x.py", ast.parse(code))) == []
