"""Files that a running service reloads: an invalid one does not keep the others from being reloaded."""

import logging
from dataclasses import replace

from ferrotype.config.accounts import Accounts
from ferrotype.config.auth import Auth
from ferrotype.config.logs import Logging
from ferrotype.config.policy import Policy
from ferrotype.identity.tokens import hashed
from ferrotype.testing.client import client, config, serving


def test_revoked_token_is_rejected_while_policy_files_are_unreadable(tmp_path, monkeypatch):
    monkeypatch.setattr("ferrotype.service.watched_files.GRACE", 0.0)
    users, roles, tokens, policies = (tmp_path / name for name in ("users", "roles", "tokens", "policy.d"))
    policies.mkdir()
    users.write_text("")
    roles.write_text("")
    tokens.write_text(f"robot:{hashed('secret')}:demo:member\n")
    alone = replace(config(tmp_path), policy=Policy(dirs=(policies,)), auth=Auth("http_basic"))
    alone = replace(alone, accounts=Accounts(users, roles, tokens))
    with serving(alone, as_configured=True, background=False) as api:
        token = {"x-auth-token": "secret"}
        for name in (".#1.yaml", "1.yaml"):
            (policies / name).symlink_to("root@host.123:456")
            api.run(api.application._refresh_files())
            assert api.get("/v2/images", headers=token).status == 200
        tokens.write_text("# none any more\n")
        for _ in range(2):
            api.run(api.application._refresh_files())
        assert api.get("/v2/images", headers=token).status == 401  # SEC-74


def test_reload_applies_the_configured_log_level(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)  # The end of the test takes the level back.
    with client(tmp_path) as api:
        running = api.application.ctx.config
        for level, logged in (("INFO", False), ("DEBUG", True)):
            api.application.reload(replace(running, logging=Logging(level)))
            logging.getLogger("ferrotype.app").debug("a detail")
            assert ("a detail" in caplog.text) is logged  # CFA-04
            caplog.clear()
