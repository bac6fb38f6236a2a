"""The table of options, the file of options without effect, and the documentation made from both."""

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ferrotype.config import ignored
from ferrotype.config.api import HASHES
from ferrotype.config.database import masked
from ferrotype.config.options import IGNORED, REMOVED, SUPPORTED, is_secret
from ferrotype.config.reference import ignored_options, supported_options
from ferrotype.config.table import TABLE

HERE = Path(__file__).parent
GLANCE = [
    tuple(line.split())
    for line in (HERE / "glance-33-options.txt").read_text().splitlines()
    if not line.startswith("#")
]


def test_every_option_of_glance_is_known():
    assert len(GLANCE) > 450
    assert [line for line in GLANCE if TABLE.find(line[0], line[1], frozenset())[0] is None] == []


def test_no_option_is_declared_twice():
    names = [(option.section, option.name) for option in TABLE.all_options()]
    assert len(names) == len(set(names)) > 450
    groups = tomllib.loads(ignored.FILE.read_text())["group"]
    assert len(ignored.load().options) == sum(len(group["names"].split()) for group in groups)
    assert not {section for section, _ in names} & ignored.load().sections.keys()


def test_every_option_has_a_support_level_and_a_sentence():
    assert {option.support for option in TABLE.all_options()} == {SUPPORTED, IGNORED, REMOVED}
    assert {reason.support for reason in ignored.load().sections.values()} == {IGNORED, REMOVED}
    assert [option.title for option in TABLE.all_options() if not option.help] == []
    assert [reason for reason in ignored.load().sections.values() if not reason.note] == []


@pytest.mark.parametrize(
    ("section", "name", "support"),
    [
        ("DEFAULT", "image_location_quota", SUPPORTED),
        ("DEFAULT", "staging_store", IGNORED),
        ("fast", "filesystem_store_metadata_file", IGNORED),
        ("fast", "filesystem_store_chunk_size", SUPPORTED),
        ("DEFAULT", "transport_url", IGNORED),
        ("barbican", "anything", IGNORED),
        ("DEFAULT", "registry_host", REMOVED),
        ("ssl", "anything", REMOVED),
    ],
)
def test_the_support_level_of_an_option_is_found(section, name, support):
    option, _ = TABLE.find(section, name, frozenset({"fast"}))
    assert option is not None and option.support == support


def test_options_of_stores_are_found_where_stores_are_configured():
    ids = frozenset({"fast"})
    for section in ("fast", "backend_defaults", "glance_store"):
        assert TABLE.find(section, "rbd_store_pool", ids)[0] is not None
        assert "weight" in TABLE.names_in(section, ids)
    assert TABLE.find("slow", "rbd_store_pool", ids) == (None, False)
    assert TABLE.find("database", "weight", ids) == (None, False)
    assert TABLE.find("barbican", "weight", frozenset({"barbican"}))[0] == TABLE.by_name["<store>", "weight"]


def test_the_file_of_ignored_options_is_not_loaded_before_a_line_needs_it(tmp_path):
    """It would cost time at every start."""
    file = tmp_path / "t.conf"
    file.write_text("[DEFAULT]\nbind_port = 1\n[keystone_authtoken]\nmemcache_servers = a\n")
    code = (
        "import sys; from pathlib import Path; from ferrotype.config.read import read;"
        "read([Path(sys.argv[1])], [], {}); print('tomllib' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_hashes_can_all_be_computed_and_have_a_fixed_length():
    assert all(hashlib.new(name).digest_size > 0 for name in HASHES)  # CFG-13


SECRETS = [
    "s3_store_secret_key",
    "s3_store_access_key",
    "swift_store_key",
    "swift_store_application_credential_secret",
    "cinder_store_password",
    "vmware_server_password",
    "connection",
    "connection_parameters",
    "slave_connection",
    "password",
    "memcache_secret_key",
    "application_credential_secret",
    "hmac_keys",
    "transport_url",
    "metadata_encryption_key",
    "sql_connection",
    "admin_password",
    "memcache_password",
    "token",
]


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_recognised_by_name(name):
    assert is_secret(name)  # CFA-07


@pytest.mark.parametrize("name", ["bind_host", "token_cache_time", "connection_debug", "key_file", "weight"])
def test_other_names_are_not_secrets(name):
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p@ss:w/ord@h:1/d", "postgresql://u:***@h:1/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        (
            "postgresql://h/d?user=u&password=p&sslmode=require",
            "postgresql://h/d?user=u&password=***&sslmode=require",
        ),
        ("sqlite:////var/lib/x", "sqlite:////var/lib/x"),
    ],
)
def test_passwords_in_connections_are_masked(url, shown):
    assert masked(url) == shown


def test_sections_are_spelled_as_oslo_config_compares_them():
    assert all(section == "DEFAULT" or section == section.lower() for section in TABLE.sections())


@pytest.mark.parametrize("table", [supported_options, ignored_options])
def test_the_documentation_contains_the_tables(table):
    document = (HERE.parents[1] / "docs" / "reference" / "configuration.md").read_text()
    assert table() in document
