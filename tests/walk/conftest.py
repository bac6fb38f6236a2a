"""Options of the walks."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("walk")
    group.addoption(
        "--walk-steps", type=int, default=2000, help="steps of random walks through the API, on each database"
    )
    group.addoption("--walk-seed", type=int, default=None, help="repeat the walks of an earlier run")
