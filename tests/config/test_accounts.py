"""Where accounts are, when there is no Keystone."""

from pathlib import Path
from typing import Any

import pytest

from ferrotype.config import Config, ConfigError
from ferrotype.config.accounts import Accounts
from ferrotype.config.check import report
from ferrotype.config.read import read
from ferrotype.config.reload import reloadable_changes

BASIC = "[DEFAULT]\nauth_strategy = HTTP_Basic\n"


def config(tmp_path: Path, text: str, **overrides: Any) -> Config:
    file = tmp_path / "glance-api.conf"
    file.write_text(text)
    return read([file], [], overrides)


def test_the_user_file_is_the_one_of_oslo_middleware(tmp_path):
    found = config(tmp_path, BASIC)
    assert found.auth.strategy == "http_basic"
    assert found.accounts == Accounts(Path("/etc/htpasswd"), Path("/etc/ferrotype/roles"), None, identity_api=True)


def test_the_files_and_the_identity_api_are_configurable(tmp_path):
    text = BASIC + "[oslo_middleware]\nhttp_basic_auth_user_file = /srv/users\n"
    identity = "[identity]\nroles_file = /srv/roles\ntokens_file = /srv/tokens\nenabled = false\n"
    found = config(tmp_path, text + identity)
    files = Path("/srv/users"), Path("/srv/roles"), Path("/srv/tokens")
    assert found.accounts == Accounts(*files, identity_api=False)
    assert not [warning for warning in found.warnings if "unknown" in warning]


def test_it_listens_on_all_addresses_and_warns_without_tls(tmp_path):
    found = config(tmp_path, BASIC)
    assert found.server.bind_host == "0.0.0.0"
    assert [each for each in found.warnings if "unencrypted to 0.0.0.0" in each and "public_endpoint" in each]
    text = "\n".join(report([tmp_path / "glance-api.conf"], [], lambda config: ()).lines())
    assert "http_basic" in text and "unencrypted" in text


@pytest.mark.parametrize(
    "more", ["bind_host = 127.0.0.1", "bind_host = ::1", "public_endpoint = https://i.example.org"]
)
def test_on_loopback_or_behind_tls_there_is_no_warning(tmp_path, more):
    assert not [each for each in config(tmp_path, BASIC + more).warnings if "unencrypted" in each]


def test_without_passwords_there_are_no_accounts_and_no_identity_api(tmp_path):
    assert config(tmp_path, "").accounts is None
    assert config(tmp_path, "[identity]\nenabled = false\n").accounts is None
    with pytest.raises(ConfigError, match="needs a user file") as caught:
        config(tmp_path, "[identity]\nenabled = true\n")
    assert "auth_strategy = http_basic" in caught.value.problems[0]
    warnings = config(tmp_path, "[identity]\ntokens_file = /srv/tokens\n").warnings
    assert [warning for warning in warnings if "tokens_file has no effect" in warning]


def test_other_account_files_need_a_restart(tmp_path):
    old, new = config(tmp_path, BASIC), config(tmp_path, BASIC + "[identity]\nenabled = false\n")
    after, needs_restart = reloadable_changes(old, new)
    assert after.accounts == old.accounts
    assert [each for each in needs_restart if "[identity] enabled" in each and "restart" in each]
    assert reloadable_changes(old, old)[1] == ()
