"""SIGHUP: whatever changes in the configuration follows, or is told to wait for a restart."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from ferrotype.config.model import Accounts, Config, Keystone, Login, UnifiedLimits
from ferrotype.config.read import read, reloadable
from ferrotype.testing.client import config

HERE = Path("/srv")
LOGIN = Login("password", {})
WHOLE = replace(
    config(HERE), accounts=Accounts(HERE / "users"), keystone=Keystone(LOGIN), unified_limits=UnifiedLimits(LOGIN)
)
SILENT = ("remarks", "files")
PLACES = [
    (field.name, each.name)
    for field in fields(Config)
    if field.name not in SILENT
    for each in fields(getattr(WHOLE, field.name))
]


@pytest.mark.parametrize(("part", "name"), PLACES, ids=[".".join(place) for place in PLACES])
def test_no_change_is_forgotten(part, name):
    new = replace(WHOLE, **{part: replace(getattr(WHOLE, part), **{name: object()})})
    after, waiting = reloadable(WHOLE, new)
    if waiting:
        assert (after, len(waiting)) == (WHOLE, 1) and "restart" in waiting[0]  # CFA-04
    else:
        assert after == new


@pytest.mark.parametrize("part", ["accounts", "keystone", "unified_limits"])
def test_a_part_that_comes_or_goes_waits(part):
    without = replace(WHOLE, **{part: None})
    for old, new in ((WHOLE, without), (without, WHOLE)):
        after, waiting = reloadable(old, new)
        assert (after, len(waiting)) == (old, 1)


def test_a_level_follows_and_a_log_file_waits():
    new = replace(WHOLE, logging=replace(WHOLE.logging, level="DEBUG", file=HERE / "log"))
    after, waiting = reloadable(WHOLE, new)
    assert after.logging == replace(WHOLE.logging, level="DEBUG")
    assert waiting == ("[DEFAULT] log_file has changed; it takes effect after a restart.",)


def test_another_file_of_protections_waits_and_is_told(tmp_path):
    paths = [tmp_path / name for name in ("a.conf", "b.conf", "protect")]
    for path in paths:
        path.write_text("[DEFAULT]\nproperty_protection_file = protect\n" if path.name == "b.conf" else "")
    old, new = (read([path], [], {}) for path in paths[:2])
    after, waiting = reloadable(old, new)
    assert (after.protection, new.protection.file) == (old.protection, paths[2])
    assert waiting == ("[DEFAULT] property_protection_file has changed; it takes effect after a restart.",)
