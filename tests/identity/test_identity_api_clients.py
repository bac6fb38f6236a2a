"""Real clients log in with a password at the built-in Identity API."""

import io
from typing import Any

import openstack as sdk
import pytest
from glanceclient import Client as Glance
from keystoneauth1 import exceptions
from keystoneauth1.identity import v3
from keystoneauth1.loading import get_plugin_loader
from keystoneauth1.session import Session
from local_accounts import LINES, ROBOT, served_without_keystone
from openstack.connection import Connection
from openstack_command import openstack

from ferrotype.testing.process import Served

BOBS = LINES["bob:demo:member,reader"]
DOMAINS = ("--os-user-domain-name", "Default", "--os-project-domain-name", "Default")
DATA = bytes(range(256)) * 400


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with served_without_keystone(tmp_path_factory.mktemp("served")) as running:
        yield running


def as_bob(service: Served, path: str, project: str = "demo", password: str = BOBS) -> tuple[str, ...]:
    where = ("--os-auth-url", service.url + path, *DOMAINS, "--os-project-name", project)
    return (*where, "--os-username", "bob", "--os-password", password)


def test_the_openstack_command_logs_in_with_a_password(service, tmp_path):
    bob = as_bob(service, "/identity/v3")
    (tmp_path / "data").write_bytes(DATA)
    words = ("image", "create", "--file", "data", "--disk-format", "raw", "--container-format", "bare", "--shared")
    made = openstack(tmp_path, *bob, *words, "-f", "json", "by-password")
    assert (made["status"], made["owner"]) == ("active", "demo")  # CL-70
    assert made["id"] in {each["ID"] for each in openstack(tmp_path, *bob, "image", "list", "-f", "json")}
    openstack(tmp_path, *bob, "image", "save", "--file", "copy", "by-password")
    assert (tmp_path / "copy").read_bytes() == DATA
    openstack(tmp_path, *bob, "image", "add", "project", made["id"], "other")  # CL-62
    members = openstack(tmp_path, *bob, "image", "member", "list", made["id"], "-f", "json")
    assert [each["Member ID"] for each in members] == ["other"]


@pytest.mark.parametrize("path", ["/identity", "/v3"])
def test_the_openstack_command_finds_the_identity_api_by_each_path(service, tmp_path, path):
    found = openstack(tmp_path, *as_bob(service, path), "catalog", "list", "-f", "json")
    assert {each["Name"] for each in found} == {"glance", "keystone"}


def test_the_openstack_command_reports_401_for_wrong_password_or_project(service, tmp_path):
    assert "401" in openstack(tmp_path, *as_bob(service, "/v3", password="wrong"), "image", "list", code=1)
    assert "401" in openstack(tmp_path, *as_bob(service, "/v3", project="other"), "image", "list", code=1)


def test_an_administrator_finds_users_and_projects(service, tmp_path):
    where = ("--os-auth-url", f"{service.url}/identity", *DOMAINS, "--os-project-name", "default")
    alice = (*where, "--os-username", "alice", "--os-password", "wonder")
    assert openstack(tmp_path, *alice, "project", "show", "demo", "-f", "json")["id"] == "demo"
    assert openstack(tmp_path, *alice, "user", "show", "bob", "-f", "json")["default_project_id"] == "demo"


def test_the_openstack_command_can_use_http_basic(service, tmp_path):
    where = ("--os-auth-type", "http_basic", "--os-endpoint", service.url, "--os-username", "bob")
    assert isinstance(
        openstack(tmp_path, *where, "--os-password", BOBS, "image", "list", "-f", "json"), list
    )  # CL-60
    assert "401" in openstack(tmp_path, *where, "--os-password", "wrong", "image", "list", code=1)


def connected(service: Served, **auth: str) -> Connection:
    given = {"auth_url": f"{service.url}/identity", "username": "bob", "password": BOBS, "project_name": "demo"}
    domains = {"user_domain_name": "Default", "project_domain_name": "Default"}
    return sdk.connect(load_yaml_config=False, load_envvars=False, auth=given | domains | auth)


def test_the_sdk_logs_in_with_a_password(service):
    connection = connected(service)
    made = connection.image.create_image("sdk", data=DATA, disk_format="raw", container_format="bare")
    assert made.owner == connection.current_project_id == "demo"
    assert connection.current_user_id == "bob"
    assert connection.image.find_image("sdk").id == made.id
    assert connection.image.download_image(made.id).content == DATA
    with pytest.raises(exceptions.Unauthorized):
        connected(service, password="wrong").image.find_image("sdk")


def password(service: Served, **more: Any) -> v3.Password:
    return v3.Password(
        auth_url=f"{service.url}/v3", username="bob", password=BOBS, user_domain_name="Default", **more
    )


def test_a_session_rescopes_its_token_and_revokes_it(service):
    unscoped = Session(password(service, unscoped=True))
    token = unscoped.get_token()
    scoped = Session(v3.Token(f"{service.url}/v3", token, project_name="demo", project_domain_id="default"))
    assert scoped.get_project_id() == "demo"
    assert all(image["owner"] == "demo" for image in Glance("2", session=scoped).images.list())
    address = scoped.get_endpoint(service_type="image", min_version="2", max_version="2.latest")
    assert address == f"{service.url}/v2/"  # CL-23
    assert unscoped.delete(f"{service.url}/v3/auth/tokens", headers={"X-Subject-Token": token}).status_code == 204
    with pytest.raises(exceptions.Unauthorized):
        Session(v3.Token(f"{service.url}/v3", token, project_name="demo", project_domain_id="default")).get_token()


def test_glanceclient_works_with_a_session(service):
    glance = Glance("2", session=Session(password(service, project_id="demo")))
    made = glance.images.create(name="library", disk_format="raw", container_format="bare")
    glance.images.upload(made["id"], io.BytesIO(DATA))
    assert b"".join(glance.images.data(made["id"])) == DATA


@pytest.mark.parametrize(
    ("kind", "options"),
    [("http_basic", {"username": "bob", "password": BOBS}), ("admin_token", {"token": ROBOT})],
)
def test_other_keystoneauth_plugins_work(service, kind, options):
    plugin = get_plugin_loader(kind).load_from_options(endpoint=service.url, **options)
    glance = Glance("2", session=Session(plugin))
    assert glance.images.create(name=kind)["owner"] == "demo"  # AUTH-09, CL-60
