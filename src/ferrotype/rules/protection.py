"""Property protections: which additional properties may a caller create, read, update and delete?

A deployment's file has sections whose names are regular expressions. They are searched in the property's name from
the top, the first that matches decides, and a property that none matches is closed to all. Each section says for
each of the four operations who is allowed: roles, or the name of one policy rule; ``@`` is everyone, ``!`` no one.
"""

import configparser
import re
from collections.abc import Callable, Collection, Mapping
from typing import Literal, NamedTuple

from ferrotype.model.caller import Caller
from ferrotype.model.errors import FerrotypeError

Operation = Literal["create", "read", "update", "delete"]
OPERATIONS: tuple[Operation, ...] = ("create", "read", "update", "delete")

#: Most characters of a property's name.
NAME_LENGTH = 255

#: Tells whether a caller passes a policy rule, by its name.
Passes = Callable[[Caller, str], bool]


class ProtectionError(FerrotypeError):
    """A protection file cannot be understood. The text names the section and says what is wrong."""


class _Section(NamedTuple):
    pattern: re.Pattern[str]
    #: operation -> roles or one rule's name; None for everyone
    allowed: Mapping[Operation, frozenset[str] | None]


class Protection:
    """The sections of one file. ``passes`` is given when they name policy rules instead of roles."""

    def __init__(self, sections: tuple[_Section, ...], passes: Passes | None):
        self._sections = sections
        named = (rules for section in sections for rules in section.allowed.values() if rules)
        #: the policy rules that it asks for
        self.rules = frozenset[str]().union(*named) if passes else frozenset[str]()
        self._passes = passes
        self._found: dict[str, _Section | None] = {}

    def bound_to(self, passes: Passes) -> "Protection":
        """Return this protection under another policy, so that both can be replaced together."""
        return self if self._passes is None else Protection(self._sections, passes)

    def hidden(self, caller: Caller, names: Collection[str]) -> list[str]:
        """Return the names of the properties that the caller may not read."""
        return [name for name in names if not self.allows(caller, "read", name)]

    def allows(self, caller: Caller, operation: Operation, name: str) -> bool:
        """Tell whether the caller may do this to the property of this name."""
        section = self._section(name)
        if section is None:
            return False
        allowed = section.allowed[operation]
        if allowed is None:
            return True
        if self._passes is not None:
            return any(self._passes(caller, rule) for rule in allowed)
        return not allowed.isdisjoint(caller.roles) or not allowed.isdisjoint(caller.service_roles)

    def _section(self, name: str) -> _Section | None:
        if name not in self._found:
            if len(name) > NAME_LENGTH:  # Only a query has such a name; no image does.
                return None
            if len(self._found) > 10_000:  # Names come from users: remember some, never all of them.
                self._found.clear()
            self._found[name] = next((each for each in self._sections if each.pattern.search(name)), None)
        return self._found[name]


def sections(text: str) -> dict[str, Mapping[str, str]]:
    """Return the sections of a file in order, with their lines; raise ProtectionError where it cannot be read."""
    parser = configparser.RawConfigParser(delimiters=("=", ":"), interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ProtectionError(f"The property protections cannot be read: {error}") from error
    return {name: parser[name] for name in parser.sections()}


def protection(
    found: Mapping[str, Mapping[str, str]], passes: Passes | None, rules: Collection[str] = ()
) -> Protection:
    """Return the protection that a file's sections describe; raise ProtectionError where one is wrong.

    With ``passes`` the values are names of policy rules, which must be among ``rules``; else they are roles.
    """
    compiled = []
    for name, lines in found.items():
        if name.startswith("os_glance"):  # Those properties are the service's own, whatever the file says.
            continue
        try:
            pattern = re.compile(name)
        except re.error as error:
            raise ProtectionError(f"Section [{name}] is not a regular expression: {error}.") from error
        allowed = {each: _allowed(name, each, lines.get(each), passes, rules) for each in OPERATIONS}
        compiled.append(_Section(pattern, allowed))
    return Protection(tuple(compiled), passes)


def _allowed(
    section: str, operation: Operation, value: str | None, passes: Passes | None, rules: Collection[str]
) -> frozenset[str] | None:
    if value is None:
        raise ProtectionError(f"Section [{section}] must say who may {operation}; ! is no one, @ is everyone.")
    names = {part.strip().lower() if passes is None else part.strip() for part in value.split(",")} - {""}
    if names >= {"@", "!"}:
        raise ProtectionError(f"Section [{section}] has both @ and ! for {operation}.")
    if "@" in names:
        return None
    names -= {"!"}
    if passes is not None:
        if len(names) > 1:
            raise ProtectionError(f"Section [{section}] must name one policy rule for {operation}.")
        if unknown := names - set(rules):
            raise ProtectionError(f"Section [{section}] names a policy rule that does not exist: {unknown.pop()}.")
    return frozenset(names)
