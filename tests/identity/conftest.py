"""One Keystone and its users for all tests of a process that do not stop or pause it."""

from collections.abc import Iterator

import pytest
from keystone_service import Users
from needs import need

from ferrotype.testing.keystone import Keystone, keystone


@pytest.fixture(scope="session")
def identity() -> Iterator[Keystone]:
    """A Keystone that stays up."""
    need("keystone")
    with keystone() as running:
        yield running


@pytest.fixture(scope="session")
def users(identity: Keystone) -> Users:
    """The users of that Keystone."""
    return Users(identity)
