"""The file of users: what is understood, what is refused and how, and what a change of it does."""

import logging
import time
from pathlib import Path

import pytest
from local_accounts import (
    ALICE,
    BOB,
    RITA,
    accounts_of,
    basic,
    bcrypt_hash,
    client_without_keystone,
    htpasswd,
    replace_file,
    settings,
)

from ferrotype.identity.accounts import Account, Accounts, BrokenAccounts
from ferrotype.identity.none import PROJECT
from ferrotype.testing.process import served


def write(path: Path, *lines: str) -> Path:
    return replace_file(path, "\n".join(lines))


GOOD = "alice:$2b$04$" + "." * 53


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("alice", "name:hash"),
        (f"{GOOD}:demo", "name:hash:project:role,role"),
        (f"{GOOD}:demo:member:more", "name:hash:project:role,role"),
        ("bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "no bcrypt hash"),
        ("bob:$apr1$Jh8M5uTD$0zL2bQ1uDXsKk1gTq9b3D/", "no bcrypt hash"),
        ("bob:plain", "no bcrypt hash"),
        ("bob:" + GOOD.partition(":")[2].replace("$2b$04$", "$2x$04$"), "no bcrypt hash"),
        ("bob:" + GOOD.partition(":")[2].replace("$2b$04$", "$2b$31$"), "cost from 4 to 16"),
        (f"{GOOD}:a project:member", "letters, digits"),
        (f"{GOOD}:demo:", "letters, digits"),
        (f"{GOOD}:demo:member,", "letters, digits"),
        (":" + GOOD.partition(":")[2], "a name must have"),
        ("a\tb:" + GOOD.partition(":")[2], "a name must have"),
        (GOOD + "\n" + GOOD, "'alice' is there twice"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_line_and_without_its_secrets(tmp_path, line, says):
    with pytest.raises(BrokenAccounts) as caught:
        Accounts(write(tmp_path / "users", "# comment", line), None)
    text = str(caught.value)
    assert says in text
    assert f"{tmp_path}/users, line " in text
    assert "$2" not in text and "plain'" not in text and "{SHA}" not in text  # SEC-115


@pytest.mark.parametrize("variant", ["$2a$", "$2b$", "$2y$"])
def test_every_spelling_of_bcrypt_and_of_line_ends_is_read(tmp_path, variant):
    line = "\ufeffalice:" + bcrypt_hash("wonder").replace("$2b$", variant) + "\r"
    found = Accounts(write(tmp_path / "users", line, ""), None).users["alice"]
    assert found == Account("alice", found.secret, PROJECT, ("admin", "member", "reader"))
    with client_without_keystone(tmp_path) as api:
        assert api.get("/v2/images", headers=ALICE).status == 200


def test_a_file_that_everybody_can_read_is_worth_a_warning(tmp_path, caplog):
    users = htpasswd(tmp_path / "users")
    Accounts(users, None)
    assert caplog.messages == []
    users.chmod(0o644)
    Accounts(users, None)
    assert f"{users} can be read or changed by everybody" in caplog.text


@pytest.mark.parametrize("text", [None, "alice:plain\n"])
def test_the_service_does_not_start_without_a_file_that_it_understands(tmp_path, text):
    if text:
        (tmp_path / "users").write_text(text)
    service = served(tmp_path, "--config-file", str(settings(tmp_path)))
    with pytest.raises(RuntimeError, match="the service ended with 1") as caught, service:
        pass
    assert f"the service cannot start: {tmp_path}/users" in str(caught.value)


def test_a_changed_file_counts_at_once_and_a_broken_one_not_at_all(tmp_path, caplog):
    users = htpasswd(tmp_path / "users")
    with client_without_keystone(tmp_path) as api:
        assert api.get("/v2/images", headers=BOB).status == 200

        htpasswd(users, {"alice": "wonder", "bob:elsewhere:member": "new"})
        accounts_of(api).refresh()
        assert api.get("/v2/images", headers=BOB).status == 401  # What was remembered of the old line is void.
        assert api.post("/v2/images", json={}, headers=basic("bob", "new")).json["owner"] == "elsewhere"
        assert api.get("/v2/images", headers=RITA).status == 401

        for broken in (lambda: replace_file(users, "bob:new\n"), users.unlink):
            caplog.clear()
            broken()
            accounts_of(api).refresh()
            accounts_of(api).refresh()
            assert [record.levelno for record in caplog.records if record.name == "ferrotype.identity"] == [
                logging.ERROR
            ]
            assert api.get("/v2/images", headers=basic("bob", "new")).status == 200

        htpasswd(users)
        accounts_of(api).refresh()
        assert api.get("/v2/images", headers=BOB).status == 200


def test_the_running_service_looks_at_the_file_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("ferrotype.background.periodic.REFRESH_PERIOD", 0.05)
    with client_without_keystone(tmp_path, background=True) as api:
        htpasswd(tmp_path / "users", {"zoe": "new"})
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
def test_a_role_holds_those_below_it_as_in_keystone(tmp_path, written, held):
    users = write(tmp_path / "users", f"{GOOD}:demo:{written}")
    assert set(Accounts(users, None).users["alice"].roles) == held


def test_the_fixed_project_has_a_name_in_the_file(tmp_path):
    users = write(tmp_path / "users", f"{GOOD}:default:reader")
    assert Accounts(users, None).users["alice"].project == PROJECT
