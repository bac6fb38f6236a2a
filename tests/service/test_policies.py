"""Policy files: reloaded when they change, kept when invalid, never wider than visibility."""

import logging
import os

import pytest

from ferrotype.config.policy import Policy, PropertyProtectionConfig
from ferrotype.db.pages import MAX_STATEMENTS
from ferrotype.model.image import Image
from ferrotype.rules.permit import Authoriser
from ferrotype.service.policies import Policies
from ferrotype.service.watched_files import GRACE, BrokenFiles
from ferrotype.testing.client import ADMIN, OWNER, READER, STRANGER, client, person

IMAGE = Image(id="i", owner="p1", visibility="private")


def test_policy_files_override_the_defaults_in_order(tmp_path):
    (tmp_path / "policy.yaml").write_text('delete_image: "!"\nmodify_image: "!"\n')
    (tmp_path / "policy.d").mkdir()
    (tmp_path / "policy.d" / "1.yaml").write_text('modify_image: "role:reader"\n')
    found = Policies(Policy(file=tmp_path / "policy.yaml", dirs=(tmp_path / "policy.d",))).authoriser
    assert not found.allows(ADMIN, "delete_image", IMAGE)  # CFG-61, IMG-POL-08
    assert found.allows(READER, "modify_image", IMAGE)
    assert found.allows(OWNER, "upload_image", IMAGE)


def settle(policies, refresh):
    """Check the files until a change takes effect, however long it has to wait."""
    for later in (0, GRACE, 2 * GRACE):
        policies._rules._clock = lambda later=later: later
        refresh()


def settled(policies):
    """Return the rules in force once the files have been the same for long enough."""
    settle(policies, policies.refresh)
    return policies.authoriser


def test_changed_policy_file_is_reloaded_and_an_invalid_one_is_ignored(tmp_path, caplog):
    path = tmp_path / "policy.yaml"
    policies = Policies(Policy(file=path))
    assert settled(policies).allows(OWNER, "delete_image", IMAGE)
    path.write_text('delete_image: "!"\n')
    assert not settled(policies).allows(OWNER, "delete_image", IMAGE)  # SEC-76
    for broken in ("delete_image: [\n", 'delete_image: "role"\n', "- a\n", 'delete_image: "rule:delete_image"\n'):
        path.write_text(broken)
        assert not settled(policies).allows(OWNER, "delete_image", IMAGE)
        assert [(r.levelname, "stay in force" in r.getMessage()) for r in caplog.records if r.levelno >= 40] == [
            ("ERROR", True)
        ]
        caplog.clear()
    path.write_text("delete_image: role:member\n")
    assert settled(policies).allows(OWNER, "delete_image", IMAGE)


def test_invalid_policy_file_prevents_the_start(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text('delete_image: "role:a and"')
    with pytest.raises(BrokenFiles, match="delete_image"):
        Policies(Policy(file=path))


def test_unknown_policy_name_is_reported_with_the_closest_match(tmp_path, caplog):
    path = tmp_path / "policy.yaml"
    path.write_text('delet_image: "!"\nhelper: "tenant:x"\nadd_image: "rule:helper"\nget_task: ""\n')
    with caplog.at_level(logging.WARNING):
        Policies(Policy(file=path))
    assert "'delet_image'; is 'delete_image' meant?" in caplog.text  # POL-07
    assert "rule 'helper' asks for 'tenant', which no caller has" in caplog.text
    assert caplog.text.count("helper") == 1
    assert "get_task" not in caplog.text


def test_no_rule_widens_visibility(tmp_path):
    (tmp_path / "policy.yaml").write_text('get_image: "@"\ndownload_image: "@"\ndelete_image: "@"\nget_images: "@"\n')
    with client(tmp_path, policy=Policy(file=tmp_path / "policy.yaml")) as api:
        image = api.image(b"x", caller=OWNER, visibility="private")
        path = f"/v2/images/{image['id']}"
        assert api.get(path, caller=STRANGER).status == 404  # POL-06
        assert api.get(f"{path}/file", caller=STRANGER).status == 404
        assert api.delete(path, caller=STRANGER).status == 404
        assert api.get("/v2/images", caller=STRANGER).json["images"] == []


def test_without_the_new_defaults_ownership_decides_and_roles_do_not(tmp_path):
    plain, elsewhere = person("p1", "whatever"), person("p2", "whatever")
    with client(tmp_path, policy=Policy(new_defaults=False)) as api:
        image = api.image(b"x", caller=plain, visibility="community")  # IMG-POL-05, CFG-60
        path = f"/v2/images/{image['id']}"
        assert api.get(path, caller=elsewhere).status == 200
        assert api.get(f"{path}/file", caller=elsewhere).status == 200
        assert api.get("/v2/images", caller=plain).status == 200
        assert api.delete(path, caller=elsewhere).status == 403
        assert api.patch(path, [{"op": "add", "path": "/visibility", "value": "public"}], caller=plain).status == 403
        assert api.delete(path, caller=plain).status == 204


def test_tokens_without_project_scope_may_not_change_images(tmp_path):
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
    with client(tmp_path / "two", policy=Policy(enforce_scope=False)) as api:
        assert api.get("/v2/images", caller=everywhere).status == 200


def test_list_applies_a_custom_get_image_rule_and_fills_its_pages(tmp_path):
    (tmp_path / "policy.yaml").write_text("get_image: \"role:admin or 'yes':%(shown)s\"\n")
    with client(tmp_path, policy=Policy(file=tmp_path / "policy.yaml")) as api:
        made = [api.image(caller=OWNER, name=f"{n:02}", shown="yes" if n % 3 == 0 else "no") for n in range(30)]
        wanted = [image["id"] for image in made if image["shown"] == "yes"]
        found, query = [], "/v2/images?limit=4&sort=name:asc"
        while query:
            page = api.get(query, caller=OWNER).json
            found += [image["id"] for image in page["images"]]
            query = page.get("next")
            # RUL-40
            assert (query is not None) == (len(page["images"]) == 4)
            assert query is None or query.endswith(f"marker={found[-1]}")
        assert found == wanted  # IMG-LIST-09
        assert len(api.get("/v2/images?limit=100", caller=ADMIN).json["images"]) == 30


# RUL-40
@pytest.mark.parametrize(
    ("rule", "checked"), [(None, 0), ("role:admin", MAX_STATEMENTS), ("role:admin or 'no':%(shown)s", 1)]
)
def test_a_page_checks_images_only_for_a_custom_rule_and_not_without_end(tmp_path, monkeypatch, rule, checked):
    (tmp_path / "policy.yaml").write_text("{}" if rule is None else f'get_image: "{rule}"\n')
    with client(tmp_path, policy=Policy(file=tmp_path / "policy.yaml")) as api:
        for _ in range(MAX_STATEMENTS + 5):
            api.image(caller=OWNER, shown="no")
        allows, asked = Authoriser.allows, []

        def counting(self, caller, action, *context):
            if action == "get_image":
                asked.append(action)
            return allows(self, caller, action, *context)

        monkeypatch.setattr(Authoriser, "allows", counting)
        page = api.get("/v2/images?limit=1", caller=OWNER).json
        assert (len(page["images"]), len(asked)) == (rule != "role:admin", checked)


def in_directory(tmp_path, text='delete_image: "!"\n'):
    """Return the policy of a directory with one file."""
    (tmp_path / "policy.d").mkdir()
    (tmp_path / "policy.d" / "1.yaml").write_text(text)
    return Policy(dirs=(tmp_path / "policy.d",))


def test_hidden_files_and_directories_are_not_policy_files(tmp_path, caplog):
    policy = in_directory(tmp_path)
    policies = Policies(policy)
    (tmp_path / "policy.d" / ".#1.yaml").symlink_to("root@host.123:456")
    (tmp_path / "policy.d" / ".2.yaml").write_text("not: [a, policy")
    (tmp_path / "policy.d" / "old.yaml").mkdir()
    policies.configure(policy)
    for found in (settled(policies), Policies(policy).authoriser):
        assert not found.allows(ADMIN, "delete_image", IMAGE)  # SEC-76, POL-26
        assert found.allows(OWNER, "modify_image", IMAGE)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("name", ["policy.d/1.yaml", "policy.yaml"])
@pytest.mark.parametrize("what", ["link", "pipe"])
def test_dangling_link_or_pipe_keeps_the_previous_rules(tmp_path, caplog, name, what):
    policy = Policy(tmp_path / "policy.yaml", in_directory(tmp_path, "{}\n").dirs)
    path = tmp_path / name
    path.write_text('delete_image: "!"\n')
    policies = Policies(policy)
    path.unlink()
    if what == "link":
        path.symlink_to("missing")
    else:
        os.mkfifo(path)
    for _ in range(3):
        assert not settled(policies).allows(ADMIN, "delete_image", IMAGE)  # SEC-76
    policies.configure(policy)
    assert not policies.authoriser.allows(ADMIN, "delete_image", IMAGE)
    assert [name in record.getMessage() for record in caplog.records] == [True]
    with pytest.raises(BrokenFiles, match=name):
        Policies(policy)


@pytest.mark.parametrize(
    "text",
    [
        "a: 2024-99-99\n",
        pytest.param("a: " + "[" * 5000 + "\n", marks=pytest.mark.slow),
        f'a: "{"(" * 5000}"\n',
    ],
)
def test_any_malformed_file_is_reported_as_invalid(tmp_path, text):
    policy = in_directory(tmp_path)
    policies = Policies(policy)
    (tmp_path / "policy.d" / "1.yaml").write_text(text)
    assert not settled(policies).allows(ADMIN, "delete_image", IMAGE)
    with pytest.raises(BrokenFiles):
        Policies(policy)


def test_overridden_rule_must_be_valid_too(tmp_path):
    policy = Policy(tmp_path / "policy.yaml", in_directory(tmp_path).dirs)
    (tmp_path / "policy.yaml").write_text("delete_image: role:a and\n")
    with pytest.raises(BrokenFiles, match=r"policy\.yaml: Rule 'delete_image'"):
        Policies(policy)  # POL-21


def test_rule_used_by_property_protection_cannot_be_removed(tmp_path, caplog):
    policy, protect = in_directory(tmp_path, 'mine: "role:member"\n'), tmp_path / "protect.conf"
    protect.write_text("[.*]\ncreate = mine\nread = mine\nupdate = mine\ndelete = mine\n")
    guarded = PropertyProtectionConfig(protect, by_roles=False)
    with client(tmp_path, background=False, policy=policy, protection=guarded) as api:
        path = api.image(caller=OWNER, a="x")["self"]
        for text in ('other: "role:member"\n', 'mine: "!"\nother: "@"\n', 'mine: "role:member"\n'):
            (tmp_path / "policy.d" / "1.yaml").write_text(text)
            caplog.clear()
            settle(api.application._policies, lambda: api.run(api.application._refresh_files()))
            shown, listed = api.get(path, caller=OWNER), api.get("/v2/images", caller=OWNER)
            assert (shown.status, listed.status) == (200, 200)
            # PROP-10, SEC-76: without the rule those before stay in force
            assert ("a" in shown.json) == ("a" in listed.json["images"][0]) == ("!" not in text)
            lines = [r.getMessage() for r in caplog.records if r.name == "ferrotype.files" and r.levelname == "ERROR"]
            assert ["'mine'" in line and "stay in force" in line for line in lines] == [True] * ("mine" not in text)


def test_directory_in_place_of_the_policy_file_is_an_error(tmp_path):
    (tmp_path / "policy.yaml").mkdir()
    with pytest.raises(BrokenFiles, match="is not a file"):
        Policies(Policy(tmp_path / "policy.yaml"))
