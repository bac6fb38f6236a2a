"""What an operator reads in the log when Keystone fails."""

import asyncio
import logging

import pytest
from stand_in import stand_in

from ferrotype.identity.keystone import KeystoneAuth
from ferrotype.model.errors import Busy


@pytest.mark.parametrize(("status", "asks_about_roles"), [(401, True), (403, True), (500, False), (503, False)])
def test_only_a_refusal_of_keystone_asks_about_roles(
    status: int, asks_about_roles: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with stand_in() as keystone, caplog.at_level(logging.ERROR, "ferrotype.identity"):
        keystone.status = status
        auth = KeystoneAuth(keystone.config())
        try:
            with pytest.raises(Busy):
                asyncio.run(auth.identify({"x-auth-token": "valid-1"}))
        finally:
            auth.close()
    assert f"it returned status {status}" in caplog.text
    assert ("roles" in caplog.text) is asks_about_roles
