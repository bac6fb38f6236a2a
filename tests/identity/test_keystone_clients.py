"""Real clients log in at a real Keystone, find the service in its catalog, and use it."""

import io
from collections.abc import Iterator

import pytest
from glanceclient import Client
from keystone_service import PASSWORD, REGION, Keystone, User, Users, service
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from openstack.connection import Connection
from openstack_command import openstack

from ferrotype.testing.process import Served


@pytest.fixture(scope="module")
def served(identity: Keystone, users: Users, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    identity.image_endpoint("http://127.0.0.1:1")
    with service(identity, tmp_path_factory.mktemp("service")) as running:
        identity.move_image_endpoint(running.url)
        yield running


def test_the_openstack_command_creates_lists_and_shares_images(served, users, tmp_path) -> None:
    (tmp_path / "data").write_bytes(b"x" * 4096)
    words = ("image", "create", "--file", "data", "--disk-format", "raw", "--container-format", "bare")
    made = openstack(tmp_path, *users.owner.words(), *words, "--shared", "-f", "json", "from-the-command")
    assert (made["status"], made["owner"]) == ("active", users.p1)
    listed = openstack(tmp_path, *users.owner.words(), "image", "list", "-f", "json")
    assert made["id"] in {each["ID"] for each in listed}
    # CL-62: projects are looked up in Identity first
    openstack(tmp_path, *users.owner.words(), "image", "add", "project", made["id"], users.p2)
    assert "403" in openstack(tmp_path, *users.reader.words(), *words, "refused", code=1)


def session(user: User, project: str | None = None) -> Session:
    auth = v3.Password(
        auth_url=user.keystone.url,
        username=user.name,
        password=PASSWORD,
        user_domain_id="default",
        project_id=project or user.project,
    )
    return Session(auth)


def test_glanceclient_works_through_a_keystone_session(served, users) -> None:
    glance = Client("2", session=session(users.owner), region_name=REGION)
    image = glance.images.create(name="library", disk_format="raw", container_format="bare", visibility="private")
    glance.images.upload(image["id"], io.BytesIO(b"y" * 1000))
    assert b"".join(glance.images.data(image["id"])) == b"y" * 1000
    others = Client("2", session=session(users.stranger), region_name=REGION)
    assert image["id"] not in {each["id"] for each in others.images.list()}


def test_the_sdk_discovers_the_service_in_the_catalog(served, users) -> None:
    connection = Connection(session=session(users.admin), region_name=REGION)
    image = connection.image.create_image(name="sdk", disk_format="raw", container_format="bare", data=b"z" * 100)
    assert connection.image.get_image(image.id).status == "active"
    connection.image.delete_image(image.id)
