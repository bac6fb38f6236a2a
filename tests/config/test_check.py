"""What ``ferrotype config check`` prints about configuration files."""

import json
from pathlib import Path

import pytest

from ferrotype.app import startup_errors
from ferrotype.config.check import Report, report
from ferrotype.config.exposure import AS_ROOT

HERE = Path(__file__).parent
CLOUD = HERE / "glance-api.conf"


def support(found: Report) -> dict[str, tuple[str, str]]:
    return {finding.option: (finding.support, finding.text) for finding in found.findings}


def test_the_errors_of_a_cloud_with_ceph_and_keystone_are_shown():
    found = report([CLOUD], [], startup_errors)
    assert not found.ok
    shown = "\n".join(found.problems)
    for word in ("'rbd' of type rbd", "MariaDB"):
        assert word in shown
    assert len(found.problems) == 2, found.problems


def test_every_line_of_a_cloud_has_a_support_level():
    found = report([CLOUD], [], startup_errors)
    named = support(found)
    # CFA-05
    assert named["[DEFAULT] image_tag_qouta"] == ("unknown", "did you mean image_tag_quota?")
    assert named["[keystone_authtoken] pasword"] == ("unknown", "did you mean password?")
    assert named["[keystone_authtoken] default_backend"][0] == "unknown"
    assert "[glance_store]" in named["[keystone_authtoken] default_backend"][1]
    assert "[oslo_policy]" in named["[oslo_polcy] policy_file"][1]
    assert "did you mean [glance_store]" in named["[glance_stor] made_up"][1]
    assert named["[swift] swift_store_key"][0] == "unknown"
    assert named["[DEFAULT] verbose"][0] == named["[DEFAULT] registry_host"][0] == "removed"
    assert named["[glance_store] filesystem_store_datadir"][0] == "ignored"
    assert named["[DEFAULT] transport_url"][0] == "ignored"
    assert named["[rbd] rbd_store_pool"][0] == "ignored"
    assert named["[oslo_messaging_rabbit] rabbit_quorum_queue"][0] == "ignored"
    assert named["[keystone_authtoken] memcache_servers"] == (
        "supported",
        "use [keystone_authtoken] memcached_servers",
    )
    assert [each.option for each in found.findings if each.deprecated] == ["[keystone_authtoken] memcache_servers"]
    assert named["[DEFAULT] bind_port"][0] == named["[file] filesystem_store_datadir"][0] == "supported"
    assert named["[DEFAULT] state_path"][0] == "supported", "another value refers to it"


def test_findings_say_file_and_line():
    number = CLOUD.read_text().splitlines().index("image_tag_qouta = 64") + 1
    assert f"{CLOUD}:{number}" in {finding.where for finding in report([CLOUD], [], startup_errors).findings}


def test_secrets_are_never_shown():
    found = report([CLOUD], [], startup_errors)
    shown = "\n".join(found.lines()) + json.dumps(found.to_dict())
    assert CLOUD.read_text().count("-secret") == 8 and "-secret" not in shown  # CFA-07
    assert "glance:***@10.20.0.250" in shown


def test_requested_settings_are_shown_although_they_are_invalid():
    settings = dict(report([CLOUD], [], startup_errors).settings)
    assert settings["listen"] == "http://10.20.0.11:9292"
    assert settings["authentication"] == "keystone"
    assert settings["log"] == "INFO to /var/log/kolla/glance/glance-api.log"


def test_options_that_sighup_reloads_are_listed():
    found = report([CLOUD], [], startup_errors)
    assert "[DEFAULT] show_image_direct_url" in found.reloadable
    assert "[DEFAULT] bind_port" not in found.reloadable


def test_a_configuration_that_would_start_is_ok(tmp_path):
    file = tmp_path / "glance-api.conf"
    file.write_text(
        f"[DEFAULT]\nenabled_backends = a:file,b:file\nbind_host = ::1\n[glance_store]\ndefault_backend = b\n"
        f"[a]\nfilesystem_store_datadir = {tmp_path}/a\n[b]\nfilesystem_store_datadir = {tmp_path}/b\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/t.sqlite\n"
    )
    found = report([file], [], startup_errors)
    assert found.ok and set(found.warnings) <= {AS_ROOT}
    data = json.loads(json.dumps(found.to_dict()))
    assert data["ok"] is True
    assert {"name": "listen", "value": "http://[::1]:9292"} in data["settings"]
    assert {"name": "store", "value": f"b, file in {tmp_path}/b (default)"} in data["settings"]
    text = found.lines()
    assert "Effective settings:" in text and not any("Errors" in line for line in text)
    assert not (tmp_path / "a").exists()


def test_an_empty_configuration_is_valid(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    found = report([], [], startup_errors)
    assert found.ok and f"local, file in {tmp_path}/ferrotype/images (default)" in dict(found.settings)["store"]


def test_unreadable_files_are_problems(tmp_path):
    (tmp_path / "b.conf").write_bytes(b"[DEFAULT]\nbind_port = \xff\n")
    found = report([tmp_path / "a.conf", tmp_path / "b.conf"], [], startup_errors)
    assert len(found.problems) == 2 and not found.ok


def obstacle(tmp_path: Path, text: str) -> str:
    """Return the one thing that would stop a service with these options."""
    file = tmp_path / "t.conf"
    local = f"[database]\nconnection = sqlite:///{tmp_path}/t.sqlite\n[glance_store]\n"
    file.write_text(f"{local}filesystem_store_datadir = {tmp_path}/images\n{text}")
    before = sorted(tmp_path.iterdir())
    found = report([file], [], startup_errors)
    (problem,) = found.problems
    assert not found.ok and any("Errors" in line for line in found.lines())
    assert sorted(tmp_path.iterdir()) == before, "nothing is created"
    return problem


@pytest.mark.parametrize(
    ("name", "content", "options", "words"),
    [
        ("policy.yaml", "get_image: [", "", "policy.yaml cannot be read"),
        ("policy.yaml", "get_image: role:a or or", "", "Rule 'get_image'"),
        ("p.conf", "[x\n", "[DEFAULT]\nproperty_protection_file = p.conf", "property_protection_file"),
        (
            "users",
            "alice:secret\n",
            "[oslo_middleware]\nhttp_basic_auth_user_file = {}/users",
            "is not a bcrypt hash",
        ),
        ("users", "", "[oslo_middleware]\nhttp_basic_auth_user_file = {}/nobody", "nobody does not exist"),
        ("t.log", "", "[DEFAULT]\nlog_file = {}/t.log/more", "Not a directory"),
        ("t.log", "", "[DEFAULT]\nlog_dir = {}/none", "No such file or directory"),
    ],
)
def test_files_that_would_stop_the_start_are_problems(tmp_path, name, content, options, words):
    (tmp_path / name).write_text(content)
    if "http_basic" in options:
        options += "\n[DEFAULT]\nauth_strategy = http_basic\nbind_host = 127.0.0.1"
    problem = obstacle(tmp_path, options.replace("{}", str(tmp_path)))
    assert words in problem and "secret" not in problem


def test_an_existing_log_file_is_not_changed(tmp_path):
    log, file = tmp_path / "t.log", tmp_path / "t.conf"
    file.write_text(f"[DEFAULT]\nlog_file = {log}\n[glance_store]\nfilesystem_store_datadir = {tmp_path}/i\n")
    assert report([file], [], startup_errors).problems == () and not log.exists()
    log.write_text("before")
    assert report([file], [], startup_errors).problems == () and log.read_text() == "before"
