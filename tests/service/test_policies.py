"""A deployment's own rules: read when they change, kept when broken, never wider than the view."""

import logging

import pytest

from tintype.config.model import Policy
from tintype.model.image import Image
from tintype.service.policies import BrokenPolicy, Policies
from tintype.testing.client import ADMIN, OWNER, READER, STRANGER, client, person

IMAGE = Image(id="i", owner="p1", visibility="private")


def test_files_override_the_usual_rules_in_order(tmp_path):
    (tmp_path / "policy.yaml").write_text('delete_image: "!"\nmodify_image: "!"\n')
    (tmp_path / "policy.d").mkdir()
    (tmp_path / "policy.d" / "1.yaml").write_text('modify_image: "role:reader"\n')
    (tmp_path / "policy.d" / "notes.txt").write_text("not a policy")
    found = Policies(Policy(file=tmp_path / "policy.yaml", dirs=(tmp_path / "policy.d",))).authoriser
    assert not found.allows(ADMIN, "delete_image", IMAGE)  # CFG-61, IMG-POL-08
    assert found.allows(READER, "modify_image", IMAGE)
    assert found.allows(OWNER, "upload_image", IMAGE)


def test_a_file_that_changes_is_read_again_and_a_broken_one_changes_nothing(tmp_path, caplog):
    path = tmp_path / "policy.yaml"
    policies = Policies(Policy(file=path))
    assert policies.refresh().allows(OWNER, "delete_image", IMAGE)
    path.write_text('delete_image: "!"\n')
    assert not policies.refresh().allows(OWNER, "delete_image", IMAGE)  # SEC-76
    for broken in ("delete_image: [", 'delete_image: "role"', "- a", 'delete_image: "rule:delete_image"'):
        path.write_text(broken)
        with caplog.at_level(logging.ERROR):
            assert not policies.refresh().allows(OWNER, "delete_image", IMAGE)
        assert "stay in force" in caplog.text
        caplog.clear()
    path.unlink()
    assert policies.refresh().allows(OWNER, "delete_image", IMAGE)


def test_a_broken_file_at_the_start_stops_it(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text('delete_image: "role:a and"')
    with pytest.raises(BrokenPolicy, match="delete_image"):
        Policies(Policy(file=path))


def test_an_unknown_name_is_reported_with_the_nearest_one(tmp_path, caplog):
    path = tmp_path / "policy.yaml"
    path.write_text('delet_image: "!"\nhelper: "role:x"\nadd_image: "rule:helper"\nget_task: ""\n')
    with caplog.at_level(logging.WARNING):
        Policies(Policy(file=path))
    assert "'delet_image'; is 'delete_image' meant?" in caplog.text  # POL-07
    assert "helper" not in caplog.text
    assert "get_task" not in caplog.text


def test_no_rule_widens_what_a_caller_sees(tmp_path):
    (tmp_path / "policy.yaml").write_text('get_image: "@"\ndownload_image: "@"\ndelete_image: "@"\nget_images: "@"\n')
    with client(tmp_path, policy=Policy(file=tmp_path / "policy.yaml")) as api:
        image = api.image(b"x", caller=OWNER, visibility="private")
        path = f"/v2/images/{image['id']}"
        assert api.get(path, caller=STRANGER).status == 404  # POL-06
        assert api.get(f"{path}/file", caller=STRANGER).status == 404
        assert api.delete(path, caller=STRANGER).status == 404
        assert api.get("/v2/images", caller=STRANGER).json["images"] == []


def test_without_the_new_defaults_roles_do_not_matter_and_ownership_does(tmp_path):
    nobody, elsewhere = person("p1", "whatever"), person("p2", "whatever")
    with client(tmp_path, policy=Policy(new_defaults=False)) as api:
        image = api.image(b"x", caller=nobody, visibility="community")  # IMG-POL-05, CFG-60
        path = f"/v2/images/{image['id']}"
        assert api.get(path, caller=elsewhere).status == 200
        assert api.get(f"{path}/file", caller=elsewhere).status == 200
        assert api.get("/v2/images", caller=nobody).status == 200
        assert api.delete(path, caller=elsewhere).status == 403
        assert api.patch(path, [{"op": "add", "path": "/visibility", "value": "public"}], caller=nobody).status == 403
        assert api.delete(path, caller=nobody).status == 204


def test_tokens_that_are_not_for_a_project_may_do_nothing_to_images(tmp_path):
    from msgspec.structs import replace

    everywhere = replace(ADMIN, system="all", project=None)
    domain = replace(OWNER, domain="d", project=None)
    with client(tmp_path) as api:
        image = api.image(caller=OWNER)
        for caller in (everywhere, domain):
            assert api.get("/v2/images", caller=caller).status == 403
            assert api.get(f"/v2/images/{image['id']}", caller=caller).status == 403
            assert api.get(f"/v2/images/{'0' * 8}{image['id'][8:]}", caller=caller).status == 403
            assert api.get("/v2/info/stores", caller=caller).status == 200  # DISC-03
    with client(tmp_path / "two", policy=Policy(projects_only=False)) as api:
        assert api.get("/v2/images", caller=everywhere).status == 200


def test_a_list_shows_what_a_rule_of_the_deployment_lets_pass_and_fills_its_pages(tmp_path):
    (tmp_path / "policy.yaml").write_text("get_image: \"role:admin or 'yes':%(shown)s\"\n")
    with client(tmp_path, policy=Policy(file=tmp_path / "policy.yaml")) as api:
        made = [api.image(caller=OWNER, name=f"{n:02}", shown="yes" if n % 3 == 0 else "no") for n in range(30)]
        wanted = [image["id"] for image in made if image["shown"] == "yes"]
        found, query = [], "/v2/images?limit=4&sort=name:asc"
        while query:
            page = api.get(query, caller=OWNER).json
            assert len(page["images"]) == 4 or "next" not in page  # RUL-40: next exactly when the page is full
            found += [image["id"] for image in page["images"]]
            query = page.get("next")
        assert found == wanted  # IMG-LIST-09
        assert len(api.get("/v2/images?limit=100", caller=ADMIN).json["images"]) == 30
