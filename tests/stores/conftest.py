"""Object stores for the tests of this folder, each started for the first test that asks."""

from collections.abc import Iterator

import pytest
from needs import need

from ferrotype.testing.object_servers import ObjectServer, azurite, seaweed, swift


@pytest.fixture(scope="session")
def seaweed_server() -> Iterator[ObjectServer]:
    need("seaweedfs")
    with seaweed() as server:
        yield server


@pytest.fixture(scope="session")
def swift_server() -> Iterator[ObjectServer]:
    need("swift")
    with swift() as server:
        yield server


@pytest.fixture(scope="session")
def azurite_server() -> Iterator[ObjectServer]:
    need("azurite")
    with azurite() as server:
        yield server


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out the long tests of faults."""
    if item.get_closest_marker("store_faults") and not item.config.getoption("--store-faults"):
        pytest.skip("runs with --store-faults")
