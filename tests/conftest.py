"""What every room's tests can ask for: databases, and a word about tests that could not run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from needs import PACKAGES, need, wanting

from ferrotype.testing.postgres import Server, postgres

# The machines that run this are shared: how long one example takes says nothing about us.
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


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a new, empty database: the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that did not run for want of a program."""
    stats = terminalreporter.stats
    tests = wanting(stats.get("skipped", []) + stats.get("failed", []) + stats.get("error", []))
    if not tests:
        return
    terminalreporter.section("tests that could not run here", yellow=True)
    for program, names in sorted(tests.items()):
        package = PACKAGES.get(program, program)
        terminalreporter.line(f"{program} is missing (package {package}); not tried: {len(names)}")
        for name in names:
            terminalreporter.line(f"    {name}")
