"""The store of docs/how-to/write-a-store.md: it passes the suite, and runs as a package of its own."""

import asyncio
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest
from repository import ROOT

from ferrotype.offload import ThreadPools
from ferrotype.testing.client import client, serving
from ferrotype.testing.store_suite import (
    CHECKS,
    Check,
    bounded_memory,
    name_of,
    sizes_around,
)

MIB = 1 << 20
PAGE = (ROOT / "docs" / "how-to" / "write-a-store.md").read_text()
MODULE, TESTS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(METADATA,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
(CONFIGURATION,) = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)


def install(site: Path, module: str, name: str = "shelf", package: str = "ferrotype-shelf") -> None:
    """Put a package into a directory as an installer would do."""
    importable = package.replace("-", "_")
    site.mkdir(exist_ok=True)
    (site / f"{importable}.py").write_text(module)
    metadata = site / f"{importable}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[ferrotype.stores]\n{name} = {importable}:STORE_TYPE\n")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module of the page."""
    file = tmp_path_factory.mktemp("page") / "ferrotype_shelf.py"
    file.write_text(MODULE)
    spec = importlib.util.spec_from_file_location("ferrotype_shelf_of_the_page", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pools() -> Iterator[ThreadPools]:
    pools = ThreadPools(8)
    yield pools
    pools.close()


@pytest.mark.parametrize("check", [*CHECKS, sizes_around(5 * MIB), bounded_memory(48 * MIB)], ids=name_of)
def test_the_driver_of_the_page_passes_the_suite(check: Check, shelf: ModuleType, pools: ThreadPools) -> None:
    with TemporaryDirectory(dir="/dev/shm") as directory:  # The page makes thousands of commits.
        asyncio.run(check(shelf.ShelfDriver("box", shelf.ShelfStore(Path(directory) / "box.sqlite"), pools)))


@pytest.mark.slow
def test_the_tests_of_the_page_run_and_its_types_are_right(tmp_path: Path) -> None:
    install(tmp_path, MODULE)
    (tmp_path / "test_shelf.py").write_text(TESTS)
    for command in (
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "probe or announced or empty",
            tmp_path,
        ],
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", tmp_path / "ferrotype_shelf.py"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def check_configuration(site: Path, configuration: str) -> dict[str, Any]:
    """Return what ``ferrotype config check`` prints where the packages in ``site`` are installed."""
    file = site / "glance-api.conf"
    file.write_text(configuration)
    code = f"import sys; sys.path.append({str(site)!r}); from ferrotype.__main__ import main; main()"
    command = [sys.executable, "-c", code, "config", "check", "--json", "--config-file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def configuration(site: Path) -> str:
    """Return the configuration of the page, with places of its own."""
    text = CONFIGURATION.replace("/srv/box.sqlite", str(site / "box.sqlite"))
    return (
        f"{text}[fast]\nfilesystem_store_datadir = {site}/fast\n[database]\nconnection = sqlite:///{site}/t.sqlite\n"
    )


def test_the_metadata_of_the_page_names_the_entry_point() -> None:
    import tomllib

    points = tomllib.loads(METADATA)["project"]["entry-points"]["ferrotype.stores"]
    assert points == {"shelf": "ferrotype_shelf:STORE_TYPE"}


def test_the_options_of_a_package_are_known(tmp_path: Path) -> None:
    install(tmp_path, MODULE)
    text = configuration(tmp_path).replace("[box]\n", "[box]\nshelf_store_fil = x\n")
    found = check_configuration(tmp_path, text)
    assert found["problems"] == [] and found["ok"]
    lines = {finding["option"]: (finding["support"], finding["text"]) for finding in found["findings"]}
    assert lines["[box] shelf_store_file"][0] == "supported"
    assert lines["[box] shelf_store_fil"] == ("unknown", "did you mean shelf_store_file?")
    assert {"name": "store", "value": f"box, shelf in {tmp_path}/box.sqlite"} in found["settings"]
    missing = re.sub(r"shelf_store_file = .*\n", "", configuration(tmp_path))
    assert check_configuration(tmp_path, missing)["problems"] == [
        "[box] shelf_store_file must be set for a store of type shelf."
    ]


OTHER = "from ferrotype.config.stores import StoreType\nfrom ferrotype.config.options import *\n"
#: What is wrong with a package, its module, the name of its type, and words of the only problem.
BROKEN: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "cannot be imported": ("import nowhere", "shelf", ("ferrotype-shelf 1.0", "ModuleNotFoundError", "nowhere")),
    "an error with several lines": ("raise ValueError('one\\ntwo')", "shelf", ("ValueError: one two",)),
    "no such object": ("", "shelf", ("STORE_TYPE",)),
    "another object": ("STORE_TYPE = 7", "shelf", ("shelf:STORE_TYPE", "is no ferrotype.config.stores.StoreType")),
    "no driver": (f"{OTHER}STORE_TYPE = StoreType((), lambda v, s: None)", "shelf", ("with a driver",)),
    "an option that exists": (
        f"{OTHER}STORE_TYPE = StoreType((Option(STORE, 'weight', TEXT, '', 'x'),), lambda v, s: None, print)",
        "shelf", ("option weight exists already",),
    ),
    "an ignored option": (
        f"{OTHER}STORE_TYPE = StoreType((Option(STORE, 'rbd_store_pool', TEXT, '', 'x'),), lambda v, s: None, print)",
        "shelf", ("option rbd_store_pool exists already",),
    ),
    "an option of another section": (
        f"{OTHER}STORE_TYPE = StoreType((Option('DEFAULT', 'x', TEXT, '', 'x'),), lambda v, s: None, print)",
        "shelf", ("section <store>",),
    ),
    "a reader that fails": (
        f"{OTHER}STORE_TYPE = StoreType((), lambda v, s: v.nothing, print)", "shelf",
        ("[box]", "ferrotype-shelf 1.0", "AttributeError"),
    ),
    "a type of ours": (MODULE, "file", ("ferrotype-shelf 1.0", "'file'", "type of Ferrotype")),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_package_refuses_to_start_with_one_line(what: str, tmp_path: Path) -> None:
    module, name, words = BROKEN[what]
    install(tmp_path, module, name)
    text = re.sub(r"shelf_store_file = .*\n", "", configuration(tmp_path))
    (problem,) = check_configuration(tmp_path, text if name == "shelf" else text.replace(",box:shelf", ""))[
        "problems"
    ]
    assert "\n" not in problem and all(word in problem for word in words), problem


def test_two_packages_with_one_type_refuse_to_start(tmp_path: Path) -> None:
    install(tmp_path, MODULE)
    install(tmp_path, MODULE, package="another-shelf")
    text = re.sub(r"shelf_store_file = .*\n", "", configuration(tmp_path))
    (problem,) = check_configuration(tmp_path, text)["problems"]
    assert "ferrotype-shelf 1.0" in problem and "another-shelf 1.0" in problem and "all but one" in problem
    # A type that is not configured harms nobody.
    assert check_configuration(tmp_path, text.replace(",box:shelf", ""))["problems"] == []


def test_a_service_stores_images_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ferrotype.config.read import examine
    from ferrotype.config.stores import Stores

    install(tmp_path / "site", MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    file = tmp_path / "glance-api.conf"
    file.write_text(configuration(tmp_path))
    stores = examine([file], [], {}).config.stores
    with client(tmp_path / "data", stores=Stores(True, "box", stores.entries)) as api:
        (_, box) = api.get("/v2/info/stores/detail").json["stores"]
        assert box == {  # DISC-87
            "id": "box", "default": "true", "type": "shelf", "weight": 0,
            "properties": {"file": str(tmp_path / "box.sqlite")},
        }  # fmt: skip
        image = api.image(b"data on a shelf")
        assert image["stores"] == "box"
        assert api.get(f"/v2/images/{image['id']}/file").body == b"data on a shelf"
        assert api.delete(f"/v2/images/{image['id']}").status == 204


def test_a_driver_that_cannot_be_made_refuses_to_start_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ferrotype.config import ConfigError
    from ferrotype.config.read import read

    module = MODULE.replace(
        "        self._store, self._file", "        import nowhere\n        self._store, self._file"
    )
    install(tmp_path / "site", module, package="ferrotype-broken-shelf")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    file = tmp_path / "glance-api.conf"
    file.write_text(configuration(tmp_path))
    text = "The driver of the store 'box' of type shelf failed: ModuleNotFoundError: No module named 'nowhere'."
    with pytest.raises(ConfigError, match=re.escape(text)), serving(read([file], [], {})):
        raise AssertionError("it must not start")
