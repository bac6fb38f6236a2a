"""Options of the types of stores: what must be set, what has a syntax, and what a record makes of it."""

from pathlib import Path

import pytest
from configurations import MANDATORY

from ferrotype.config.check import report
from ferrotype.config.read import Reading, examine

LINES = {type_: text.splitlines() for type_, text in MANDATORY.items()}
CREDENTIAL = (
    "swift_store_auth_address = https://k/v3\nswift_store_application_credential_id = i\n"
    "swift_store_application_credential_secret = hunter2\n"
)


def reading(directory: Path, type_: str, options: str, more: str = "", default: str = "a") -> Reading:
    """Return what a configuration with a file store ``a`` and a store ``b`` of the type says."""
    file = directory / "glance-api.conf"
    file.write_text(
        f"[DEFAULT]\nenabled_backends = a:file,b:{type_}\n[glance_store]\ndefault_backend = {default}\n"
        f"[a]\nfilesystem_store_datadir = {directory}/a\n[b]\n{options}{more}"
    )
    return examine([file], [], {})


def own_problems(found: Reading) -> list[str]:
    """Return the problems but the one that the type has no driver."""
    return [problem for problem in found.problems if "does not support" not in problem]


@pytest.mark.parametrize(("type_", "line"), [(type_, line) for type_ in LINES for line in LINES[type_]])
def test_a_store_without_an_option_that_its_type_needs_prevents_the_start(tmp_path, type_, line):
    assert own_problems(reading(tmp_path, type_, MANDATORY[type_])) == []
    name = line.partition(" ")[0]
    for rest in (MANDATORY[type_].replace(f"{line}\n", ""), MANDATORY[type_].replace(line, f"{name} =")):
        (problem,) = own_problems(reading(tmp_path, type_, rest))  # RUL-89
        assert name in problem and "[b]" in problem and type_ in problem and "hunter2" not in problem


@pytest.mark.parametrize(
    ("type_", "options", "named"),
    [
        ("swift", "swift_store_multi_tenant = true\n", []),
        ("swift", "swift_store_config_file = /etc/glance/swift.conf\n", []),
        ("swift", CREDENTIAL, []),
        ("swift", CREDENTIAL.rpartition("swift_store")[0], ["swift_store_application_credential_secret"]),
        ("swift", "swift_store_multi_tenant = true\nswift_store_config_file = /s.conf\n",
         ["swift_store_config_file = /s.conf", "swift_store_multi_tenant"]),  # DISC-38
        ("swift", MANDATORY["swift"] + "swift_buffer_on_upload = true\n", ["swift_upload_buffer_dir"]),  # CFA-93
        ("swift", MANDATORY["swift"] + "swift_store_auth_version = 2\n", ["swift_store_auth_version = 2", "3"]),
        ("swift", MANDATORY["swift"] + "swift_store_multiple_containers_seed = 33\n", ["33", "from 0 to 32"]),
        ("vmware", MANDATORY["vmware"] + "vmware_datastores = dc\n", ["'dc'", "data centre:datastore"]),
        ("vmware", MANDATORY["vmware"] + "vmware_datastores = dc:ds:most\n", ["'dc:ds:most'"]),
        ("vmware", MANDATORY["vmware"] + "vmware_datastores = :ds:1\n", ["':ds:1'"]),
        ("vmware", MANDATORY["vmware"].replace("= esx", "= e s x"), ["vmware_server_host = e s x", "host name"]),
        ("cinder", "cinder_catalog_info = volumev3\n", ["cinder_catalog_info = volumev3"]),
        ("cinder", "cinder_attachment_retry_attempts = 0\n", ["cinder_attachment_retry_attempts = 0", "from 1"]),
        ("rbd", "rbd_store_chunk_size = 0\n", ["rbd_store_chunk_size = 0", "from 1"]),
    ],
)  # fmt: skip
def test_values_of_stores_without_a_driver_are_checked_too(tmp_path, type_, options, named):
    found = reading(tmp_path, type_, options)
    assert len(found.problems) == len(own_problems(found)) + 1  # RUL-89: the type prevents the start in any case
    own = own_problems(found)
    assert (len(own) == 1) == bool(named), own
    assert all(word in own[0] for word in named), own


def test_options_of_a_store_come_from_its_section_first_and_have_former_names(tmp_path):
    defaults = "[backend_defaults]\nrbd_store_pool = theirs\nrbd_store_chunk_size = 4\n"
    record = reading(tmp_path, "rbd", "rbd_store_pool = ours\n", defaults).config.stores.entries[1].options
    assert record.properties == {  # STOR-03
        "pool": "ours", "chunk_size": 4 << 20, "thin_provisioning": False, "fsid": None,
    }  # fmt: skip
    found = reading(tmp_path, "vmware", MANDATORY["vmware"] + "vmware_api_insecure = true\n")
    assert found.config.stores.entries[1].options.insecure is True
    assert any("vmware_api_insecure is deprecated; use" in warning for warning in found.config.warnings)
    found = reading(tmp_path, "cinder", "", "[backend_defaults]\nos_region_name = far\n")
    assert found.config.stores.entries[1].options.region == "far"
    found = reading(tmp_path, "vmware", MANDATORY["vmware"] + "vmware_api_insecure = perhaps\n")
    (problem,) = own_problems(found)
    assert "vmware_api_insecure = perhaps" in problem and "true or false" in problem


def test_datastores_have_weights(tmp_path):
    text = MANDATORY["vmware"] + "vmware_datastores = /x/dc: fast : 10\nvmware_datastores = a:b:c:-1\n"
    record = reading(tmp_path, "vmware", text).config.stores.entries[1].options
    assert record.datastores == (("dc", "ds", 0), ("/x/dc", "fast", 10), ("a:b", "c", -1))


def test_the_report_knows_the_options_and_says_that_they_have_no_effect(tmp_path):
    text = "rbd_store_pool = p\nrados_connect_timeout = 5\nrbd_store_pol = q\n"
    reading(tmp_path, "rbd", text)
    found = {each.option: each for each in report([tmp_path / "glance-api.conf"], [], lambda config: ()).findings}
    reason = "this version does not support stores of type rbd"
    assert {found[f"[b] {name}"].text for name in ("rbd_store_pool", "rados_connect_timeout")} == {reason}
    assert found["[b] rbd_store_pool"].support == "ignored"
    assert found["[b] rbd_store_pol"].text == "did you mean rbd_store_pool?"


def test_a_default_store_that_never_takes_data_is_a_warning(tmp_path):
    warnings = reading(tmp_path, "http", "", default="b").config.warnings
    assert any("default_backend = b never takes data" in warning for warning in warnings)  # DISC-35
    assert not any("never takes data" in warning for warning in reading(tmp_path, "http", "").config.warnings)


def test_a_store_in_memory_is_a_warning(tmp_path):
    found = reading(tmp_path, "memory", "")
    assert found.problems == ()
    text = "[b] is a store of type memory: its images are lost when the service stops."
    assert text in found.config.warnings  # logged at start
    shown = report([tmp_path / "glance-api.conf"], [], lambda config: ()).lines()
    assert f"  {text}" in shown[shown.index("Warnings:") :]
