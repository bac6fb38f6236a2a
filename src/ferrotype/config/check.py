"""What ``ferrotype config check`` says: what would run, and what becomes of every line in the files."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ferrotype.config.database import masked
from ferrotype.config.files import Line, referred
from ferrotype.config.model import Config, StoreConfig
from ferrotype.config.options import STORE, TABLE, find, names_in, sections
from ferrotype.config.read import Reading, examine


@dataclass(frozen=True)
class Finding:
    """What becomes of one line. Its value is never told, as it may be a secret."""

    where: str
    option: str
    #: unknown, obsolete, accepted, renamed, or used
    standing: str
    text: str


@dataclass(frozen=True)
class Report:
    """``ok``: the service would start, if it gets the database and the port. ``settings`` say what would run then."""

    files: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...]
    #: options in the files which SIGHUP reads again
    reloadable: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    def lines(self) -> list[str]:
        """Return the report as text."""
        return list(self._text())

    def to_dict(self) -> dict[str, Any]:
        """Return the report as data for JSON."""
        settings = [{"name": name, "value": value} for name, value in self.settings]
        return {"ok": self.ok, **asdict(self), "settings": settings}

    def _text(self) -> Iterator[str]:
        yield from (f"read: {file}" for file in self.files or ("nothing; all defaults",))
        if self.problems:
            yield from ("", "Impossible; the service would not start:")
            yield from (f"  {problem}" for problem in self.problems)
        yield from ("", "What would run:" if self.ok else "What is asked for:")
        yield from (f"  {name + ':':<18} {value}" for name, value in self.settings)
        for standing, title in _TITLES.items():
            some = [finding for finding in self.findings if finding.standing == standing]
            if some:
                yield from ("", title)
                yield from (f"  {finding.where}: {finding.option}: {finding.text}" for finding in some)
        if self.remarks:
            yield from ("", "Worth knowing:")
            yield from (f"  {remark}" for remark in self.remarks)
        if self.reloadable:
            yield from ("", "Read again on SIGHUP; everything else needs a restart:")
            yield from (f"  {name}" for name in self.reloadable)


_TITLES = {
    "unknown": "Unknown; these do nothing:",
    "obsolete": "Obsolete; these do nothing:",
    "renamed": "Older names, which are understood:",
    "accepted": "Known, without effect in this version:",
}


def report(files: Sequence[Path], dirs: Sequence[Path], obstacles: Callable[[Config], Sequence[str]]) -> Report:
    """Return what these files would make of the service, without starting or creating anything.

    ``obstacles`` says what is wrong with the files that a configuration names. It is asked where there may be one.
    """
    reading = examine(files, dirs, {})
    findings = tuple(_finding(reading, line) for line in reading.lines)
    return Report(
        files=tuple(str(file) for file in reading.config.files),
        settings=tuple(_settings(reading.config)),
        problems=reading.problems or tuple(obstacles(reading.config)),
        findings=findings,
        remarks=reading.remarks,
        reloadable=tuple(_reloadable(reading)),
    )


def _finding(reading: Reading, line: Line) -> Finding:
    option, older = find(line.section, line.name, reading.store_ids)
    if option is None:
        if line.name in referred(reading.lines):
            return Finding(line.where, line.title, "used", "other values refer to it")
        return Finding(line.where, line.title, "unknown", _guess(line, reading.store_ids))
    of_store = option.section == STORE or option.name in ("stores", "default_store")
    if of_store and line.section == "glance_store" and reading.config.stores.multi:
        text = "counts only without enabled_backends; set it in the section of a store"
        return Finding(line.where, line.title, "obsolete", text)
    if older and option.standing == "used":
        return Finding(line.where, line.title, "renamed", f"is {option.title} today")
    return Finding(line.where, line.title, option.standing, option.note)


def _guess(line: Line, ids: frozenset[str]) -> str:
    """Say what the line may have been meant to be: a name in its section first, then anywhere."""
    homes = list(dict.fromkeys(option.section for option in TABLE if option.name == line.name))
    if homes:
        home = "the section of a store, or [backend_defaults]" if homes[0] == STORE else f"[{homes[0]}]"
        return f"is not an option of this section; it belongs into {home}"
    known_section = line.section in sections() or line.section in ids
    if close := difflib.get_close_matches(line.name, names_in(line.section, ids), 1, 0.7):
        return f"did you mean {close[0]}?"
    elsewhere = {option.name: option for option in reversed(TABLE)}
    if close := difflib.get_close_matches(line.name, list(elsewhere), 1, 0.8):
        return f"did you mean {elsewhere[close[0]].title}?"
    if not known_section:
        spelled = difflib.get_close_matches(line.section.lower(), [s.lower() for s in sections()], 1, 0.7)
        if spelled:
            name = "DEFAULT" if spelled[0] == "default" else spelled[0]
            return f"no section of this name is known; did you mean [{name}]?"
        return "no section of this name is known, and no store has it as its id"
    return "no option of this name is known"


def _reloadable(reading: Reading) -> Iterator[str]:
    seen = (find(line.section, line.name, reading.store_ids)[0] for line in reading.lines)
    yield from dict.fromkeys(option.title for option in seen if option and option.reloadable)


def _settings(config: Config) -> Iterator[tuple[str, str]]:
    server, auth, limits = config.server, config.auth, config.limits
    host = f"[{server.bind_host}]" if ":" in server.bind_host else server.bind_host
    yield "listen", f"http://{host}:{server.bind_port}"
    yield "workers", str(server.workers)
    yield "authentication", auth.strategy + (" (open to everybody who reaches the port)" if auth.allow_open else "")
    yield "database", masked(config.database.url)
    for entry in config.stores.entries:
        yield "store", _store(entry, config)
    yield "staging in", config.stores.staging or "the default store"
    yield "largest image", f"{limits.image_size_cap} bytes"
    yield "project quota", f"{limits.user_storage_quota} bytes" if limits.user_storage_quota else "off"
    counts = ("property", "tag", "member", "location")
    numbers = [(name, getattr(limits, f"image_{name}_quota")) for name in counts]
    yield "most per image", ", ".join(f"{name}: {'any' if n < 0 else n}" for name, n in numbers)
    yield "page", f"{config.api.limit_default} images, at most {config.api.limit_max}"
    yield "hash", config.api.hashing_algorithm
    yield "disk formats", ", ".join(config.formats.disk_formats)
    yield "container formats", ", ".join(config.formats.container_formats)
    yield "import methods", ", ".join(config.api.import_methods) or "none"
    yield "log", f"{config.logging.level} to {config.logging.file or 'standard error'}"


def _store(entry: StoreConfig, config: Config) -> str:
    name = f"{entry.id}, " if config.stores.multi else ""
    directories = [entry.options.get("datadir"), *(path for path, _ in entry.options.get("datadirs", ()))]
    where = " ".join(str(path) for path in directories if path)
    default = " (default)" if config.stores.multi and entry.id == config.stores.default else ""
    return f"{name}{entry.type}{' in ' if where else ''}{where}{default}"
