"""The rules in docs/spec and what is known of each: tested, decided otherwise, waiting, or open.

``scripts/rules`` prints it, and the project tests read citations with it: there is one reader of rule ids.
docs/spec/README.md explains ids and marks (R: observed, S: read in the source, W: known defect).
"""

import argparse
import io
import re
import string
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from repository import ROOT, SPEC, files

COMPATIBILITY = ROOT / "docs" / "reference" / "compatibility.md"
OPEN = ROOT / "docs" / "reference" / "rules-without-test.md"

_ID = r"([A-Z][A-Z0-9]*(?:-[A-Z]+)*-)(\d+[a-z]?)"
_AND = r"/\d+[a-z]?\b|, \d\d+[a-z]?\b(?![-\w]|\.\w)"
_UP_TO = r"\.\.[a-z]\b|(?:\.\.| to )(?:[A-Z-]+-)?\d+[a-z]?\b"
#: An id and what may follow it: "IMG-UP-01/02", "IMG-UP-01, 02", "IMG-UP-01..05", "IMG-UP-01 to 05", "SCH-10a..d".
RULE = re.compile(rf"\b{_ID}(?![\w-])((?:{_AND}|{_UP_TO})*)")
_MORE = re.compile(r"(/|, |\.\.| to )(?:[A-Z-]+-)?(\d+[a-z]?|[a-z]\b)")
#: Names of standards and advisories that look like the ids of rules.
STANDARDS = re.compile(r"(?:CVE|OSSA|OSSN|UTF|SHA|RSA|ISO|RFC|UCS|AES|IEEE|WINDOWS|CP)-")
_ROW = re.compile(rf"\| \**{_ID}\** \|")

#: Documents and sections that the core API is about; a section is named by the word in its heading.
SCOPES = {
    "exact": {
        "versions-and-errors.md": (),
        "images.md": ("(IMG-STG)",),
        "schemas.md": (),
        "discovery.md": (),
        "config-core.md": (),
    }
}


@dataclass(frozen=True)
class Rule:
    """One row of a table in docs/spec. ``observed`` means R or S: what Glance does, and our service should."""

    id: str
    document: str
    section: str
    observed: bool
    defect: bool


@dataclass
class State:
    """What is known of every rule: ``tested`` by id -> files; the others by id -> the reason."""

    rules: list[Rule]
    tested: dict[str, set[str]] = field(default_factory=dict)
    different: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    nothing: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def of(self, rule: Rule) -> str:
        """Return in which of the columns a rule is counted."""
        for name in ("tested", "different", "elsewhere", "waiting", "nothing"):
            if rule.id in getattr(self, name):
                return name
        return "missing"

    def reason(self, rule: Rule) -> str:
        """Return the files that prove a rule, or the reason why none does."""
        known = getattr(self, self.of(rule)).get(rule.id, "no test cites it")
        return ", ".join(sorted(known)) if isinstance(known, set) else known


def cited(text: str) -> Iterator[str]:
    """Yield the ids in ``text``; "IMG-UP-01/02" names two, and "IMG-UP-01..05" all that there are between."""
    for prefix, first, more in RULE.findall(text):
        yield prefix + first
        last = first
        for sign, end in _MORE.findall(more):
            number = last.rstrip(string.ascii_lowercase) + end if end.isalpha() else end
            if sign in ("..", " to "):
                yield from _between(prefix, last, number)
            last = number
            yield prefix + number


def _between(prefix: str, first: str, last: str) -> Iterator[str]:
    """Yield the ids between two: numbers that were never given are leapt over."""
    for rule in rules():
        number = rule.id.removeprefix(prefix)
        if number != rule.id and number[0].isdigit() and _order(first) < _order(number) < _order(last):
            yield rule.id


def _order(number: str) -> tuple[int, str]:
    return int(number.rstrip(string.ascii_lowercase)), number.lstrip(string.digits)


@cache
def rules() -> list[Rule]:
    """Return the rules of docs/spec in the order of their documents."""
    return [rule for path in sorted(SPEC.glob("*.md")) for rule in _rules_in(path)]


def _rules_in(path: Path) -> Iterator[Rule]:
    section, columns = "", list[str]()
    for line in path.read_text().splitlines():
        if line.startswith("## "):
            section = line
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells[0] == "id":
            columns = cells
        if match := _ROW.match(line):
            # The mark is the last cell; a cell before it may hold a bar of its own.
            mark = cells[-1] if columns and columns[-1] in ("mark", "") else ""
            defect = mark == "W" or re.search(r"\bW( \([a-z ]+\))?:|\*\*W\b|\bW \([a-z ]+\)", line) is not None
            yield Rule(match[1] + match[2], path.name, section, bool(re.search(r"\b[RS]\b", mark)), defect)


def comments(source: str) -> str:
    """Return the comments of a Python file."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n".join(token.string for token in tokens if token.type == tokenize.COMMENT)


def unknown(text: str) -> list[str]:
    """Return the ids in ``text`` that no rule has."""
    have = {rule.id for rule in rules()}
    return [rule for rule in cited(text) if rule not in have and not STANDARDS.match(rule)]


def tests() -> list[Path]:
    """Return the Python files of the tests; those in tests/project guard the repository and prove no rule."""
    inside = ROOT / "tests"
    return [
        p
        for p in files()
        if p.suffix == ".py" and p.is_relative_to(inside) and not p.is_relative_to(inside / "project")
    ]


def rows(text: str) -> Iterator[tuple[str, list[str], str]]:
    """Yield chapter (heading of level 2), ids of the first cell and reason of each row of the tables in a page."""
    heading, columns = "", list[str]()
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells[0] == "rule":
            columns = cells
        elif line.startswith("|") and (ids := list(cited(cells[0]))):
            yield heading, ids, dict(zip(columns, cells, strict=False)).get("ours", cells[1])


def state() -> State:
    """Return what the tests and the documents say of every rule."""
    found = State(rules())
    for path in tests():
        for rule in cited(comments(path.read_text())):
            found.tested.setdefault(rule, set()).add(str(path.relative_to(ROOT)))
    for _, ids, reason in rows(COMPATIBILITY.read_text()):
        found.different |= dict.fromkeys(ids, reason)
    kinds = {
        "Waiting": found.waiting,
        "Tested under another id": found.elsewhere,
        "Nothing to test": found.nothing,
        "Not done": found.missing,
    }
    for heading, ids, reason in rows(OPEN.read_text()):
        kinds[heading].update(dict.fromkeys(ids, reason))
    return found


def inside(scope: str | None) -> list[Rule]:
    """Return the rules of a scope, or all of them."""
    if scope is None:
        return rules()
    documents = SCOPES[scope]
    return [
        rule
        for rule in rules()
        if rule.document in documents and not any(word in rule.section for word in documents[rule.document])
    ]


def share(state: State, among: list[Rule]) -> tuple[int, int, int]:
    """Return how many rules with the marks R and S are tested, how many can be tested now, and how many there are."""
    counted = Counter(state.of(rule) for rule in among if rule.observed)
    return counted["tested"], counted.total() - counted["waiting"] - counted["nothing"], counted.total()


COLUMNS = {
    "tested": "tested",
    "different": "different",
    "elsewhere": "other id",
    "waiting": "waiting",
    "nothing": "no test",
    "missing": "not done",
}


def main(words: list[str]) -> int:
    """Print how far the rules are proved; return 1 when that is less than ``--check`` asks for."""
    parser = argparse.ArgumentParser(
        prog="scripts/rules",
        description="Counts how many rules of docs/spec are cited by tests. The reasons of 'different' rules are in "
        "docs/reference/compatibility.md, those of all others in docs/reference/rules-without-test.md. 'other id': a "
        "test proves the rule and cites another one; 'no test': there is nothing to test.",
    )
    parser.add_argument(
        "--list", metavar="DOC", help="name every rule of a document that is not tested ('all' documents)"
    )
    parser.add_argument("--tested", action="store_true", help="with --list: name the tested ones and their tests too")
    parser.add_argument("--scope", choices=SCOPES, help="look only at the documents and sections of a part")
    parser.add_argument("--check", metavar="PERCENT", type=float, help="fail when fewer R and S rules are tested")
    asked = parser.parse_args(words)
    found, among = state(), inside(asked.scope)
    if asked.list:
        for rule in among:
            if asked.list in ("all", rule.document, rule.document.removesuffix(".md")):
                column = found.of(rule)
                if column != "tested" or asked.tested:
                    print(f"{rule.id:14} {COLUMNS[column]:9} {found.reason(rule)}")
    else:
        print(f"{'':24}{'rules':>7}" + "".join(f"{name:>11}" for name in COLUMNS.values()))
        for document in dict.fromkeys(rule.document for rule in among):
            counted = Counter(found.of(rule) for rule in among if rule.document == document)
            print(f"{document:24}{counted.total():7}" + "".join(f"{counted[column]:11}" for column in COLUMNS))
    tested, possible, total = share(found, among)
    percent = 100 * tested / possible if possible else 100.0
    print(f"R and S: {tested} tested of {possible} that can be tested now ({percent:.1f} %), {total} in all")
    undecided = [
        rule.id for rule in among if rule.defect and found.of(rule) == "missing" and rule.id not in found.missing
    ]
    print(f"W undecided: {' '.join(undecided) or 'none'}")
    if asked.check is not None and percent < asked.check:
        print(f"less than {asked.check:g} %", file=sys.stderr)
        return 1
    return 0
