"""What ``ferrotype config check`` prints: the effective settings, and what each line in the files does."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ferrotype.config import Config
from ferrotype.config.database import Database, masked
from ferrotype.config.files import Line, referred
from ferrotype.config.options import IGNORED, REMOVED, STORE, SUPPORTED
from ferrotype.config.read import Reading, examine
from ferrotype.config.stores import StoreConfig

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """What one line does. Its value is never shown, as it may be a secret."""

    where: str
    option: str
    #: supported, ignored, removed or unknown
    support: str
    #: the line uses a former name of the option
    deprecated: bool
    text: str


@dataclass(frozen=True)
class Report:
    """``ok``: the service starts if it can open the database, the stores and the port."""

    files: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    #: options in the files that SIGHUP reloads
    reloadable: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        return list(self._text())

    def to_dict(self) -> dict[str, Any]:
        """Return the report as data for JSON."""
        settings = [{"name": name, "value": value} for name, value in self.settings]
        return {"ok": self.ok, **asdict(self), "settings": settings}

    def _text(self) -> Iterator[str]:
        yield from (f"read: {file}" for file in self.files or ("no file; all options have their defaults",))
        if self.problems:
            yield from ("", "Errors; the service would not start:")
            yield from (f"  {problem}" for problem in self.problems)
        yield from ("", "Effective settings:" if self.ok else "Requested settings:")
        yield from (f"  {name + ':':<18} {value}" for name, value in self.settings)
        yield from self._lines_that("Unknown; no effect:", lambda finding: finding.support == UNKNOWN)
        yield from self._lines_that("Removed; no effect:", lambda finding: finding.support == REMOVED)
        yield from self._lines_that(
            "Deprecated names, still supported:",
            lambda finding: finding.support == SUPPORTED and finding.deprecated,
        )
        yield from self._lines_that("Ignored in this version:", lambda finding: finding.support == IGNORED)
        if self.warnings:
            yield from ("", "Warnings:")
            yield from (f"  {warning}" for warning in self.warnings)
        if self.reloadable:
            yield from ("", "Reloaded on SIGHUP; a change of any other option needs a restart:")
            yield from (f"  {name}" for name in self.reloadable)

    def _lines_that(self, title: str, matches: Callable[[Finding], bool]) -> Iterator[str]:
        found = [finding for finding in self.findings if matches(finding)]
        if found:
            yield from ("", title)
            yield from (f"  {finding.where}: {finding.option}: {finding.text}" for finding in found)


def report(files: Sequence[Path], dirs: Sequence[Path], startup_errors: Callable[[Config], Sequence[str]]) -> Report:
    """Return what the service would do with these files; nothing is started or created.

    ``startup_errors`` returns what is wrong with the files that a valid configuration names.
    """
    reading = examine(files, dirs, {})
    return Report(
        files=tuple(str(file) for file in reading.files),
        settings=tuple(_settings(reading.config)),
        problems=reading.problems or tuple(startup_errors(reading.config)),
        findings=tuple(_finding(reading, line) for line in reading.lines),
        warnings=reading.warnings,
        reloadable=tuple(_reloadable(reading)),
    )


def _finding(reading: Reading, line: Line) -> Finding:
    option, deprecated = reading.table.find(line.section, line.name, reading.store_ids)
    if option is None:
        if line.name in referred(reading.lines):
            return Finding(line.where, line.title, SUPPORTED, False, "other values refer to it")
        return Finding(line.where, line.title, UNKNOWN, False, _suggestion(line, reading))
    single_store = option.section == STORE or option.name in ("stores", "default_store")
    if single_store and line.section == "glance_store" and reading.config.stores.multi:
        text = "no effect with enabled_backends"
        text += "; set it in the section of a store" if option.section == STORE else ""
        return Finding(line.where, line.title, IGNORED, False, text)
    text = f"use {option.title}" if deprecated else option.help
    return Finding(line.where, line.title, option.support, deprecated, text)


def _suggestion(line: Line, reading: Reading) -> str:
    """Return what an unknown line may mean: a similar name in its section first, then in any."""
    table, store_ids = reading.table, reading.store_ids
    options, sections = table.all_options(), table.sections()
    homes = list(dict.fromkeys(option.section for option in options if option.name == line.name))
    if homes:
        home = "the section of a store, or [backend_defaults]" if homes[0] == STORE else f"[{homes[0]}]"
        return f"not an option of this section; set it in {home}"
    if close := difflib.get_close_matches(line.name, table.names_in(line.section, store_ids), 1, 0.7):
        return f"did you mean {close[0]}?"
    elsewhere = {option.name: option for option in reversed(options)}
    if close := difflib.get_close_matches(line.name, list(elsewhere), 1, 0.8):
        return f"did you mean {elsewhere[close[0]].title}?"
    if line.section in sections or line.section in store_ids:
        return "there is no option of this name"
    if close := difflib.get_close_matches(line.section.lower(), [name.lower() for name in sections], 1, 0.7):
        name = "DEFAULT" if close[0] == "default" else close[0]
        return f"there is no section of this name; did you mean [{name}]?"
    return "there is neither a section nor a store of this name"


def _reloadable(reading: Reading) -> Iterator[str]:
    seen = (reading.table.find(line.section, line.name, reading.store_ids)[0] for line in reading.lines)
    yield from dict.fromkeys(option.title for option in seen if option and option.reloadable)


def _settings(config: Config) -> Iterator[tuple[str, str]]:
    server, auth, limits = config.server, config.auth, config.limits
    host = f"[{server.bind_host}]" if ":" in server.bind_host else server.bind_host
    yield "listen", f"http://{host}:{server.bind_port}"
    yield "workers", str(server.workers)
    exposed = auth.strategy == "none" and auth.allow_unauthenticated_listen
    yield "authentication", auth.strategy + (" (any client that can connect has full access)" if exposed else "")
    yield "database", _database(config.database)
    for entry in config.stores.entries:
        yield "store", _store(entry, config)
    yield "image size limit", f"{limits.image_size_cap} bytes"
    yield "project quota", f"{limits.user_storage_quota} bytes" if limits.user_storage_quota else "none"
    counts = (
        ("properties", limits.image_property_quota),
        ("tags", limits.image_tag_quota),
        ("members", limits.image_member_quota),
    )
    yield "limits per image", ", ".join(f"{name}: {'no limit' if n < 0 else n}" for name, n in counts)
    yield "page size", f"{config.api.limit_default} images, at most {config.api.limit_max}"
    yield "hash", config.api.hashing_algorithm
    yield "disk formats", ", ".join(config.formats.disk_formats)
    yield "container formats", ", ".join(config.formats.container_formats)
    yield "import methods", ", ".join(config.api.import_methods) or "none"
    yield "log", f"{config.logging.level} to {config.logging.file or 'standard error'}"


def _database(database: Database) -> str:
    """Return kind, place and pool; never a password."""
    if database.kind != "postgresql":
        return masked(database.url)
    return (
        f"{masked(database.url)} ({database.pool_size} connections for each worker,"
        f" {database.connect_timeout:g} seconds to connect, application_name {database.application_name})"
    )


def _store(entry: StoreConfig, config: Config) -> str:
    name = f"{entry.id}, " if config.stores.multi else ""
    default = " (default)" if config.stores.multi and entry.id == config.stores.default else ""
    return f"{name}{entry.type}{' in ' if entry.place else ''}{entry.place}{default}"
