"""The files of users, roles and API tokens: what is understood, what is refused and how, and what changes do."""

import logging
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from local_accounts import (
    ALICE,
    BOB,
    LINES,
    RITA,
    basic,
    bcrypt_hash,
    client_without_keystone,
    htpasswd,
    look_again,
    replace_file,
    settings,
)
from needs import need

from ferrotype.config.accounts import Accounts as AccountsConfig
from ferrotype.identity.accounts import Account, Accounts, Grant
from ferrotype.identity.none import PROJECT
from ferrotype.identity.tokens import hashed
from ferrotype.service.account_files import AccountFiles
from ferrotype.service.watched_files import BrokenFiles
from ferrotype.testing.process import served

HASH = "$2b$04$" + "." * 53
GOOD = f"alice:{HASH}"


def read(home: Path, users: str = GOOD + "\n", roles: str = "", tokens: str | None = None) -> Accounts:
    """Return the accounts of files with these contents."""
    files = AccountsConfig(replace_file(home / "users", users), replace_file(home / "roles", roles))
    if tokens is not None:
        files = replace(files, tokens=replace_file(home / "tokens", tokens))
    return AccountFiles(files).accounts


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("alice", "name:hash"),
        (f"{GOOD}:demo", "name:hash"),
        (f"{GOOD}:demo:member,reader", "`ferrotype user grant alice --project demo --role member --role reader`"),
        (f"{GOOD}:demo:member:more", "name:hash"),
        ("bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "is not a bcrypt hash"),
        ("bob:$apr1$Jh8M5uTD$0zL2bQ1uDXsKk1gTq9b3D/", "is not a bcrypt hash"),
        ("bob:plain", "is not a bcrypt hash"),
        ("bob:" + HASH.replace("$2b$04$", "$2x$04$"), "is not a bcrypt hash"),
        ("bob:" + HASH.replace("$2b$04$", "$2b$31$"), "cost from 4 to 16"),
        (":" + HASH, "a name must have"),
        ("a\tb:" + HASH, "a name must have"),
        (GOOD + "\n" + GOOD, "'alice' is there twice"),
    ],
)
def test_a_user_file_that_is_wrong_is_refused_with_its_line_and_without_its_secrets(tmp_path, line, says):
    with pytest.raises(BrokenFiles) as caught:
        read(tmp_path, f"# comment\n{line}\n")  # ACC-01
    text = str(caught.value)
    assert says in text
    assert f"{tmp_path}/users, line " in text
    assert "$2" not in text and "plain'" not in text and "{SHA}" not in text  # SEC-115


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("alice", "user:project:role,role"),
        ("alice:demo", "user:project:role,role"),
        ("alice:demo:member:more", "user:project:role,role"),
        ("alice:a project:member", "letters, digits"),
        ("alice:demo:", "letters, digits"),
        ("alice::member", "letters, digits"),
        ("alice:demo:member,", "letters, digits"),
        (":demo:member", "a name must have"),
        ("alice:demo:member\nbob:demo:member\nalice:demo:reader", "two lines for project 'demo'"),
        ("alice:default:member\nalice:00000000000000000000000000000001:reader", "two lines for project"),
    ],
)
def test_a_file_of_roles_that_is_wrong_is_refused_with_its_line(tmp_path, line, says):
    with pytest.raises(BrokenFiles) as caught:
        read(tmp_path, roles=f"# comment\n{line}\n")  # ACC-02
    assert says in str(caught.value) and f"roles_file: {tmp_path}/roles, line " in str(caught.value)


TOKEN = f"robot:{hashed('x')}:demo:member,reader"


@pytest.mark.parametrize(
    ("which", "line"),
    [("users", GOOD), ("roles", "alice:demo:administrator"), ("tokens", TOKEN), ("tokens", TOKEN + "-of-nothing")],
)
def test_a_line_that_is_cut_off_anywhere_never_gives_more_rights(tmp_path, which, line):
    whole = read(tmp_path, **{which: f"{line}\n"})
    for length in range(len(line) + 1):
        try:
            found = read(tmp_path, **{which: line[:length]})
        except BrokenFiles:
            continue  # ACC-03
        for account in found.all():
            for grant in account.grants:
                known = whole.named(account.name)
                assert known and set(grant.roles) <= set(known.roles(grant.project)), line[:length]
        assert length == 0


def test_what_htpasswd_writes_never_changes_roles(tmp_path):
    """htpasswd cuts a line that it rewrites to two fields; once that made an administrator of a reader."""
    need("htpasswd")
    htpasswd(tmp_path / "users", {"alice:default:admin": "wonder", "rita:demo:reader": "a:b:c"})
    with client_without_keystone(tmp_path) as api:
        for options in (["-bB", "-C", "4"], ["-bBC4"]):
            subprocess.run(["htpasswd", *options, tmp_path / "users", "rita", "new"], check=True, capture_output=True)
            look_again(api)
            assert api.get("/v2/images", headers=basic("rita", "new")).status == 200
            assert api.post("/v2/images", json={}, headers=basic("rita", "new")).status == 403  # ACC-01
        subprocess.run(["htpasswd", "-bBC4", tmp_path / "users", "eve", "new"], check=True, capture_output=True)
        look_again(api)
        assert api.get("/v2/images", headers=basic("eve", "new")).status == 403  # ACC-02
        subprocess.run(["htpasswd", "-D", tmp_path / "users", "rita"], check=True, capture_output=True)
        look_again(api)
        assert api.get("/v2/images", headers=basic("rita", "new")).status == 401


@pytest.mark.parametrize("variant", ["$2a$", "$2b$", "$2y$"])
def test_every_spelling_of_bcrypt_and_of_line_ends_is_read(tmp_path, variant):
    line = "\ufeffalice:" + bcrypt_hash("wonder").replace("$2b$", variant) + "\r\n"
    found = read(tmp_path, line, "\ufeffalice:default:reader\r\n").users["alice"]
    assert found == Account("alice", found.secret, (Grant(PROJECT, ("reader",)),))
    with client_without_keystone(tmp_path) as api:
        assert api.get("/v2/images", headers=ALICE).status == 200


def test_a_file_that_everybody_can_read_is_worth_a_warning(tmp_path, caplog):
    read(tmp_path)
    assert caplog.messages == []
    files = AccountsConfig(tmp_path / "users", tmp_path / "roles")
    files.roles.chmod(0o644)
    AccountFiles(files)
    assert caplog.messages == []
    files.users.chmod(0o644)
    files.roles.chmod(0o646)
    AccountFiles(files)
    assert [f"{file} is open to every user" in caplog.text for file in (files.users, files.roles)] == [True, True]


@pytest.mark.parametrize("text", [None, "alice:plain\n", GOOD + ":demo:reader\n"])
def test_the_service_does_not_start_without_a_file_that_it_understands(tmp_path, text):
    if text:
        (tmp_path / "users").write_text(text)
    service = served(tmp_path, "--config-file", str(settings(tmp_path)))
    with pytest.raises(RuntimeError, match="the service ended with 1") as caught, service:
        pass
    assert f"the service cannot start: http_basic_auth_user_file: {tmp_path}/users" in str(caught.value)


def test_a_file_of_roles_that_is_missing_stops_the_start_and_the_message_names_the_command(tmp_path):
    replace_file(tmp_path / "users", GOOD + "\n")
    with pytest.raises(BrokenFiles, match="roles does not exist; `ferrotype user grant` makes it"):
        AccountFiles(AccountsConfig(tmp_path / "users", tmp_path / "roles"))
    with pytest.raises(BrokenFiles, match="rrr cannot be reached: File name too long"):
        AccountFiles(AccountsConfig(tmp_path / "users", tmp_path / (300 * "r")))


def test_a_changed_file_counts_and_a_broken_one_does_not(tmp_path, caplog):
    users = htpasswd(tmp_path / "users")
    with client_without_keystone(tmp_path) as api:
        assert api.get("/v2/images", headers=BOB).status == 200

        htpasswd(users, {"alice:default:admin": "wonder", "bob:elsewhere:member": "new"})
        look_again(api)
        assert api.get("/v2/images", headers=BOB).status == 401  # What was cached of the old line is void.
        assert api.post("/v2/images", json={}, headers=basic("bob", "new")).json["owner"] == "elsewhere"
        assert api.get("/v2/images", headers=RITA).status == 401

        for broken in (lambda: replace_file(users, "bob:new\n"), users.unlink):
            caplog.clear()
            broken()
            look_again(api)
            look_again(api)
            assert [record.levelno for record in caplog.records if record.name == "ferrotype.files"] == [
                logging.ERROR
            ]
            assert api.get("/v2/images", headers=basic("bob", "new")).status == 200

        htpasswd(users)
        look_again(api)
        assert api.get("/v2/images", headers=BOB).status == 200


def test_a_change_that_gives_rights_is_logged_with_the_names_of_those_who_gain(tmp_path, caplog):
    htpasswd(tmp_path / "users")
    with client_without_keystone(tmp_path) as api:
        for roles, gains in (
            ("bob:demo:reader\n", []),
            ("bob:demo:admin\nrita:demo:reader\n", ["'bob'", "'rita'"]),
            ("bob:demo:admin\nrita:demo:reader\nrita:lab:reader\n", ["'rita'"]),
        ):
            caplog.clear()
            replace_file(tmp_path / "roles", roles)
            look_again(api)
            lines = [r.getMessage() for r in caplog.records if r.name == "ferrotype.identity"]
            assert [line.split()[0] for line in lines] == gains  # ACC-05
            assert all("has gained roles: project=" in line for line in lines) and "$2" not in caplog.text
        users = (tmp_path / "users").read_text()
        for number in range(25):
            users += f"u{number}:{HASH}\n"
            roles += f"u{number}:demo:reader\n"
        replace_file(tmp_path / "users", users)
        replace_file(tmp_path / "roles", roles)
        caplog.clear()
        look_again(api)
        assert "'u19' has" in caplog.text and "'u20' has" not in caplog.text and "5 more users" in caplog.text


def test_a_name_can_move_from_one_file_to_the_other(tmp_path):
    htpasswd(tmp_path / "users")
    with client_without_keystone(tmp_path) as api:
        htpasswd(tmp_path / "users", {"alice:default:admin": "wonder", "robot:demo:reader": "new"})
        replace_file(tmp_path / "tokens", f"packer:{hashed('x')}:demo:member\n")
        for _ in range(3):
            look_again(api)
        assert api.get("/v2/images", headers=basic("robot", "new")).status == 200


def test_the_running_service_looks_at_the_file_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("ferrotype.background.periodic.REFRESH_PERIOD", 0.05)
    with client_without_keystone(tmp_path, background=True) as api:
        htpasswd(tmp_path / "users", {**LINES, "zoe:demo:reader": "new"})
        end = time.monotonic() + 60
        while api.get("/v2/images", headers=basic("zoe", "new")).status != 200:
            assert time.monotonic() < end


@pytest.mark.parametrize(
    ("written", "held"),
    [
        ("reader", {"reader"}),
        ("Member", {"member", "reader"}),
        ("admin", {"admin", "manager", "member", "reader"}),
        ("service,reader", {"service", "reader"}),
        ("auditor", {"auditor"}),
    ],
)
def test_a_role_implies_those_below_it_as_in_keystone(tmp_path, written, held):
    assert set(read(tmp_path, roles=f"alice:demo:{written}\n").users["alice"].roles("demo")) == held


def test_the_fixed_project_has_a_name_in_the_file(tmp_path):
    assert read(tmp_path, roles="alice:default:reader\n").users["alice"].default_project == PROJECT
