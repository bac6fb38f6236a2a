"""The subject of a commit is ``area: imperative``, at most 60 characters."""

import re
from pathlib import Path

import pytest
from repository import git, subjects

#: The last commit that this rule is not for.
BASE = "bf1e278"
LONGEST = 60
SUBJECT = re.compile(r"[a-z][\w./-]*(?:, [a-z][\w./-]*)*: (?P<verb>[a-z][a-z-]*)(?: \S.*)?")
#: Forms that are no imperative: added, adding, adds. Plurals look like the last, so the usual verbs are named.
INFLECTED = re.compile(r"\w+(?:ed|ing)|(?:add|allow|chang|check|fix|keep|let|mak|mov|remov|renam|show|updat|us)e?s")
IMPERATIVES = {"bring", "embed", "feed", "need", "ping", "seed", "speed", "string"}


def fault(subject: str) -> str | None:
    """Return what is wrong with the subject of a commit, or None."""
    if len(subject) > LONGEST:
        return f"{len(subject)} characters, at most {LONGEST}"
    match = SUBJECT.fullmatch(subject)
    if not match:
        return "not 'area: imperative', in lower case"
    if subject.endswith("."):
        return "ends with a full stop"
    verb = match["verb"]
    if INFLECTED.fullmatch(verb) and verb not in IMPERATIVES:
        return f"'{verb}' is no imperative"
    return None


def test_every_commit_subject_is_an_area_and_an_imperative() -> None:
    faults = {subject: fault(subject) for subject in subjects(BASE)}
    assert {subject: said for subject, said in faults.items() if said} == {}


@pytest.mark.parametrize(
    "subject",
    [
        "web: fix 0.5 s delay at the end of large uploads",
        "bench: find the package name of another revision",
        "stores/file, db: identify directories by a UUID",
        "tests: pass the database as a fixture",
        "server: embed the version",
        "a: " + "b" * (LONGEST - 3),
    ],
)
def test_valid_subject_has_no_fault(subject: str) -> None:
    assert fault(subject) is None


@pytest.mark.parametrize(
    "subject",
    [
        "Put a chain in line once",
        "web fix the delay",
        "web: Fix the delay",
        "web:fix the delay",
        "web: fixes the delay",
        "web: fixed the delay",
        "web: fixing the delay",
        "web: fix the delay.",
        "web: ",
        ": fix the delay",
        "Web: fix the delay",
        "a: " + "b" * (LONGEST - 2),
    ],
)
def test_invalid_subject_has_a_fault(subject: str) -> None:
    assert fault(subject) is not None


def test_subjects_are_read_from_whole_and_shallow_clones_and_not_from_exported_files(tmp_path: Path) -> None:
    whole, shallow, exported = (tmp_path / name for name in ("whole", "shallow", "exported"))
    exported.mkdir()
    git(tmp_path, "init", "--quiet", str(whole))
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    for subject in ("first", "second", "third"):
        git(whole, *author, "commit", "--quiet", "--allow-empty", "-m", subject, "-m", "body")
    git(tmp_path, "clone", "--quiet", "--depth", "1", whole.as_uri(), str(shallow))
    base = (git(whole, "rev-parse", "HEAD~2") or "").strip()
    assert subjects(base, whole) == ["third", "second"]
    assert subjects(base, shallow) == ["third"]
    assert subjects("0" * 40, whole) == []
    assert subjects(base, exported) == []
