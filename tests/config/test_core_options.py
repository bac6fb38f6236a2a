"""Options of a Glance configuration that have no effect on the core API, or one that is easily mistaken."""

from pathlib import Path

import pytest

from ferrotype.config import Config, ConfigError
from ferrotype.config.read import read
from ferrotype.testing.client import serving


def config(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "glance-api.conf"
    local = f"[database]\nconnection = sqlite:///{tmp_path}/t.sqlite\n"
    store = f"[glance_store]\nfilesystem_store_datadir = {tmp_path}/images\n"
    file.write_text(local + store + text)
    return read([file], [], {})


@pytest.mark.parametrize(
    "text",
    [
        "[oslo_middleware]\nmax_request_body_size = 10\n",  # CFG-67
        "[paste_deploy]\nconfig_file = /nowhere/paste.ini\n",  # CFG-63
        "[DEFAULT]\ndigest_algorithm = md4\npydev_worker_debug_host = x\npydev_worker_debug_port = 1\n",  # CFG-27
        "[DEFAULT]\nmetadata_encryption_key = 0123456789abcdef\n",  # CFG-25
    ],
)
def test_an_option_that_does_nothing_for_glances_api_does_nothing_here(tmp_path, text):
    with serving(config(tmp_path, text)) as api:
        image = api.image(b"more than ten bytes", name="a name of more than ten bytes")
        assert api.get(f"{image['self']}/file").body == b"more than ten bytes"


def test_a_cache_that_is_configured_is_not_advertised_before_there_is_one(tmp_path):
    text = f"[DEFAULT]\nimage_cache_dir = {tmp_path}/cache\n"
    cached, plain = config(tmp_path, text), config(tmp_path, "")
    assert any("cache" in each for each in cached.warnings) and not any("cache" in each for each in plain.warnings)
    versions = {}
    for name, each in (("cached", cached), ("plain", plain)):
        with serving(each) as api:
            versions[name] = [version["id"] for version in api.get("/versions").json["versions"]]
            for minor in ("v2.14", "v2.16", "v2.18"):
                assert api.get(f"/{minor}/images").status == 300
    # CFG-26, VER-08, VER-09
    assert versions["cached"] == versions["plain"]
    assert not {"v2.14", "v2.16", "v2.18"} & set(versions["cached"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("default_store = rbd\nstores = rbd\n", "default_store"),
        ("stores = http\ndefault_store = file\n", "must be one of stores (http)"),
        ("default_store = nothing\n", "is not a type of store"),
    ],
)
def test_the_default_store_must_accept_data(tmp_path, text, says):
    with pytest.raises(ConfigError) as caught:  # CFG-41
        config(tmp_path, text)
    assert any(says in problem for problem in caught.value.problems)


def test_with_one_store_data_goes_to_it(tmp_path):
    with serving(config(tmp_path, "stores = file, http\ndefault_store = file\n")) as api:  # CFG-41
        image = api.image(b"data")
        assert [file.read_bytes() for file in (tmp_path / "images").rglob(f"{image['id']}*")] == [b"data"]
