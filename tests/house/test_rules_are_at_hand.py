"""Tests cite the rules they prove; whoever follows a citation finds the rule in docs/spec."""

from house import ROOT, SPEC, files
from rulebook import cited, comments, main, rows, rules, state, unknown


def test_the_spec_is_text_and_not_empty() -> None:
    assert len(list(SPEC.glob("*.md"))) >= 15
    for path in SPEC.iterdir():
        assert path.read_bytes().decode("utf-8").startswith("# "), path.name


def test_the_spec_defines_each_rule_once() -> None:
    ids = [rule.id for rule in rules()]
    assert len(ids) == len(set(ids)) > 1500


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
