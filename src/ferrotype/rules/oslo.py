"""Ferrotype's policy rules for the tools of oslo.policy: sample and policy generators, and the checker.

    oslopolicy-sample-generator --namespace ferrotype
    oslopolicy-policy-generator --namespace ferrotype --config-file glance-api.conf

The service itself does not use oslo.policy; install ``ferrotype[policy-tools]`` to have the tools.
"""

import sys
from typing import Any

from ferrotype.rules.defaults import DEFAULTS


def list_rules() -> list[Any]:
    """Return every rule as oslo.policy documents it."""
    from oslo_policy import policy

    rules: list[Any] = []
    for name, default in DEFAULTS.items():
        if not default.calls:
            rules.append(policy.RuleDefault(name, default.text, description=default.guards))
            continue
        operations: list[Any] = [
            dict(zip(("method", "path"), call.split(" ", 1), strict=True)) for call in default.calls
        ]
        rules.append(
            policy.DocumentedRuleDefault(name, default.text, default.guards, operations, scope_types=["project"])
        )
    return rules


def enforcer() -> Any:
    """Return an oslo.policy enforcer with the default rules and the files named on the command line."""
    from oslo_config import cfg
    from oslo_policy import policy

    conf = cfg.ConfigOpts()
    arguments = [part for part in sys.argv[1:] if not part.startswith("--namespace") and part != "ferrotype"]
    config_options = [
        part for at, part in enumerate(arguments) if "--config-" in part or "--config-" in arguments[at - 1]
    ]
    conf(config_options, project="ferrotype")
    enforcer = policy.Enforcer(conf)
    enforcer.register_defaults(list_rules())
    return enforcer
