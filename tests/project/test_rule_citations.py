"""Rule ids that tests and documents cite are defined in docs/spec."""

import pytest
from repository import ROOT, SPEC, files
from rulebook import (
    COMPATIBILITY,
    OPEN,
    Rule,
    State,
    cited,
    comments,
    inside,
    main,
    rows,
    rules,
    share,
    state,
    unknown,
)


def test_spec_documents_are_text_with_a_title() -> None:
    assert len(list(SPEC.glob("*.md"))) >= 15
    for path in SPEC.iterdir():
        assert path.read_bytes().decode("utf-8").startswith("# "), path.name


def test_each_rule_is_defined_once() -> None:
    ids = [rule.id for rule in rules()]
    assert len(ids) == len(set(ids)) > 1500


def test_every_rule_that_a_test_cites_is_in_the_spec() -> None:
    sources = [path for path in files() if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")]
    found = {str(path.relative_to(ROOT)): unknown(comments(path.read_text())) for path in sources}
    assert {path: ids for path, ids in found.items() if ids} == {}


def test_every_rule_that_the_documents_cite_is_in_the_spec() -> None:
    pages = [path for path in files() if path.suffix == ".md" and path not in SPEC.iterdir()]
    pages.append(SPEC / "README.md")
    found = {str(path.relative_to(ROOT)): unknown(path.read_text()) for path in pages}
    assert {path: ids for path, ids in found.items() if ids} == {}


def test_unknown_rule_ids_are_detected() -> None:
    assert unknown("# IMG-UP-30/9999, SEC-144, SHA-256, MD-9999") == ["IMG-UP-9999", "MD-9999"]


def test_rule_ids_are_parsed_in_every_notation() -> None:
    assert list(cited("SEC-01/03 and IMG-UP-20, 22")) == ["SEC-01", "SEC-03", "IMG-UP-20", "IMG-UP-22"]
    assert list(cited("CFG-12..15")) == ["CFG-12", "CFG-13", "CFG-14", "CFG-15"]
    assert list(cited("IMG-UP-20 to IMG-UP-22, 24.")) == ["IMG-UP-20", "IMG-UP-21", "IMG-UP-22", "IMG-UP-24"]
    assert list(cited("SCH-10t..w, SCH-11")) == ["SCH-10t", "SCH-10u", "SCH-10v", "SCH-10w", "SCH-11"]
    # Numbers that were never given are leapt over; other numbers are no ids.
    assert list(cited("MIN-00..04")) == ["MIN-00", "MIN-03", "MIN-04"]
    assert list(cited("IMG-UP-20: 413, 2 times, HDR-03, 431.5")) == ["IMG-UP-20", "HDR-03"]


def test_rules_are_read_with_their_marks() -> None:
    found = {rule.id: rule for rule in rules()}
    assert (found["IMG-UP-01"].observed, found["IMG-UP-01"].defect) == (True, False)
    assert all(
        (found[each].observed, found[each].defect) == (True, True) for each in ("IMG-UP-07", "IMG-UP-49", "SCH-24")
    )
    assert not found["SEC-01"].observed
    assert found["SCH-10b"].section.startswith("## 2")


def test_each_rule_is_counted_once_with_its_reason() -> None:
    mine = [Rule(f"X-0{n}", "x.md", "", True, True) for n in range(5)]
    found = State(mine, {"X-00": {"a.py"}, "X-01": {"a.py"}}, {"X-01": "ours", "X-02": "ours"}, {"X-03": "later"})
    assert [found.of(rule) for rule in mine] == ["tested", "tested", "different", "waiting", "missing"]
    assert [found.reason(rule) for rule in mine] == ["a.py", "a.py", "ours", "later", "no test cites it"]
    assert share(found, mine) == (2, 4, 5)


def test_exact_scope_excludes_staging() -> None:
    ids = {rule.id for rule in inside("exact")}
    assert {"VER-01", "IMG-UP-01", "SCH-01", "DISC-01", "CFG-01"} <= ids
    assert not {"IMG-STG-01", "MD-01", "IMP-01"} & ids


@pytest.mark.slow
def test_rules_command_reports_coverage(capsys) -> None:
    assert main(["--scope", "exact", "--check", "97"]) == 0
    shown = capsys.readouterr().out
    assert "images.md" in shown and "metadefs.md" not in shown and "W undecided: none" in shown
    assert main(["--check", "100.1"]) == 1
    assert main(["--list", "images", "--tested"]) == 0
    assert "tests/web/test_upload.py" in capsys.readouterr().out


def missing_tests(named: dict[str, str]) -> dict[str, str]:
    """Return the rows that name a test file that does not exist."""
    return {
        rule: tests
        for rule, tests in named.items()
        if not all((ROOT / "tests" / f"{test}.py").is_file() for test in tests.split(", "))
    }


def test_every_compatibility_row_names_existing_tests() -> None:
    lines = [line for line in COMPATIBILITY.read_text().splitlines() if line.startswith("|") and "---" not in line]
    named = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in lines if "| test |" not in line}
    assert missing_tests(named) == {} and len(named) > 40


def test_every_rule_tested_under_another_id_names_existing_tests() -> None:
    named = state().elsewhere
    assert missing_tests(named) == {} and len(named) > 40


def test_every_rule_without_a_test_is_listed_with_a_reason() -> None:
    found = state()
    silent = [rule.id for rule in rules() if found.of(rule) == "missing" and rule.id not in found.missing]
    assert silent == [], f"cite these rules in a test, or list them in {OPEN.name}"


def test_open_rules_are_not_cited_by_tests() -> None:
    found = state()
    for _, ids, reason in rows(OPEN.read_text()):
        assert reason
        assert not set(ids) <= found.tested.keys(), f"tests cite all of {ids}: remove their row from {OPEN.name}"
