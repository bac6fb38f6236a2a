"""Options that are recognised and have no effect: the file ``ignored.toml``, loaded when a configuration needs it."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("ignored.toml")


class Reason(NamedTuple):
    """Why an option has no effect. ``support`` is ``ignored`` or ``removed``."""

    support: str
    note: str


class Ignored(NamedTuple):
    """Options by section and name, and sections of which every option has no effect."""

    options: dict[tuple[str, str], Reason]
    sections: dict[str, Reason]


@cache
def load() -> Ignored:
    """Return what the file says."""
    import tomllib  # Most of the time no line of the configuration is in this file.

    document = tomllib.loads(FILE.read_text())
    options = {
        (group["section"], name): Reason(group["support"], group["note"])
        for group in document["group"]
        for name in group["names"].split()
    }
    sections = {
        name: Reason(group["support"], group["note"])
        for group in document["sections"]
        for name in group["names"].split()
    }
    return Ignored(options, sections)
