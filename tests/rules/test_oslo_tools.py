"""oslo.policy's own tools know our rules by the namespace ``ferrotype``."""

import subprocess
import sys
from pathlib import Path

import pytest

from ferrotype.rules import defaults

BIN = Path(sys.executable).parent


def output_of(*command):
    done = subprocess.run([str(BIN / command[0]), *command[1:]], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sample_generator_shows_every_rule():
    sample = output_of("oslopolicy-sample-generator", "--namespace", "ferrotype")
    for name, default in defaults.DEFAULTS.items():
        assert f'#"{name}": "{default.text}"' in sample
    assert "# DELETE  /v2/images/{image_id}" in sample


@pytest.fixture
def policy(tmp_path):
    (tmp_path / "policy.yaml").write_text('delete_image: "!"\n')
    (tmp_path / "glance-api.conf").write_text(f"[oslo_policy]\npolicy_file = {tmp_path}/policy.yaml\n")
    return tmp_path


def test_the_policy_generator_merges_a_deployments_rules(policy):
    merged = output_of(
        "oslopolicy-policy-generator", "--namespace", "ferrotype", "--config-file", f"{policy}/glance-api.conf"
    )
    assert '"delete_image": "!"' in merged
    assert '"modify_image": "role:admin or' in merged


@pytest.mark.slow
def test_the_policy_checker_reads_a_generated_file(policy):
    generated = policy / "all.yaml"
    generated.write_text(
        output_of(
            "oslopolicy-policy-generator", "--namespace", "ferrotype", "--config-file", f"{policy}/glance-api.conf"
        )
    )
    access = policy / "access.json"
    access.write_text('{"token": {"roles": [{"name": "reader"}], "project": {"id": "p"}, "user": {"id": "u"}}}')
    asked = ("oslopolicy-checker", "--policy", str(generated), "--access", str(access), "--rule")
    assert output_of(*asked, "get_images") == "passed: get_images\n"
    assert output_of(*asked, "delete_image") == "failed: delete_image\n"
