"""``scripts/bench`` from the command line, with steps too short for meaningful figures."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from bench.started import CannotStart, package_of
from ferrotype.stores.directories import ID_FILE
from ferrotype.testing.process import served

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SMALL = {"requests", "failed", "per_second", "p50_ms", "p99_ms", "cpu_ms", "peak_mib", "others"}
READING = {"versions", "discovery", "show", "list 25", "list 1000", "list by property"}
WRITING = {"create", "patch", "small upload", "delete"}


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.service", "--rounds", "1", "--connections", "2", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def ask(url: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def test_bench_reports_every_step_of_a_service_it_starts(tmp_path: Path) -> None:
    done = bench("--seconds", "0.15", "--images", "40", "--size", "3", "--json", str(tmp_path / "new.json"))
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "new.json").read_text())
    (service,) = document["services"].values()
    assert service["listed"] > 30  # Community images of other projects are not in a list.
    assert set(service["steps"]) == READING | WRITING | {"upload", "download"}
    for name in READING | WRITING:
        figures = service["steps"][name]
        assert figures.keys() >= SMALL
        assert figures["requests"] > 0 and figures["failed"] == 0, name
        assert figures["per_second"] > 0 and figures["p99_ms"] >= figures["p50_ms"] > 0
        assert figures["peak_mib"] > 10
    for name in ("upload", "download"):
        assert service["steps"][name]["mib_per_second"] > 0
        assert service["steps"][name]["cpu_s_per_gib"] >= 0
    assert "list by property" in done.stdout


def test_bench_measures_a_running_service_read_only_and_compares_with_a_file(tmp_path: Path) -> None:
    with served(tmp_path / "home") as service:
        images = f"{service.url}/v2/images"
        made = ask(images, b'{"name": "one", "os_distro": "debian"}')
        words = ("--endpoint", service.url, "--pid", str(service.pid), "--read-only", "--seconds", "0.1")
        first = bench(*words, "--json", str(tmp_path / "old.json"))
        assert first.returncode == 0, first.stderr
        again = bench(*words, "--compare", str(tmp_path / "old.json"))
        assert again.returncode == 0, again.stderr
        assert [image["id"] for image in ask(images)["images"]] == [made["id"]]
    (figures,) = json.loads((tmp_path / "old.json").read_text())["services"].values()
    assert set(figures["steps"]) == READING
    assert "now / before" in again.stdout and "slower: " in again.stdout


def test_bench_deletes_the_images_it_creates(tmp_path: Path) -> None:
    with served(tmp_path / "home") as service:
        images = f"{service.url}/v2/images"
        made = ask(images, b'{"name": "one"}')
        done = bench("--endpoint", service.url, "--seconds", "0.1", "--size", "1")
        assert done.returncode == 0, done.stderr
        assert [image["id"] for image in ask(images)["images"]] == [made["id"]]
    assert [file.name for file in (tmp_path / "home" / "ferrotype" / "images").iterdir()] == [ID_FILE]


def test_bench_reports_an_unreachable_endpoint() -> None:
    done = bench("--endpoint", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "refused" in done.stderr and "Traceback" not in done.stderr


def test_package_of_a_checkout_is_the_one_with_a_main_module(tmp_path: Path) -> None:
    assert package_of(ROOT) == "ferrotype"
    for name in ("former", "beside"):
        (tmp_path / "src" / name).mkdir(parents=True)
    with pytest.raises(CannotStart, match="and has 0"):
        package_of(tmp_path)
    (tmp_path / "src" / "former" / "__main__.py").touch()
    assert package_of(tmp_path) == "former"
