"""From files and the command line to one checked ``Config``."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ferrotype.config import (
    Config,
    ConfigError,
    accounts,
    api,
    auth,
    cors,
    database,
    exposure,
    filtering,
    formats,
    imports,
    keystone,
    limits,
    logs,
    plugins,
    policy,
    server,
    stores,
    unified_limits,
)
from ferrotype.config.files import Line, expand, parse, referred
from ferrotype.config.options import IGNORED, REMOVED, STORE, Table
from ferrotype.config.table import TABLE
from ferrotype.config.values import Values, load


class Reading(NamedTuple):
    """What the files say. ``config`` may run only if there are no ``problems``."""

    config: Config
    #: those that could be read, in order
    files: tuple[Path, ...]
    lines: tuple[Line, ...]
    #: all options, those of other packages included
    table: Table
    #: lower-case
    store_ids: frozenset[str]
    problems: tuple[str, ...]
    #: those of the config's warnings that are not about a single line
    warnings: tuple[str, ...]


def read(files: Sequence[Path], dirs: Sequence[Path], overrides: Mapping[str, Any]) -> Config:
    """Return the configuration, or raise ``ConfigError`` with everything that is invalid in it.

    ``overrides`` are options of DEFAULT that the command line sets; None sets nothing.
    Nothing is created and no name is looked up.
    """
    reading = examine(files, dirs, overrides)
    if reading.problems:
        raise ConfigError(list(reading.problems))
    return reading.config


def examine(files: Sequence[Path], dirs: Sequence[Path], overrides: Mapping[str, Any]) -> Reading:
    """Return what the files say, with everything that is invalid in it."""
    problems: list[str] = []
    readable, lines = parse(expand(files, dirs, problems), problems)
    # It decides about the sections of stores, before everything else is read.
    early = load(TABLE, readable, lines, (), overrides)
    added = plugins.load(stores.named_types(early), TABLE)
    table, backends = added.extend(TABLE), early.get("DEFAULT", "enabled_backends")
    values = load(table, readable, lines, stores.ids(backends), overrides)
    values.problems[:0] = [*problems, *added.problems]
    _check_ignored(values)
    config = _config(values, readable, dirs, bool(files or dirs), added.types)
    values.warnings += exposure.warnings(config, readable, dirs, stores.staging(values).values())
    config = replace(config, warnings=(*values.warnings, *_warnings_about_lines(values)))
    found = tuple(dict.fromkeys(values.problems))
    return Reading(config, readable, lines, table, values.store_ids, found, tuple(values.warnings))


def _config(
    values: Values,
    files: Sequence[Path],
    dirs: Sequence[Path],
    configured: bool,
    added_types: Mapping[str, stores.StoreType],
) -> Config:
    home = data_directory()
    directories = list(dict.fromkeys([*(file.parent for file in files), *dirs]))
    authentication = auth.read(values)
    tokens = keystone.read(values) if authentication.strategy == "keystone" else None
    if tokens and not authentication.www_authenticate_uri:
        authentication = replace(authentication, www_authenticate_uri=tokens.login.options.get("auth_url"))
    db = database.read(values, home / "ferrotype.sqlite", configured)
    listen = server.read(values, authentication, db.kind == "sqlite")
    imports.check(values)
    return Config(
        server=listen,
        auth=authentication,
        accounts=accounts.read(values, authentication, listen),
        database=db,
        api=api.read(values, directories),
        limits=limits.read(values),
        formats=formats.read(values),
        stores=stores.read(values, None if configured else home / "images", added_types),
        logging=logs.read(values),
        cors=cors.read(values, authentication),
        filtering=filtering.read(values),
        policy=policy.read(values, directories),
        protection=policy.read_property_protection(values, directories),
        keystone=tokens,
        unified_limits=unified_limits.read(values),
    )


def data_directory() -> Path:
    """Return the directory that holds the data of a service without configuration."""
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "share") / "ferrotype"


def _check_ignored(values: Values) -> None:
    """Report invalid values of options without effect: the mistake should not wait until they have one."""
    for option in values.table.options:
        if option.section != STORE and option.support == IGNORED:
            values.get(option.section, option.name)


def _warnings_about_lines(values: Values) -> list[str]:
    """Return a sentence for every line that is unknown, removed or deprecated, and one for all that are ignored."""
    warnings: list[str] = []
    counted: Counter[str] = Counter()
    names = referred(values.lines)
    for line in values.lines:
        option, deprecated = values.table.find(line.section, line.name, values.store_ids)
        if line.section in values.auth_sections or (option is None and line.name in names):
            continue
        if option is None:
            warnings.append(f"{line.where}: {line.title} is unknown and has no effect.")
        elif option.support == REMOVED:
            warnings.append(f"{line.where}: {line.title} was removed and has no effect: {option.help}.")
        elif deprecated:
            warnings.append(f"{line.where}: {line.title} is deprecated; use {option.title}.")
        if option:
            counted[option.support] += 1
    if count := counted[IGNORED]:
        warnings.append(f"{count} lines have no effect in this version; `ferrotype config check` lists them.")
    return warnings
