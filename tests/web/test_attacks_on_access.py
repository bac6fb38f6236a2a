"""Attacks on access control: every path to the data is authorized, and refusals reveal nothing."""

import logging

import pytest

from ferrotype.config.policy import Policy, PropertyProtectionConfig
from ferrotype.testing.client import ADMIN, MEMBER, OWNER, STRANGER, client, person

WAYS = [
    ("GET", "", {}),
    ("HEAD", "", {}),
    ("GET", "", {"range": "bytes=0-0"}),
    ("GET", "", {"content-range": "bytes 0-0/*"}),
    ("GET", "?prefer=fast", {}),
    ("GET", "", {"if-match": "*"}),
    ("GET", "", {"if-none-match": "*"}),
]


@pytest.mark.parametrize(("method", "query", "headers"), WAYS)
def test_a_denied_download_is_denied_on_every_path(tmp_path, method, query, headers):
    (tmp_path / "policy.yaml").write_text('download_image: "!"\n')
    with client(tmp_path, policy=Policy(file=tmp_path / "policy.yaml")) as api:
        image = api.image(b"data", caller=OWNER)
        path = f"/v2/images/{image['id']}/file{query}"
        answer = api.request(method, path, caller=OWNER, headers=headers)
        assert (answer.status, b"data" in answer.body) == (403, False)  # SEC-69


@pytest.mark.parametrize(("method", "query", "headers"), WAYS)
def test_only_administrators_download_a_deactivated_image(api, method, query, headers):
    image = api.image(b"data", caller=OWNER)
    path = f"/v2/images/{image['id']}"
    etag = api.get(f"{path}/file", caller=OWNER).headers["etag"]
    api.post(f"{path}/members", json={"member": "p9"}, caller=OWNER)
    assert api.post(f"{path}/actions/deactivate", caller=OWNER).status == 204
    for caller in (OWNER, MEMBER):
        for more in ({}, {"if-none-match": etag}):
            answer = api.request(method, f"{path}/file{query}", caller=caller, headers=headers | more)
            assert answer.status == 403  # SEC-70
    assert api.request(method, f"{path}/file{query}", caller=ADMIN, headers=headers).status in (200, 206, 304)
    assert api.post(f"{path}/actions/reactivate", caller=STRANGER).status == 404


def test_a_member_sees_only_itself_and_nothing_once_it_was_removed(api):
    image = api.image(b"data", caller=OWNER)
    path = f"/v2/images/{image['id']}"
    for project in ("p9", "p8"):
        api.post(f"{path}/members", json={"member": project}, caller=OWNER)
    assert [each["member_id"] for each in api.get(f"{path}/members", caller=MEMBER).json["members"]] == [
        "p9"
    ]  # SEC-68
    assert api.get(f"{path}/members/p8", caller=MEMBER).status == 404
    etag = api.get(f"{path}/file", caller=MEMBER).headers["etag"]
    assert api.get(f"{path}/file", caller=MEMBER, headers={"if-none-match": etag}).status == 304
    assert api.delete(f"{path}/members/p9", caller=OWNER).status == 204
    for asked in (path, f"{path}/file", f"{path}/members"):
        assert api.get(asked, caller=MEMBER, headers={"if-none-match": etag}).status == 404  # SEC-68


def test_an_internal_error_reveals_nothing(tmp_path, caplog):
    with client(tmp_path) as api:
        image = api.image(b"data", caller=OWNER)
        (stored,) = (tmp_path / "fast").glob("[!.]*")
        stored.unlink()
        with caplog.at_level(logging.ERROR):
            answer = api.get(f"/v2/images/{image['id']}/file", caller=OWNER)
        assert answer.status == 503
        response_text = answer.text + str(answer.headers)
        assert not any(
            secret in response_text for secret in (str(tmp_path), stored.name, "Errno", "sqlite", "Traceback")
        )
        assert answer.headers["x-openstack-request-id"].startswith("req-")
        assert stored.name in caplog.text


def test_identical_data_are_separate_objects(api):
    raw, boxed = api.image(b"same", caller=OWNER), api.image(b"same", caller=STRANGER, container_format="ova")
    assert raw["os_hash_value"] == boxed["os_hash_value"]  # SEC-124
    assert api.delete(f"/v2/images/{raw['id']}", caller=STRANGER).status == 404
    assert api.delete(f"/v2/images/{raw['id']}", caller=OWNER).status == 204
    assert api.get(f"/v2/images/{boxed['id']}/file", caller=STRANGER).body == b"same"


def test_property_checks_do_not_add_roles_to_the_caller(tmp_path):
    text = "[.*]\ncreate = auditor\nread = auditor\nupdate = auditor\ndelete = auditor\n"
    (tmp_path / "protect.conf").write_text(text)
    helped = person("p1", "reader", "member", service_roles=["auditor"])
    with client(tmp_path, protection=PropertyProtectionConfig(tmp_path / "protect.conf")) as api:
        image = api.image(caller=helped, secret="s")
        path = f"/v2/images/{image['id']}"
        assert api.get(path, caller=helped).json["secret"] == "s"
        assert "secret" not in api.get(path, caller=OWNER).json  # PROP-11: of the service token nothing stays
        assert api.get("/v2/info/stores/detail", caller=helped).status == 403
