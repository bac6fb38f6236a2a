"""The files that a running service looks at again: one that is broken does not keep it from the others."""

import logging
from dataclasses import replace

from ferrotype.config.accounts import Accounts
from ferrotype.config.auth import Auth
from ferrotype.config.logs import Logging
from ferrotype.config.policy import Policy
from ferrotype.identity.tokens import hashed
from ferrotype.testing.client import client, config, serving


def test_a_token_is_void_although_the_policies_cannot_be_read(tmp_path):
    users, tokens, policies = tmp_path / "users", tmp_path / "tokens", tmp_path / "policy.d"
    policies.mkdir()
    users.write_text("")
    tokens.write_text(f"robot:{hashed('secret')}:demo:member\n")
    alone = replace(config(tmp_path), policy=Policy(dirs=(policies,)), auth=Auth("http_basic"))
    alone = replace(alone, accounts=Accounts(users, tokens))
    with serving(alone, as_configured=True, upkeep=False) as api:
        token = {"x-auth-token": "secret"}
        for name in (".#1.yaml", "1.yaml"):
            (policies / name).symlink_to("root@host.123:456")
            api.run(api.application._refresh_files())
            assert api.get("/v2/images", headers=token).status == 200
        tokens.write_text("")
        api.run(api.application._refresh_files())
        assert api.get("/v2/images", headers=token).status == 401  # SEC-74


def test_after_sighup_the_log_is_as_detailed_as_the_files_say(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)  # The end of the test takes the level back.
    with client(tmp_path) as api:
        running = api.application.ctx.config
        for level, told in (("INFO", False), ("DEBUG", True)):
            api.application.reload(replace(running, logging=Logging(level)))
            logging.getLogger("ferrotype.app").debug("a detail")
            assert ("a detail" in caplog.text) is told  # CFA-04
            caplog.clear()
