"""The pages: links and anchors lead somewhere, lines are short, every page is in the index, named files exist."""

import re
from pathlib import Path

import pytest
from repository import PRODUCT, ROOT, files

LONGEST = 100
PAGES = [path for path in files() if path.suffix == ".md" and not path.is_relative_to(ROOT / "tests")]
#: ``[text](target)`` and ``[label]: target``
LINK = re.compile(r"(?:(?<!!)\[[^\]]*\]\(|^\[[^\]]+\]: )([^)\s]+)", re.MULTILINE)
#: A file in backticks, such as `service/objects.py`, named from the root, the product, the tests, docs or the page.
NAMED = re.compile(r"`([\w.-]+(?:/[\w.-]+)*\.(?:py|md|toml))(?:::?\w+)?`")
#: Files of others: an operator's, Glance's, a client's.
FOREIGN = re.compile(r"^(?:nova|cinder|openstack\w*|glance\w*|oslo\w*|keystone\w*|etc)/")


def prose(text: str) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 1
        while anchor in found:
            anchor, number = f"{anchor.removesuffix(f'-{number - 1}')}-{number}", number + 1
        found.add(anchor)
    return found


def broken_links(page: Path, text: str) -> list[str]:
    """Return the links of a page to files and headings that do not exist."""
    broken = []
    for link in LINK.findall(prose(text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        content = text if target == page else target.read_text() if target.is_file() else ""
        if not target.exists() or (anchor and anchor not in anchors(content)):
            broken.append(link)
    return broken


def long_lines(page: Path, text: str) -> list[int]:
    """Return the numbers of lines that are too long. Rows of tables may be; in rules also headings and examples."""
    lines = text.splitlines()
    if page.is_relative_to(ROOT / "docs" / "spec"):
        lines = ["" if line.startswith("#") else line for line in blank_code(text)]
    return [
        number for number, line in enumerate(lines, 1) if len(line) > LONGEST and not line.lstrip().startswith("|")
    ]


def blank_code(text: str) -> list[str]:
    """Return the lines of a page, those of blocks of code empty."""
    lines, inside = [], False
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        lines.append("" if inside or fence else line)
        inside ^= fence
    return lines


def missing_files(page: Path, text: str) -> list[str]:
    """Return the files that a page names and that do not exist."""
    roots = (ROOT, PRODUCT, ROOT / "tests", ROOT / "docs", ROOT / "docs" / "spec", page.parent)
    named = [name for name in NAMED.findall(text) if not FOREIGN.match(name)]
    return [name for name in named if not any((root / name).is_file() for root in roots)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    assert broken_links(page, page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    assert missing_files(page, page.read_text()) == []


def test_lines_of_pages_are_short() -> None:
    # README.md shows commands that are longer.
    found = {str(page.relative_to(ROOT)): long_lines(page, page.read_text()) for page in PAGES}
    assert {page: lines for page, lines in found.items() if lines and page != "README.md"} == {}


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(index.read_text())}
    pages = {page for page in PAGES if page.is_relative_to(index.parent) and page.parent.name != "spec"}
    assert pages - linked - {index} == set()
    rules = ROOT / "docs" / "spec" / "README.md"
    linked = {(rules.parent / link).resolve() for link in LINK.findall(rules.read_text())}
    assert {page for page in PAGES if page.parent == rules.parent} - linked - {rules} == set()


def test_faults_of_pages_are_detected(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = "# One `two`: 3\n\n[a](#one-two-3) [b](#none) [c](none.md) [d](page.md#one) [e](https://example.org/x#y)\n"
    text += "\n[f]: nowhere.md\n"
    page.write_text(text)
    assert broken_links(page, text) == ["#none", "none.md", "page.md#one", "nowhere.md"]
    assert anchors("# A\n\n## A\n\n# `x --y`\n```\n# code\n```\n") == {"a", "a-1", "x---y"}
    assert long_lines(page, "a" * 100 + "\n" + "b" * 101 + "\n| " + "c" * 101 + " |\n") == [2]
    assert missing_files(page, "`service/objects.py` `service/nothing.py` `page.md`") == ["service/nothing.py"]
