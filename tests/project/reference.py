"""Facts of the product that the pages in docs/reference show.

``python tests/project/reference.py`` writes the generated parts into the pages. What people wrote beside a fact
(what a log message means, what a limit is for) stays; tests/project/test_reference.py compares it with the facts.
"""

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click import Command, Context, Group
from discovery_cases import faults_table, properties_table
from repository import ROOT, product

from ferrotype.cli import main
from ferrotype.config.reference import ignored_options, supported_options
from ferrotype.rules.defaults import DEFAULTS
from ferrotype.web import routes

REFERENCE = ROOT / "docs" / "reference"
CONFIGURATION = REFERENCE / "configuration.md"
COMMANDS = REFERENCE / "commands.md"
HTTP = REFERENCE / "http-api.md"
DISCOVERY = REFERENCE / "discovery.md"
LOG_MESSAGES = REFERENCE / "log-messages.md"
LIMITS = REFERENCE / "limits.md"

#: Calls that no policy rule names, and the rules that they ask for all the same.
MORE_RULES = {
    ("DELETE", "/v2/images/{image_id}/tags/{tag}"): "`modify_image`",
    ("GET", "/v2/images/{image_id}/tasks"): "`get_image`",
}
#: Methods of a logger whose lines an operator sees, and the level in the table.
LEVELS = {"warning": "WARNING", "error": "ERROR", "exception": "ERROR", "critical": "CRITICAL"}


# -- generated parts ------------------------------------------------------------------------------


def commands(command: Command = main, name: str = "ferrotype", parent: Context | None = None) -> str:
    """Return the help of every command as Markdown."""
    settings = {**command.context_settings, "terminal_width": 98, "max_content_width": 98}
    context = Context(command, info_name=name, parent=parent, **settings)
    text = f"## {context.command_path}\n\n```\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, Group):
        text += "".join(f"\n{commands(each, sub, context)}" for sub, each in sorted(command.commands.items()))
    return text


def parts() -> dict[Path, list[tuple[str, str]]]:
    """Return the generated parts of each page: a name and the text."""
    return {
        CONFIGURATION: [("supported options", supported_options()), ("ignored options", ignored_options())],
        COMMANDS: [("commands", commands())],
        DISCOVERY: [("properties", properties_table()), ("faults", faults_table())],
    }


def shown(page: str, name: str) -> str | None:
    """Return the part ``name`` of a page."""
    found = re.search(rf"<!-- generated: {name} -->\n\n(.*?)\n<!-- end -->", page, re.DOTALL)
    return found[1] if found else None


def write() -> None:
    """Write the generated parts into their pages."""
    for path, generated in parts().items():
        page = path.read_text()
        for name, text in generated:
            before = shown(page, name)
            if before is None:
                raise LookupError(f"{path.name} has no part '{name}'")
            page = page.replace(
                f"<!-- generated: {name} -->\n\n{before}\n", f"<!-- generated: {name} -->\n\n{text}\n"
            )
        path.write_text(page)


# -- facts ----------------------------------------------------------------------------------------


def table(page: Path, first: str) -> list[dict[str, str]]:
    """Return the rows of all tables of a page whose first column has this title."""
    columns, found = list[str](), list[dict[str, str]]()
    for line in page.read_text().splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if not line.startswith("|"):
            columns = []
        elif not columns:
            columns = cells
        elif columns[0] == first and set(cells[0]) != {"-"}:
            found.append(dict(zip(columns, cells, strict=True)))
    return found


def calls() -> dict[tuple[str, str], str]:
    """Return (method, path) of every call of the Image API, and the policy rules that it asks for."""
    asked: dict[str, list[str]] = {}
    for name, default in DEFAULTS.items():
        for call in default.calls:
            asked.setdefault(call.partition("?")[0], []).append(name)
    found = {
        (method, f"/v2/{path}"): ", ".join(f"`{name}`" for name in asked.get(f"{method} /v2/{path}", ()))
        for path, methods in routes.ROUTES.items()
        for method in methods
    }
    return found | {call: rules for call, rules in MORE_RULES.items() if not found[call]}


def log_messages() -> Iterator[tuple[str, str, str]]:
    """Yield module, level and text of every warning and error that the product logs; values are ``…``."""
    for path, tree in product().items():
        if path.startswith("testing/"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                text = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
                if _is_logger(node.func.value) and isinstance(text, str):
                    yield path, LEVELS[node.func.attr], re.sub(r"%[-+.\d]*[a-z]", "…", text)


def _is_logger(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Attribute) and value.func.attr == "getLogger"
    return isinstance(value, ast.Name) and value.id in ("log", "access")


def value_of(name: str) -> Any:
    """Return the value of a constant or of a field's default, such as ``server.limits.Limits.head_bytes``."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(["ferrotype", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise LookupError(name)


if __name__ == "__main__":
    write()
    sys.exit(0)
