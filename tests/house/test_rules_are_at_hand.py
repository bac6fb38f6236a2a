"""Tests cite the rules they prove; whoever follows a citation finds the rule in docs/spec."""

import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache

from house import ROOT, SPEC, files

RULE = re.compile(r"\b([A-Z][A-Z0-9]*(?:-[A-Z]+)*-)(\d+[a-z]?)((?:/\d+[a-z]?\b)*)")
#: Names of standards and advisories that look like the ids of rules.
STANDARDS = re.compile(r"(?:CVE|OSSA|OSSN|UTF|SHA|RSA|ISO|RFC|UCS|AES|IEEE|WINDOWS|CP)-")
ROW = re.compile(r"\| \**(" + RULE.pattern[2:] + r")\** \|")


def cited(text: str) -> Iterator[str]:
    """Yield the ids in ``text``; "A-01/02" names two."""
    for prefix, first, more in RULE.findall(text):
        for number in [first, *more.split("/")[1:]]:
            yield prefix + number


@cache
def rows() -> list[str]:
    """Return the ids that open a row of a table in docs/spec."""
    lines = [line for path in sorted(SPEC.glob("*.md")) for line in path.read_text().splitlines()]
    return [match[1] for line in lines if (match := ROW.match(line))]


def comments(source: str) -> str:
    """Return the comments of a Python file."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n".join(token.string for token in tokens if token.type == tokenize.COMMENT)


def unknown(text: str) -> list[str]:
    """Return the ids in ``text`` that no rule has."""
    rules = set(rows())
    return [rule for rule in cited(text) if rule not in rules and not STANDARDS.match(rule)]


def test_the_spec_is_text_and_not_empty() -> None:
    assert len(list(SPEC.glob("*.md"))) >= 15
    for path in SPEC.iterdir():
        assert path.read_bytes().decode("utf-8").startswith("# "), path.name


def test_the_spec_defines_each_rule_once() -> None:
    assert len(rows()) == len(set(rows())) > 1500


def test_every_rule_that_a_test_cites_is_in_the_spec() -> None:
    sources = [path for path in files() if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")]
    found = {str(path.relative_to(ROOT)): unknown(comments(path.read_text())) for path in sources}
    assert {path: ids for path, ids in found.items() if ids} == {}


def test_every_rule_that_the_documents_cite_is_in_the_spec() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "changes").rglob("*.md")]
    found = {str(path.relative_to(ROOT)): unknown(path.read_text()) for path in pages}
    assert {path: ids for path, ids in found.items() if ids} == {}


def test_a_wrong_citation_is_seen() -> None:
    assert unknown("# IMG-UP-30/9999, SEC-144, SHA-256, MD-9999") == ["IMG-UP-9999", "MD-9999"]
