"""The configuration files, line by line: what an operator wrote, before anybody asks what it means."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oslo_config import iniparser


@dataclass(frozen=True)
class Line:
    """One assignment. ``section`` is in small letters except DEFAULT, as oslo.config compares it."""

    file: Path
    number: int
    section: str
    name: str
    value: str

    @property
    def where(self) -> str:
        return f"{self.file}:{self.number}"

    @property
    def title(self) -> str:
        return f"[{self.section}] {self.name}"


def sources(
    files: Sequence[Path], dirs: Sequence[Path], environ: Mapping[str, str]
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the files and directories to read: those given, else those that ``FERROTYPE_CONFIG_FILE`` names.

    The variable holds paths with colons between them; a path of a directory
    stands for the files in it.
    """
    if files or dirs:
        return tuple(files), tuple(dirs)
    named = [Path(part) for part in environ.get("FERROTYPE_CONFIG_FILE", "").split(os.pathsep) if part]
    return tuple(p for p in named if not p.is_dir()), tuple(p for p in named if p.is_dir())


def expand(files: Sequence[Path], dirs: Sequence[Path], problems: list[str]) -> tuple[Path, ...]:
    """Return the files in the order in which they count: those of directories last, by name."""
    found = [path.absolute() for path in files]
    for directory in dirs:
        if not directory.is_dir():
            problems.append(f"{directory} is not a directory; give --config-dir one that exists.")
            continue
        inside = sorted(p.absolute() for p in directory.glob("*.conf") if not p.name.startswith("."))
        found += inside
    return tuple(found)


def parse(files: Sequence[Path], problems: list[str]) -> tuple[tuple[Path, ...], tuple[Line, ...]]:
    """Return the files that can be read, and every assignment in them."""
    readable: list[Path] = []
    lines: list[Line] = []
    for file in files:
        try:
            text = without_mark(file.read_text())
        except OSError as error:
            problems.append(f"{file} cannot be read: {error.strerror}; correct the path or its permissions.")
            continue
        except UnicodeDecodeError as error:
            problems.append(f"{file} is not text: byte {error.start} is not valid in {error.encoding}.")
            continue
        reading = _Reading(file)
        try:
            # The line at the end makes sure that every assignment is noticed on the line after it.
            reading.parse([*text.split("\n"), ""])
        except iniparser.ParseError as error:
            problems.append(f"{file}:{error.lineno} cannot be understood: {_spoken(error.msg)}.")
            continue
        readable.append(file)
        lines += reading.lines
    return tuple(readable), tuple(lines)


def without_mark(text: str) -> str:
    """Return a text without the mark of UTF-8 that some editors put before it."""
    return text.removeprefix("\ufeff")


def last(lines: Sequence[Line], section: str, name: str) -> Line | None:
    """Return the line that decides about an option."""
    return next((line for line in reversed(lines) if line.section == section and line.name == name), None)


def referred(lines: Sequence[Line]) -> frozenset[str]:
    """Return the names that values refer to with a dollar sign."""
    return frozenset(re.findall(r"(?<!\$)\$\{?(?:\w+\.)?(\w+)", "\n".join(line.value for line in lines)))


def _spoken(message: str) -> str:
    """Return a parser's message without the text of the line, which may hold a secret."""
    return message[:1].lower() + message[1:]


class _Reading(iniparser.BaseParser):
    """oslo.config's own parser, asked to remember where things stand."""

    def __init__(self, file: Path):
        self.file = file
        self.section: str | None = None
        self.lines: list[Line] = []

    def new_section(self, section: str) -> None:
        self.section = section if section == "DEFAULT" else section.lower()

    def assignment(self, key: str, value: list[str]) -> None:
        number = self.lineno - len(value)
        if self.section is None:
            raise iniparser.ParseError("a section must be started before the first option", number, "")
        self.lines.append(Line(self.file, number, self.section, key, "\n".join(value)))
