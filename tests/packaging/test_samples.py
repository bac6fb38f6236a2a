"""The other samples in ``contrib``: container image, logrotate, Keystone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributions import run
from needs import need
from samples import CONTRIB, adapted

from ferrotype.config.read import read
from ferrotype.testing.keystone import PASSWORD, REGION, Keystone, keystone
from ferrotype.testing.process import served

URL = "https://images.example.org"


# The container image


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Containerfile with their arguments, continued lines joined."""
    lines = [line for line in (CONTRIB / "Containerfile").read_text().splitlines() if line and line[0] != "#"]
    joined = "\n".join(lines).replace("\\\n", "").splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined)]


def test_containerfile_has_no_findings_of_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    assert run([hadolint, "--no-color", CONTRIB / "Containerfile"]) == ""


def test_container_image_has_two_stages_and_an_unprivileged_user() -> None:
    stages = [index for index, (name, _) in enumerate(instructions()) if name == "FROM"]
    assert len(stages) == 2
    last = dict(instructions()[stages[1] :])
    assert last["USER"].split(":")[0].isdecimal() and last["USER"].split(":")[0] != "0"
    assert json.loads(last["ENTRYPOINT"]) + json.loads(last["CMD"]) == ["ferrotype", "serve"]
    assert last["VOLUME"] == "/var/lib/ferrotype" and "XDG_DATA_HOME=/var/lib " in last["ENV"]


@pytest.mark.slow
def test_health_check_of_the_container_sees_whether_the_service_answers(tmp_path: Path) -> None:
    program, *words = json.loads(dict(instructions())["HEALTHCHECK"].partition("CMD ")[2])
    assert program == "python" and ":9292/" in words[-1]
    with served(tmp_path) as service:
        command = [sys.executable, *words[:-1], words[-1].replace(":9292/", f":{service.port}/")]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
        assert service.stop() == 0
        assert subprocess.run(command, capture_output=True, check=False).returncode == 1


# logrotate


@pytest.mark.slow
def test_rotated_log_is_followed_by_a_new_one_without_a_signal(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o755)
    (tmp_path / "ferrotype.conf").write_text(f"[DEFAULT]\nlog_dir = {logs}\n")
    owner = f"{logs.owner()} {logs.group()}"
    changes = {"/var/log/ferrotype/": f"{logs}/", "su ferrotype ferrotype": f"su {owner}"}
    (tmp_path / "rotate.conf").write_text(adapted("logrotate.conf", changes))
    (tmp_path / "rotate.conf").chmod(0o644)
    rotate = [need("logrotate"), "--force", "--state", tmp_path / "state", tmp_path / "rotate.conf"]
    with served(tmp_path / "service", "--config-file", str(tmp_path / "ferrotype.conf")) as service:
        for path in ("images", "schemas/image", "schemas/images"):
            run(["curl", "--silent", "--fail", f"{service.url}/v2/{path}"])
            run(rotate)
        assert service.stop() == 0
    # The newest one is compressed in the next round: a quiet worker may still have it open.
    assert sorted(path.name for path in logs.iterdir()) == [
        "ferrotype.log",
        "ferrotype.log.1",
        "ferrotype.log.2.gz",
        "ferrotype.log.3.gz",
    ]
    assert "/v2/schemas/images 200" in (logs / "ferrotype.log.1").read_text()
    assert "stopped" in (logs / "ferrotype.log").read_text()


# Keystone


@pytest.fixture
def identity() -> Iterator[Keystone]:
    """A Keystone without an image service."""
    need("keystone")
    with keystone() as running:
        yield running


@pytest.mark.slow
def test_service_logs_in_with_what_keystone_register_prints(identity: Keystone, tmp_path: Path) -> None:
    openrc = {
        "OS_AUTH_URL": identity.url, "OS_USERNAME": "admin", "OS_PASSWORD": PASSWORD, "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default", "OS_IDENTITY_API_VERSION": "3",
    }  # fmt: skip
    environment = os.environ | openrc | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= {"HOME": str(tmp_path), "PYTHONPYCACHEPREFIX": str(tmp_path / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def register(*words: str) -> str:
        return run([CONTRIB / "keystone-register", *words], env=environment)

    printed = register("--url", "https://old.example.org", "--limits")
    again = register("--url", URL)
    assert "\npassword = " in printed and "\npassword = " not in again, "the password stays as it was"
    (service,) = identity.ask("GET", "/services?type=image")["services"]
    endpoints = identity.ask("GET", f"/endpoints?service_id={service['id']}")["endpoints"]
    found = {(each["interface"], each["region"], each["url"]) for each in endpoints}
    assert len(endpoints) == 3
    assert found == {(interface, REGION, URL) for interface in ("public", "internal", "admin")}

    file = tmp_path / "ferrotype.conf"
    file.write_text(
        f"[database]\nconnection = sqlite:///{tmp_path}/t.sqlite\n{printed}[DEFAULT]\nbind_host = 127.0.0.1\n"
    )
    assert read([file], [], {}).warnings == ()
    limit = {
        "service_id": service["id"],
        "region_id": REGION,
        "resource_name": "image_count_total",
        "default_limit": 1,
    }
    identity.ask("POST", "/registered_limits", {"registered_limits": [limit]})
    owner = identity.user("owner", identity.project("p1"), "member")
    with served(tmp_path / "service", "--config-file", str(file)) as running:
        curl = ["curl", "--silent", "--show-error", "--fail", "-H", f"X-Auth-Token: {owner.token()}"]
        body = '{"name": "first", "disk_format": "raw", "container_format": "bare"}'
        assert json.loads(run([*curl, "--json", body, f"{running.url}/v2/images"]))["owner"] == owner.project


@pytest.mark.parametrize("words", [[], ["--url"], ["--url", URL, "--colour", "red"], ["--url", URL]])
def test_keystone_register_explains_what_is_missing(words: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    command = [str(CONTRIB / "keystone-register"), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("keystone-register: ") and done.stderr.count("\n") == 1
