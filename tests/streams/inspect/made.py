"""Images of real programs: how each is made, and what the inspection finds. ``python made.py`` prints the table of
docs/reference/image-formats.md."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import products
from generators import MIB
from needs import need, unavailable

from ferrotype.model.errors import ContentRefused
from ferrotype.streams.inspect import Inspector, check_format

#: Packages whose files are images: fetched and unpacked, never installed.
PACKAGES = ("ipxe", "grub-rescue-pc", "memtest86+", "python3-vmdkstream")
LUKS = "echo -n secret | cryptsetup luksFormat -q --pbkdf-force-iterations 1000"


@dataclass(frozen=True)
class Made:
    """One image. ``how`` is a shell command that writes the file ``disk``, a path in a package, or a function."""

    declared: str
    program: str
    how: str | Callable[[], bytes]
    found: str
    virtual_size: int | None
    #: the check that refuses it by default
    refused: str = ""
    #: bytes of the empty file that the command starts with
    size: int = 8 * MIB

    @property
    def title(self) -> str:
        how = self.how if isinstance(self.how, str) else (self.how.__doc__ or "").strip().rstrip(".")
        return f"{self.program}: {how}"


def qemu(declared: str, kind: str, options: str, size: int = 4 * MIB) -> Made:
    command = f"qemu-img create -q -f {kind} {options} disk {size}".replace("  ", " ")
    return Made(declared, "qemu-img", command, "raw" if "fixed" in options and kind == "vpc" else declared, size)


def volume(command: str, program: str | None = None, size: int = 8 * MIB) -> Made:
    return Made("raw", program or command.split()[0], command, "raw", size, size=size)


def packaged(declared: str, package: str, path: str, found: str, virtual_size: int | None) -> Made:
    return Made(declared, package, path, found, virtual_size)


MADE = (
    qemu("qcow2", "qcow2", ""),
    qemu("qcow2", "qcow2", "-o compat=0.10"),
    qemu("vmdk", "vmdk", ""),
    qemu("vmdk", "vmdk", "-o subformat=streamOptimized"),
    Made(
        "vmdk",
        "python3-vmdkstream",
        "python3 {packages}/usr/lib/python3/dist-packages/VMDKstream.py {source} disk",
        "vmdk",
        3 * MIB,
    ),
    Made("vmdk", "VirtualBox (fields)", products.virtualbox_vmdk, "vmdk", MIB),
    Made("vmdk", "VirtualBox (fields)", products.virtualbox_stream, "vmdk", MIB),
    Made("vmdk", "VMware (fields)", products.vmware_vmdk, "vmdk", MIB),
    qemu("vdi", "vdi", ""),
    qemu("vdi", "vdi", "-o static=on"),
    Made("vdi", "VirtualBox (fields)", products.virtualbox_vdi, "vdi", 4 * MIB),
    qemu("vhd", "vpc", "-o subformat=dynamic,force_size=on"),
    qemu("vhd", "vpc", "-o subformat=fixed,force_size=on"),
    Made("vhd", "Hyper-V (fields)", products.hyperv_vhd, "vhd", 4 * MIB),
    Made("vhd", "Hyper-V, Azure (fields)", products.azure_vhd, "raw", 4 * MIB),
    qemu("vhdx", "vhdx", ""),
    qemu("vhdx", "vhdx", "-o subformat=fixed"),
    Made("vhdx", "Hyper-V (fields)", products.hyperv_vhdx, "vhdx", 4 * MIB),
    Made("iso", "genisoimage", "genisoimage -quiet -o disk {tree}", "iso", 358400),
    Made("iso", "genisoimage", "genisoimage -quiet -udf -o disk {tree}", "iso", 858112),
    Made("iso", "xorriso", "xorriso -as mkisofs -quiet -o disk {tree}", "iso", 376832),
    Made("iso", "mkudffs", "mkudffs disk", "iso", 8 * MIB),
    Made("iso", "mkudffs", "mkudffs -m hd -b 4096 disk", "iso", 8 * MIB),
    Made("iso", "mkudffs", "mkudffs -m dvdrw -r 1.50 disk", "iso", 8 * MIB),
    Made("iso", "mkudffs", "mkudffs -b 512 --bootarea=mbr disk", "iso", 8 * MIB),
    packaged("iso", "grub-rescue-pc", "usr/lib/grub-rescue/grub-rescue-cdrom.iso", "iso", None),
    packaged("iso", "grub-rescue-pc", "usr/lib/grub-rescue/grub-rescue-floppy.img", "iso", None),
    packaged("iso", "ipxe", "usr/lib/ipxe/ipxe.iso", "iso", None),
    packaged("iso", "memtest86+", "usr/lib/memtest86+/memtest86+x64.iso", "iso", None),
    Made("raw", "sfdisk", "echo 'label: dos' | sfdisk -q disk", "raw", 8 * MIB),
    Made("raw", "sfdisk", "printf 'label: dos\\n,,L,*\\n' | sfdisk -q disk", "gpt", 8 * MIB),
    Made("raw", "sfdisk", "printf 'label: gpt\\n,,L\\n' | sfdisk -q disk", "gpt", 8 * MIB),
    Made("raw", "sgdisk", "sgdisk -n 1:2048:4095 disk", "gpt", 8 * MIB),
    Made("raw", "sgdisk", "sgdisk -n 1:2048:4095 -n 2:4096:8191 -h 1 disk", "gpt", None, refused="gptmbr"),
    volume("mkfs.ntfs -F -Q disk"),
    volume("mkfs.exfat disk"),
    volume("mkfs.vfat disk", size=1440 * 1024),
    volume(
        "mkfs.vfat disk && dd if={packages}/boot/ipxe.lkrn of=disk bs=1 skip=62 seek=62 count=450 conv=notrunc",
        "mkfs.vfat",
        size=1440 * 1024,
    ),
    volume("mkfs.vfat -f 1 -M 0xF0 disk"),
    volume("mkfs.vfat --mbr=yes disk"),
    volume("mkfs.vfat -F 32 disk", size=64 * MIB),
    volume("mkfs.ext4 -q disk"),
    volume("mkfs.ext4 -q disk && dd if={packages}/boot/ipxe.lkrn of=disk bs=512 count=1 conv=notrunc", "mkfs.ext4"),
    packaged("raw", "ipxe", "boot/ipxe.efi", "raw", None),
    packaged("raw", "ipxe", "boot/ipxe.lkrn", "raw", None),
    packaged("raw", "memtest86+", "boot/memtest86+x64.efi", "raw", None),
    packaged("raw", "memtest86+", "boot/memtest86+x64.bin", "raw", None),
    packaged("aki", "memtest86+", "boot/memtest86+x64.bin", "raw", None),
    Made("raw", "cryptsetup", f"{LUKS} --type luks1 disk -", "luks", 8 * MIB),
    Made("raw", "cryptsetup", f"{LUKS} --type luks2 --pbkdf pbkdf2 disk -", "luks", 32 * MIB, size=32 * MIB),
    Made("luks", "cryptsetup", f"{LUKS} --type luks1 disk -", "luks", 6 * MIB),
    Made(
        "luks",
        "cryptsetup",
        f"{LUKS} --type luks2 --pbkdf pbkdf2 disk -",
        "luks",
        None,
        refused="luks2",
        size=32 * MIB,
    ),
)


def fetch_packages(directory: Path) -> Path:
    """Download and unpack ``PACKAGES`` below ``directory``; end the test where they cannot be had."""
    apt, dpkg = need("apt-get"), need("dpkg")
    for package in PACKAGES:
        command = [apt, "download", "-q", package]
        if subprocess.run(command, cwd=directory, capture_output=True, timeout=300).returncode:
            unavailable(package)
    for archive in directory.glob("*.deb"):
        subprocess.run([dpkg, "-x", archive, directory / "unpacked"], check=True, capture_output=True, timeout=60)
    return directory / "unpacked"


def make(made: Made, directory: Path, packages: Callable[[], Path]) -> bytes:
    """Return the bytes of an image; ``directory`` is a new one."""
    if not isinstance(made.how, str):
        return made.how()
    if made.program in PACKAGES and " " not in made.how:
        return (packages() / made.how).read_bytes()
    if made.program not in PACKAGES:
        need(made.program)
    (directory / "tree").mkdir()
    (directory / "tree" / "file").write_text("hello\n")
    (directory / "source").write_bytes(b"a disk" * 20000 + bytes(3 * MIB - 120000))
    disk = directory / "disk"
    if made.program in ("mkudffs", "sfdisk", "sgdisk", "cryptsetup") or made.program.startswith("mkfs"):
        with disk.open("wb") as file:
            file.truncate(made.size)
    wanted = {"packages": packages()} if "{packages}" in made.how else {}
    command = made.how.format(tree=directory / "tree", source=directory / "source", **wanted)
    shell = ["bash", "-ec", f"PATH=$PATH:/usr/sbin:/sbin; {command}"]
    subprocess.run(shell, cwd=directory, check=True, capture_output=True, timeout=120)
    return disk.read_bytes()


def result(made: Made, data: bytes) -> tuple[str, int | None, str]:
    """Return the format found, the virtual size, and the check that refuses the data, empty for none."""
    inspector = Inspector()
    inspector.feed([data])
    findings = inspector.finish()
    try:
        verdict = check_format(findings, made.declared, "bare", require_match=True, nonfatal=())
    except ContentRefused as refusal:
        return refusal.found, None, refusal.check
    return "+".join(findings.formats), verdict.virtual_size, ""


def table() -> str:
    """Return the rows of docs/reference/image-formats.md, from the expected results."""
    rows = ["| declared | program | how | found | virtual size | verdict |", "|---|---|---|---|---|---|"]
    for made in MADE:
        how = made.title.partition(": ")[2].replace("|", "\\|").format(tree="tree", source="source", packages="")
        size = "null" if made.virtual_size is None else f"{made.virtual_size:,}"
        if made.virtual_size is None and not made.refused and made.declared != "aki":
            size = "the file's" if made.declared == "raw" else "the volume's"
        how = f"`{how}`" if isinstance(made.how, str) else how.replace("``", "`")
        verdict = f"415, check {made.refused}" if made.refused else "accepted"
        rows.append(f"| {made.declared} | {made.program} | {how} | {made.found} | {size} | {verdict} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
