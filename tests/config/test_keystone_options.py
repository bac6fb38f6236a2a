"""``[keystone_authtoken]`` and ``[oslo_limit]`` as operators write them."""

from pathlib import Path
from typing import Any

import pytest

from ferrotype.config import Config, ConfigError
from ferrotype.config.read import read
from ferrotype.config.reload import reloadable_changes

BASE = """
[DEFAULT]
{default}
[paste_deploy]
flavor = keystone+cachemanagement
[database]
connection = sqlite:///{home}/t.sqlite
[glance_store]
filesystem_store_datadir = {home}/images
[keystone_authtoken]
{authtoken}
[oslo_limit]
{limit}
"""
PASSWORD_LOGIN = "auth_type = password\nauth_url = http://k:5000\nusername = glance\npassword = hunter2\n"


def config(tmp_path: Path, authtoken: str = PASSWORD_LOGIN, limit: str = "", default: str = "") -> Config:
    file = tmp_path / "glance-api.conf"
    file.write_text(BASE.format(home=tmp_path, authtoken=authtoken, limit=limit, default=default))
    return read([file], [], {})


def problems(tmp_path: Path, **parts: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, **parts)
    return "\n".join(caught.value.problems)


# CFG-62, CFA-145, CFA-147
def test_a_password_is_enough_and_the_rest_has_the_defaults_of_the_middleware(tmp_path) -> None:
    found = config(tmp_path)
    assert (found.auth.strategy, found.server.bind_host) == ("keystone", "0.0.0.0")
    assert found.auth.www_authenticate_uri == "http://k:5000"
    assert found.keystone is not None and found.unified_limits is None
    login = found.keystone.login
    assert (login.auth_type, login.interfaces, login.region) == ("password", ("internal",), None)
    assert (login.verify, login.timeout, login.retries) == (True, 10.0, 3)
    assert login.options["password"] == "hunter2"
    assert found.keystone.service_token_roles == ("service",)
    assert found.keystone.service_token_roles_required is True
    assert (found.keystone.token_cache_time, found.keystone.memcached) == (300, None)


def test_configured_values_are_used(tmp_path) -> None:
    (tmp_path / "ca.pem").write_text("")
    text = PASSWORD_LOGIN + (
        f"www_authenticate_uri = https://public\ncafile = {tmp_path}/ca.pem\nregion_name = R2\ninterface = admin\n"
        "http_connect_timeout = 4\nhttp_request_max_retries = 0\nservice_token_roles = Service,Nova\n"
        "service_token_roles_required = no\ntoken_cache_time = 60\nmemcache_servers = a:1,[::1]:2\n"
        "memcache_security_strategy = ENCRYPT\nmemcache_secret_key = s3\nauth_version = v3\n"
        "delay_auth_decision = true\ninclude_service_catalog = false\nmemcache_use_advanced_pool = true\n"
    )
    found = config(tmp_path, text).keystone
    assert found is not None and found.memcached is not None
    assert found.login.cafile == f"{tmp_path}/ca.pem"
    assert (found.login.region, found.login.interfaces, found.login.timeout) == ("R2", ("admin",), 4.0)
    assert (found.service_token_roles, found.service_token_roles_required) == (("service", "nova"), False)
    assert (found.memcached.servers, found.memcached.secret) == (("a:1", "[::1]:2"), "s3")
    assert config(tmp_path, text).auth.www_authenticate_uri == "https://public"


def test_a_log_in_may_be_in_another_section_or_the_environment(tmp_path, monkeypatch) -> None:
    elsewhere = (
        "auth_section = Ours\nmemcached_servers = a:1\n[ours]\nauth_type = v3applicationcredential\n"
        "auth_url = http://k\napplication_credential_id = i\napplication_credential_secret = s\nodd-option = 1\n"
    )
    found = config(tmp_path, elsewhere)
    assert found.keystone is not None and found.keystone.memcached is not None
    assert found.keystone.login.options["application_credential_secret"] == "s"
    assert found.keystone.login.options["odd_option"] == "1", "a third-party plugin may have it"
    assert found.keystone.memcached.secret == "s", "the login's secret encrypts the entries"
    assert not [warning for warning in found.warnings if "[ours]" in warning]
    monkeypatch.setenv("OS_KEYSTONE_AUTHTOKEN__PASSWORD", "from-outside")
    found = config(tmp_path, PASSWORD_LOGIN)
    assert found.keystone is not None and found.keystone.login.options["password"] == "from-outside"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"authtoken": ""}, ["[keystone_authtoken] auth_type", "usually: password"]),
        ({"authtoken": "auth_type = password\nauth_url = u\npassword = p"}, ["username", "auth_type password"]),
        ({"authtoken": "auth_type = v3applicationcredential\nauth_url = u"}, ["application_credential_secret"]),
        ({"authtoken": PASSWORD_LOGIN + "cafile = /nowhere"}, ["cafile = /nowhere", "not a file"]),
        ({"authtoken": PASSWORD_LOGIN + "memcached_servers = a\nmemcache_security_strategy = MAC"}, ["secret_key"]),
        ({"authtoken": PASSWORD_LOGIN + "memcached_servers = a\nmemcache_sasl_enabled = true"}, ["sasl_enabled"]),
        ({"authtoken": PASSWORD_LOGIN + "token_cache_time = soon"}, ["token_cache_time = soon"]),
        ({"default": "use_keystone_limits = true", "limit": PASSWORD_LOGIN}, ["[oslo_limit] endpoint_id"]),
        ({"default": "use_keystone_limits = true", "limit": "endpoint_id = 1"}, ["[oslo_limit] auth_type"]),
    ],
)
def test_invalid_values_prevent_the_start(tmp_path, parts: dict[str, str], words: list[str]) -> None:
    shown = problems(tmp_path, **parts)
    assert all(word in shown for word in words), shown
    assert "hunter2" not in shown


# CFA-140, QUO-27
def test_limits_may_be_found_by_the_name_of_the_service(tmp_path) -> None:
    limit = PASSWORD_LOGIN.replace("username", "user-name") + (
        "system_scope = all\nendpoint_service_type = image\nendpoint_region_name = R1\n"
        "endpoint_interface = internalURL\n"
    )
    found = config(tmp_path, limit=limit, default="use_keystone_limits = true").unified_limits
    assert found is not None
    assert (found.endpoint_id, found.service_type, found.region, found.interface) == (None, "image", "R1", "internal")
    assert (found.login.options["user_name"], found.login.options["system_scope"]) == ("glance", "all")


# SEC-115
def test_secrets_are_masked_in_the_printed_configuration(tmp_path) -> None:
    text = PASSWORD_LOGIN + "memcached_servers = a\nmemcache_secret_key = s3cr3t\n"
    found = config(tmp_path, text, default="use_keystone_limits = true", limit=PASSWORD_LOGIN + "endpoint_id = 1")
    assert "hunter2" not in repr(found) and "s3cr3t" not in repr(found)


def test_another_keystone_needs_a_restart(tmp_path) -> None:
    before: Any = config(tmp_path)
    after = config(tmp_path, PASSWORD_LOGIN + "region_name = elsewhere\n")
    kept, needs_restart = reloadable_changes(before, after)
    assert kept.keystone == before.keystone
    assert any("[keystone_authtoken]" in sentence for sentence in needs_restart)


@pytest.mark.parametrize("spelling", ["None", "none", "NONE"])
def test_the_default_strategy_of_memcached_needs_no_key_in_any_case(tmp_path, spelling) -> None:
    text = f"{PASSWORD_LOGIN}memcached_servers = a\nmemcache_security_strategy = {spelling}\n"
    found = config(tmp_path, authtoken=text).keystone
    assert found and found.memcached and found.memcached.secret == "hunter2"  # CFA-206


def test_seconds_may_be_fractions_where_glance_takes_them(tmp_path) -> None:
    limit = f"{PASSWORD_LOGIN}endpoint_id = e\ntimeout = 2.5\n"
    found = config(tmp_path, limit=limit, default="use_keystone_limits = true").unified_limits
    assert found and found.login.timeout == 2.5  # CFA-206


def test_zero_and_negative_numbers_mean_what_they_do_for_the_middleware(tmp_path) -> None:
    text = "memcached_servers = a\nmemcache_pool_maxsize = 0\nmemcache_pool_dead_retry = -1\n"
    text += f"{PASSWORD_LOGIN}http_request_max_retries = -1\n"
    found = config(tmp_path, authtoken=text).keystone
    assert found and found.memcached and found.login.retries == 0  # CFA-206
    assert (found.memcached.connections, found.memcached.dead_retry) == (10_000, 0)
