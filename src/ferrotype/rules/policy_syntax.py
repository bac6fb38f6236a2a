"""The syntax of oslo.policy's language: from what a policy file holds for a rule to a tree of checks.

A tree is ("and" | "or", trees), ("not", tree) or ("check", string).
"""

from collections.abc import Callable, Iterator
from typing import Any

from ferrotype.model.errors import FerrotypeError

Tree = tuple[str, Any]

#: Levels of ``not``, parentheses and references to other rules, counted together.
MAX_DEPTH = 100


class PolicyError(FerrotypeError):
    """A rule cannot be understood. The message names it and says what is wrong."""


def parse(name: str, text: Any) -> Tree:
    """Return the tree of a rule; raise PolicyError naming it where it cannot be understood."""
    if isinstance(text, list):
        return _parsed_list(name, text)
    if not isinstance(text, str):
        raise PolicyError(f"Rule '{name}' must be a string, not {type(text).__name__}.")
    if not text:
        return "check", "@"
    tokens = list(_tokens(name, text))
    tree, rest = _or(name, tokens, 0)
    if rest:
        raise PolicyError(f"Rule '{name}' is not understood from '{' '.join(rest)[:64]}' on.")
    return tree


def _parsed_list(name: str, parts: list[Any]) -> Tree:
    """Return the tree of the older form: any of the parts must hold, and of a part that is a list all checks.

    No parts allow everyone; parts that are all empty allow nobody.
    """
    trees: list[Tree] = []
    for part in parts:
        checks = [part] if isinstance(part, str) else part
        if not isinstance(checks, list) or not all(isinstance(check, str) for check in checks):
            raise PolicyError(f"Rule '{name}' must be a string, or a list of lists of checks.")
        if part:
            trees.append(("and", [("check", check) for check in checks]))
    if not parts:
        return "check", "@"
    return ("or", trees) if trees else ("check", "!")


def _tokens(name: str, text: str) -> Iterator[str]:
    """Yield checks, words and parentheses. Only white space separates tokens; parentheses count at their ends."""
    for word in text.split():
        opened = word.lstrip("(")
        if len(opened) > 1 and opened[0] == opened[-1] and opened[0] in "\"'":
            raise PolicyError(f"Rule '{name}' has {opened[:64]} in quotes; quote only a literal left of a colon.")
        yield from "(" * (len(word) - len(opened))
        bare = opened.rstrip(")")
        if bare:
            yield bare
        yield from ")" * (len(opened) - len(bare))


def _or(name: str, tokens: list[str], depth: int) -> tuple[Tree, list[str]]:
    return _joined(name, tokens, depth, "or", _and)


def _and(name: str, tokens: list[str], depth: int) -> tuple[Tree, list[str]]:
    return _joined(name, tokens, depth, "and", _one)


def _joined(
    name: str,
    tokens: list[str],
    depth: int,
    word: str,
    part: Callable[[str, list[str], int], tuple[Tree, list[str]]],
) -> tuple[Tree, list[str]]:
    tree, rest = part(name, tokens, depth)
    parts = [tree]
    while rest and rest[0].lower() == word:
        tree, rest = part(name, rest[1:], depth)
        parts.append(tree)
    return (parts[0] if len(parts) == 1 else (word, parts)), rest


def _one(name: str, tokens: list[str], depth: int) -> tuple[Tree, list[str]]:
    if depth > MAX_DEPTH:
        raise PolicyError(f"Rule '{name}' is nested more than {MAX_DEPTH} levels deep.")
    if not tokens:
        raise PolicyError(f"Rule '{name}' ends where a check is expected.")
    first, rest = tokens[0], tokens[1:]
    if first.lower() == "not":
        tree, rest = _one(name, rest, depth + 1)
        return ("not", tree), rest
    if first == "(":
        tree, rest = _or(name, rest, depth + 1)
        if not rest or rest[0] != ")":
            raise PolicyError(f"Rule '{name}' has a parenthesis that is not closed.")
        return tree, rest[1:]
    if first == ")" or first.lower() in ("and", "or"):
        raise PolicyError(f"Rule '{name}' has '{first}' where a check is expected.")
    return ("check", first), rest


def checks(tree: Tree) -> Iterator[str]:
    """Yield the checks of a tree."""
    kind, content = tree
    if kind == "check":
        yield content
    else:
        for part in [content] if kind == "not" else content:
            yield from checks(part)
