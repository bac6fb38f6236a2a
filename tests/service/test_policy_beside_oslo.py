"""The policy language is oslo.policy's: both decide alike about generated files, and ours is never the laxer one."""

import pytest
from policy_beside_oslo import Oslo, Outcome, compare, run

from ferrotype.config.policy import Policy
from ferrotype.service.policies import Policies
from ferrotype.testing.client import person

FILES = 200


@pytest.mark.slow
def test_generated_files_are_decided_alike():
    outcome = run(FILES, seed=2)  # POL-20 to POL-25
    assert outcome.faults == []
    assert outcome.counts["file accepted"] > FILES / 2
    assert outcome.counts["decision"] > 100 * FILES
    assert 0.2 < outcome.counts["allowed"] / outcome.counts["decision"] < 0.8


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('delete_image: [[], ["role:admin"]]\n', "an empty part of a list allows nobody"),
        ("delete_image: [[], []]\n", "nor do empty parts alone"),
        ("context_is_admin: domain_id:%(target.domain_id)s\n", "a caller without a domain is no administrator"),
        ("context_is_admin: project_id:%(project_id)s\n", "nor is one with a project"),
        ("context_is_admin: not project_id:%(project_id)s\n", "nor under not"),
        ("helper: project_id:%(owner)s\n", "no image has no owner"),
        ("get_images: role:admin or project_id:%(owner)s\n", "nor has a list"),
        ("helper: \"not 'a':'b'\"\n", "quotes to the right of a colon"),
        (
            "delete_image: tenant:%(owner)s or user:%(name)s or is_admin:True\n",
            "names that oslo.context does not give",
        ),
        ("delete_image: project_id:%(tenant)s\n", "names that images do not have"),
        ("delete_image: is_admin_project:True\n", "what is not known of the caller"),
        ("delete_image: not is_admin_project:True\n", "nor under not"),
        ("delete_image: project_id:%(owner)s or role:%(owner)s\n", "null is not equal to null"),
    ],
)
def test_a_rule_is_not_laxer_than_in_oslo_policy(tmp_path, text, what):
    (tmp_path / "policy.yaml").write_text(text)
    outcome = Outcome()
    compare(Policy(tmp_path / "policy.yaml", (tmp_path / "policy.d",)), outcome)
    assert outcome.faults == [], what


def test_every_file_of_a_directory_counts_but_hidden_ones_in_the_order_of_their_names(tmp_path):
    config = Policy(tmp_path / "policy.yaml", (tmp_path / "policy.d",))
    (tmp_path / "policy.yaml").write_text('delete_image: "role:one"\n')
    (tmp_path / "policy.d" / "sub").mkdir(parents=True)
    names = ["10", "9.yaml", "a.json", "README", *(f"0{n}" for n in range(9)), "b.yaml~"]
    for name in names:
        (tmp_path / "policy.d" / name).write_text(f'{{"{name}": "role:{name}", "delete_image": "role:{name}"}}')
    for name in (".hidden", "sub/c.yaml"):
        (tmp_path / "policy.d" / name).write_text('delete_image: "@"\nhidden: "@"\n')
    (tmp_path / "linked").write_text('linked: "!"\n')
    (tmp_path / "policy.d" / "0").symlink_to("../linked")
    ours, oslo = Policies(config).authoriser._rules, Oslo(config)._enforcer.rules  # POL-26
    assert set(ours) == set(oslo) and {*names, "linked"} <= set(ours)
    assert str(oslo["delete_image"]) == "role:b.yaml~"
    deciding = [name for name in names if ours["delete_image"](person("p", name.lower()), None, False)]
    assert deciding == ["b.yaml~"]
