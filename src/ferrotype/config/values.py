"""The values of options: oslo.config parses them; one sentence says what is wrong with each invalid one."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from oslo_config import cfg, types

from ferrotype.config.files import Line, last, without_bom
from ferrotype.config.options import STORE, STORE_SECTIONS, TEXT, Option, Table, is_secret, requirement

#: Names that oslo.config keeps for itself in DEFAULT.
_BUILT_IN = frozenset({"config_file", "config_dir", "config_source"})


class Values:
    """The value of every option, and two lists to which the readers add: errors and warnings.

    ``store_ids`` are lower-case; ``overridden`` are the names of DEFAULT that the command line sets.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        table: Table,
        lines: tuple[Line, ...],
        store_ids: frozenset[str],
        overridden: frozenset[str],
    ):
        self.conf, self.table, self.lines = conf, table, lines
        self.store_ids, self.overridden = store_ids, overridden
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._reported: set[tuple[str, str]] = set()

    def get(self, section: str, name: str) -> Any:
        """Return the value; where it is invalid, the default, after adding the reason to ``problems``.

        In the section of a store an option that is not set is None, whatever its default.
        """
        option = self.table.by_name.get((section, name))
        if option and option.type and option.deprecated_names and last(self.lines, section, name) is None:
            former = (place for place in option.deprecated_names if last(self.lines, *place))
            section, name = next(former, (section, name))
        try:
            value = self.conf[name] if section == "DEFAULT" else self.conf[section][name]
            # oslo.config takes nan for a number within all limits, and an empty number for None.
            empty = value is None and option and option.default is not None and option.section != STORE
            if value != value or empty:
                raise ValueError("not a number")
            return value
        except (cfg.Error, ValueError, RecursionError) as error:
            self._invalid(section, name, error)
        return option.default if option else None

    def fields(self, options: Sequence[Option], record: str) -> dict[str, Any]:
        """Return the values of the options that go to a record of ``Config``, by its fields; lists as tuples.

        ``record`` is its place, such as ``server`` or ``keystone.memcached``.
        """
        found: dict[str, Any] = {}
        for option in options:
            place, _, name = (option.dest or "").rpartition(".")
            if place == record:
                value = self.get(option.section, option.name)
                found[name] = tuple(value) if isinstance(value, list) else value
        return found

    def of_store(self, sections: Sequence[str], option: Option) -> tuple[str, Any]:
        """Return the section that decides about an option of a store, and the value; the first of ``sections`` wins.

        Where none of them sets it, that is the first section, and the default.
        """
        former = [name for place, name in option.deprecated_names if place == STORE]
        for section in sections:
            for name in (option.name, *former):
                if (value := self.get(section, name)) is not None:
                    return section, value
        return sections[0], option.default

    def store_fields(self, sections: Sequence[str], options: Sequence[Option]) -> dict[str, Any]:
        """Return the values of a store's options by the fields of its record; lists as tuples."""
        found: dict[str, Any] = {}
        for option in options:
            _, value = self.of_store(sections, option)
            if option.dest:
                found[option.dest.rpartition(".")[2]] = tuple(value) if isinstance(value, list) else value
        return found

    def require(self, sections: Sequence[str], option: Option, type_: str) -> None:
        """Add an error where an option that a store of this type needs is not set, or empty (RUL-89)."""
        section, value = self.of_store(sections, option)
        if not value and not any(self.is_invalid(each, option.name) for each in sections):
            self.problem(section, option.name, f"must be set for a store of type {type_}", show=False)

    def line(self, section: str, name: str) -> Line | None:
        """Return the line that decides about the option; None where no file sets it, or the command line does."""
        if section == "DEFAULT" and name in self.overridden:
            return None
        section = section if section == "DEFAULT" else section.lower()
        option, _ = self.table.declared(section, name, self.store_ids)
        names = option.deprecated_names if option else ()
        former = [(section if place == STORE else place, name) for place, name in names]
        decisive = [last(self.lines, section, name), *(last(self.lines, *place) for place in former)]
        return next((line for line in decisive if line), None)

    @property
    def auth_sections(self) -> frozenset[str]:
        """The sections that ``auth_section`` of ``[keystone_authtoken]`` and ``[oslo_limit]`` name."""
        named = (last(self.lines, section, "auth_section") for section in ("keystone_authtoken", "oslo_limit"))
        return frozenset(line.value.lower() for line in named if line)

    def is_set(self, section: str, name: str) -> bool:
        """Return whether a file sets the option to a value that could be read."""
        return self.line(section, name) is not None and not self.is_invalid(section, name)

    def is_invalid(self, section: str, name: str) -> bool:
        """Return whether ``get`` found the value to be invalid and returned the default instead."""
        line = self.line(section, name)
        return line is not None and (line.section, line.name) in self._reported

    def problem(self, section: str, name: str, text: str, show: bool = True) -> None:
        """Add an error about the option's value. ``text`` continues the sentence after name and value."""
        line = self.line(section, name)
        shown = f" = {_printable(line.value)}" if show and line and not is_secret(name) else ""
        where = f" ({line.where})" if line else ""
        self.problems.append(f"[{section}] {name}{shown}{where} {text}.")

    def warn(self, text: str) -> None:
        """Add something that the operator should know and that does not prevent the start."""
        self.warnings.append(text)

    def _invalid(self, section: str, name: str, error: Exception) -> None:
        if (section, name) in self._reported:
            return
        self._reported.add((section, name))
        line = self.line(section, name)
        unknown = re.search(r"no such option (\S+)", str(error), re.IGNORECASE)
        if line and "$" in line.value and (unknown or isinstance(error, RecursionError)):
            text = "refers with $ to an option that does not exist, or to itself; write $$ for a dollar sign"
            self.problem(section, name, text, show=False)
            return
        option, _ = self.table.declared(section, name, self.store_ids)
        bracketed = option is not None and isinstance(option.type, types.List) and option.type.bounds
        if bracketed and line and not (line.value.startswith("[") and line.value.endswith("]")):
            self.problem(section, name, "must be written in brackets, as in [a,b]; [] is an empty list")
            return
        reason = str(error).partition("is not valid: ")[2] or str(error)
        reason = "the value has the wrong type" if is_secret(name) else reason.rstrip(".")
        text = requirement(option.type if option else None) or f"is invalid: {reason}"
        self.problem(section, name, f"{text}; correct the value or remove the option")


def load(
    table: Table, files: Sequence[Path], lines: tuple[Line, ...], ids: Sequence[str], overrides: Mapping[str, Any]
) -> Values:
    """Return the values that readable ``files`` set. ``overrides`` of DEFAULT win over them; None sets nothing.

    ``ids`` are those of the stores, each of which has a section of its own.
    """
    conf = cfg.ConfigOpts()
    with _without_boms(files) as plain:
        args = [part for file in plain for part in ("--config-file", str(file))]
        conf(args, project="ferrotype", prog="ferrotype", version="", default_config_files=[], default_config_dirs=[])
    overridden = frozenset(name for name, value in overrides.items() if value is not None)
    values = Values(conf, table, lines, frozenset(id_.lower() for id_ in ids), overridden)
    for option in table.options:
        for section in _sections(table, option, ids):
            conf.register_opt(_oslo(option), group=_group(section))
        if option.type is not None:
            for place, name in option.deprecated_names:
                for section in _sections(table, option, ids) if place == STORE else (place,):
                    conf.register_opt(cfg.Opt(name, type=option.type), group=_group(section))
    _register_others(values, ids)
    for name in overridden:
        try:
            conf.set_override(name, overrides[name])
        except ValueError as error:
            text = f"{name} = {overrides[name]} from the command line is invalid: {error}; correct the value."
            values.problems.append(text)
    return values


def _printable(value: str) -> str:
    """Return a value as one line of at most 200 characters."""
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in value)
    return text if len(text) <= 200 else f"{text[:200]}..."


@contextmanager
def _without_boms(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield the files as oslo.config can read them: a copy in memory of each that begins with a BOM."""
    plain = []
    with ExitStack() as stack:
        for file in files:
            text = file.read_text()
            if text != without_bom(text):
                copy = stack.enter_context(os.fdopen(os.memfd_create(file.name), "w"))
                copy.write(without_bom(text))
                copy.flush()
                file = Path(f"/proc/self/fd/{copy.fileno()}")
            plain.append(file)
        yield plain


def _sections(table: Table, option: Option, ids: Sequence[str]) -> Sequence[str]:
    """Return the sections that may set an option."""
    if option.section != STORE:
        return (option.section,)
    return (*STORE_SECTIONS, *(id_ for id_ in dict.fromkeys(ids) if ("DEFAULT", id_) not in table.by_name))


def _group(section: str) -> str | None:
    return None if section == "DEFAULT" else section


def _oslo(option: Option) -> cfg.Opt:
    default = None if option.section == STORE else option.default
    if option.multi:
        return cfg.MultiStrOpt(option.name, default=default)
    return cfg.Opt(option.name, type=option.type or TEXT, default=default)


def _register_others(values: Values, ids: Sequence[str]) -> None:
    """Make the other names in the files available to values as ``$name``."""
    spelling = {id_.lower(): id_ for id_ in ids}
    for line in values.lines:
        declared = values.table.declared(line.section, line.name, values.store_ids)[0] is not None
        plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", line.name) and line.name not in _BUILT_IN
        # A group would hide the option of DEFAULT that has its name.
        hides = line.section != "DEFAULT" and ("DEFAULT", line.section) in values.table.by_name
        if plain and not declared and not hides:
            group = _group(spelling.get(line.section, line.section))
            values.conf.register_opt(cfg.StrOpt(line.name), group=group)
