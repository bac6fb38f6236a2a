"""The configuration files line by line, before options are looked up."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from oslo_config import iniparser


class Line(NamedTuple):
    """One assignment. ``section`` is lower-case except DEFAULT, as oslo.config compares it."""

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

    The variable holds paths separated by colons; the path of a directory stands
    for the files in it.
    """
    if files or dirs:
        return tuple(files), tuple(dirs)
    named = [Path(part) for part in environ.get("FERROTYPE_CONFIG_FILE", "").split(os.pathsep) if part]
    return tuple(p for p in named if not is_directory(p)), tuple(p for p in named if is_directory(p))


def expand(files: Sequence[Path], dirs: Sequence[Path], problems: list[str]) -> tuple[Path, ...]:
    """Return the files in the order in which they are read, the last one winning: directories last, by name."""
    found = [path.absolute() for path in files]
    for directory in dirs:
        if not is_directory(directory):
            problems.append(f"{directory} is not a directory; --config-dir needs an existing one.")
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
            text = without_bom(file.read_text())
        except OSError as error:
            problems.append(f"{file} cannot be read: {error.strerror}; correct the path or its permissions.")
            continue
        except UnicodeDecodeError as error:
            problems.append(
                f"{file} is not a text file: byte {error.start} is invalid in {error.encoding}; save it as UTF-8."
            )
            continue
        if "\0" in text:
            number = text.count("\n", 0, text.index("\0")) + 1
            problems.append(f"{file}:{number} contains the character NUL; save the file as text without it.")
            continue
        reading = _Reading(file)
        try:
            # The parser reports an assignment when it reads the line after it.
            reading.parse([*text.split("\n"), ""])
        except iniparser.ParseError as error:
            problems.append(f"{file}:{error.lineno} cannot be parsed: {_lower_first(error.msg)}; correct the line.")
            continue
        readable.append(file)
        lines += reading.lines
    return tuple(readable), tuple(lines)


def no_file(path: str | Path) -> str | None:
    """Return why ``path`` is not the path of a file, as the end of a sentence; None if it is."""
    try:
        return None if Path(path).is_file() else "is not a file"
    except OSError as error:  # A directory above it cannot be searched, or a name is too long.
        return f"cannot be reached: {error.strerror}"


def is_directory(path: Path) -> bool:
    """Return whether this is a directory that can be reached."""
    try:
        return path.is_dir()
    except OSError:
        return False


def without_bom(text: str) -> str:
    """Return a string without the byte order mark that some editors put before it."""
    return text.removeprefix("\ufeff")


def last(lines: Sequence[Line], section: str, name: str) -> Line | None:
    """Return the line that sets an option: the last one."""
    return next((line for line in reversed(lines) if line.section == section and line.name == name), None)


def referred(lines: Sequence[Line]) -> frozenset[str]:
    """Return the names that values refer to with a dollar sign."""
    return frozenset(re.findall(r"(?<!\$)\$\{?(?:\w+\.)?(\w+)", "\n".join(line.value for line in lines)))


def _lower_first(message: str) -> str:
    """Return a parser's message without the text of the line, which may hold a secret."""
    return message[:1].lower() + message[1:]


class _Reading(iniparser.BaseParser):
    """oslo.config's own parser, which also records the line numbers."""

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
