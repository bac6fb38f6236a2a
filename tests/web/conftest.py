"""A service in this process for all tests of a module. Modules with another configuration override ``api``."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ferrotype.testing.client import Client, client


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the module's service: its stores are ``fast`` and ``cheap``."""
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def api(directory: Path) -> Iterator[Client]:
    """A service with two stores and the default configuration, on SQLite."""
    with client(directory) as api:
        yield api


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service with one store, as where ``enabled_backends`` is not set."""
    with client(tmp_path_factory.mktemp("single"), single=True) as api:
        yield api
