"""The deployment's policy files and property protections: read at start and whenever they change."""

import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ferrotype.config.policy import Policy, PropertyProtectionConfig
from ferrotype.rules import defaults
from ferrotype.rules.permit import Authoriser
from ferrotype.rules.policy import compiled, nearest, unknown_credentials
from ferrotype.rules.policy_syntax import PolicyError, parse
from ferrotype.rules.protection import Protection, ProtectionError, protection, sections
from ferrotype.service.watched_files import BrokenFiles, Entries, Snapshot, WatchedFiles, log


class _Rules(NamedTuple):
    authoriser: Authoriser
    #: all rules
    names: frozenset[str]


class Policies:
    """The Authoriser and, if the deployment has one, the Protection that the files describe.

    Both are immutable and replaced as a whole. ``protection`` decides by the rules of ``authoriser``, so a request
    that uses one pair sees one policy, whatever changes while it runs.

    Raises BrokenFiles if a file is invalid at the start.
    """

    def __init__(
        self,
        config: Policy,
        protections: PropertyProtectionConfig | None = None,
        snapshot: Snapshot | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._config, self._snapshot, self._clock = config, snapshot, clock
        self._protections: WatchedFiles[Protection] | None = None
        self._rules = self._watch()
        self._warn()
        if protections and (file := protections.file):
            self._protections = WatchedFiles(
                "property_protection_file",
                lambda: [file],
                _sections,
                lambda files: self._protect(file, files[file], protections.by_roles),
                snapshot,
                clock,
            )

    @property
    def authoriser(self) -> Authoriser:
        """The Authoriser in force."""
        return self._rules.current.authoriser

    @property
    def protection(self) -> Protection | None:
        """The property protections in force, bound to the Authoriser in force; None without a file."""
        return self._protections.current.bound_to(self.authoriser.allows) if self._protections else None

    def refresh(self) -> bool:
        """Check the files; return whether ``authoriser`` or ``protection`` has changed."""
        rules_changed = self._rules.refresh()
        if rules_changed:
            self._warn()
            if self._protections:
                self._protections.reconsider()
        protections_changed = self._protections is not None and self._protections.refresh()
        if protections_changed:
            self._rules.reconsider()
        return rules_changed or protections_changed

    def configure(self, config: Policy) -> None:
        """Apply another configuration; if its files are invalid, log an error and keep the previous contents."""
        before, self._config = self._config, config
        places = {config.file, *config.dirs}
        stays = all(path in places or path.parent in places for path in self._rules.files)
        try:
            if stays and (before.file, before.dirs) == (config.file, config.dirs):
                self._rules.recombine()
                return
            rules = self._watch(anew=True)
            if gone := self._rules.lost_by(rules):
                raise BrokenFiles(f"{gone} has disappeared")
        except BrokenFiles as error:
            self._config = before
            log.error("policy files: %s; the previous contents stay in force", error)
        else:
            self._rules = rules
            rules.keep()
            self._warn()

    def _watch(self, anew: bool = False) -> WatchedFiles[_Rules]:
        return WatchedFiles("policy files", self._find, _parse, self._combine, self._snapshot, self._clock, anew)

    def _find(self) -> list[Path]:
        """Return every policy file; a later one overrides those before it."""
        try:
            file = self._config.file
            paths = [file] if file and (file.is_symlink() or file.exists()) else []
            for directory in self._config.dirs:
                if directory.is_dir():
                    names = (path for path in directory.iterdir() if not path.name.startswith("."))
                    paths += sorted(path for path in names if not path.is_dir())
            for path in paths:
                if not stat.S_ISREG(path.stat().st_mode):
                    raise BrokenFiles(f"{path} is not a file")
        except OSError as error:
            raise BrokenFiles(f"the policy files cannot be found: {error}") from error
        return paths

    def _combine(self, files: Mapping[Path, Entries]) -> _Rules:
        texts: dict[str, Any] = defaults.texts(self._config.new_defaults)
        for rules in files.values():
            texts |= rules
        if self._protections and (missing := self._protections.current.rules - texts.keys()):
            raise BrokenFiles(
                f"property_protection_file names the policy rule '{min(missing)}', which does not exist"
            )
        try:
            rules_by_name = compiled(texts, self._config.default_rule)
        except (PolicyError, RecursionError) as error:
            raise BrokenFiles(str(error)) from error
        authoriser = Authoriser(
            rules_by_name,
            filters_lists=texts["get_image"] != defaults.DEFAULTS["get_image"].text,
            projects_only=self._config.enforce_scope,
            guards_locations=any("get_image_location" in rules for rules in files.values()),
        )
        return _Rules(authoriser, frozenset(texts))

    def _protect(self, file: Path, sections: Entries, by_roles: bool) -> Protection:
        passes = None if by_roles else self.authoriser.allows
        try:
            return protection(sections, passes, self._rules.current.names)
        except ProtectionError as error:
            raise BrokenFiles(f"{file}: {error}") from error

    def _warn(self) -> None:
        for path, rules in self._rules.files.items():
            _warn_of_unknown(path, rules)


def _sections(path: Path, text: str) -> Entries:
    try:
        return sections(text)
    except ProtectionError as error:
        raise BrokenFiles(f"{path}: {error}") from error


def _parse(path: Path, text: str) -> Mapping[str, Any]:
    import yaml  # Only where there is a file to read.

    try:
        rules = yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: a date that does not exist
        raise BrokenFiles(f"{path} cannot be read: {error}") from error
    if rules is None:
        return {}
    if not isinstance(rules, dict) or not all(isinstance(name, str) for name in rules):
        raise BrokenFiles(f"{path} must hold an object of rules, each with its name")
    for name, rule in rules.items():
        try:
            parse(name, rule)  # Rules that other files override must be right too.
        except PolicyError as error:
            raise BrokenFiles(f"{path}: {error}") from error
    return rules


def _warn_of_unknown(path: Path, rules: Mapping[str, Any]) -> None:
    """Log each rule that no call and no other rule of the file uses, and each check that no caller can pass."""
    known = [*defaults.DEFAULTS, *defaults.ACCEPTED]
    for name, text in rules.items():
        try:
            for kind in unknown_credentials(text):
                log.warning("%s: rule '%s' asks for '%s', which no caller has", path, name, kind)
        except PolicyError:
            continue  # Combining the rules reports the error.
        if name in known or any(f"rule:{name}" in str(other) for other in rules.values()):
            continue
        meant = nearest(name, known)
        log.warning("%s: no call asks for the rule '%s'%s", path, name, f"; is '{meant}' meant?" if meant else "")
