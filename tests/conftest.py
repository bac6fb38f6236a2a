"""Fixtures and hooks for all tests: databases, the marker ``servers``, and which tests could not run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from needs import PACKAGES, need, wanting
from reach import starts_a_server

from ferrotype.config.api import Api
from ferrotype.config.limits import Limits
from ferrotype.testing.client import Client, client
from ferrotype.testing.postgres import Server, postgres


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the random tests are; ``scripts/test-long`` has larger numbers."""
    group = parser.getgroup("length of random tests")
    group.addoption("--walk-steps", type=int, default=200, help="steps of walks through the API on each database")
    group.addoption("--walk-seed", type=int, default=None, help="repeat the walks of an earlier run")
    group.addoption("--crash-rounds", type=int, default=12, help="random moments at which the service is killed")
    group.addoption("--crash-seed", type=int, default=None, help="repeat the moments of an earlier run")
    group.addoption("--refusal-rounds", type=int, default=2, help="refused uploads of each client")
    group.addoption(
        "--store-gibibytes", action="store_true", help="also objects of several GiB in every kind of store"
    )
    group.addoption("--store-faults", action="store_true", help="every fault of object stores, through the service")
    group.addoption("--mutations", type=int, default=1000, help="damaged copies of each disk image to inspect")


#: The kinds of databases, as parameters of a fixture or a test.
DATABASES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.servers))

# Test machines are shared: the duration of one example says nothing about the product.
settings.register_profile("default-no-deadline", deadline=None)
settings.load_profile("default-no-deadline")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL server for this process, started for the first test that asks."""
    need("postgresql")
    with postgres() as server:
        yield server


@pytest.fixture
def postgresql_url(postgres_server: Server) -> Iterator[str]:
    """The URL of a new, empty PostgreSQL database."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a new, empty SQLite database."""
    return f"sqlite:///{tmp_path}/t.sqlite"


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a new, empty database: the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(scope="module", params=DATABASES)
def shared_database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a new database for all tests of a module: they run once on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('database')}/t.sqlite"
    else:
        server: Server = request.getfixturevalue("postgres_server")
        url = server.create_database()
        yield url
        server.drop_database(url)


@pytest.fixture(scope="module")
def shared_directory(shared_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory beside ``shared_database_url``: stores of one database are not those of the next."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Client]:
    """A service on each kind of database that shows locations, charges for storage and does nothing by itself."""
    sections = {"api": Api(show_locations=True), "limits": Limits(user_storage_quota=1 << 30)}
    with client(tmp_path, background=False, database_url=database_url, **sections) as api:
        yield api


@pytest.hookimpl(tryfirst=True)  # Before the words of -m select by marker.
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that start a server; leave out those that need much space unless they are asked for."""
    if not config.getoption("--store-gibibytes"):
        large = [item for item in items if item.get_closest_marker("gibibytes")]
        config.hook.pytest_deselected(items=large)
        items[:] = [item for item in items if item not in large]
    for item in items:
        if isinstance(item, pytest.Function) and starts_a_server(item):
            item.add_marker(pytest.mark.servers)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the tests that did not run because a program was missing."""
    stats = terminalreporter.stats
    tests = wanting(stats.get("skipped", []) + stats.get("failed", []) + stats.get("error", []))
    if not tests:
        return
    terminalreporter.section("tests that could not run here", yellow=True)
    for program, names in sorted(tests.items()):
        package = PACKAGES.get(program, program)
        terminalreporter.line(f"{program} is missing (package {package}); not run: {len(names)}")
        for name in names:
            terminalreporter.line(f"    {name}")
