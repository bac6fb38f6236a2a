"""Where accounts are, when there is no Keystone."""

from pathlib import Path
from typing import Any

import pytest

from ferrotype.config.check import report
from ferrotype.config.model import Accounts, Config, ConfigError
from ferrotype.config.read import read, reloadable

BASIC = "[DEFAULT]\nauth_strategy = HTTP_Basic\n"


def config(tmp_path: Path, text: str, **overrides: Any) -> Config:
    file = tmp_path / "glance-api.conf"
    file.write_text(text)
    return read([file], [], overrides)


def test_users_are_where_oslo_middleware_looks_for_them_and_the_door_is_open(tmp_path):
    found = config(tmp_path, BASIC)
    assert found.auth.strategy == "http_basic"
    assert found.accounts == Accounts(Path("/etc/htpasswd"), None, door=True)


def test_files_and_the_door_are_the_operators(tmp_path):
    text = BASIC + "[oslo_middleware]\nhttp_basic_auth_user_file = /srv/users\n"
    found = config(tmp_path, text + "[identity]\ntokens_file = /srv/tokens\ndoor = false\n")
    assert found.accounts == Accounts(Path("/srv/users"), Path("/srv/tokens"), door=False)
    assert not [remark for remark in found.remarks if "unknown" in remark]


def test_it_listens_everywhere_and_says_that_passwords_need_tls(tmp_path):
    found = config(tmp_path, BASIC)
    assert found.server.bind_host == "0.0.0.0"
    assert [remark for remark in found.remarks if "in the clear to 0.0.0.0" in remark and "public_endpoint" in remark]
    text = "\n".join(report([tmp_path / "glance-api.conf"], [], lambda config: ()).lines())
    assert "http_basic" in text and "in the clear" in text


@pytest.mark.parametrize(
    "more", ["bind_host = 127.0.0.1", "bind_host = ::1", "public_endpoint = https://i.example.org"]
)
def test_on_loopback_or_behind_tls_there_is_nothing_to_say(tmp_path, more):
    assert not [remark for remark in config(tmp_path, BASIC + more).remarks if "in the clear" in remark]


def test_without_passwords_there_are_no_accounts_and_no_door(tmp_path):
    assert config(tmp_path, "").accounts is None
    assert config(tmp_path, "[identity]\ndoor = false\n").accounts is None
    with pytest.raises(ConfigError, match="needs accounts to log in to") as caught:
        config(tmp_path, "[identity]\ndoor = true\n")
    assert "auth_strategy = http_basic" in caught.value.problems[0]
    remarks = config(tmp_path, "[identity]\ntokens_file = /srv/tokens\n").remarks
    assert [remark for remark in remarks if "tokens_file does nothing" in remark]


def test_other_files_take_a_restart(tmp_path):
    old, new = config(tmp_path, BASIC), config(tmp_path, BASIC + "[identity]\ndoor = false\n")
    after, waiting = reloadable(old, new)
    assert after.accounts == old.accounts
    assert [sentence for sentence in waiting if "[identity] door" in sentence and "restart" in sentence]
    assert not [each for each in reloadable(old, old)[1] if "restart" in each]
