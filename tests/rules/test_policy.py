"""The policy language: what operators write is what is enforced, and a mistake is named, never ignored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oslo_config import cfg
from oslo_policy import policy

from ferrotype.model.image import Image
from ferrotype.rules import defaults
from ferrotype.rules.policy import PolicyError, compiled, nearest
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
        ("is_admin:True", ADMIN, True),
        ("is_admin:True", OWNER, False),
        ("is_admin:False", OWNER, True),
        ("'a':%(team)s", STRANGER, True),  # POL-01: additional properties are attributes of the target
        ("'a':%(target.team)s", STRANGER, True),
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
        [[1]], "rule:it", "http://elsewhere/%(id)s", "project_id:x-%(owner)s",
    ],
)  # fmt: skip
def test_an_error_names_the_rule(text):
    with pytest.raises(PolicyError, match="it"):
        compiled({"it": text})  # SEC-76


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
