"""Bootable media round-trip unchanged through every client."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from glanceclient import Client
from needs import need
from plain_http import OCTETS, Plain
from sdk_connection import connected
from terminal import Terminal

from ferrotype.testing.process import Served

#: A bootable disc that a package holds ready made, and what boots a disc that we make.
SHIPPED = Path("/usr/lib/ipxe/ipxe.iso")
ISOLINUX = Path("/usr/lib/ISOLINUX/isolinux.bin")
LDLINUX = Path("/usr/lib/syslinux/modules/bios/ldlinux.c32")
SECTOR = 512
CATALOGUE = b"EL TORITO SPECIFICATION"


class Medium(NamedTuple):
    """A file that a machine can boot from."""

    path: Path
    disk_format: str
    virtual_size: int

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        return self.path.read_bytes()


def bootable_disc(folder: Path) -> Path:
    """Return a new disc that a BIOS boots: with isolinux where that is installed, else with a sector that halts."""
    root = folder / "disc"
    root.mkdir()
    (root / "payload").write_bytes(bytes(range(256)) * 4000)
    if ISOLINUX.exists() and LDLINUX.exists():
        shutil.copy(ISOLINUX, root / "boot.bin")
        shutil.copy(LDLINUX, root)
        (root / "isolinux.cfg").write_text("default nothing\nlabel nothing\n localboot 0\n")
    else:
        (root / "boot.bin").write_bytes(b"\xf4\xeb\xfd".ljust(4 * SECTOR, b"\0"))
    words = ["-quiet", "-R", "-J", "-V", "FERROTYPE", "-b", "boot.bin", "-c", "boot.cat", "-no-emul-boot"]
    words += ["-boot-load-size", "4", "-boot-info-table", "-o", str(folder / "made.iso"), str(root)]
    subprocess.run([str(need("genisoimage")), *words], check=True, capture_output=True, timeout=300)
    return folder / "made.iso"


def size_of_disc(path: Path) -> int:
    """Return how large a disc says it is: blocks times their size. The file may be padded."""
    volume = path.read_bytes()[16 * 2048 : 17 * 2048]
    return int.from_bytes(volume[80:84], "little") * int.from_bytes(volume[128:130], "little")


def qemu_img(*words: str | Path) -> str:
    """Run qemu-img and return what it says."""
    done = subprocess.run(
        [str(need("qemu-img")), *map(str, words)], check=True, capture_output=True, text=True, timeout=300
    )
    return done.stdout


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Medium]:
    """A shipped disc, a made disc, and disks of it."""
    folder = tmp_path_factory.mktemp("media")
    made = bootable_disc(folder)
    shipped = SHIPPED if SHIPPED.exists() else made
    for name, options in {"plain": (), "packed": ("-c",), "zstd": ("-c", "-o", "compression_type=zstd")}.items():
        qemu_img("convert", "-f", "raw", "-O", "qcow2", *options, made, folder / f"{name}.qcow2")
    size = made.stat().st_size
    disks = {name: Medium(folder / f"{name}.qcow2", "qcow2", size) for name in ("plain", "packed", "zstd")}
    return {
        "shipped": Medium(shipped, "iso", size_of_disc(shipped)),
        "made": Medium(made, "iso", size_of_disc(made)),
        **disks,
    }


@pytest.fixture(scope="module")
def terminal(service: Served, bytecode: Path, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """Commands that ask the service directly."""
    return Terminal(service.url, tmp_path_factory.mktemp("home"), bytecode)


def check_image(plain: Plain, image_id: str, medium: Medium) -> None:
    """Check everything that the service says of a medium that it keeps."""
    image = plain.show(image_id)
    data = medium.data
    assert (image["status"], image["disk_format"], image["size"]) == ("active", medium.disk_format, len(data))
    assert image["virtual_size"] == medium.virtual_size
    assert image["checksum"] == hashlib.md5(data).hexdigest()  # CL-14
    assert (image["os_hash_algo"], image["os_hash_value"]) == ("sha512", hashlib.sha512(data).hexdigest())


def check_copy(copy: Path, medium: Medium) -> None:
    """Check that a downloaded file is the medium, and whole in the eyes of qemu."""
    assert copy.read_bytes() == medium.data
    if medium.disk_format == "qcow2":
        qemu_img("check", "-q", "-f", "qcow2", copy)
        assert json.loads(qemu_img("info", "--output=json", copy))["virtual-size"] == medium.virtual_size


def test_generated_discs_are_bootable(media: dict[str, Medium]) -> None:
    for name in ("shipped", "made"):
        assert CATALOGUE in media[name].data[17 * 2048 : 18 * 2048]
    assert media["packed"].path.stat().st_size < media["plain"].path.stat().st_size


# CL-13, CL-14, CL-15, CL-16, CL-84, CL-91, CL-102, CL-104, CL-190, IMG-UP-41
@pytest.mark.parametrize("name", ["shipped", "packed"])
def test_openstack_command_round_trip_preserves_the_image(
    name: str, media: dict[str, Medium], terminal: Terminal, plain: Plain, tmp_path: Path
) -> None:
    medium = media[name]
    words = ["--disk-format", medium.disk_format, "--container-format", "bare", "--file", medium.path, "-f", "json"]
    made = terminal.openstack("image", "create", *words, f"cli {name}").json
    check_image(plain, made["id"], medium)
    terminal.openstack("image", "save", "--file", tmp_path / "copy", made["id"])
    check_copy(tmp_path / "copy", medium)


@pytest.mark.parametrize("name", ["made", "packed"])
def test_glance_command_round_trip_preserves_the_image(
    name: str, media: dict[str, Medium], terminal: Terminal, plain: Plain, tmp_path: Path
) -> None:
    medium = media[name]
    image_id = plain.image(disk_format=medium.disk_format)
    terminal.glance("image-upload", "--file", medium.path, image_id)
    check_image(plain, image_id, medium)
    terminal.glance("image-download", "--file", tmp_path / "copy", image_id)
    check_copy(tmp_path / "copy", medium)


@pytest.mark.parametrize("name", ["shipped", "made", "plain", "packed", "zstd"])
def test_client_libraries_round_trip_preserves_the_image(
    name: str, media: dict[str, Medium], service: Served, plain: Plain, tmp_path: Path
) -> None:
    medium = media[name]
    with connected(service.url) as connection:
        made = connection.image.create_image(
            f"sdk {name}",
            filename=str(medium.path),
            disk_format=medium.disk_format,
            container_format="bare",
            validate_checksum=True,
            wait=True,
        )
        check_image(plain, made.id, medium)
        connection.image.download_image(made, output=str(tmp_path / "by-sdk"), stream=True)
    check_copy(tmp_path / "by-sdk", medium)

    glance = Client("2", service.url)
    image_id = plain.image(disk_format=medium.disk_format)
    with medium.path.open("rb") as data:
        glance.images.upload(image_id, data)
    check_image(plain, image_id, medium)
    (tmp_path / "by-glance").write_bytes(b"".join(glance.images.data(image_id)))
    check_copy(tmp_path / "by-glance", medium)


@pytest.mark.parametrize("framing", [[], ["--header", "Transfer-Encoding: chunked"]], ids=["length", "chunked"])
def test_curl_round_trip_preserves_the_image(
    framing: list[str], media: dict[str, Medium], terminal: Terminal, plain: Plain, tmp_path: Path
) -> None:
    medium = media["plain"]
    image_id = plain.image(disk_format="qcow2")
    file = f"/v2/images/{image_id}/file"
    words = ["--fail", "--header", f"Content-Type: {OCTETS}", *framing, "--expect100-timeout", "30"]
    terminal.curl(*words, "--upload-file", medium.path, "--header", "Expect: 100-continue", file)
    check_image(plain, image_id, medium)
    terminal.curl("--fail", "--output", tmp_path / "copy", file)
    check_copy(tmp_path / "copy", medium)
    half = tmp_path / "half"  # What came before a connection broke is gone on with.
    half.write_bytes(medium.data[:100_000])
    terminal.curl("--fail", "--continue-at", "-", "--output", half, file)
    check_copy(half, medium)
    head = terminal.curl("--head", file).out.lower()
    assert head.startswith("http/1.1 200")
    assert f"content-length: {len(medium.data)}\r\n" in head


def test_iso_is_not_accepted_as_raw_nor_raw_as_iso(media: dict[str, Medium], plain: Plain) -> None:
    # IMG-UP-44
    for name, wrong in (("shipped", "qcow2"), ("made", "qcow2"), ("packed", "iso"), ("plain", "vmdk")):
        image_id = plain.image(disk_format=wrong)
        put = plain.ask("PUT", f"/v2/images/{image_id}/file", media[name].data, {"Content-Type": OCTETS})
        assert put.status == 415
        assert media[name].disk_format in put.body.decode()
        assert plain.show(image_id)["status"] == "queued"


@pytest.mark.parametrize("chunked", [False, True], ids=["plain", "chunked"])
@pytest.mark.parametrize(("shift", "status"), [(0, 204), (-1, 400), (1, 400), (None, 204)])
def test_declared_size_of_a_disc_must_match_the_uploaded_data(
    shift: int | None, status: int, chunked: bool, media: dict[str, Medium], plain: Plain
) -> None:
    # CL-195, IMG-UP-04
    data = media["made"].data
    image_id = plain.image(disk_format="iso")
    headers = {"Content-Type": OCTETS, "X-OpenStack-Image-Size": "0" if shift is None else str(len(data) + shift)}
    body = (data[at : at + 65536] for at in range(0, len(data), 65536)) if chunked else data
    put = plain.ask("PUT", f"/v2/images/{image_id}/file", body, headers)
    assert put.status == status
    if status == 204:
        check_image(plain, image_id, media["made"])
    else:
        assert plain.show(image_id)["status"] == "queued"
