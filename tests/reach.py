"""Which tests start a server, read from what they, their fixtures and our helpers call.

A test that can reach ``needs.need`` (a program that may be missing) or ``subprocess.Popen`` (a process that keeps
running) gets the marker ``servers``. It is found in the code, so no list of tests has to be kept. Calls whose name is
computed at run time are not found: ``getfixturevalue`` of a server needs the marker on the parameter.
"""

import inspect
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest
from needs import need

from ferrotype import testing

STARTERS: tuple[object, ...] = (need, subprocess.Popen)
#: Only code below these folders is followed: the product starts its workers itself, and libraries are not ours.
FOLDERS = (str(Path(__file__).parent), str(Path(testing.__file__).parent))


def starts_a_server(item: pytest.Function) -> bool:
    """Say whether the test or one of its fixtures can reach a starter."""
    definitions = item._fixtureinfo.name2fixturedefs.values()
    functions = [item.function, *(each.func for fixtures in definitions for each in fixtures)]
    return any(reaches(each, STARTERS) for each in functions)


@cache  # One test function has many parameters, and one fixture many tests.
def reaches(function: Callable[..., Any], goals: tuple[object, ...], folders: tuple[str, ...] = FOLDERS) -> bool:
    """Say whether ``function`` can call one of ``goals``, itself or through functions and classes in ``folders``."""
    seen: set[int] = set()
    waiting: list[object] = [function]
    while waiting:
        current = waiting.pop()
        if any(current is goal for goal in goals):
            return True
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, type):
            if _file(current).startswith(folders):
                waiting += [each for base in current.__mro__ for each in vars(base).values()]
        elif isinstance(plain := _plain(current), FunctionType) and plain.__code__.co_filename.startswith(folders):
            waiting += _named(plain)
    return False


def _plain(found: object) -> object:
    """Return the function behind decorators, ``@given``, properties and methods."""
    found = getattr(found, "fget", None) or getattr(found, "__func__", None) or found
    found = getattr(getattr(found, "hypothesis", None), "inner_test", found)
    return inspect.unwrap(found) if callable(found) else found


def _named(function: FunctionType) -> Iterator[object]:
    """Yield what the names in the code of a function stand for, in its module or behind a dot."""
    names = set(_names(function.__code__))
    for name in names & function.__globals__.keys():
        found = function.__globals__[name]
        yield found
        if isinstance(found, ModuleType):
            yield from (getattr(found, each) for each in names if hasattr(found, each))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _file(kind: type) -> str:
    try:
        return inspect.getfile(kind)
    except (TypeError, OSError):
        return ""  # Built in.
