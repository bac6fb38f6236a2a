"""The policy language of oslo.policy, compiled: each rule becomes one function when its file is loaded.

    check    "role:admin"  "rule:owner"  "project_id:%(owner)s"  "'public':%(visibility)s"  "@"  "!"
    rule     checks joined by and, or, not and parentheses; "" allows everyone; or lists: any of all of

Left of a check's colon stands an attribute of the caller or a literal, right of it a string in which ``%(name)s``
stands for an attribute of the *target*, which is the image. An attribute that the target does not have makes the
check false. Every rule decides as oslo.policy decides, with the exceptions of POL-21 to POL-25, all of which deny.
"""

import ast
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from ferrotype.model.caller import Caller
from ferrotype.model.image import BASE_ATTRIBUTES, Image
from ferrotype.rules.policy_syntax import MAX_DEPTH, PolicyError, Tree, checks, parse

#: (caller, image or None, whether the image is shared with the caller) -> allowed
Rule = Callable[[Caller, Image | None, bool], bool]
#: The same arguments -> the right side of a check, None where the check cannot hold
_Right = Callable[[Caller, Image | None, bool], str | None]


def compiled(texts: Mapping[str, Any], default_rule: str = "default") -> dict[str, Rule]:
    """Return a function for every rule of ``texts``; raise PolicyError naming the first that is wrong.

    A reference to a rule that does not exist is a reference to ``default_rule``, and false without one.
    """
    try:
        compiler = _Compiler({name: parse(name, text) for name, text in texts.items()}, default_rule)
        return {name: compiler.rule(name, (), 0, _Side(_TARGETS.get(name, "image"))) for name in texts}
    except RecursionError:
        raise PolicyError(f"The rules are nested more than {MAX_DEPTH} levels deep.") from None


def unknown_credentials(text: Any) -> list[str]:
    """Return what the checks of a rule ask of the caller and no caller has; such a check is always false."""
    return [
        kind
        for check in checks(parse("", text))
        for kind in [check.partition(":")[0]]
        if check not in ("@", "!") and kind not in _KINDS and _literal(kind, "") is None and not _known(kind)
    ]


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that is most like ``name``, None where none is."""
    found = difflib.get_close_matches(name, known, 1, 0.6)
    return found[0] if found else None


# -- tree -> function ---------------------------------------------------------------------------

#: What ``%(name)s`` is an attribute of: the image; the caller's own project, where images are listed; or nothing,
#: where the question is whether the caller is an administrator.
_Target = Literal["image", "list", "nothing"]
_TARGETS: Mapping[str, _Target] = {"get_images": "list", "context_is_admin": "nothing"}


class _Side(NamedTuple):
    """Where a check stands. ``positive``: it holds for the rule to hold; otherwise it stands behind a ``not``.

    What cannot be decided denies: false where it is positive, true behind ``not``.
    """

    target: _Target
    positive: bool = True

    def inverted(self) -> "_Side":
        return self._replace(positive=not self.positive)

    def undecided(self) -> Rule:
        return _nobody if self.positive else _everyone


def _everyone(caller: Caller, image: Image | None, shared: bool) -> bool:
    return True


def _nobody(caller: Caller, image: Image | None, shared: bool) -> bool:
    return False


class _Compiler:
    def __init__(self, trees: Mapping[str, Tree], default_rule: str):
        self._trees, self._default_rule = trees, default_rule
        self._done: dict[tuple[str, _Side], Rule] = {}

    def rule(self, name: str, within: tuple[str, ...], depth: int, side: _Side) -> Rule:
        """Return the function of one rule, making those that it refers to first."""
        if name in within:
            raise PolicyError(f"Rule '{name}' refers to itself: {' -> '.join((*within, name))}.")
        if name not in self._trees:
            if self._default_rule not in self._trees:
                return _nobody
            return self.rule(self._default_rule, within, depth, side)
        if (name, side) not in self._done:
            self._done[name, side] = self._function(self._trees[name], (*within, name), depth + 1, side)
        return self._done[name, side]

    def _function(self, tree: Tree, within: tuple[str, ...], depth: int, side: _Side) -> Rule:
        if depth > MAX_DEPTH:
            raise PolicyError(f"Rule '{within[0]}' is nested more than {MAX_DEPTH} levels deep.")
        kind, content = tree
        if kind == "check":
            return self._check(content, within, depth, side)
        if kind == "not":
            inner = self._function(content, within, depth + 1, side.inverted())
            return lambda caller, image, shared: not inner(caller, image, shared)
        parts = tuple(self._function(part, within, depth + 1, side) for part in content)
        return _all_hold(parts) if kind == "and" else _any_holds(parts)

    def _check(self, text: str, within: tuple[str, ...], depth: int, side: _Side) -> Rule:
        if text in ("@", "!"):
            return _everyone if text == "@" else _nobody
        name = within[-1]
        kind, colon, match = text.partition(":")
        if not colon:
            raise PolicyError(f"Rule '{name}' has the check '{text[:64]}', which must look like kind:value.")
        if kind == "rule":
            return self.rule(match, within, depth, side)
        if kind in ("http", "https"):
            raise PolicyError(
                f"Rule '{name}' asks another server ({text[:64]}); this service decides without other servers."
            )
        return _comparison(kind, _template(match, name), name, side)


def _all_hold(parts: tuple[Rule, ...]) -> Rule:
    def all_hold(caller: Caller, image: Image | None, shared: bool) -> bool:
        for part in parts:  # noqa: SIM110 - a generator would cost as much as the checks themselves
            if not part(caller, image, shared):
                return False
        return True

    return all_hold


def _any_holds(parts: tuple[Rule, ...]) -> Rule:
    def any_holds(caller: Caller, image: Image | None, shared: bool) -> bool:
        for part in parts:  # noqa: SIM110 - as above
            if part(caller, image, shared):
                return True
        return False

    return any_holds


# -- left side ----------------------------------------------------------------------------------

#: Kinds of checks that are not comparisons.
_KINDS = frozenset({"rule", "role", "http", "https"})

#: The caller's attributes, by the names that oslo.context gives them.
_CREDENTIALS: Mapping[str, Callable[[Caller], str | None]] = {
    "user_id": attrgetter("user"),
    "project_id": attrgetter("project"),
    "domain_id": attrgetter("domain"),
    "user_domain_id": attrgetter("user_domain"),
    "project_domain_id": attrgetter("project_domain"),
    "system_scope": attrgetter("system"),
}
_LISTS: Mapping[str, Callable[[Caller], frozenset[str]]] = {
    "roles": attrgetter("roles"),
    "service_roles": attrgetter("service_roles"),
}
#: Further names of oslo.context, of which this service does not know what they are for a caller.
_UNDECIDED = frozenset(
    {
        "is_admin_project", "service_user_id", "service_user_domain_id", "service_project_id",
        "service_project_domain_id",
    }
)  # fmt: skip


def _known(path: str) -> bool:
    first = path.partition(".")[0]
    return first in _CREDENTIALS or first in _LISTS or first in _UNDECIDED


def _comparison(kind: str, template: "_Template", name: str, side: _Side) -> Rule:
    """Return the function of a check that compares an attribute of the caller, or a literal, with its right side."""
    right = template.right(side)
    if right is None:
        return side.undecided()
    if kind == "role":
        return lambda caller, image, shared: (right(caller, image, shared) or "").lower() in caller.roles
    if (literal := _literal(kind, name)) is not None:
        exact = template.exact(side)
        return lambda caller, image, shared: exact(caller, image, shared) == literal
    if not _known(kind):
        return _nobody
    if kind not in _CREDENTIALS and kind not in _LISTS and kind not in _UNDECIDED:
        raise PolicyError(f"Rule '{name}' asks for '{kind[:64]}'; '{kind.partition('.')[0]}' has no parts.")
    if kind in _UNDECIDED:
        return side.undecided()
    if kind in _LISTS:
        held = _LISTS[kind]
        return lambda caller, image, shared: right(caller, image, shared) in held(caller)
    credential = _CREDENTIALS[kind]
    # null is not equal to null (AUT-06), except for a caller without a project who lists what others made public.
    own = side.target == "list" and kind == "project_id"
    if side.positive and template.names and not own:

        def same(caller: Caller, image: Image | None, shared: bool) -> bool:
            mine = credential(caller)
            return mine is not None and mine == right(caller, image, shared)

        return same
    exact = template.exact(side)
    return lambda caller, image, shared: str(credential(caller)) == exact(caller, image, shared)


def _literal(kind: str, name: str) -> str | None:
    """Return what a literal left of a colon is as a string; None where it names an attribute of the caller."""
    try:
        return str(ast.literal_eval(kind))
    except ValueError:
        return None
    except (SyntaxError, TypeError, MemoryError):
        raise PolicyError(
            f"Rule '{name}' has '{kind[:64]}' before a colon: neither an attribute of the caller nor a literal."
        ) from None


# -- right side ---------------------------------------------------------------------------------

_PLACE = re.compile(r"%(?:(%)|\(([^()]*)\)s)")
_MISSING = object()


class _Template(NamedTuple):
    """The right side of a check: literal strings, and the names of attributes between them."""

    #: one more than there are names
    literals: tuple[str, ...]
    names: tuple[str, ...]

    def right(self, side: _Side) -> _Right | None:
        """Return the function that gives the right side; None where the target has no attributes at all.

        Where the check is positive a null attribute gives None, as a missing one does: it equals nothing.
        """
        if self.names and side.target == "nothing":
            return None
        return self.exact(side, null=None if side.positive else "None")

    def exact(self, side: _Side, null: str | None = "None") -> _Right:
        """Return the function that gives the right side, None where an attribute is missing."""
        if not self.names:
            (text,) = self.literals
            return lambda caller, image, shared: text
        getters = [_attribute(name, side.target) for name in self.names]
        if self.literals == ("", ""):
            (get,) = getters

            def alone(caller: Caller, image: Image | None, shared: bool) -> str | None:
                value = get(caller, image, shared)
                if value.__class__ is str:
                    return value
                return None if value is _MISSING else null if value is None else str(value)

            return alone
        first, *rest = self.literals

        def joined(caller: Caller, image: Image | None, shared: bool) -> str | None:
            text = first
            for get, literal in zip(getters, rest, strict=True):
                value = get(caller, image, shared)
                part = null if value is None else value
                if part is None or part is _MISSING:
                    return None
                text += f"{part}{literal}"
            return text

        return joined


def _template(text: str, name: str) -> _Template:
    literals, names, position = [""], list[str](), 0
    for place in _PLACE.finditer(text):
        literals[-1] += text[position : place.start()]
        position = place.end()
        if place[1]:
            literals[-1] += "%"
        else:
            names.append(place[2])
            literals.append("")
    literals[-1] += text[position:]
    if "%" in _PLACE.sub("", text):
        raise PolicyError(
            f"Rule '{name}' has '{text[:64]}': write an attribute as %(owner)s and a percent sign as %%."
        )
    return _Template(tuple(literals), tuple(names))


#: Attributes of the image's record.
_RECORD = BASE_ATTRIBUTES & set(Image.__struct_fields__)
_OTHER_NAMES = {"project_id": "owner", "image_id": "id"}


def _attribute(name: str, target: _Target) -> Callable[[Caller, Image | None, bool], Any]:
    """Return what gives an attribute of the target, ``_MISSING`` where the target does not have it."""
    if target == "list":
        return lambda caller, image, shared: caller.project if name == "project_id" else _MISSING
    if name in ("member_id", "member"):
        return lambda caller, image, shared: caller.project if shared else _MISSING
    field = _OTHER_NAMES.get(name, name)
    if field in _RECORD:
        get = attrgetter(field)
        return lambda caller, image, shared: _MISSING if image is None else get(image)
    if field in BASE_ATTRIBUTES:
        return lambda caller, image, shared: _MISSING
    if field.startswith("os_glance"):
        return lambda caller, image, shared: _MISSING if image is None else image.system.get(field, _MISSING)
    return lambda caller, image, shared: _MISSING if image is None else image.properties.get(field, _MISSING)
