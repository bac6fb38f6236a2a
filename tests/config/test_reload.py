"""SIGHUP: every change in the configuration is reloaded, or reported as needing a restart."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from ferrotype.config import Config
from ferrotype.config.accounts import Accounts
from ferrotype.config.keystone import Keystone
from ferrotype.config.login import Login
from ferrotype.config.read import read
from ferrotype.config.reload import reloadable_changes
from ferrotype.config.unified_limits import UnifiedLimits
from ferrotype.testing.client import config

HERE = Path("/srv")
LOGIN = Login("password", {})
WHOLE = replace(
    config(HERE), accounts=Accounts(HERE / "users"), keystone=Keystone(LOGIN), unified_limits=UnifiedLimits(LOGIN)
)
SILENT = ("warnings",)
PLACES = [
    (field.name, each.name)
    for field in fields(Config)
    if field.name not in SILENT
    for each in fields(getattr(WHOLE, field.name))
]


@pytest.mark.parametrize(("part", "name"), PLACES, ids=[".".join(place) for place in PLACES])
def test_every_change_is_reloaded_or_reported(part, name):
    new = replace(WHOLE, **{part: replace(getattr(WHOLE, part), **{name: object()})})
    after, needs_restart = reloadable_changes(WHOLE, new)
    if needs_restart:
        assert (after, len(needs_restart)) == (WHOLE, 1) and "restart" in needs_restart[0]  # CFA-04
    else:
        assert after == new


@pytest.mark.parametrize("part", ["accounts", "keystone", "unified_limits"])
def test_an_added_or_removed_section_needs_a_restart(part):
    without = replace(WHOLE, **{part: None})
    for old, new in ((WHOLE, without), (without, WHOLE)):
        after, needs_restart = reloadable_changes(old, new)
        assert (after, len(needs_restart)) == (old, 1)


def test_the_level_is_reloaded_and_the_log_file_needs_a_restart():
    new = replace(WHOLE, logging=replace(WHOLE.logging, level="DEBUG", file=HERE / "log"))
    after, needs_restart = reloadable_changes(WHOLE, new)
    assert after.logging == replace(WHOLE.logging, level="DEBUG")
    assert needs_restart == ("[DEFAULT] log_file or [DEFAULT] log_dir has changed; it takes effect after a restart.",)


def test_another_property_protection_file_needs_a_restart(tmp_path):
    paths = [tmp_path / name for name in ("a.conf", "b.conf", "protect")]
    for path in paths:
        path.write_text("[DEFAULT]\nproperty_protection_file = protect\n" if path.name == "b.conf" else "")
    old, new = (read([path], [], {}) for path in paths[:2])
    after, needs_restart = reloadable_changes(old, new)
    assert (after.protection, new.protection.file) == (old.protection, paths[2])
    assert needs_restart == ("[DEFAULT] property_protection_file has changed; it takes effect after a restart.",)
