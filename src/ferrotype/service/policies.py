"""The deployment's policy files: read at start and whenever they change, the last good ones kept."""

import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ferrotype.config.model import Policy, Protections
from ferrotype.model.caller import Caller
from ferrotype.model.errors import FerrotypeError
from ferrotype.rules import defaults
from ferrotype.rules.permit import Authoriser
from ferrotype.rules.policy import compiled, nearest
from ferrotype.rules.policy_syntax import PolicyError
from ferrotype.rules.protection import Protection, ProtectionError, protection

log = logging.getLogger("ferrotype.policy")


class BrokenPolicy(FerrotypeError):
    """A policy file cannot be read or understood."""


class Policies:
    """What the files say, as an Authoriser that is replaced whole."""

    def __init__(self, config: Policy):
        self._config = config
        self._seen: tuple[Any, ...] = ()
        #: rules that the property protections ask for by name
        self._asked: frozenset[str] = frozenset()
        self.authoriser = self.read()

    def read(self) -> Authoriser:
        """Return an Authoriser of the files as they are; raise BrokenPolicy and change nothing."""
        self._seen = self._signature()
        texts: dict[str, Any] = defaults.texts(self._config.new_defaults)
        for path, _ in self._files():
            rules = _read(path)
            _remark_unknown(path, rules)
            texts |= rules
        if missing := self._asked - texts.keys():
            raise BrokenPolicy(f"property_protection_file asks for the rule '{min(missing)}', which does not exist.")
        try:
            rules_by_name = compiled(texts, self._config.default_rule)
        except (PolicyError, RecursionError) as error:
            raise BrokenPolicy(str(error)) from error
        self._names = frozenset(texts)
        usual = defaults.DEFAULTS["get_image"].text
        self.authoriser = Authoriser(rules_by_name, texts["get_image"] != usual, self._config.projects_only)
        return self.authoriser

    def refresh(self) -> Authoriser:
        """Read the files again if they changed, and return what is in force: a broken file changes nothing."""
        if self._signature() == self._seen:
            return self.authoriser
        try:
            self.read()
            log.warning("The policy files changed; the new rules are in force.")
        except BrokenPolicy as error:
            log.error("The policy files changed and are broken; the rules before stay in force: %s", error)
        return self.authoriser

    def configure(self, config: Policy) -> None:
        """Read the files of another configuration; a broken one changes nothing but the log."""
        before = self._config, self._seen
        self._config = config
        try:
            self.read()
        except BrokenPolicy as error:
            self._config, self._seen = before
            log.error("The policy files are broken; the rules before stay in force: %s", error)

    def protection(self, config: Protections) -> Protection | None:
        """Return the property protections of a file; None without one. A file that is wrong stops the start."""
        if config.file is None:
            return None

        def passes(caller: Caller, rule: str) -> bool:
            return self.authoriser.allows(caller, rule)

        try:
            text = config.file.read_text("utf-8-sig")
            found = protection(text, None if config.by_roles else passes, self._names)
        except (OSError, UnicodeDecodeError, ProtectionError) as error:
            raise BrokenPolicy(f"property_protection_file = {config.file}: {error}") from error
        self._asked = found.rules
        return found

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        """Return every file of rules that there is, those that count more behind; raise BrokenPolicy.

        Hidden files are no rules: editors keep their locks and copies there. Any other name that leads nowhere is
        broken, for what it led to may have been stricter than the rules without it.
        """
        try:
            file = self._config.file
            paths = [file] if file and (file.is_symlink() or file.exists()) else []
            for directory in self._config.dirs:
                if directory.is_dir():
                    paths += sorted(path for path in directory.iterdir() if _holds_rules(path.name))
            found = [(path, path.stat()) for path in paths]
        except OSError as error:
            raise BrokenPolicy(f"The policy files cannot be found: {error}") from error
        for path, about in found:
            if path == file and not stat.S_ISREG(about.st_mode):
                raise BrokenPolicy(f"policy_file = {file}: that is no file.")
        return [(path, about) for path, about in found if stat.S_ISREG(about.st_mode)]

    def _signature(self) -> tuple[Any, ...]:
        """Return what changes whenever the files do, also where they cannot be found."""
        try:
            return tuple((path, a.st_mtime_ns, a.st_size, a.st_ino) for path, a in self._files())
        except BrokenPolicy as error:
            return (str(error),)


def _holds_rules(name: str) -> bool:
    return name.endswith((".yaml", ".yml", ".json")) and not name.startswith(".")


def _read(path: Path) -> Mapping[str, Any]:
    import yaml  # Only where there is a file to read.

    try:
        rules = yaml.safe_load(path.read_text())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: a date that is none
        raise BrokenPolicy(f"{path} cannot be read: {error}") from error
    if rules is None:
        return {}
    if not isinstance(rules, dict) or not all(isinstance(name, str) for name in rules):
        raise BrokenPolicy(f"{path} must hold rules, one name and one text each.")
    return rules


def _remark_unknown(path: Path, rules: Mapping[str, Any]) -> None:
    """A name that nothing asks for is a mistake, unless another rule of the same file refers to it."""
    known = [*defaults.DEFAULTS, *defaults.ACCEPTED]
    for name in rules:
        if name in known or any(f"rule:{name}" in str(text) for text in rules.values()):
            continue
        meant = nearest(name, known)
        log.warning("%s: no call asks for the rule '%s'%s.", path, name, f"; is '{meant}' meant?" if meant else "")
