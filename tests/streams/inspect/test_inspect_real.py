"""Images made by real programs, compared with other inspectors."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from attacks import ATTACKS
from generators import GOOD, accepted, combined, in_bytes, inspect, iso, mbr, partition, put, stream_vmdk
from inspect_reference import names, reference, unsafe
from needs import need

from ferrotype.model.errors import ContentRefused

#: name -> (format of qemu-img, options, ours)
MADE: dict[str, tuple[str, list[str], str]] = {
    "raw": ("raw", [], "raw"),
    "qcow2": ("qcow2", [], "qcow2"),
    "qcow2 version 2": ("qcow2", ["compat=0.10"], "qcow2"),
    "qcow2 of small clusters": ("qcow2", ["cluster_size=512"], "qcow2"),
    "qcow2 of large clusters": ("qcow2", ["cluster_size=2M"], "qcow2"),
    "qcow2 with zstd": ("qcow2", ["compression_type=zstd"], "qcow2"),
    "qcow2 with extended entries": ("qcow2", ["extended_l2=on"], "qcow2"),
    "qcow2 with lazy refcounts": ("qcow2", ["lazy_refcounts=on"], "qcow2"),
    "qcow2 preallocated": ("qcow2", ["preallocation=metadata"], "qcow2"),
    "vmdk": ("vmdk", ["subformat=monolithicSparse"], "vmdk"),
    "vmdk for streams": ("vmdk", ["subformat=streamOptimized"], "vmdk"),
    "vmdk of version 6": ("vmdk", ["compat6"], "vmdk"),
    "vhdx": ("vhdx", [], "vhdx"),
    "vhdx fixed": ("vhdx", ["subformat=fixed"], "vhdx"),
    "vhd": ("vpc", ["subformat=dynamic"], "vhd"),
    "vhd of exact size": ("vpc", ["subformat=dynamic,force_size=on"], "vhd"),
    "vdi": ("vdi", [], "vdi"),
    "vdi static": ("vdi", ["static=on"], "vdi"),
}


def qemu_img(*arguments: str | Path) -> str:
    """Run qemu-img and return what it prints."""
    command = [need("qemu-img"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw disk of 3 MiB and a bit, part of it empty."""
    path = tmp_path_factory.mktemp("disk") / "source"
    path.write_bytes((b"a disk" * 20000).ljust(3 * (1 << 20) + 5120, b"\0"))
    return path


@pytest.fixture(scope="module")
def made(source: Path) -> Callable[[str], Path]:
    """Return a function that makes one of the images."""

    def make(name: str) -> Path:
        kind, options, _ = MADE[name]
        path = source.with_name(name.replace(" ", "-"))
        if not path.exists():
            wanted = [word for option in options for word in ("-o", option)]
            qemu_img("convert", "-f", "raw", "-O", kind, *wanted, source, path)
        return path

    return make


@pytest.mark.parametrize("name", MADE)
def test_an_image_of_qemu_img_is_known_safe_and_as_large_as_it_says(name: str, made: Callable[[str], Path]) -> None:
    # IMP-101, IMP-116, IMP-118, IMG-UP-41
    path = made(name)
    kind, _, ours = MADE[name]
    findings = inspect(path.read_bytes())
    assert findings.formats == (ours,)
    assert findings.failures == ()
    info = json.loads(qemu_img("info", "-f", kind, "--output=json", path))
    assert accepted(findings, ours) == info["virtual-size"]


@pytest.mark.parametrize("name", MADE)
def test_the_reference_sees_an_image_of_qemu_img_as_we_do(name: str, made: Callable[[str], Path]) -> None:
    # IMP-101, IMP-118
    data = made(name).read_bytes()
    findings = inspect(data)
    theirs = reference(data)
    assert theirs is not None
    assert names(theirs) == set(findings.formats)
    assert {str(inspector): inspector.virtual_size for inspector in theirs} == findings.virtual_sizes
    # It does not know extended L2 entries, which name nothing.
    assert unsafe(theirs) == ({"qcow2"} if "extended" in name else set())


def test_a_backing_file_set_by_qemu_img_is_refused(source: Path, tmp_path: Path) -> None:
    # SEC-01
    path = tmp_path / "overlay"
    for version in ("0.10", "1.1"):
        qemu_img("create", "-q", "-f", "qcow2", "-o", f"compat={version}", "-b", source, "-F", "raw", path)
        with pytest.raises(ContentRefused, match="backing_file"):
            accepted(inspect(path.read_bytes()), "qcow2")


def test_a_data_file_set_by_qemu_img_is_refused(tmp_path: Path) -> None:
    # SEC-02, IMG-UP-47
    path = tmp_path / "disk"
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path / 'other'}", path, "1M")
    with pytest.raises(ContentRefused, match="data_file"):
        accepted(inspect(path.read_bytes()), "qcow2")


@pytest.mark.parametrize("subformat", ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
def test_a_vmdk_in_several_files_of_qemu_img_is_refused(subformat: str, tmp_path: Path) -> None:
    # SEC-07
    path = tmp_path / "disk.vmdk"
    qemu_img("create", "-q", "-f", "vmdk", "-o", f"subformat={subformat}", path, "1M")
    findings = inspect(path.read_bytes())
    assert findings.formats == ("vmdk",)
    for declared in ("vmdk", "raw"):
        with pytest.raises(ContentRefused, match="descriptor"):
            accepted(findings, declared)


def test_a_vmdk_with_a_parent_of_qemu_img_is_refused(tmp_path: Path) -> None:
    # SEC-10
    qemu_img("create", "-q", "-f", "vmdk", tmp_path / "base.vmdk", "1M")
    path = tmp_path / "disk.vmdk"
    qemu_img("create", "-q", "-f", "vmdk", "-b", tmp_path / "base.vmdk", "-F", "vmdk", path)
    with pytest.raises(ContentRefused, match="parent"):
        accepted(inspect(path.read_bytes()), "vmdk")


def test_a_qed_of_qemu_img_is_refused(tmp_path: Path) -> None:
    # IMP-114
    path = tmp_path / "disk"
    qemu_img("create", "-q", "-f", "qed", path, "1M")
    assert inspect(path.read_bytes()).formats == ("qed",)
    with pytest.raises(ContentRefused, match="banned"):
        accepted(inspect(path.read_bytes()), "raw")


def test_an_encrypted_volume_of_qemu_img_is_known_and_passes_as_raw(tmp_path: Path) -> None:
    # IMP-115, SEC-13
    path = tmp_path / "volume"
    secret = ["--object", "secret,id=key,data=ferrotype"]
    command = ["create", "-q", *secret, "-f", "luks", "-o", "key-secret=key,iter-time=10", path, "1M"]
    for _ in range(30):  # It times its own hashing and gives up, one time in ten, where clocks are coarse.
        try:
            qemu_img(*command)
            break
        except subprocess.CalledProcessError as error:
            assert "Unable to get accurate CPU usage" in error.stderr
    findings = inspect(path.read_bytes())
    assert findings.formats == ("luks",)
    assert findings.virtual_sizes == {"luks": 1 << 20}
    assert accepted(findings, "raw") == path.stat().st_size


@pytest.mark.parametrize("options", [[], ["-udf"], ["-J", "-R"]])
def test_a_disc_of_genisoimage_is_known_also_with_a_boot_sector(options: list[str], tmp_path: Path) -> None:
    # IMP-101, IMP-104, IMP-118
    program = need("genisoimage")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "hello").write_text("hello")
    path = tmp_path / "disc.iso"
    command = [program, "-quiet", *options, "-o", path, tmp_path / "files"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    disc = path.read_bytes()
    hybrid = put(disc, 0, mbr(partition(0x17, chs=b"\0\1\0", lba=0))[:512])
    for data in (disc, hybrid):
        findings = inspect(data)
        theirs = reference(data)
        assert theirs is not None
        assert findings.formats == ("iso",)
        assert findings.failures == ()
        assert names(theirs) == {"iso"}
        assert findings.virtual_sizes == {"iso": theirs[0].virtual_size}
        assert accepted(findings, "iso") == len(data)
        assert accepted(findings, "raw") == len(data)


@pytest.mark.parametrize(
    "data",
    [
        *GOOD.values(),
        *(attack[0] for attack in ATTACKS.values()),
        stream_vmdk(),
        combined(iso(), mbr(partition())),
    ],
    ids=in_bytes,
)
def test_we_detect_what_the_reference_detects_and_refuse_what_it_refuses(data: bytes) -> None:
    # IMP-101, IMP-110 to IMP-115
    theirs = reference(data)
    ours = inspect(data)
    if theirs is not None:
        assert set(ours.formats) == names(theirs)
        assert unsafe(theirs) <= {failure.format for failure in ours.failures}
