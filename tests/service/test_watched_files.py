"""Files that count while the service runs: whatever becomes of them, nothing is read that is not whole."""

import json
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ferrotype.config import ConfigError
from ferrotype.config.accounts import Accounts
from ferrotype.config.policy import Policy, PropertyProtectionConfig
from ferrotype.config.read import read
from ferrotype.config.reload import reloadable_changes
from ferrotype.identity.tokens import hashed
from ferrotype.service.account_files import AccountFiles
from ferrotype.service.policies import Policies
from ferrotype.service.watched_files import GRACE, Snapshot
from ferrotype.testing.callers_process import KeepAliveClient
from ferrotype.testing.client import ADMIN, OWNER
from ferrotype.testing.process import Served, served

HASH = "$2b$04$" + "." * 53


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Kind:
    """One kind of watched file: where it is, contents, and what the service makes of them."""

    file: str
    texts: tuple[str, str]
    start: Callable[[Path, Any, Snapshot | None], Any]
    says: Callable[[Any], Any]


def _policies(home: Path, clock: Clock, snapshot: Snapshot | None) -> Policies:
    (home / "policy.d").mkdir(exist_ok=True)
    return Policies(Policy(home / "policy.yaml", (home / "policy.d",)), None, snapshot, clock)


def _protected(home: Path, clock: Clock, snapshot: Snapshot | None) -> Policies:
    return Policies(Policy(), PropertyProtectionConfig(home / "protect"), snapshot, clock)


def _accounts(home: Path, clock: Clock, snapshot: Snapshot | None) -> AccountFiles:
    for name in ("users", "roles", "tokens"):
        if not (home / name).is_symlink() and not (home / name).exists() and not (snapshot and snapshot._all()):
            (home / name).write_text(f"alice:{HASH}\nbob:{HASH}\n" if name == "users" else "")
    return AccountFiles(Accounts(home / "users", home / "roles", home / "tokens"), snapshot, clock)


def _decisions(policies: Policies) -> list[bool]:
    actions = ("add_image", "stores_info_detail")
    return [policies.authoriser.allows(caller, action) for caller in (ADMIN, OWNER) for action in actions]


def _properties(policies: Policies) -> list[bool]:
    assert policies.protection
    return [policies.protection.allows(caller, "read", name) for caller in (ADMIN, OWNER) for name in "ab"]


def _grants(files: AccountFiles) -> list[tuple[str, str, tuple[Any, ...]]]:
    return [(each.name, each.secret, each.grants) for each in files.accounts.all()]


SECTION = "[{}]\ncreate = admin\nread = {}\nupdate = admin\ndelete = admin\n"
RULES = 'get_images: "role:reader"\nadd_image: "role:admin"\nstores_info_detail: "role:member"\n'
KINDS = {
    "policy_file": Kind("policy.yaml", (RULES, RULES.replace("admin", "member")), _policies, _decisions),
    "policy_dirs": Kind("policy.d/1", (RULES, RULES.replace("admin", "member")), _policies, _decisions),
    "property_protection_file": Kind(
        "protect",
        (SECTION.format("a", "admin") + SECTION.format("b", "admin"), SECTION.format("a|c", "@")),
        _protected,
        _properties,
    ),
    "http_basic_auth_user_file": Kind(
        "users", (f"alice:{HASH}\nbob:{HASH}\n", f"alice:{HASH}\nbob:{HASH[:-1]}x\neve:{HASH}\n"), _accounts, _grants
    ),
    "roles_file": Kind(
        "roles", ("alice:demo:reader\nbob:demo:member\n", "alice:demo:admin\nbob:demo:member\n"), _accounts, _grants
    ),
    "tokens_file": Kind(
        "tokens",
        tuple(f"a:{hashed('a')}:demo:{role}\nb:{hashed('b')}:demo:reader\n" for role in ("reader", "admin")),
        _accounts,
        _grants,
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


class Run:
    """A service's view of one file, and how often the log told of something."""

    def __init__(self, home: Path, kind: Kind, snapshot: Snapshot | None = None):
        self.clock = Clock()
        self.path = home / kind.file
        self._kind = kind
        if snapshot is None:
            self.path.parent.mkdir(exist_ok=True)
            self.path.write_text(kind.texts[0])
        self.files = kind.start(home, self.clock, snapshot)
        self.says = kind.says(self.files)

    def look(self, seconds: float = 2.0) -> Any:
        """Look again so many seconds later."""
        self.clock.now += seconds
        self.files.refresh()
        return self._kind.says(self.files)

    def stays(self, looks: int = 12) -> bool:
        """Tell whether nothing changes for longer than any change has to wait."""
        return all(self.look() == self.says for _ in range(looks))


def logged(caplog: pytest.LogCaptureFixture, level: int = logging.ERROR) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def _fail(path: Path, fault: str) -> None:
    text = path.read_text()
    path.unlink()
    match fault:
        case "a directory":
            path.mkdir()
        case "a link to nothing":
            path.symlink_to("nowhere")
        case "empty":
            path.write_text("")
        case "blank":
            path.write_text(" \n\n")
        case "not UTF-8":
            path.write_bytes(b"\xff\xfe\n")
        case "nonsense":
            path.write_text("[[[\n")
        case "without its last line end":
            path.write_text(text[:-1])


FAULTS = [
    "gone", "a directory", "a link to nothing", "empty", "blank", "not UTF-8", "nonsense",
    "without its last line end",
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_read_before_stays_with_one_error_in_the_log(tmp_path, caplog, kind, fault):
    run = Run(tmp_path, kind)
    before = caplog.records.copy()
    _fail(run.path, fault)
    assert run.stays()  # WATCH-02, WATCH-03
    errors = logged(caplog)
    assert len(errors) == 1 and str(run.path) in errors[0] and "stay in force" in errors[0]
    assert "$2b$" not in errors[0] and len(caplog.records) == len(before) + 1  # SEC-115
    if run.path.is_dir():
        run.path.rmdir()
    else:
        run.path.unlink(missing_ok=True)
    run.path.write_text(kind.texts[1])
    for _ in range(9):
        run.look()
    assert run.look() != run.says and len(logged(caplog)) == 1  # WATCH-01: what is whole counts again


@pytest.mark.slow
def test_a_file_truncated_at_any_byte_changes_nothing_until_it_has_been_so_for_a_while(tmp_path, caplog, kind):
    run = Run(tmp_path, kind)
    for length in range(len(kind.texts[0])):
        cut = kind.texts[0][:length]
        run.path.write_text(cut)
        assert [run.look(), run.look(), run.look(GRACE / 2)] == [run.says] * 3, cut  # WATCH-04
        caplog.clear()
        if run.look(GRACE) != run.says:
            assert cut.endswith("\n") and "the change has taken effect" in caplog.text, cut  # WATCH-03
        run.path.write_text(kind.texts[0])
        assert (run.look(), run.look())[1] == run.says


@pytest.mark.slow
def test_a_new_file_truncated_in_a_line_is_never_read(tmp_path, kind):
    run = Run(tmp_path, kind)
    for length in range(len(kind.texts[1])):
        if not kind.texts[1][:length].endswith("\n"):
            run.path.write_text(kind.texts[1][:length])
            assert [run.look(), run.look(), run.look(2 * GRACE)] == [run.says] * 3  # WATCH-03


def test_a_change_takes_effect_when_two_looks_find_it_the_same(tmp_path, kind):
    run = Run(tmp_path, kind)
    for number in range(5):
        run.path.write_text(kind.texts[1] + "# a comment\n" * number)
        assert run.look(GRACE) == run.says  # WATCH-01
    if kind.file != "protect":  # It has lost a section.
        assert run.look() != run.says
    assert run.look(GRACE) != run.says


def test_a_change_that_takes_something_away_waits_and_is_announced(tmp_path, caplog, kind):
    run = Run(tmp_path, kind)
    lines = kind.texts[1].splitlines(keepends=True)
    fewer = "".join(lines[1:]) if kind.file != "protect" else kind.texts[1]
    for comment in ("", "# still working on it\n"):
        run.path.write_text(fewer + comment)
        assert [run.look(), run.look(), run.look(GRACE - 3)] == [run.says] * 3  # WATCH-04
    announced = [line for line in logged(caplog, logging.WARNING) if "no longer has" in line]
    assert len(announced) == 2 and "$2b$" not in caplog.text
    assert run.look(3) != run.says and logged(caplog) == []


def test_a_rule_that_is_cut_off_behind_a_line_waits_too(tmp_path):
    run = Run(tmp_path, KINDS["policy_file"])
    run.path.write_text('add_image: "role:none"\n')
    assert (run.look(), run.look(GRACE), run.look())[2] != run.says
    run.path.write_text("get_images: '@'\nstores_info_detail: '!'\nadd_image: role:member\n  and role:none\n")
    run.says = (run.look(), run.look())[1]
    run.path.write_text("get_images: '@'\nstores_info_detail: '!'\nadd_image: role:member\n")
    assert [run.look(), run.look(), run.look(GRACE / 2)] == [run.says] * 3  # WATCH-04
    assert run.look(GRACE) != run.says


def test_a_file_that_is_empty_on_purpose_has_a_comment(tmp_path, kind):
    run = Run(tmp_path, kind)
    run.path.write_text("# nothing any more\n")
    assert [run.look(), run.look()] == [run.says] * 2
    assert run.look(GRACE) != run.says  # WATCH-05
    says = run.look()
    if kind.file.startswith("policy"):
        run.path.unlink()  # WATCH-02: nothing is lost with it.
        assert run.look() == run.look() == says


def test_a_policy_file_can_get_another_name_but_not_go(tmp_path, caplog):
    kind = KINDS["policy_dirs"]
    run = Run(tmp_path, kind)
    run.path.rename(run.path.with_name("2"))
    assert run.stays() and logged(caplog) == []
    run.path.with_name("2").unlink()  # WATCH-02
    assert run.stays() and len(logged(caplog)) == 1


def test_what_is_broken_in_one_file_does_not_hold_up_another(tmp_path):
    run = Run(tmp_path, KINDS["roles_file"])
    (tmp_path / "tokens").unlink()
    (tmp_path / "users").write_text("broken\n")
    run.path.write_text(KINDS["roles_file"].texts[1])
    assert (run.look(), run.look())[1] != run.says  # WATCH-07


@pytest.mark.parametrize("fault", FAULTS)
def test_a_later_process_goes_on_with_what_the_others_have(tmp_path, caplog, kind, fault):
    first = Run(tmp_path, kind)
    snapshot = Snapshot()
    first.files = kind.start(tmp_path, first.clock, snapshot)
    first.path.write_text(kind.texts[1])
    first.look(), first.look(2 * GRACE)
    assert first.look() != first.says
    _fail(first.path, fault)
    caplog.clear()
    later = Run(tmp_path, kind, snapshot)
    assert later.says == first.look()  # WATCH-06
    assert later.stays() and len(logged(caplog)) == 1
    if later.path.is_dir():
        later.path.rmdir()
    else:
        later.path.unlink(missing_ok=True)
    later.path.write_text(kind.texts[0])
    assert (later.look(), later.look(2 * GRACE), later.look())[2] == first.says


def test_a_reload_that_looks_for_policies_elsewhere_loses_none(tmp_path, caplog):
    run, snapshot = Run(tmp_path, KINDS["policy_file"]), Snapshot()
    here, elsewhere = Policy(tmp_path / "policy.yaml"), Policy(tmp_path / "policy.json")
    first = Policies(here, None, snapshot, run.clock)
    says = _decisions(first)
    run.path.unlink()
    first.configure(elsewhere)
    later = Policies(elsewhere, None, snapshot, run.clock)
    for policies in (first, later):
        for _ in range(6):
            policies.refresh()
        assert _decisions(policies) == says  # WATCH-02
    assert len(logged(caplog)) == 3 and all("policy.yaml has disappeared" in line for line in logged(caplog))
    run.path.write_text(KINDS["policy_file"].texts[0])
    elsewhere.file.write_text(KINDS["policy_file"].texts[1])
    later.refresh(), later.refresh(), later.refresh()
    assert _decisions(later) == says
    starting, errors = Policies(elsewhere, None, snapshot), len(logged(caplog))
    first.configure(elsewhere)
    assert _decisions(first) != says
    later.refresh()
    assert _decisions(later) == _decisions(first) == _decisions(Policies(elsewhere, None, snapshot))  # WATCH-06
    starting.refresh(), starting.refresh()
    assert (_decisions(starting), len(logged(caplog))) == (_decisions(first), errors)
    elsewhere.file.rename(tmp_path / "renamed")
    first.configure(Policy(tmp_path / "renamed"))
    assert _decisions(first) != says


def test_a_snapshot_that_was_not_written_whole_is_none():
    snapshot = Snapshot()
    assert snapshot.load("a") is None
    snapshot.store("a", {"x": "long" * 1000})
    snapshot.store("b", {"y": "2"})
    snapshot.store("a", {"x": "1"})
    assert (snapshot.load("a"), snapshot.load("b")) == ({"x": "1"}, {"y": "2"})
    os.ftruncate(snapshot._descriptor, 5)
    assert snapshot.load("a") is None


# The service as a process.

SETTINGS = """
[DEFAULT]
bind_host = 127.0.0.1
auth_strategy = none
[oslo_policy]
policy_file = {home}/policy.yaml
[database]
connection = sqlite:///{home}/t.sqlite
[glance_store]
filesystem_store_datadir = {home}/images
"""


@pytest.mark.slow
def test_a_worker_that_replaces_another_has_its_rules_although_their_file_is_gone(tmp_path):
    (tmp_path / "api.conf").write_text(SETTINGS.format(home=tmp_path))
    (tmp_path / "policy.yaml").write_text('add_image: "!"\n')
    with served(tmp_path, "--config-file", str(tmp_path / "api.conf")) as service:
        assert _created(service) == 403
        (tmp_path / "policy.yaml").unlink()
        (worker,) = service.workers()
        os.kill(worker, signal.SIGKILL)
        end = time.monotonic() + 60
        while service.log.read_text().count("is ready") < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert _created(service) == 403  # WATCH-06
        while "policy.yaml has disappeared; the previous contents stay in force" not in service.log.read_text():
            assert time.monotonic() < end
            time.sleep(0.02)
        assert _created(service) == 403


def _created(service: Served) -> int:
    with KeepAliveClient(service.port) as ask:
        return ask("POST", "/v2/images", json={}).status


def test_a_policy_file_that_is_named_and_missing_stops_the_start_and_an_implied_one_does_not(tmp_path):
    (tmp_path / "api.conf").write_text(SETTINGS.format(home=tmp_path))
    with pytest.raises(ConfigError, match=r"policy_file = .* names .*policy\.yaml, which is not a file"):
        read([tmp_path / "api.conf"], [], {})  # POL-27
    (tmp_path / "api.conf").write_text("")
    assert read([tmp_path / "api.conf"], [], {}).policy.file == tmp_path / "policy.yaml"


@pytest.mark.parametrize("fault", [*FAULTS, "half"])
def test_a_schema_file_that_breaks_changes_nothing_at_sighup(tmp_path, fault):
    (tmp_path / "api.conf").write_text("")
    schema = tmp_path / "schema-image.json"
    schema.write_text(json.dumps({"team": {"type": "string"}, "other": {"type": "string"}}, indent=1) + "\n")
    running = read([tmp_path / "api.conf"], [], {})
    assert set(running.api.schema_properties) == {"team", "other"}
    if fault == "half":
        schema.write_text(schema.read_text()[:40])
    else:
        _fail(schema, fault)
    try:
        found = read([tmp_path / "api.conf"], [], {})
    except ConfigError as error:
        assert "schema-image.json" in error.problems[0]  # The whole reload is refused.
        return
    after, needs_restart = reloadable_changes(running, found)
    assert after.api == running.api  # WATCH-08
    if fault != "without its last line end":
        assert needs_restart == ("schema-image.json has changed; it takes effect after a restart.",)
