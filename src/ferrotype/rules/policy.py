"""The policy language of OpenStack services, compiled: each rule becomes one function, once for each load.

    check    "role:admin"  "rule:owner"  "project_id:%(owner)s"  "'public':%(visibility)s"  "@"  "!"
    rule     checks joined by and, or, not and parentheses; empty for everybody; or lists: any of all of

What stands before a colon is of the caller, or a literal; what stands behind it is of the image (the
*target*). A name that the target does not have makes a check false, never an error.
"""

import ast
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ferrotype.model.caller import Caller
from ferrotype.model.errors import FerrotypeError
from ferrotype.model.image import BASE_ATTRIBUTES, Image

#: (caller, image or None, whether the image is shared with the caller) -> allowed
Rule = Callable[[Caller, Image | None, bool], bool]
#: The same arguments -> the text of a target's attribute, None where it has none
_Target = Callable[[Caller, Image | None, bool], str | None]


class PolicyError(FerrotypeError):
    """A rule cannot be understood. The text names it and says what is wrong."""


def compiled(texts: Mapping[str, Any], default_rule: str = "default") -> dict[str, Rule]:
    """Return a function for every rule of ``texts``; raise PolicyError naming the first that is wrong.

    A reference to a rule that does not exist is a reference to ``default_rule``, and false without one.
    """
    rules: dict[str, Rule] = {}
    trees = {name: _parsed(name, text) for name, text in texts.items()}
    for name in trees:
        _rule(name, trees, rules, default_rule, ())
    return rules


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that somebody may have meant by ``name``."""
    found = difflib.get_close_matches(name, known, 1, 0.6)
    return found[0] if found else None


# -- text -> tree -------------------------------------------------------------------------------
# A tree is ("and" | "or", trees), ("not", tree) or ("check", text).

_Tree = tuple[str, Any]
_TOKEN = re.compile(r"\s*(?:(\()|(\))|((?:\"[^\"]*\"|'[^']*'|%\([^)]*\)s|[^\s()\"'])+))")


def _parsed(name: str, text: Any) -> _Tree:
    if isinstance(text, list):
        return "or", [_all_of(name, part) for part in text] or [("check", "@")]
    if not isinstance(text, str):
        raise PolicyError(f"Rule '{name}' must be a text, not {type(text).__name__}.")
    tokens = _tokens(name, text)
    if not tokens:
        return "check", "@"
    tree, rest = _or(name, tokens)
    if rest:
        raise PolicyError(f"Rule '{name}' is not understood from '{' '.join(rest)[:64]}' on.")
    return tree


def _all_of(name: str, part: Any) -> _Tree:
    checks = [part] if isinstance(part, str) else part
    if not isinstance(checks, list) or not all(isinstance(check, str) for check in checks):
        raise PolicyError(f"Rule '{name}' must be a text, or a list of lists of checks.")
    return "and", [("check", check) for check in checks]


def _tokens(name: str, text: str) -> list[str]:
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise PolicyError(f"Rule '{name}' is not understood from '{text[position:][:64]}' on.")
        tokens.append(match[1] or match[2] or match[3])
        position = match.end()
    return tokens


def _or(name: str, tokens: list[str]) -> tuple[_Tree, list[str]]:
    return _joined(name, tokens, "or", _and)


def _and(name: str, tokens: list[str]) -> tuple[_Tree, list[str]]:
    return _joined(name, tokens, "and", _one)


def _joined(
    name: str, tokens: list[str], word: str, part: Callable[[str, list[str]], tuple[_Tree, list[str]]]
) -> tuple[_Tree, list[str]]:
    tree, rest = part(name, tokens)
    parts = [tree]
    while rest and rest[0].lower() == word:
        tree, rest = part(name, rest[1:])
        parts.append(tree)
    return (parts[0] if len(parts) == 1 else (word, parts)), rest


def _one(name: str, tokens: list[str]) -> tuple[_Tree, list[str]]:
    if not tokens:
        raise PolicyError(f"Rule '{name}' ends where a check is expected.")
    first, rest = tokens[0], tokens[1:]
    if first.lower() == "not":
        tree, rest = _one(name, rest)
        return ("not", tree), rest
    if first == "(":
        tree, rest = _or(name, rest)
        if not rest or rest[0] != ")":
            raise PolicyError(f"Rule '{name}' has a parenthesis that is not closed.")
        return tree, rest[1:]
    if first == ")" or first.lower() in ("and", "or"):
        raise PolicyError(f"Rule '{name}' has '{first}' where a check is expected.")
    return ("check", first), rest


# -- tree -> function ---------------------------------------------------------------------------


def _everybody(caller: Caller, image: Image | None, shared: bool) -> bool:
    return True


def _nobody(caller: Caller, image: Image | None, shared: bool) -> bool:
    return False


def _rule(
    name: str, trees: Mapping[str, _Tree], done: dict[str, Rule], default_rule: str, within: tuple[str, ...]
) -> Rule:
    """Return the function of one rule, making those that it refers to first."""
    if name in within:
        raise PolicyError(f"Rule '{name}' refers to itself: {' -> '.join((*within, name))}.")
    if name not in done:
        if name not in trees:
            if name == default_rule or default_rule not in trees:
                return _nobody
            return _rule(default_rule, trees, done, default_rule, within)
        done[name] = _function(
            trees[name], name, lambda other: _rule(other, trees, done, default_rule, (*within, name))
        )
    return done[name]


def _function(tree: _Tree, name: str, refer: Callable[[str], Rule]) -> Rule:
    kind, content = tree
    if kind == "check":
        return _check(content, name, refer)
    if kind == "not":
        inner = _function(content, name, refer)
        return lambda caller, image, shared: not inner(caller, image, shared)
    parts = tuple(_function(part, name, refer) for part in content)
    if kind == "and":

        def all_hold(caller: Caller, image: Image | None, shared: bool) -> bool:
            for part in parts:  # noqa: SIM110 - a generator would cost as much as the checks themselves
                if not part(caller, image, shared):
                    return False
            return True

        return all_hold

    def any_holds(caller: Caller, image: Image | None, shared: bool) -> bool:
        for part in parts:  # noqa: SIM110 - as above
            if part(caller, image, shared):
                return True
        return False

    return any_holds


def _check(text: str, name: str, refer: Callable[[str], Rule]) -> Rule:
    if text == "@":
        return _everybody
    if text == "!":
        return _nobody
    kind, colon, match = text.partition(":")
    if not colon:
        raise PolicyError(f"Rule '{name}' has the check '{text[:64]}', which must look like kind:value.")
    if kind == "rule":
        return refer(match)
    if kind in ("http", "https"):
        raise PolicyError(f"Rule '{name}' asks another server ({text[:64]}); this service decides by itself only.")
    value = _target(match, name)
    if kind == "role":
        return lambda caller, image, shared: (value(caller, image, shared) or "").lower() in caller.roles
    literal = _literal(kind)
    if literal is not None:
        return lambda caller, image, shared: value(caller, image, shared) == literal
    fact = _FACTS.get(kind)
    if fact is None:  # Something that no caller of ours has.
        return _nobody

    def same(caller: Caller, image: Image | None, shared: bool) -> bool:
        mine = fact(caller)
        theirs = value(caller, image, shared)
        if isinstance(mine, frozenset):
            return theirs in mine
        # Nothing is not the same project as nothing, except where the question is about the caller alone.
        return mine == theirs and (mine is not None or image is None)

    return same


def _literal(text: str) -> str | None:
    """Return what a literal before a colon says, as text; None where it names something of the caller."""
    try:
        return str(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return None


#: What a check can ask of the caller.
_FACTS: Mapping[str, Callable[[Caller], str | frozenset[str] | None]] = {
    "user_id": lambda caller: caller.user,
    "user": lambda caller: caller.user,
    "project_id": lambda caller: caller.project,
    "project": lambda caller: caller.project,
    "tenant": lambda caller: caller.project,
    "tenant_id": lambda caller: caller.project,
    "domain_id": lambda caller: caller.domain,
    "user_domain_id": lambda caller: caller.user_domain,
    "project_domain_id": lambda caller: caller.project_domain,
    "system_scope": lambda caller: caller.system,
    "is_admin": lambda caller: str(caller.is_admin),
    "roles": lambda caller: caller.roles,
    "service_roles": lambda caller: caller.service_roles,
}

_PLACE = re.compile(r"%\(([^)]*)\)s")


def _target(text: str, name: str) -> _Target:
    """Return what gives the right side of a check: a literal, or an attribute of the target."""
    place = _PLACE.fullmatch(text)
    if place:
        return _attribute(place[1])
    if "%(" in text:
        raise PolicyError(f"Rule '{name}' has '{text[:64]}': an attribute must stand alone, as in %(owner)s.")
    return lambda caller, image, shared: text


def _attribute(name: str) -> _Target:
    name = name.removeprefix("target.")
    if name in ("project_id", "owner", "tenant", "tenant_id"):
        # Where no image is involved the question is about the caller's own project.
        return lambda caller, image, shared: caller.project if image is None else image.owner
    if name in ("member_id", "member"):
        return lambda caller, image, shared: caller.project if shared else None
    if name in ("user_id", "user"):
        return lambda caller, image, shared: caller.user if image is None else None
    if name == "image_id":
        name = "id"
    if name in BASE_ATTRIBUTES:
        return lambda caller, image, shared: _text(getattr(image, name, None))
    return lambda caller, image, shared: _text(image.properties.get(name)) if image else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
