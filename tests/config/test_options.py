"""The table of options, and the documentation made from it."""

import hashlib
from dataclasses import fields
from pathlib import Path

import pytest

from ferrotype.config.database import masked
from ferrotype.config.model import Config
from ferrotype.config.options import BY_NAME, HASHES, TABLE, find, names_in, reference, secret, sections
from ferrotype.config.schema import BASE
from ferrotype.model.image import BASE_ATTRIBUTES

HERE = Path(__file__).parent
GLANCE = [
    tuple(line.split())
    for line in (HERE / "glance-33-options.txt").read_text().splitlines()
    if not line.startswith("#")
]


def test_every_option_of_glance_has_a_standing():
    assert len(GLANCE) > 450
    assert [line for line in GLANCE if find(line[0], line[1], frozenset())[0] is None] == []


def test_no_option_stands_in_the_table_twice():
    assert len(BY_NAME) == len(TABLE)


def test_options_that_do_nothing_say_why():
    assert {option.standing for option in TABLE} <= {"used", "accepted", "obsolete"}
    assert [option.title for option in TABLE if not option.note] == []


def test_options_of_stores_are_known_where_stores_are_configured():
    ids = frozenset({"fast"})
    for section in ("fast", "backend_defaults", "glance_store"):
        assert find(section, "rbd_store_pool", ids)[0] is not None
        assert "weight" in names_in(section, ids)
    assert find("slow", "rbd_store_pool", ids) == (None, False)
    assert find("database", "weight", ids) == (None, False)


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
def test_secrets_are_known_by_name(name):
    assert secret(name)  # CFA-07


@pytest.mark.parametrize("name", ["bind_host", "token_cache_time", "connection_debug", "key_file", "weight"])
def test_other_names_are_no_secrets(name):
    assert not secret(name)


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


def test_plain_options_go_to_places_that_exist():
    places = {
        f"{section.name}.{place.name}"
        for section in fields(Config)
        if hasattr(section.type, "__dataclass_fields__")
        for place in fields(section.type)
    }
    assert [o.title for o in TABLE if o.goes_to and o.goes_to not in places] == []


def test_the_schema_file_may_define_what_an_image_does_not_have():
    assert BASE == BASE_ATTRIBUTES


def test_sections_are_spelled_as_oslo_config_compares_them():
    assert all(section == "DEFAULT" or section == section.lower() for section in sections())


def test_the_documentation_holds_the_table():
    document = (HERE.parents[1] / "docs" / "configuration.md").read_text()
    assert reference() in document
