"""The tables of options in docs/reference/configuration.md."""

from itertools import groupby

from ferrotype.config import ignored, libpq
from ferrotype.config.options import SUPPORTED, Option
from ferrotype.config.table import TABLE


def supported_options() -> str:
    """Return the supported options as a Markdown table."""
    lines = ["| option | default | meaning | SIGHUP |", "|---|---|---|---|"]
    rows = (option for option in TABLE.options if option.support == SUPPORTED)
    for (section, text), group in groupby(rows, lambda option: (option.section, option.help)):
        options = list(group)
        reload = "yes" if options[0].reloadable else ""
        names = _names(section, [option.name for option in options])
        lines.append(f"| {names} | {_default(options[0])} | {text} | {reload} |")
    return "\n".join(lines) + "\n"


def ignored_options() -> str:
    """Return the options without effect as a Markdown table."""
    lines = ["| option | support | reason |", "|---|---|---|"]
    rows = [option for option in TABLE.all_options() if option.support != SUPPORTED]
    for (section, support, reason), group in groupby(
        rows, lambda option: (option.section, option.support, option.help)
    ):
        lines.append(f"| {_names(section, [option.name for option in group])} | {support} | {reason} |")
    for name, why in ignored.load().sections.items():
        lines.append(f"| all of `[{name}]` | {why.support} | {why.note} |")
    return "\n".join(lines) + "\n"


def _names(section: str, names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in [f"[{section}] {names[0]}", *names[1:]])


def _default(option: Option) -> str:
    if option.sample_default is not None:
        return option.sample_default
    if option.default is None:
        return "unset"
    if isinstance(option.default, bool):
        return f"`{str(option.default).lower()}`"
    if isinstance(option.default, list | dict):
        return f"`{','.join(map(str, option.default))}`" if option.default else "none"
    return f"`{option.default}`"


def connection_parameters() -> str:
    """Return what becomes of the parameters of a PostgreSQL connection as a Markdown table."""
    lines = ["| parameter | effect | values, reason |", "|---|---|---|"]
    for name, parameter in libpq.PARAMETERS.items():
        notes = []
        if parameter.neutral and parameter.effect != libpq.TRANSLATED:
            notes.append(f"taken as they are: {_values(parameter.neutral)}")
        if parameter.refused:
            notes.append(f"refused: {_values(parameter.refused)}")
        if parameter.reason:
            notes.append(parameter.reason)
        lines.append(f"| `{name}` | {parameter.effect} | {'; '.join(notes)} |")
    return "\n".join(lines) + "\n"


def _values(values: tuple[str, ...]) -> str:
    return ", ".join(f"`{value}`" for value in values)
