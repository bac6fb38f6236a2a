"""Property protections: the first section that matches decides, for each of the four operations."""

import tracemalloc

import pytest

from ferrotype.rules.protection import OPERATIONS, ProtectionError, protection, sections
from ferrotype.testing.client import ADMIN, OWNER, READER, STRANGER, person

FILE = """
[^secret_]
create = admin
read = admin, Auditor
update = !
delete =

[own]
create = @
read = @
update = member
delete = member

[os_glance_sly]
create = @
read = @
update = @
delete = @
"""


@pytest.mark.parametrize(
    ("name", "caller", "allowed"),
    [
        ("secret_own", ADMIN, "create read"),  # PROP-01: the first section that matches decides
        ("secret_x", OWNER, ""),
        ("secret_x", person("p", "auditor"), "read"),  # PROP-02: compared in lower case
        ("secret_x", person("p", service_roles=["auditor"]), "read"),  # PROP-02: roles of a service token count
        ("my_own_key", OWNER, "create read update delete"),  # PROP-01: searched, not anchored
        ("my_own_key", READER, "create read"),
        ("anything", ADMIN, ""),  # PROP-04
        ("os_glance_sly", ADMIN, ""),  # PROP-04: sections for the service's own names are dropped
    ],
)
def test_who_may_do_what(name, caller, allowed):  # IMG-PROP-20
    rules = protection(sections(FILE), None)
    assert [each for each in OPERATIONS if rules.allows(caller, each, name)] == allowed.split()


def test_sections_may_name_policy_rules():
    text = "[.*]\ncreate = writers\nread = @\nupdate = !\ndelete = writers\n"
    rules = protection(
        sections(text), lambda caller, rule: rule == "writers" and "member" in caller.roles, ["writers"]
    )
    assert [each for each in OPERATIONS if rules.allows(STRANGER, each, "x")] == [
        "create",
        "read",
        "delete",
    ]  # PROP-03
    assert [each for each in OPERATIONS if rules.allows(READER, each, "x")] == ["read"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\ncreate = @\nread = @\nupdate = @\n", "delete"),  # PROP-01: all four are required
        ("[a\ncreate = @\n", "cannot be read"),
        ("[(]\ncreate = @\nread = @\nupdate = @\ndelete = @\n", "regular expression"),
        ("[a]\ncreate = @, !\nread = @\nupdate = @\ndelete = @\n", "both"),  # PROP-02
        ("nonsense", "cannot be read"),
    ],
)
def test_an_invalid_file_is_refused(text, message):
    with pytest.raises(ProtectionError, match=message):
        protection(sections(text), None)  # PROP-10


@pytest.mark.parametrize("value", ["one, two", "missing"])
def test_an_unknown_policy_rule_is_refused(value):
    text = f"[a]\ncreate = {value}\nread = @\nupdate = @\ndelete = @\n"
    with pytest.raises(ProtectionError, match=r"create|missing"):
        protection(sections(text), lambda caller, rule: True, ["one", "two"])  # PROP-03


def test_impossible_property_names_are_not_cached():
    rules = protection(sections(FILE), None)
    tracemalloc.start()
    for number in range(1000):
        assert not rules.allows(ADMIN, "read", f"{number}-own".ljust(15_000, "x"))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 1_000_000
