"""Options of the stores s3, gcs and azure: what they make of a configuration, and what prevents the start."""

from importlib import util
from pathlib import Path
from typing import Any

import botocore
import pytest
from configurations import MANDATORY

from ferrotype.config import extras
from ferrotype.config.read import examine

HEAD = "[DEFAULT]\nenabled_backends = a:{}\n[glance_store]\ndefault_backend = a\n[a]\n{}"
CA_FILE = Path(botocore.__file__).with_name("cacert.pem")
MIB = 1 << 20


def read(directory: Path, type_: str, text: str) -> tuple[tuple[str, ...], Any]:
    file = directory / "t.conf"
    file.write_text(HEAD.format(type_, text))
    reading = examine([file], [], {})
    return reading.problems, reading.config.stores.entries[0].options


def s3(directory: Path, text: str) -> Any:
    problems, options = read(directory, "s3", MANDATORY["s3"] + text)
    assert problems == ()
    return options


def test_defaults_are_those_of_glance(tmp_path: Path) -> None:
    options = s3(tmp_path, "")
    # CFA-100..108, STOR-134: a host without a scheme means http.
    assert (options.endpoint, options.bucket, options.region) == ("http://h", "bucket", "us-east-1")
    assert (options.large_object_size, options.part_size, options.parallel_parts) == (100 * MIB, 10 * MIB, 10)
    assert (options.create_bucket, options.virtual, options.ca_file, options.stored_checksums) == (
        False, False, None, False
    )  # fmt: skip
    # DISC-60, DISC-83..85
    assert options.properties == {
        "s3_store_large_object_size": 104857600,
        "s3_store_large_object_chunk_size": 10485760,
        "s3_store_thread_pools": 10,
    }
    assert "hunter2" not in repr(options) + options.place


@pytest.mark.parametrize(
    ("host", "endpoint", "region", "virtual"),
    [
        ("s3.example.org", "http://s3.example.org", "us-east-1", False),
        ("HTTPS://s3.example.org:8080/", "HTTPS://s3.example.org:8080", "us-east-1", False),
        ("http://10.0.0.1:7480", "http://10.0.0.1:7480", "us-east-1", False),
        ("https://[::1]:9000", "https://[::1]:9000", "us-east-1", False),
        ("https://s3.amazonaws.com", "https://s3.amazonaws.com", "us-east-1", True),
        ("https://s3.eu-west-1.amazonaws.com", "https://s3.eu-west-1.amazonaws.com", "eu-west-1", True),
        ("s3-eu-west-2.amazonaws.com", "http://s3-eu-west-2.amazonaws.com", "eu-west-2", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", "https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1", True),
    ],
)
def test_host_decides_about_scheme_region_and_addressing(
    tmp_path: Path, host: str, endpoint: str, region: str, virtual: bool
) -> None:
    options = s3(tmp_path, f"s3_store_host = {host}\n")
    assert (options.endpoint, options.region, options.virtual) == (endpoint, region, virtual)  # CFA-101, CFA-103
    named = s3(tmp_path, f"s3_store_host = {host}\ns3_store_region_name = mine\n")
    assert named.region == "mine"
    assert s3(tmp_path, f"s3_store_host = {host}\ns3_store_bucket_url_format = path\n").virtual is False
    assert s3(tmp_path, f"s3_store_host = {host}\ns3_store_bucket_url_format = virtual\n").virtual is True


def test_options_have_their_effect(tmp_path: Path) -> None:
    options = s3(
        tmp_path,
        f"s3_store_cacert = {CA_FILE}\ns3_store_large_object_size = 0\ns3_store_large_object_chunk_size = 5\n"
        "s3_store_thread_pools = 3\ns3_store_create_bucket_on_put = true\n"
        "s3_store_enable_data_integrity_protection = true\ns3_store_request_checksum_calculation = when_supported\n",
    )
    assert (options.ca_file, options.large_object_size, options.part_size) == (CA_FILE, 0, 5 * MIB)
    assert (options.parallel_parts, options.create_bucket, options.stored_checksums) == (3, True, True)


def test_keys_may_come_from_elsewhere(tmp_path: Path) -> None:
    problems, options = read(tmp_path, "s3", "s3_store_host = h\ns3_store_bucket = bucket\n")
    assert (problems, options.access_key, options.secret_key) == ((), None, None)


@pytest.mark.parametrize(
    ("type_", "text", "named"),
    [
        # A missing mandatory option: RUL-89
        ("s3", "s3_store_bucket = bucket\n", ["s3_store_host", "must be set"]),
        ("s3", "s3_store_host = h\n", ["s3_store_bucket", "must be set"]),
        ("gcs", "", ["gcs_store_bucket", "must be set"]),
        ("azure", "azure_store_container = container\n", ["azure_store_account", "must be set"]),
        ("azure", "azure_store_account = account\n", ["azure_store_container", "must be set"]),
        # Impossible values
        ("s3", "s3_store_host = https://AKIA:hunter2@h\ns3_store_bucket = bucket\n",
         ["s3_store_host", "without user"]),
        ("s3", "s3_store_host = h?x\ns3_store_bucket = bucket\n", ["s3_store_host"]),
        ("s3", "s3_store_host = h\ns3_store_bucket = a/b\n", ["s3_store_bucket"]),
        ("s3", "s3_store_host = h\ns3_store_bucket = bucket\ns3_store_access_key = k\n", ["s3_store_secret_key"]),
        ("s3", "s3_store_host = h\ns3_store_bucket = bucket\ns3_store_secret_key = hunter2\n",
         ["s3_store_access_key"]),
        ("s3", "s3_store_host = h\ns3_store_bucket = a.b.c\ns3_store_bucket_url_format = virtual\n",
         ["s3_store_bucket_url_format", "a.b.c"]),
        ("s3", MANDATORY["s3"] + "s3_store_cacert = /nowhere\n", ["s3_store_cacert = /nowhere", "cannot be read"]),
        ("s3", MANDATORY["s3"] + "s3_store_cacert = /etc/hostname\n", ["s3_store_cacert", "no certificate"]),
        # STOR-132: parts of less than 5 MiB, and no threads
        ("s3", MANDATORY["s3"] + "s3_store_large_object_chunk_size = 4\n", ["from 5 to 5120"]),
        ("s3", MANDATORY["s3"] + "s3_store_thread_pools = 0\n", ["from 1 to 100"]),
        ("gcs", MANDATORY["gcs"] + "gcs_store_credentials_file = /nowhere\n", ["gcs_store_credentials_file"]),
        ("gcs", MANDATORY["gcs"] + "gcs_store_prefix = /x\n", ["gcs_store_prefix"]),
        ("azure", MANDATORY["azure"] + "azure_store_key = hunter2!\n", ["azure_store_key", "base64"]),
        ("azure", MANDATORY["azure"] + "azure_store_endpoint = https://u:hunter2@h\n", ["azure_store_endpoint"]),
    ],
)  # fmt: skip
def test_what_cannot_work_prevents_the_start(tmp_path: Path, type_: str, text: str, named: list[str]) -> None:
    problems, _ = read(tmp_path, type_, text)
    assert len(problems) == 1, problems
    assert all(word in problems[0] for word in named), problems
    assert "hunter2" not in problems[0]


@pytest.mark.parametrize("type_", ["s3", "gcs", "azure"])
def test_missing_extra_prevents_the_start_and_names_the_command(
    tmp_path: Path, type_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RUL-89
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "obstore" else util.find_spec(name))
    problems, _ = read(tmp_path, type_, MANDATORY[type_])
    assert len(problems) == 1
    assert f"pip install 'ferrotype[{type_}]'" in problems[0]
    assert "obstore" in problems[0]


def test_other_stores_need_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    problems, _ = read(tmp_path, "file", f"filesystem_store_datadir = {tmp_path}/x\n")
    assert problems == ()
