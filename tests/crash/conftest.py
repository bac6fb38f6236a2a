"""Options of the crash tests."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("crash")
    group.addoption("--crash-rounds", type=int, default=20, help="random moments at which the service is killed")
    group.addoption("--crash-seed", type=int, default=None, help="repeat the moments of an earlier run")
