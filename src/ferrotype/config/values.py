"""Values of options: oslo.config parses them, this room says in one sentence what is wrong with them."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oslo_config import cfg, types

from ferrotype.config.files import Line, last, without_mark
from ferrotype.config.options import BY_NAME, STORE, STORE_SECTIONS, TABLE, Option, find, secret

#: Names that oslo.config keeps for itself in DEFAULT.
_BUILT_IN = frozenset({"config_file", "config_dir", "config_source"})


@dataclass
class Values:
    """Every option's value, and a list to which each reader adds the sentences about wrong ones."""

    conf: cfg.ConfigOpts
    lines: tuple[Line, ...]
    ids: frozenset[str]
    #: names of DEFAULT that the command line sets
    overridden: frozenset[str]
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    _told: set[tuple[str, str]] = field(default_factory=set)

    def get(self, section: str, name: str) -> Any:
        """Return the value; the default where the value is unusable, after noting why.

        In sections of stores an option that is not set is None, whatever its default.
        """
        option = BY_NAME.get((section, name))
        if option and option.type and option.older and last(self.lines, section, name) is None:
            section, name = next((place for place in option.older if last(self.lines, *place)), (section, name))
        try:
            return self.conf[name] if section == "DEFAULT" else self.conf[section][name]
        except (cfg.Error, ValueError) as error:
            self._unusable(section, name, error)
        return option.default if option else None

    def line(self, section: str, name: str) -> Line | None:
        """Return the line that decides about the option, if there is one."""
        if section == "DEFAULT" and name in self.overridden:
            return None
        section = section if section == "DEFAULT" else section.lower()
        option, _ = find(section, name, self.ids)
        older = option.older if option else ()
        decisive = [last(self.lines, section, name), *(last(self.lines, *place) for place in older)]
        return next((line for line in decisive if line), None)

    @property
    def borrowed(self) -> frozenset[str]:
        """The sections that hold what ``[keystone_authtoken]`` or ``[oslo_limit]`` need to log in."""
        named = (last(self.lines, section, "auth_section") for section in ("keystone_authtoken", "oslo_limit"))
        return frozenset(line.value.lower() for line in named if line)

    def written(self, section: str, name: str) -> bool:
        """Return whether a file sets the option."""
        return self.line(section, name) is not None

    def problem(self, section: str, name: str, text: str, show: bool = True) -> None:
        """Note that the option's value is impossible. ``text`` goes on after the name and value."""
        line = self.line(section, name)
        shown = f" = {line.value}" if show and line and not secret(name) else ""
        where = f" ({line.where})" if line else ""
        self.problems.append(f"[{section}] {name}{shown}{where} {text}.")

    def remark(self, text: str) -> None:
        """Note something that the operator should know, and that does not stop the start."""
        self.remarks.append(text)

    def _unusable(self, section: str, name: str, error: Exception) -> None:
        if (section, name) in self._told:
            return
        self._told.add((section, name))
        line = self.line(section, name)
        unknown = re.search(r"no such option (\S+)", str(error), re.IGNORECASE)
        if line and "$" in line.value and unknown:
            dollar = "refers with $ to an option that does not exist; write $$ where a dollar sign is meant"
            self.problem(section, name, dollar, show=False)
            return
        option, _ = find(section, name, self.ids)
        bracketed = option is not None and isinstance(option.type, types.List) and option.type.bounds
        if bracketed and line and not (line.value.startswith("[") and line.value.endswith("]")):
            self.problem(section, name, "must be written in brackets, as in [a,b]; [] is an empty list")
            return
        reason = str(error).partition("is not valid: ")[2] or str(error)
        if reason.startswith("invalid literal for int"):
            reason = "it must be a whole number"
        reason = "holds a value of the wrong kind" if secret(name) else reason.rstrip(".")
        self.problem(section, name, f"cannot be used: {reason}; correct the value or remove it")


def load(files: Sequence[Path], lines: tuple[Line, ...], ids: Sequence[str], overrides: Mapping[str, Any]) -> Values:
    """Return the values of readable ``files``, with ``overrides`` of DEFAULT before all of them."""
    conf = cfg.ConfigOpts()
    with _plain(files) as plain:
        args = [part for file in plain for part in ("--config-file", str(file))]
        conf(args, project="ferrotype", prog="ferrotype", version="", default_config_files=[], default_config_dirs=[])
    own = frozenset(id_.lower() for id_ in ids)
    values = Values(conf, lines, own, frozenset(name for name, value in overrides.items() if value is not None))
    for option in TABLE:
        for section in _places(option, ids):
            conf.register_opt(_oslo(option, in_store=option.section == STORE), group=_group(section))
        if option.type is not None:
            for section, name in option.older:
                conf.register_opt(cfg.Opt(name, type=option.type), group=_group(section))
    _register_unknown(conf, lines, ids, own)
    for name, value in overrides.items():
        if value is None:
            continue
        try:
            conf.set_override(name, value)
        except ValueError as error:
            values.problems.append(f"{name} = {value} from the command line cannot be used: {error}.")
    return values


@contextmanager
def _plain(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield the files as oslo.config can read them: a copy in memory of each that begins with a mark of UTF-8."""
    plain = []
    with ExitStack() as stack:
        for file in files:
            text = file.read_text()
            if text != without_mark(text):
                copy = stack.enter_context(os.fdopen(os.memfd_create(file.name), "w"))
                copy.write(without_mark(text))
                copy.flush()
                file = Path(f"/proc/self/fd/{copy.fileno()}")
            plain.append(file)
        yield plain


def backends(files: Sequence[Path], lines: tuple[Line, ...], overrides: Mapping[str, Any]) -> str | None:
    """Return ``enabled_backends``, which decides about the sections of stores, before all else is read."""
    found: str | None = load(files, lines, (), overrides).get("DEFAULT", "enabled_backends")
    return found


def _places(option: Option, ids: Sequence[str]) -> Sequence[str]:
    usable = (id_ for id_ in dict.fromkeys(ids) if ("DEFAULT", id_) not in BY_NAME)
    return (*STORE_SECTIONS, *usable) if option.section == STORE else (option.section,)


def _group(section: str) -> str | None:
    return None if section == "DEFAULT" else section


def _oslo(option: Option, in_store: bool) -> cfg.Opt:
    default = None if in_store else option.default
    if option.multi:
        return cfg.MultiStrOpt(option.name, default=default)
    return cfg.Opt(option.name, type=option.type or types.String(), default=default)


def _register_unknown(conf: cfg.ConfigOpts, lines: tuple[Line, ...], ids: Sequence[str], own: frozenset[str]) -> None:
    """Make names that only the operator knows available to others as ``$name``."""
    spelling = {id_.lower(): id_ for id_ in ids}
    for line in lines:
        known = find(line.section, line.name, own)[0] is not None
        plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", line.name) and line.name not in _BUILT_IN
        # A group would hide the option of DEFAULT that has its name.
        hides = line.section != "DEFAULT" and ("DEFAULT", line.section) in BY_NAME
        if plain and not known and not hides:
            conf.register_opt(cfg.StrOpt(line.name), group=_group(spelling.get(line.section, line.section)))
