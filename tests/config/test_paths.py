"""A path that cannot be reached is a problem of the configuration, never a traceback."""

from pathlib import Path

import pytest
from configurations import BASES, store_type

from ferrotype.config.options import STORE, Option
from ferrotype.config.read import examine
from ferrotype.config.table import TABLE


@pytest.mark.parametrize("option", TABLE.options, ids=lambda option: option.title)
@pytest.mark.parametrize("unreachable", [300 * "x", "file/below", "loop/x"], ids=["long", "below a file", "loop"])
def test_any_option_may_name_a_path_that_cannot_be_reached(tmp_path: Path, option: Option, unreachable: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    base = BASES.get((option.dest or "").partition(".")[0], "").replace("a:file", f"a:{store_type(option)}")
    section = "a" if option.section == STORE else option.section
    for name in (str(tmp_path / unreachable), f"sqlite:///{tmp_path / unreachable}"):
        file = tmp_path / "glance-api.conf"
        file.write_text(f"{base}[{section}]\n{option.name} = {name}\n")
        assert examine([file], [], {}).problems is not None
