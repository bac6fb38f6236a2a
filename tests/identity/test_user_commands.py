"""``ferrotype user``: roles are granted, revoked and listed, and their file is replaced whole."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from local_accounts import htpasswd, replace_file, settings

from ferrotype.cli import main
from ferrotype.identity import accounts
from ferrotype.identity.accounts import BrokenAccounts


@pytest.fixture
def home(tmp_path):
    htpasswd(tmp_path / "users", {"alice": "x", "bob": "y"})
    (tmp_path / "roles").unlink()
    settings(tmp_path)
    return tmp_path


def user(home: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["user", *words, "--config-file", str(home / "api.conf")])


def test_roles_are_granted_revoked_and_listed(home):
    roles = home / "roles"
    assert user(home, "grant", "alice", "--role", "admin").output == ""  # ACC-04
    assert stat.S_IMODE(roles.stat().st_mode) == 0o600
    user(home, "grant", "bob", "--project", "demo", "--role", "Reader")
    user(home, "grant", "bob", "--project", "demo", "--role", "member", "--role", "reader")
    user(home, "grant", "bob", "--project", "lab", "--role", "reader")
    assert roles.read_text() == "alice:default:admin\nbob:demo:reader,member\nbob:lab:reader\n"
    assert user(home, "list").output.splitlines() == [
        "alice  default  admin,manager,member,reader",
        "bob  demo  reader,member",
        "bob  lab  reader",
    ]
    assert user(home, "revoke", "bob", "--project", "demo", "--role", "member").exit_code == 0
    assert roles.read_text() == "alice:default:admin\nbob:demo:reader\nbob:lab:reader\n"
    user(home, "revoke", "bob", "--role", "reader", "--project", "lab")
    user(home, "revoke", "bob")
    assert user(home, "list").output.splitlines() == ["alice  default  admin,manager,member,reader", "bob  -  -"]
    user(home, "revoke", "alice")
    assert accounts.read_roles(roles.read_text()) == {} and roles.read_text().startswith("#")  # WATCH-05


def test_what_cannot_be_done_is_said_and_changes_nothing(home):
    roles = home / "roles"
    answer = user(home, "grant", "eve", "--role", "reader")
    assert answer.exit_code == 0 and f"htpasswd -B -C 10 {home}/users eve" in answer.output
    assert "eve  default  reader  (no password)" in user(home, "list").output
    before = roles.read_text()
    for words in (
        ["grant", "a:b", "--role", "reader"],
        ["grant", "bob", "--role", "two words"],
        ["grant", "bob", "--role", "a,b\nalice:default:admin"],
        ["grant", "bob", "--project", "p/q", "--role", "x"],
        ["grant", "bob\nalice", "--role", "x"],
        ["revoke", "bob"],
        ["revoke", "eve", "--role", "admin"],
    ):
        answer = user(home, *words)
        assert (answer.exit_code, roles.read_text()) == (1, before), words
    replace_file(roles, "eve:default:reader")
    answer = user(home, "grant", "bob", "--role", "reader")
    assert answer.exit_code == 1 and "may be truncated" in answer.output  # ACC-03
    assert [path.name for path in home.iterdir() if "roles" in path.name] == ["roles"]


def test_the_file_keeps_its_comments_mode_owner_and_place(home):
    target = replace_file(home / "elsewhere", "# ours\n\nbob:demo:reader\n  # odd\n".replace("  # odd\n", ""))
    target.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(target, 12345, 54321)
    before = target.stat()
    (home / "roles").symlink_to("elsewhere")
    assert user(home, "grant", "alice", "--role", "admin").exit_code == 0
    assert (home / "roles").is_symlink() and target.read_text() == "# ours\n\nbob:demo:reader\nalice:default:admin\n"
    after = target.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)  # ACC-04
    assert after.st_ino != before.st_ino  # It was replaced, not written over.


def test_grants_at_once_lose_nothing(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: accounts.grant(tmp_path / "roles", f"u{n}", "demo", ["reader"]), range(40)))
    assert len(accounts.read_roles((tmp_path / "roles").read_text())) == 40  # ACC-04


def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    accounts.grant(tmp_path / "roles", "bob", "demo", ["reader"])

    def full(descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        accounts.grant(tmp_path / "roles", "bob", "demo", ["admin"])
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("roles", "bob:demo:reader\n")]


def test_a_token_is_added_to_a_whole_file_only(tmp_path):
    (tmp_path / "tokens").write_text(f"a:{'0' * 64}:demo:reader")
    with pytest.raises(BrokenAccounts, match="may be truncated"):
        accounts.add_token(tmp_path / "tokens", ["b", "1" * 64, "demo", "reader"])


def test_there_are_users_only_with_http_basic(tmp_path):
    (tmp_path / "api.conf").write_text("")
    answer = user(tmp_path, "list")
    assert answer.exit_code == 2 and "auth_strategy is http_basic" in answer.output
