"""The deployment's policy files: read at start and whenever they change, the last good ones kept."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tintype.config.model import Policy, Protections
from tintype.model.caller import Caller
from tintype.model.errors import TintypeError
from tintype.rules import defaults
from tintype.rules.permit import Authoriser
from tintype.rules.policy import PolicyError, compiled, nearest
from tintype.rules.protection import Protection, ProtectionError, protection

log = logging.getLogger("tintype.policy")


class BrokenPolicy(TintypeError):
    """A policy file cannot be read or understood."""


class Policies:
    """What the files say, as an Authoriser that is replaced whole."""

    def __init__(self, config: Policy):
        self._config = config
        self._seen: tuple[Any, ...] = ()
        self.authoriser = self.read()

    def read(self) -> Authoriser:
        """Return an Authoriser of the files as they are; raise BrokenPolicy and change nothing."""
        self._seen = self._signature()
        texts: dict[str, Any] = defaults.texts(self._config.new_defaults)
        for path in self._files():
            rules = _read(path)
            _remark_unknown(path, rules)
            texts |= rules
        self._names = frozenset(texts)
        try:
            rules_by_name = compiled(texts, self._config.default_rule)
        except PolicyError as error:
            raise BrokenPolicy(str(error)) from error
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
        before, self._config = self._config, config
        try:
            self.read()
        except BrokenPolicy as error:
            self._config = before
            log.error("The policy files are broken; the rules before stay in force: %s", error)

    def protection(self, config: Protections) -> Protection | None:
        """Return the property protections of a file; None without one. A file that is wrong stops the start."""
        if config.file is None:
            return None

        def passes(caller: Caller, rule: str) -> bool:
            return self.authoriser.allows(caller, rule)

        try:
            text = config.file.read_text()
            return protection(text, None if config.by_roles else passes, self._names)
        except (OSError, UnicodeDecodeError, ProtectionError) as error:
            raise BrokenPolicy(f"property_protection_file = {config.file}: {error}") from error

    def _files(self) -> Iterator[Path]:
        if self._config.file and self._config.file.is_file():
            yield self._config.file
        for directory in self._config.dirs:
            if directory.is_dir():
                yield from sorted(path for path in directory.iterdir() if path.suffix in (".yaml", ".yml", ".json"))

    def _signature(self) -> tuple[Any, ...]:
        found = []
        for path in self._files():
            stat = path.stat()
            found.append((path, stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)


def _read(path: Path) -> Mapping[str, Any]:
    import yaml  # Only where there is a file to read.

    try:
        rules = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
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
