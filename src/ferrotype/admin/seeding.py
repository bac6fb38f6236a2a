"""Create images for benchmarks: many, quickly, and the same ones every time."""

import hashlib
import time
import uuid

from ferrotype.db import images as rows
from ferrotype.db.engine import Database
from ferrotype.model.image import Image, Visibility

#: Images written in one transaction.
BATCH = 500
_DISTROS = ("ubuntu", "debian", "fedora", "centos", "rocky", "suse", "windows", "cirros")
_FORMATS = ("qcow2", "raw", "iso", "vmdk")
_PROJECTS = 50


def seeded_image(index: int) -> Image:
    """Return image number ``index``: 10 properties, 3 tags, one of 50 projects, every kind of visibility."""
    kind = index % 20
    visibility: Visibility = (
        "public" if kind == 0 else "community" if kind == 1 else "private" if kind < 8 else "shared"
    )
    return Image(
        id=str(uuid.UUID(bytes=hashlib.blake2b(b"seed %d" % index, digest_size=16).digest(), version=4)),
        name=f"seed-{index:07}",
        visibility=visibility,
        owner=f"{index % _PROJECTS:032x}",
        disk_format=_FORMATS[index % 4],
        container_format="bare",
        min_disk=index % 40,
        min_ram=512 * (index % 8),
        tags=("seed", f"group-{index % 100}", _DISTROS[index % 8]),
        properties={
            "os_distro": _DISTROS[index % 8],
            "os_version": f"{index % 30}.04",
            "architecture": ("x86_64", "aarch64")[index % 2],
            "hw_disk_bus": "virtio",
            "hw_qemu_guest_agent": "yes",
            "build": f"{index:08}",
            "team": f"team-{index % 25}",
            "channel": ("stable", "candidate", "edge")[index % 3],
            "description": f"Image number {index}, made to measure with.",
            "checksum_source": hashlib.sha256(b"%d" % index).hexdigest(),
        },
    )


async def seed(db: Database, count: int) -> str:
    """Create ``count`` images after those of earlier runs; return a sentence with the time it took."""
    began = time.monotonic()
    first = 0
    while await rows.marker(db, seeded_image(first).id, None) is not None:
        first += BATCH
    first = max(0, first - BATCH)
    while first and await rows.marker(db, seeded_image(first).id, None) is not None:
        first += 1
    for start in range(first, first + count, BATCH):
        async with db.begin() as tx:
            for index in range(start, min(start + BATCH, first + count)):
                await rows.insert_image(tx, seeded_image(index))
    took = time.monotonic() - began
    return f"{count} images written in {took:.1f} s ({count / took:.0f} a second)"
