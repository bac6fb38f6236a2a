"""One Keystone and its people for all tests of a process that do not disturb it."""

from collections.abc import Iterator

import pytest
from cloud import People
from needs import need

from ferrotype.testing.keystone import Keystone, keystone


@pytest.fixture(scope="session")
def identity() -> Iterator[Keystone]:
    """A Keystone that stays up."""
    need("keystone")
    with keystone() as running:
        yield running


@pytest.fixture(scope="session")
def people(identity: Keystone) -> People:
    """Who is in it."""
    return People(identity)
