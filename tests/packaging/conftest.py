"""One build for all tests of a process."""

import pytest
from distributions import Distributions, build


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The source distribution and the wheel of this checkout."""
    return build(tmp_path_factory.mktemp("dist"))
