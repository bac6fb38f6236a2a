"""A store of type ``rbd``: objects are images in a pool of a Ceph cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ferrotype.config.options import BOOL, MAX_SECONDS, STORE, TEXT, Option, at_least, at_most
from ferrotype.config.values import Values

_MIB = 1 << 20


@dataclass(frozen=True)
class RbdStore:
    """Which pool an rbd store uses, and how it writes. Sizes are bytes."""

    pool: str = "images"
    #: None: as the configuration of Ceph says
    user: str | None = None
    #: empty: where Ceph's library looks for its configuration
    ceph_conf: str = ""
    chunk_size: int = 8 * _MIB
    #: seconds; negative: as Ceph's library does
    connect_timeout: int = -1
    #: do not write chunks of zeros
    thin_provisioning: bool = False

    @property
    def place(self) -> str:
        """What an operator reads about where the objects are."""
        return f"the pool {self.pool}"

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the operators' discovery shows. Only a connected driver knows the ``fsid`` (DISC-77)."""
        return {
            "chunk_size": self.chunk_size,
            "pool": self.pool,
            "thin_provisioning": self.thin_provisioning,
            "fsid": None,
        }


_CHUNK_SIZE = Option(
    STORE, "rbd_store_chunk_size", at_least(1), 8, "size of the objects that an image is cut into, in MiB",
    dest="stores.entries.options.chunk_size",
)  # fmt: skip
OPTIONS = (
    Option(STORE, "rbd_store_pool", TEXT, RbdStore.pool, "pool that holds the images",
           dest="stores.entries.options.pool"),
    Option(STORE, "rbd_store_user", TEXT, None, "user of Ceph",
           dest="stores.entries.options.user", sample_default="as the configuration of Ceph says"),
    Option(STORE, "rbd_store_ceph_conf", TEXT, RbdStore.ceph_conf, "configuration file of Ceph",
           dest="stores.entries.options.ceph_conf", sample_default="where Ceph's library looks for it"),
    _CHUNK_SIZE,
    Option(STORE, "rados_connect_timeout", at_most(MAX_SECONDS), RbdStore.connect_timeout,
           "seconds to wait for the cluster; negative: as Ceph's library does",
           dest="stores.entries.options.connect_timeout"),
    Option(STORE, "rbd_thin_provisioning", BOOL, RbdStore.thin_provisioning,
           "do not write chunks of zeros, which take no space then", dest="stores.entries.options.thin_provisioning"),
)  # fmt: skip


def read(values: Values, sections: Sequence[str]) -> RbdStore:
    """Return the store's configuration; the first of ``sections`` that sets an option decides about it."""
    fields = values.store_fields(sections, OPTIONS)
    return RbdStore(**{**fields, "chunk_size": fields["chunk_size"] * _MIB})
