"""API tokens: made by a command, stored as a hash, reloaded when their file changes."""

import re

import openstack
import pytest
from glanceclient import Client as Glance
from local_accounts import (
    BOB,
    ROBOT,
    basic,
    client_without_keystone,
    htpasswd,
    look_again,
    replace_file,
    served_without_keystone,
    settings,
)
from openstack import exceptions
from openstack.connection import Connection

from ferrotype.config.accounts import Accounts
from ferrotype.identity.tokens import hashed
from ferrotype.service.account_files import AccountFiles
from ferrotype.service.watched_files import BrokenFiles
from ferrotype.testing.client import client
from ferrotype.testing.process import Served

HASH = hashed(ROBOT)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with client_without_keystone(tmp_path_factory.mktemp("static")) as api:
        yield api


@pytest.mark.parametrize("header", ["x-auth-token", "X-Auth-Token", "x-storage-token"])
# ACC-10
def test_a_token_makes_its_program_the_caller(api, header):
    made = api.post("/v2/images", json={}, headers={header: ROBOT})
    assert (made.status, made.json["owner"]) == (201, "demo")
    assert api.post("/v2/images", json={"visibility": "public"}, headers={header: ROBOT}).status == 403


@pytest.mark.parametrize(
    "token",
    ["", "wrong", ROBOT[:-1], ROBOT + "x", ROBOT.upper(), " ", HASH, "robot", f"robot:{HASH}", "x" * 9000, "ÿ"],
)
def test_anything_else_is_refused(api, token):
    answer = api.get("/v2/images", headers={"x-auth-token": token})
    assert (answer.status, answer.headers["www-authenticate"][:6]) == (401, "Basic ")


def test_a_password_beside_a_token_decides(api):
    assert api.post("/v2/images", json={}, headers={"x-auth-token": "notused"} | BOB).json["owner"] == "demo"
    assert api.get("/v2/images", headers={"x-auth-token": ROBOT, "authorization": "Basic bm8="}).status == 200


def test_programs_have_no_password(api):
    for password in (ROBOT, HASH, ""):
        assert api.get("/v2/images", headers=basic("robot", password)).status == 401


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([f"robot:{HASH}"], "line 1: a line must be name:hash:project:role,role"),
        ([f"robot:{ROBOT}:demo:member"], "line 1: the token of 'robot' must be its SHA-256"),
        ([f"robot:{HASH[:-1]}:demo:member"], "must be its SHA-256"),
        ([f"robot:{HASH}:demo:member", f"robot:{HASH}:demo:reader"], "line 2: 'robot' is there twice"),
        ([f"bob:{HASH}:demo:member"], "'bob' is a user and an API token"),
        ([f"robot:{HASH}:demo:member,"], "letters, digits"),
    ],
)
def test_a_file_that_is_wrong_is_refused_without_its_secrets(tmp_path, lines, says):
    users = htpasswd(tmp_path / "users")
    tokens = replace_file(tmp_path / "tokens", "".join(f"{line}\n" for line in lines))
    with pytest.raises(BrokenFiles) as caught:
        AccountFiles(Accounts(users, tmp_path / "roles", tokens))
    assert says in str(caught.value)
    assert ROBOT not in str(caught.value) and HASH[:-1] not in str(caught.value)  # SEC-115


def test_a_token_that_is_taken_out_of_the_file_is_void(tmp_path):
    with client_without_keystone(tmp_path) as api:
        assert api.get("/v2/images", headers={"x-auth-token": ROBOT}).status == 200
        replace_file(tmp_path / "tokens", f"other:{hashed('another-one')}:demo:reader\n")
        look_again(api)
        assert api.get("/v2/images", headers={"x-auth-token": ROBOT}).status == 401  # SEC-74
        assert api.get("/v2/images", headers={"x-auth-token": "another-one"}).status == 200


def test_without_authentication_tokens_are_not_looked_at(tmp_path):
    with client(tmp_path) as api:
        assert api.application._login is None
        assert api.get("/v3").status == 300  # No Identity API either: this is the list of versions.


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with served_without_keystone(tmp_path_factory.mktemp("served")) as running:
        yield running


def new(service, *words: str):
    return service.command("token", "new", *words, "--config-file", str(service.log.parent / "api.conf"))


def test_the_command_shows_a_fresh_token_once_and_keeps_its_hash(service):
    made = new(service, "packer", "--project", "demo", "--role", "member", "--role", "reader")
    token = made.stdout.strip()
    assert made.returncode == 0
    assert re.fullmatch(r"[A-Za-z0-9_.~=+/-]{40,}", token)  # CL-65
    file = service.log.parent / "tokens"
    assert file.read_text() == f"robot:{HASH}:demo:member\npacker:{hashed(token)}:demo:member,reader\n"
    assert token not in file.read_text()
    again = new(service, "packer", "--role", "member")
    assert (again.returncode, again.stdout) == (1, "")
    assert "a line for 'packer' already" in again.stderr
    other = new(service, "terraform", "--role", "reader").stdout.strip()
    assert other != token
    assert len(file.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "words",
    [("a:b", "--role", "member"), ("name", "--role", "two words"), ("name", "--project", "p/q", "--role", "x")],
)
def test_the_command_writes_nothing_that_could_not_be_read(service, words):
    before = (service.log.parent / "tokens").read_text()
    made = new(service, *words)
    assert (made.returncode, made.stdout) == (1, "")
    assert (service.log.parent / "tokens").read_text() == before


def test_the_command_makes_the_file_for_its_owner_alone(tmp_path):
    settings(tmp_path)
    idle = Served((), tmp_path / "log", {"HOME": str(tmp_path), "PATH": "/usr/bin"}, ())
    assert new(idle, "first", "--role", "member").returncode == 0
    assert (tmp_path / "tokens").stat().st_mode & 0o777 == 0o600


def test_clients_with_a_token_work(service):
    def connect(token: str) -> Connection:
        auth = {"endpoint": service.url, "token": token}
        return openstack.connect(load_yaml_config=False, load_envvars=False, auth_type="admin_token", auth=auth)

    made = connect(ROBOT).image.create_image("t", data=b"x", disk_format="raw", container_format="bare")
    assert made.owner == "demo"  # CL-60
    with pytest.raises(exceptions.HttpException, match="401"):
        list(connect("wrong").image.images())
    # CL-64
    assert [image.id for image in Glance("2", service.url, token=ROBOT).images.list()] == [made.id]
