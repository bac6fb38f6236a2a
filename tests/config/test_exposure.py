"""Paths that other users may write to, and running as root, are warned about at start and by ``config check``."""

import os
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ferrotype.app import startup_errors
from ferrotype.config.check import report
from ferrotype.config.exposure import AS_ROOT
from ferrotype.config.read import read
from ferrotype.testing.process import served

TEXT = """
[DEFAULT]
auth_strategy = http_basic
bind_host = ::1
enabled_backends = one:file,two:file
property_protection_file = protections
[glance_store]
default_backend = one
[one]
filesystem_store_datadir = {0}/one
[two]
filesystem_store_datadirs = {0}/two:1
filesystem_store_datadirs = {0}/three:2
[os_glance_staging_store]
filesystem_store_datadir = {0}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {0}/tasks
[oslo_middleware]
http_basic_auth_user_file = {0}/users
[identity]
tokens_file = {0}/tokens
[database]
connection = sqlite:///{0}/records/t.sqlite
"""
DIRECTORIES = ("one", "two", "three", "staging", "tasks", "records", "etc", "etc/policy.d", "conf.d")
FILES = ("users", "tokens", "etc/policy.yaml", "etc/policy.d/more.yaml", "etc/protections", "etc/schema-image.json",
         "records/t.sqlite", "conf.d/more.conf")  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with everything that a configuration can name, none of it writable for others."""
    for name in DIRECTORIES:
        (tmp_path / name).mkdir(mode=0o755)
    for name in FILES:
        (tmp_path / name).write_text("{}" if name.endswith(("yaml", "json")) else "")
        (tmp_path / name).chmod(0o644)
    (tmp_path / "etc/protections").write_text("[.*]\ncreate = @\nread = @\nupdate = @\ndelete = @\n")
    (tmp_path / "etc/t.conf").write_text(TEXT.format(tmp_path))
    (tmp_path / "etc/t.conf").chmod(0o644)
    return tmp_path


def warned(home: Path) -> list[str]:
    """Return what the start and ``config check`` say about paths; they say the same."""
    files, dirs = [home / "etc/t.conf"], [home / "conf.d"]
    at_start = [each for each in read(files, dirs, {}).warnings if " has mode " in each]
    assert [each for each in report(files, dirs, startup_errors).warnings if " has mode " in each] == at_start
    return at_start


def test_paths_that_only_their_owner_may_write_to_are_not_warned_about(home: Path) -> None:
    assert warned(home) == []


@pytest.mark.parametrize("bits", [0o020, 0o002, 0o022])
@pytest.mark.parametrize(
    ("name", "risk"),
    [
        ("etc/t.conf", "change what the service does"),
        ("conf.d/more.conf", "change what the service does"),
        ("conf.d", "change what the service does"),
        ("etc/schema-image.json", "change what the service does"),
        ("users", "log in as any user"),
        ("tokens", "log in as any user"),
        ("etc/policy.yaml", "change who may do what"),
        ("etc/policy.d", "change who may do what"),
        ("etc/policy.d/more.yaml", "change who may do what"),
        ("etc/protections", "change who may do what"),
        ("one", "replace or delete the data of images"),
        ("two", "replace or delete the data of images"),
        ("three", "replace or delete the data of images"),
        ("staging", "replace data that is being imported"),
        ("tasks", "replace data that is being imported"),
        ("records/t.sqlite", "change every record of the service"),
        # Whoever may write to a directory may replace what is in it.
        ("records", "/records/t.sqlite, and so change every record of the service"),
        ("etc", "/etc/t.conf, and so change what the service does"),
        ("", "/etc/t.conf, and so change what the service does"),
    ],
)
def test_a_path_that_others_may_write_to_is_warned_about_once(home: Path, name: str, risk: str, bits: int) -> None:
    path = home / name
    path.chmod(path.stat().st_mode | bits)
    (warning,) = warned(home)  # SEC-143
    assert warning.startswith(f"{path} has mode {stat.S_IMODE(path.stat().st_mode):04o}: ")
    who = "every user of this machine" if bits & 0o002 else "its group"
    assert who in warning and risk in warning
    command = re.search(r"run (chmod .*)\.$", warning)
    assert command
    subprocess.run(command[1].split(), check=True)
    assert warned(home) == [] and not path.stat().st_mode & 0o022


def link_to_the_store(home: Path) -> Path:
    """Put the first store where a link leads to, and return the path that is then in danger."""
    (home / "elsewhere/real").mkdir(parents=True)
    (home / "one").rmdir()
    (home / "one").symlink_to("elsewhere/real")
    return home / "elsewhere/real"


def link_above(home: Path) -> Path:
    target = link_to_the_store(home)
    return target.parent


def link_of_the_policy(home: Path) -> Path:
    (home / "etc/policy.yaml").rename(home / "real.yaml")
    (home / "etc/policy.yaml").symlink_to(home / "elsewhere.yaml")
    (home / "elsewhere.yaml").symlink_to(home / "real.yaml")
    return home / "real.yaml"


@pytest.mark.parametrize("prepare", [link_to_the_store, link_above, link_of_the_policy])
def test_links_are_followed(home: Path, prepare: Callable[[Path], Path]) -> None:
    path = prepare(home)
    assert warned(home) == []
    path.chmod(0o777)
    (warning,) = warned(home)  # SEC-143
    assert warning.startswith(f"{path} has mode 0777")


def test_a_loop_of_links_is_no_endless_loop(home: Path) -> None:
    (home / "one").rmdir()
    (home / "one").symlink_to("loop")
    (home / "loop").symlink_to("one")
    (home / "staging").rmdir()
    (home / "elsewhere").mkdir(mode=0o755)
    (home / "staging").symlink_to(f"../{home.name}/elsewhere")
    assert warned(home) == []
    (home / "elsewhere").chmod(0o775)
    (warning,) = warned(home)
    assert warning.startswith(f"{home}/elsewhere has mode 0775")


def test_the_sticky_bit_protects_what_exists(home: Path) -> None:
    home.chmod(0o1777)
    assert warned(home) == []
    (home / "staging").rmdir()  # whoever makes it first owns it
    (warning,) = warned(home)
    assert warning.startswith(f"{home} has mode 1777") and "staging" in warning
    home.chmod(0o755)
    (home / "one").chmod(0o1777)
    (warning,) = warned(home)
    assert warning.startswith(f"{home}/one has mode 1777")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_only_root_is_warned_about_root(home: Path) -> None:
    assert AS_ROOT in read([], [], {}).warnings  # SEC-143
    os.seteuid(65534)
    try:
        assert AS_ROOT not in read([], [], {}).warnings
    finally:
        os.seteuid(0)


def test_a_umask_that_lets_everybody_write_is_warned_about() -> None:
    before = os.umask(0o022)
    try:
        assert not any("umask" in each for each in read([], [], {}).warnings)
        os.umask(0o000)
        (warning,) = [each for each in read([], [], {}).warnings if "umask" in each]  # SEC-143
        assert "umask 0000" in warning and "run umask 0027" in warning
    finally:
        os.umask(before)


def test_the_service_logs_the_warnings_at_start(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images").chmod(0o777)
    file = tmp_path / "t.conf"
    file.write_text(
        f"[glance_store]\nfilesystem_store_datadir = {tmp_path}/images\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/t.sqlite\n"
    )
    with served(tmp_path, "--port", "0", "--config-file", str(file)) as service:
        log = service.log.read_text()
    assert f"{tmp_path}/images has mode 0777: every user of this machine can" in log
