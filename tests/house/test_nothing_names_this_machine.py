"""The repository means the same on every machine: nothing in it names the one it was written on."""

import re
from collections.abc import Iterator

import pytest
from house import files, text_of

# Patterns are written so that they do not match themselves.
HOMES = re.compile(r"(?<![\w.:])/(?:home|Users)/(?!<|\{|\$)[A-Za-z][\w.-]*|(?<![\w.])/root/(?=\w|\.)")
WORKPLACES = re.compile(r"(?<![\w.])/(?:work|farm|builds|workspace|github)(?=/|\b(?![\w-]))|\.\./sha[r]ed/")
LOCAL_PACKAGES = re.compile(r"(?<![\w.])/(?:opt|srv|mnt)/[\w/.-]*(?:wheels?|py[p]i|simple)\b")
REGISTRIES = re.compile(
    r"\b(?:[\w-]+\.)*(?:py[p]i\.org|python[h]osted\.org|np[m]js\.(?:org|com)|de[b]ian\.org/debian|crate[s]\.io"
    r"|rub[y]gems\.org|proxy\.go[l]ang\.org|repo\.mave[n]\.apache\.org)\b"
)
PATTERNS = [HOMES, WORKPLACES, LOCAL_PACKAGES, REGISTRIES]


def names_found(text: str) -> Iterator[str]:
    for pattern in PATTERNS:
        for match in pattern.finditer(text):
            yield match[0]


def test_nothing_names_this_machine() -> None:
    found = [
        f"{path}:{number}: {name}"
        for path in files()
        if (text := text_of(path)) is not None
        for number, line in enumerate(text.splitlines(), start=1)
        for name in names_found(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "root = '/wor" + "k/main'",
        "see ../sha" + "red/notes.md",
        "cd /ho" + "me/somebody/tintype",
        "cp /ro" + "ot/.config/x .",
        "--find-links /opt/whe" + "els",
        "index = https://py" + "pi.org/simple",
        "https://files.python" + "hosted.org/packages/x.whl",
    ],
)
def test_a_name_is_seen(line: str) -> None:
    assert list(names_found(line)) != []


@pytest.mark.parametrize(
    "line",
    [
        "GET /v2/images/work/file",
        "~/.local/share/tintype",
        "/etc/glance",
        "https://host/work",
        "/var/lib/glance",
    ],
)
def test_an_ordinary_path_is_not(line: str) -> None:
    assert list(names_found(line)) == []
