"""Policy files as nobody would write them, decided by oslo.policy and by us side by side.

    python tests/service/policy_beside_oslo.py [FILES] [SEED]

Each case is a policy file and sometimes a directory of more, asked for several rules with a matrix of callers and
images. Ours must never allow what oslo.policy denies. Where it denies what oslo.policy allows, the reason must be one
of POL-21 to POL-25, and is counted.
"""

import json
import logging
import os
import random
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from oslo_config import cfg
from oslo_policy import _checks, policy

from ferrotype.config.policy import Policy
from ferrotype.model.caller import Caller
from ferrotype.model.image import BASE_ATTRIBUTES, Image
from ferrotype.rules import defaults
from ferrotype.service.policies import Policies
from ferrotype.service.watched_files import BrokenFiles

CALLERS = [
    Caller(user="u", project="p1", roles=frozenset({"admin", "member", "reader"}), project_domain="d1"),
    Caller(user="u1", project="p1", roles=frozenset({"member", "reader"}), user_domain="d1", project_domain="d1"),
    Caller(user="p2", project="p2", roles=frozenset({"reader", "a", "none"})),
    Caller(user="u9", project="p9", roles=frozenset({"member"}), service_roles=frozenset({"service"})),
    Caller(user=None, project=None, roles=frozenset({"member", "reader"})),
    Caller(user="x", domain="d1", roles=frozenset({"admin"})),
    Caller(user="x", system="all", roles=frozenset({"admin", "service"})),
    Caller(user="None", project="None", roles=frozenset()),
]
#: images, and whether they are shared with the caller
TARGETS = [
    (None, False),
    (Image(id="i", owner="p1", visibility="private", name="n", protected=True, properties={"team": "a"}), False),
    (Image(id="i", owner="p1", visibility="shared", properties={"dotted.name": "p9", "team": "member"}), True),
    (Image(id="i", owner=None, visibility="public", properties={"team": None, "target.domain_id": "d1"}), False),
    (Image(id="i", owner="None", visibility="community", min_disk=5, os_hidden=True, size=100), False),
]
ASKED = [
    "get_image", "get_images", "delete_image", "add_image", "context_is_admin", "stores_info_detail", "default",
    "helper",
]  # fmt: skip

#: What a refusal of a whole file may be about: POL-21.
REFUSALS = {
    "syntax": ("is not understood", "ends where", "not closed", "where a check is expected", "kind:value"),
    "quotes": ("in quotes",),
    "left side": ("neither an attribute", "has no parts"),
    "percent": ("percent sign",),
    "other servers": ("asks another server",),
    "cycle": ("refers to itself",),
    "not a string": ("must be a string", "list of lists", "must hold an object"),
    "not YAML": ("cannot be read",),
    "no file": ("cannot be found", "is not a file"),
}


def _words(text: str) -> list[str]:
    return text.split()


_LEFT = _words(
    "project_id user_id domain_id system_scope user_domain_id project_domain_id roles service_roles is_admin tenant"
    " nonsense is_admin_project service_project_id 'public' \"shared\" 'None' None True False 5 0.5 'a' user.id p1"
    " target.x [1] project_id project_id 'private' 'd1'"
)
_RIGHT = _words(
    "%(owner)s %(project_id)s %(member_id)s %(visibility)s %(team)s %(user_id)s %(target.domain_id)s %(domain_id)s"
    " %(protected)s %(min_disk)s %(name)s %(dotted.name)s %(missing)s %(id)s %(image_id)s %(tags)s %(size)s p1 None"
    " True 5 public 'public' x%(owner)s %(owner)s%(team)s %(locations)s all a:b member service d1 %(owner)s"
    " %(project_id)s"
)
_ODD = _words(
    "role :x 'q' and \"\" 'a b':%(team)s x http://other/%(id)s https://other/ project_id:100% project_id:%(owner)"
    " 'p1':%(owner)d project_id:%s 'a':'a' x'y:p1 not or ( ) !:x @:@ project_id:%(a(b)c)s 'x':100%% '%':%% rule:"
    " project_id.x:p1 roles.x:a (1,):%(id)s"
)


class Maker:
    """Makes policy files from a seed."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)
        self._odd = 0.3 if self._random.random() < 0.3 else 0.0
        #: how many of the rules that are asked for may be referred to, from the last
        self._later = -1

    def check(self) -> str:
        draw = self._random.random()
        if draw < self._odd * 0.2:
            return self._random.choice(_ODD)
        if draw < 0.3:
            roles = "admin member READER none a service %(team)s %(owner)s %(missing)s %(visibility)s"
            return f"role:{self._random.choice(roles.split())}"
        if draw < 0.4:
            return self._random.choice("@!")
        if draw < 0.55:
            if self._later < 0 and self._random.random() > self._odd * 0.2:
                return "@"
            names = ["missing", *ASKED[len(ASKED) - self._later :], "other", "default", "get_imagf"]
            return f"rule:{self._random.choice(ASKED if self._random.random() < self._odd * 0.2 else names)}"
        return f"{self._random.choice(_LEFT)}:{self._random.choice(_RIGHT)}"

    def text(self, depth: int = 0) -> str:
        draw = self._random.random()
        if depth > 3 or draw < 0.35:
            return self.check()
        if draw < 0.5:
            return f"{self._word('not')} {self.text(depth + 1)}"
        blank = self._random.choice([" ", " ", "  ", "\n ", "\t"])
        parts = [self.text(depth + 1) for _ in range(self._random.choice([2, 2, 3]))]
        joined = f"{blank}{self._word(self._random.choice(['and', 'or']))}{blank}".join(parts)
        return joined if draw < 0.65 else f"({joined})" if draw < 0.9 else f"( {joined} )"

    def _word(self, word: str) -> str:
        return word.upper() if self._random.random() < 0.1 else word

    def listed(self) -> list[Any]:
        parts: list[Any] = []
        for _ in range(self._random.choice([0, 1, 2, 3])):
            draw = self._random.random()
            if draw < 0.2:
                parts.append([])
            elif draw < 0.4:
                parts.append(self.check() if self._random.random() < 0.9 else "")
            else:
                parts.append([self.check() for _ in range(self._random.choice([1, 2, 3]))])
        return parts

    def rule(self) -> Any:
        draw = self._random.random()
        if draw < self._odd * 0.15:
            return self._random.choice([None, True, 5, {}, {"a": "@"}, [[1]], [None], " ", "\n", [5], [[""]], 0.5])
        if draw < 0.25:
            return self.listed()
        if draw < 0.3:
            return ""
        text = self.text()
        if self._random.random() < self._odd * 0.2:  # A slip of the pen.
            at = self._random.randrange(len(text))
            text = text[:at] + self._random.choice(["", " ", "(", ")", "'", '"', "%", ":"]) + text[at + 1 :]
        return text

    def rules(self) -> dict[Any, Any]:
        names = self._random.sample([*ASKED, "other"], self._random.choice([1, 2, 4, 6]))
        rules: dict[Any, Any] = {}
        for name in names:  # Each refers to later ones: cycles are rare.
            self._later = -1 if name in ("other", "default") else len(ASKED) - ASKED.index(name) - 1
            rules[name] = self.rule()
        if self._random.random() < self._odd * 0.05:
            rules[5] = "@"
        return rules

    def document(self) -> str:
        rules, draw = self.rules(), self._random.random()
        if draw < 0.3:
            return json.dumps(rules, indent=self._random.choice([None, 2]))
        text = yaml.safe_dump(rules, sort_keys=False, default_flow_style=draw < 0.4)
        if draw > 0.95:  # A name twice: the last one counts.
            text += yaml.safe_dump({next(iter(rules)): self.rule()})
        if draw > 0.9:
            text = "# comment\n---\n" + text
        return text

    def write(self, folder: Path) -> Policy:
        """Write a policy file and sometimes a directory of more below ``folder``."""
        file, directory = folder / self._random.choice(["policy.yaml", "policy.json", "rules"]), folder / "policy.d"
        draw = self._random.random()
        if draw < 0.9:
            file.write_text(self.document())
        elif draw < 0.95:
            file.write_text(
                self._random.choice(["", "\n", "# nothing\n", "{}", "---\n", "- a\n", "text\n", "a: [\n"])
            )
        if self._random.random() < 0.4:
            directory.mkdir()
            names = ["1.yaml", "2.json", "10.yaml", "README", "1.yaml~", ".hidden.yaml", "ä.yml", "z.rpmsave"]
            for name in self._random.sample(names, self._random.choice([0, 1, 2, 3])):
                (directory / name).write_text(self.document())
            if self._random.random() < 0.2:
                (directory / "sub.yaml").mkdir()
                (directory / "sub.yaml" / "1.yaml").write_text(self.document())
            if self._random.random() < 0.2:
                (folder / "elsewhere").write_text(self.document())
                (directory / "5.yaml").symlink_to("../elsewhere")
            if self._random.random() < self._odd * 0.05:
                (directory / "6.yaml").symlink_to("nowhere")
        return Policy(file, (directory,), new_defaults=self._random.random() < 0.8)


class Oslo:
    """oslo.policy's own enforcer of the same files, with our defaults registered."""

    def __init__(self, config: Policy):
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[], default_config_dirs=[])
        self._enforcer = policy.Enforcer(conf)
        conf.set_override("policy_dirs", [str(path) for path in config.dirs], "oslo_policy")
        self._enforcer.policy_file = str(config.file)
        self._enforcer.suppress_default_change_warnings = True
        for name, text in defaults.texts(config.new_defaults).items():
            self._enforcer.register_default(policy.RuleDefault(name, text))
        self.broken = False
        try:
            self._enforcer.load_rules()
        except Exception:
            self.broken = True  # Every request would fail.
        self._enforcer.use_conf = False

    def narrowed(self, action: str, target: dict[str, Any], credentials: dict[str, Any]) -> bool:
        """Tell whether the rule allows it when what POL-22 to POL-24 name denies, under ``not`` too."""

        def holds(check: Any, positive: bool) -> bool:
            match check:
                case policy.NotCheck():
                    return not holds(check.rule, not positive)
                case policy.AndCheck():
                    return all(holds(each, positive) for each in check.rules)
                case policy.OrCheck():
                    return any(holds(each, positive) for each in check.rules)
                case policy.RuleCheck():
                    try:
                        return holds(self._enforcer.rules[check.match], positive)
                    except KeyError:
                        return False
                case _checks.Check():
                    return compared(check, positive)
            return isinstance(check, policy.TrueCheck)

        def compared(check: _checks.Check, positive: bool) -> bool:
            if action == "context_is_admin" and "%(" in check.match:
                return not positive
            if check.kind in ("is_admin_project", "service_project_id"):
                return not positive
            found = check(target, dict(credentials), self._enforcer)
            if not (found and positive) or "%(" not in check.match:
                return found
            if (action, check.kind) == ("get_images", "project_id"):
                return True
            if check.kind == "role" or check.kind in credentials:  # null is not equal to null
                return check(_without_nulls(target, "\1"), _without_nulls(credentials, "\2"), self._enforcer)
            return True

        try:
            return holds(self._enforcer.rules[action], True)
        except Exception:
            return False

    def allows(self, action: str, target: dict[str, Any], credentials: dict[str, Any]) -> bool:
        """Tell whether the rule allows it; a request that fails is not allowed."""
        try:
            return bool(self._enforcer.enforce(action, target, dict(credentials)))
        except Exception:
            return False


def credentials(caller: Caller) -> dict[str, Any]:
    """Return a caller as oslo.context tells it to oslo.policy."""
    return {
        "user_id": caller.user, "user_domain_id": caller.user_domain, "system_scope": caller.system,
        "domain_id": caller.domain, "project_id": caller.project, "project_domain_id": caller.project_domain,
        "roles": sorted(caller.roles), "is_admin_project": True, "service_user_id": None,
        "service_user_domain_id": None, "service_project_id": None, "service_project_domain_id": None,
        "service_roles": sorted(caller.service_roles),
    }  # fmt: skip


def target(action: str, caller: Caller, image: Image | None, shared: bool) -> dict[str, Any]:
    """Return what Glance gives to oslo.policy as the target."""
    if image is None:
        return {"project_id": caller.project} if action == "get_images" else {}
    found = {name: getattr(image, name) for name in BASE_ATTRIBUTES if hasattr(image, name) and name != "locations"}
    found |= {"project_id": image.owner, "image_id": image.id}
    if shared:
        found |= {"member_id": caller.project, "member": caller.project}
    return {**image.properties, **found}


def context_as_target(caller: Caller) -> dict[str, Any]:
    """Return the target of ``context_is_admin`` in Glance: the context of the request."""
    return {
        "user": caller.user, "project_id": caller.project, "system_scope": caller.system, "project": caller.project,
        "domain": caller.domain, "user_domain": caller.user_domain, "project_domain": caller.project_domain,
        "roles": sorted(caller.roles), "is_admin_project": True, "is_admin": False, "read_only": False,
    }  # fmt: skip


def _without_nulls(values: dict[str, Any], mark: str) -> dict[str, Any]:
    return {name: f"{mark}{name}" if value is None else value for name, value in values.items()}


class Outcome:
    """What came of all cases."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    def fault(self, config: Policy, words: str) -> None:
        """Note something that no rule of ours explains, with the files that show it."""
        assert config.file
        texts = {
            path.name: path.read_text() for path in [config.file, *sorted(config.dirs[0].glob("*"))] if path.is_file()
        }
        self.faults.append(f"{words}\n{texts}")


def compare(config: Policy, outcome: Outcome) -> None:
    """Ask both about the same files, and note what differs."""
    oslo = Oslo(config)
    try:
        ours = Policies(config).authoriser
    except BrokenFiles as error:
        kinds = [kind for kind, words in REFUSALS.items() if any(word in str(error) for word in words)]
        outcome.counts[f"file refused: {kinds[0]}" if kinds else "file refused"] += 1
        if not kinds:
            outcome.fault(config, f"refused for no known reason: {error}")
        return
    outcome.counts["file accepted"] += 1
    if oslo.broken:
        outcome.fault(config, "oslo.policy cannot load it")
        return
    for action in ASKED:
        for caller in CALLERS:
            for image, shared in TARGETS:
                if action not in ours._rules or (image and action in ("get_images", "context_is_admin")):
                    continue  # Nothing asks for it.
                there, creds = target(action, caller, image, shared), credentials(caller)
                mine, theirs = ours.allows(caller, action, image, shared), oslo.allows(action, there, creds)
                where = f"{action} {caller} {image} {shared}"
                outcome.counts["decision"] += 1
                outcome.counts["allowed"] += mine
                if (
                    action == "context_is_admin"
                    and mine
                    and not oslo.allows(action, context_as_target(caller), creds)
                ):
                    outcome.fault(config, f"an administrator here and not in Glance: {where}")
                if mine and not theirs:
                    outcome.fault(config, f"allowed here, denied by oslo.policy: {where}")
                elif theirs and not mine:
                    outcome.counts["denied here alone (POL-22..24)"] += 1
                    if oslo.narrowed(action, there, creds):
                        outcome.fault(config, f"denied here, allowed by oslo.policy: {where}")


@contextmanager
def _quiet() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def run(files: int, seed: int) -> Outcome:
    """Compare so many cases, which a seed determines."""
    outcome = Outcome()
    with _quiet():
        for number in range(files):
            with tempfile.TemporaryDirectory() as folder:
                compare(Maker(seed * 1_000_000 + number).write(Path(folder)), outcome)
    return outcome


if __name__ == "__main__":
    os.environ.pop("LC_ALL", None)
    done = run(*[int(word) for word in [*sys.argv[1:], "2000", "1"][:2]])
    for kind, count in sorted(done.counts.items()):
        print(f"{count:9,}  {kind}")
    print(f"{len(done.faults):9,}  unexplained")
    print("\n\n".join(done.faults[:10]))
    sys.exit(bool(done.faults))
