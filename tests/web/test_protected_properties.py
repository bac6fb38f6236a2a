"""Protected properties: refused as the file says, invisible where unreadable, and never lost."""

import pytest

from ferrotype.config.limits import Limits
from ferrotype.config.policy import Policy, PropertyProtectionConfig
from ferrotype.service.watched_files import BrokenFiles
from ferrotype.testing.client import ADMIN, OCTETS, OWNER, READER, client

FILE = """
[^secret]
create = admin
read = admin
update = admin
delete = admin
[^shown]
create = member
read = @
update = admin
delete = !
[^open]
create = @
read = @
update = @
delete = @
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    directory = tmp_path_factory.mktemp("protected")
    (directory / "protect.conf").write_text(FILE)
    with client(directory, protection=PropertyProtectionConfig(directory / "protect.conf")) as api:
        yield api


@pytest.fixture
def path(api):
    made = api.image(caller=ADMIN, owner="p1", secret="hidden", shown="s", open="o")
    return f"/v2/images/{made['id']}"


def step(op, name, value="new"):
    return [{"op": op, "path": f"/{name}"} | ({} if op == "remove" else {"value": value})]


@pytest.mark.parametrize(("name", "status"), [("secret_x", 403), ("shown_x", 201), ("open_x", 201), ("other", 403)])
def test_create_checks_each_property(api, name, status):
    made = api.post("/v2/images", json={name: "x"}, caller=OWNER)
    assert made.status == status  # IMG-PROP-22, PROP-04, PROP-06


def test_hidden_properties_are_in_no_response(api, path):
    for caller, expected in ((OWNER, False), (READER, False), (ADMIN, True)):
        assert ("secret" in api.get(path, caller=caller).json) is expected  # IMG-PROP-21, PROP-07
        listed = [
            image for image in api.get("/v2/images", caller=caller).json["images"] if path.endswith(image["id"])
        ]
        assert all(("secret" in image) is expected for image in listed)
    assert "secret" not in api.patch(path, step("add", "open"), caller=OWNER).json


@pytest.mark.parametrize(
    ("caller", "op", "name", "status"),
    [
        (OWNER, "replace", "secret", 409),  # IMG-PROP-24, PROP-07: as if it were not there
        (OWNER, "remove", "secret", 409),
        (OWNER, "add", "secret", 403),  # PROP-08
        (OWNER, "replace", "secret_none", 409),
        (OWNER, "add", "secret_none", 403),
        (OWNER, "replace", "shown", 403),  # IMG-PROP-23
        (OWNER, "add", "shown", 403),
        (OWNER, "add", "shown_new", 200),
        (OWNER, "remove", "shown", 403),
        (ADMIN, "replace", "shown", 200),
        (ADMIN, "remove", "shown", 403),  # IMG-PROP-23: ! binds administrators too
        (ADMIN, "add", "other", 403),  # PROP-04
        (OWNER, "replace", "open", 200),
        (OWNER, "remove", "open", 200),
        (OWNER, "replace", "name", 200),  # PROP-05
    ],
)
def test_operations_are_checked_one_by_one(api, path, caller, op, name, status):
    assert api.patch(path, step(op, name), caller=caller).status == status


def test_hidden_properties_are_never_lost(api, path):
    assert api.patch(path, step("replace", "name"), caller=OWNER).status == 200
    assert api.put(f"{path}/tags/t", caller=OWNER).status == 204
    assert api.put(f"{path}/file", body=b"x", headers={"content-type": OCTETS}, caller=OWNER).status == 204
    assert api.post(f"{path}/actions/deactivate", caller=OWNER).status == 204
    assert api.get(path, caller=ADMIN).json["secret"] == "hidden"  # IMG-PROP-25, PROP-09, IMG-WART-04


def test_a_filter_on_a_hidden_property_matches_nothing(api, path):
    query = "/v2/images?secret=hidden&limit=1000"
    assert api.get(query, caller=OWNER).json["images"] == []  # IMG-PROP-26, PROP-12, SEC-72
    assert any(path.endswith(image["id"]) for image in api.get(query, caller=ADMIN).json["images"])


def test_policies_can_be_named_instead_of_roles(tmp_path):
    (tmp_path / "policy.yaml").write_text('trusted: "role:member"\nother: "rule:trusted"\n')
    text = "[.*]\ncreate = trusted\nread = trusted\nupdate = !\ndelete = trusted\n"
    (tmp_path / "protect.conf").write_text(text)
    changes = {
        "policy": Policy(file=tmp_path / "policy.yaml"),
        "protection": PropertyProtectionConfig(tmp_path / "protect.conf", by_roles=False),
    }
    with client(tmp_path, **changes) as api:
        path = f"/v2/images/{api.image(caller=OWNER, a='1')['id']}"  # PROP-03
        assert api.get(path, caller=OWNER).json["a"] == "1"
        assert "a" not in api.get(path, caller=READER).json
        assert api.patch(path, step("replace", "a"), caller=OWNER).status == 403


def test_an_invalid_file_stops_the_start(tmp_path):
    (tmp_path / "protect.conf").write_text("[a]\ncreate = @\n")
    for file in (tmp_path / "protect.conf", tmp_path / "missing.conf"):
        refused = pytest.raises(BrokenFiles, match="property_protection_file")  # PROP-10
        with refused, client(tmp_path, protection=PropertyProtectionConfig(file)):
            pass


def test_the_quota_of_properties_does_not_tell_how_many_are_hidden(tmp_path):
    (tmp_path / "protect.conf").write_text(FILE)
    protection = PropertyProtectionConfig(tmp_path / "protect.conf")
    with client(tmp_path, protection=protection, limits=Limits(image_property_quota=4)) as api:
        made = api.image(caller=ADMIN, owner="p1", secret_a="1", secret_b="2", secret_c="3", open_a="o")
        for name, caller, text in (("open_x", OWNER, "at most 4 properties."), ("open_x", ADMIN, "would make it 5")):
            refused = api.patch(made["self"], step("add", name), caller=caller)
            assert refused.status == 413 and text in refused.text  # SEC-89
        assert "5" not in api.patch(made["self"], step("add", "open_x"), caller=OWNER).text.replace("415", "")
