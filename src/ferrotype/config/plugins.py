"""Types of stores that other packages add: entry points of the group ``ferrotype.stores``, each a ``StoreType``.

A package is imported only where a store of its type is configured. Whatever is wrong with it prevents the start, with
one sentence that names the package.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from ferrotype.config.options import STORE, Option, Table
from ferrotype.config.stores import TYPES, UNSUPPORTED, StoreOptions, StoreType
from ferrotype.config.values import Values

GROUP = "ferrotype.stores"


class Plugins(NamedTuple):
    """The types that configured stores need from other packages, and a sentence for each that cannot be used."""

    types: Mapping[str, StoreType]
    problems: tuple[str, ...]

    def extend(self, table: Table) -> Table:
        """Return the table with the options of these types."""
        if not self.types:
            return table
        return Table((*table.options, *(option for type_ in self.types.values() for option in type_.options)))


def load(wanted: frozenset[str], table: Table) -> Plugins:
    """Return the types among ``wanted`` that other packages add. ``table`` has the options that exist already."""
    types: dict[str, StoreType] = {}
    problems: list[str] = []
    found = [point for point in entry_points(group=GROUP) if point.name in wanted] if wanted else []
    for name in dict.fromkeys(point.name for point in found):
        points = [point for point in found if point.name == name]
        packages = " and ".join(dict.fromkeys(_package(point) for point in points))
        if name in TYPES or name in UNSUPPORTED:
            problems.append(
                f"The package {packages} adds the type of store {name!r}, which is a type of Ferrotype; uninstall the"
                " package, or use one that gives its type another name."
            )
            continue
        if len(points) > 1:
            reason = "more than one package adds it; uninstall all but one"
        else:
            type_, reason = _loaded(points[0], table)
            types[name] = type_
            table = Plugins({name: type_}, ()).extend(table)
        if reason:
            types.setdefault(name, _UNUSABLE)
            problems.append(f"The type of store {name!r} of the package {packages} cannot be used: {reason}.")
    return Plugins(types, tuple(problems))


def _nothing(values: Values, sections: Sequence[str]) -> Any:
    """Return no record: the reason is reported already."""
    return None


_UNUSABLE = StoreType((), _nothing)


def _loaded(point: EntryPoint, table: Table) -> tuple[StoreType, str]:
    """Return the type of an entry point, and why it cannot be used, or an empty reason."""
    try:
        type_ = point.load()
    except Exception as error:
        return _UNUSABLE, f"{point.value} cannot be imported ({summary(error)}); repair or uninstall the package"
    if not isinstance(type_, StoreType) or not callable(type_.driver):
        return _UNUSABLE, f"{point.value} is no ferrotype.config.stores.StoreType with a driver"
    for option in type_.options:
        if not isinstance(option, Option) or option.section != STORE:
            return _UNUSABLE, f"its options must be in the section {STORE}"
        if table.find(STORE, option.name, frozenset({STORE}))[0]:
            return _UNUSABLE, f"its option {option.name} exists already"
    return type_._replace(read=_guarded(point, type_.read)), ""


def _guarded(
    point: EntryPoint, read: Callable[[Values, Sequence[str]], StoreOptions]
) -> Callable[[Values, Sequence[str]], Any]:
    """Return a reader that reports an exception of ``read`` as an error of the configuration."""

    def guarded(values: Values, sections: Sequence[str]) -> Any:
        try:
            return read(values, sections)
        except Exception as error:
            values.problems.append(
                f"The options of [{sections[0]}] cannot be read by the package {_package(point)}: {summary(error)}."
            )
            return None

    return guarded


def summary(error: Exception) -> str:
    """Return kind and text of an exception as one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
