"""The policy language: what operators write is enforced, and a mistake is named. See tests/service too."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oslo_config import cfg
from oslo_policy import policy

from ferrotype.model.image import Image
from ferrotype.rules import defaults
from ferrotype.rules.policy import compiled, nearest, unknown_credentials
from ferrotype.rules.policy_syntax import PolicyError
from ferrotype.testing.client import ADMIN, MEMBER, OWNER, READER, STRANGER, person

IMAGE = Image(id="i", owner="p1", visibility="shared", name="n", properties={"team": "a"}, protected=True)


def allowed(text, caller, image=IMAGE, shared=False, **others):
    return compiled({"it": text, **others})["it"](caller, image, shared)


@pytest.mark.parametrize(
    ("text", "caller", "expected"),
    [
        ("", STRANGER, True),
        ("@", STRANGER, True),
        ("!", ADMIN, False),
        ([], STRANGER, True),
        ([[]], ADMIN, False),
        ([[], ["role:admin"]], STRANGER, False),
        ([["role:two words"]], person("p", "two words"), True),
        ([["role:admin"], ["role:reader", "project_id:%(owner)s"]], READER, True),
        ([["role:admin"], ["role:member", "project_id:%(owner)s"]], READER, False),
        ("role:admin", ADMIN, True),
        ("role:ADMIN", ADMIN, True),  # POL-02
        ("role:admin", OWNER, False),
        ("not role:admin", OWNER, True),
        ("not not role:admin", ADMIN, True),
        ("role:member and project_id:%(project_id)s", OWNER, True),
        ("role:member and project_id:%(owner)s", STRANGER, False),
        ("role:nobody or role:member and project_id:%(owner)s", OWNER, True),
        ("(role:nobody or role:member) and project_id:%(owner)s", STRANGER, False),
        ("'shared':%(visibility)s", STRANGER, True),
        ('"public":%(visibility)s', STRANGER, False),
        ("True:%(protected)s", STRANGER, True),
        ("is_admin:True", ADMIN, False),  # POL-23: oslo.context does not tell
        ("project_id:x%(team)s-%(owner)s%%", person("xa-p1%", "x"), True),
        ("'100%%':%(team)s", STRANGER, False),
        ("'a':%(team)s", STRANGER, True),  # POL-01: additional properties are attributes of the target
        ("'a':%(target.team)s", STRANGER, False),
        ("'a':%(no_such_thing)s", STRANGER, False),
        ("user_id:somebody", person("p", "x", user="somebody"), True),
        ("no_such_fact:x", ADMIN, False),
        ("domain_id:d", person("p", "x"), False),
        ("role:%(team)s", person("p", "a"), True),
        ("rule:other", ADMIN, True),
        ("rule:missing", ADMIN, False),
    ],
)
def test_a_rule_has_the_meaning_of_the_policy_language(text, caller, expected):
    assert allowed(text, caller, other="role:admin") is expected


def test_the_target_knows_the_member():
    assert allowed("project_id:%(member_id)s", MEMBER, shared=True)  # POL-01
    assert not allowed("project_id:%(member_id)s", MEMBER, shared=False)


def test_two_missing_projects_are_not_equal():
    unscoped = person(None, "member")
    assert not allowed("role:member and project_id:%(owner)s", unscoped, Image(id="i", owner=None))  # AUT-06


def test_an_unknown_reference_means_the_default_rule():
    assert allowed("rule:missing", STRANGER, default="")
    assert compiled({"it": "rule:missing", "base": "!", "default": ""}, "base")["it"](ADMIN, IMAGE, False) is False


@pytest.mark.parametrize(
    "text",
    [
        "role", "role:a and", "and role:a", "(role:a", "role:a)", "role:a role:b", "not", 5, None, {"a": 1},
        [[1]], "rule:it", "http://elsewhere/%(id)s", " ", "'a':'b'", ":x", "roles.x:y", "project_id:100%",
        "project_id:%(owner)d", "not " * 101 + "@", "(" * 101 + "@" + ")" * 101,
    ],
)  # fmt: skip
def test_an_error_names_the_rule(text):
    with pytest.raises(PolicyError, match="'it'"):
        compiled({"it": text})  # SEC-76, POL-21


def test_references_are_not_followed_without_end():
    chain = {f"r{n}": f"rule:r{n + 1}" for n in range(150)}
    with pytest.raises(PolicyError, match="100 levels"):
        compiled({**chain, "r150": "@"})  # POL-21


@pytest.mark.parametrize(
    ("text", "image", "caller"),
    [
        ("project_id:%(owner)s", Image(id="i", owner=None), person(None, "member")),
        ("not project_id:%(owner)s", Image(id="i", owner=None), person(None, "member")),
        ("project_id:%(owner)s", Image(id="i", owner=None), person("None", "member")),
        ("role:%(owner)s", Image(id="i", owner=None), person("p", "none")),
        ("is_admin_project:True", IMAGE, ADMIN),
        ("not is_admin_project:True", IMAGE, ADMIN),
        ("not service_user_id:x", IMAGE, ADMIN),
    ],
)
def test_what_cannot_be_decided_denies_under_not_too(text, image, caller):
    assert not allowed(text, caller, image)  # AUT-06, POL-22, POL-23
    assert not allowed("rule:other", caller, image, other=text)
    assert not allowed("not rule:other", caller, image, other=f"not ({text})")


@pytest.mark.parametrize(
    "text", ["project_id:%(project_id)s", "not project_id:%(project_id)s", "'p':%(owner)s", "domain_id:%(domain_id)s"]
)
def test_nobody_is_an_administrator_by_an_attribute_of_an_image(text):
    rule = compiled({"context_is_admin": text, "it": f"not rule:context_is_admin and {text}"})["context_is_admin"]
    for caller in (ADMIN, OWNER, person(None, "admin")):
        assert not rule(caller, None, False)  # POL-24


def test_a_list_has_the_callers_project_for_its_target():
    rules = compiled({"get_images": "project_id:%(project_id)s", "it": "rule:get_images", "get_image": "@"})
    assert rules["get_images"](OWNER, None, False) and rules["get_images"](person(None, "x"), None, False)  # POL-01
    assert not rules["it"](OWNER, None, False)
    assert not compiled({"get_images": "project_id:%(owner)s"})["get_images"](OWNER, None, False)


def test_checks_of_what_no_caller_has_are_known():
    text = (
        "tenant:%(owner)s or not (user_id:x and is_admin:True) or role:a or rule:b or 'a':%(b)s or is_admin_project:x"
    )
    assert unknown_credentials(text) == ["tenant", "is_admin"]  # POL-07


def test_circular_rules_are_refused():
    with pytest.raises(PolicyError, match="a -> b -> a"):
        compiled({"a": "rule:b", "b": "rule:a"})


def test_the_closest_name_is_suggested():
    assert nearest("delete_imgae", list(defaults.DEFAULTS)) == "delete_image"  # POL-07
    assert nearest("quite_something_else", list(defaults.DEFAULTS)) is None


@given(st.text(alphabet="role:admin ()not%s@!'\"_", max_size=40))
def test_any_string_is_a_rule_or_an_error_that_names_it(text):
    try:
        rule = compiled({"it": text})["it"]
    except PolicyError as error:
        assert "it" in str(error)
    else:
        assert rule(STRANGER, IMAGE, False) in (True, False)


CHECKS = st.sampled_from(
    ["role:admin", "role:member", "role:reader", "@", "!", "project_id:%(owner)s", "project_id:%(member_id)s",
     "'shared':%(visibility)s", "True:%(protected)s", "user_id:x"]
)  # fmt: skip
RULES = st.recursive(
    CHECKS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda text: f"not {text}"),
    ),
    max_leaves=6,
)


@given(RULES, st.sampled_from([ADMIN, OWNER, READER, MEMBER, STRANGER]), st.booleans())
def test_a_rule_decides_as_oslo_policy_does(text, caller, shared):
    enforcer = policy.Enforcer(cfg.ConfigOpts(), use_conf=False, rules=policy.Rules.from_dict({"it": text}))
    target = {"owner": "p1", "project_id": "p1", "visibility": "shared", "protected": True}
    if shared:
        target["member_id"] = caller.project
    credentials = {
        "roles": sorted(caller.roles),
        "project_id": caller.project,
        "user_id": caller.user,
        "is_admin": caller.is_admin,
    }
    assert allowed(text, caller, shared=shared) is enforcer.enforce("it", target, credentials)


@pytest.mark.parametrize("new", [True, False])
def test_every_default_can_be_compiled(new):
    rules = compiled(defaults.texts(new))
    assert set(rules) == set(defaults.DEFAULTS)
    assert rules["context_is_admin"](ADMIN, None, False)
    assert not rules["context_is_admin"](OWNER, None, False)  # AUT-05
