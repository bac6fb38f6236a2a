"""A store of type ``vmware``: objects are files in datastores of an ESX host or a vCenter."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oslo_config import types

from ferrotype.config.options import BOOL, MAX_SECONDS, STORE, TEXT, Option, at_least
from ferrotype.config.values import Values


@dataclass(frozen=True)
class VmwareStore:
    """Which server and datastores a vmware store uses. Times are seconds."""

    host: str = ""
    username: str = ""
    password: str = ""
    #: path of the data centre, name of the datastore, and weight: the highest one with enough space takes the data
    datastores: tuple[tuple[str, str, int], ...] = ()
    retries: int = 10
    poll_interval: int = 5
    image_dir: str = "/openstack_glance"
    insecure: bool = False
    cacert: str | None = None

    @property
    def place(self) -> str:
        """What an operator reads about where the objects are."""
        return f"{', '.join(name for _, name, _ in self.datastores)} of {self.host}"

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the operators' discovery shows: nothing, as Glance defines nothing for this type (DISC-57)."""
        return {}


def _option(name: str, type_: Any, default: Any, help: str, field: str, **more: Any) -> Option:
    return Option(STORE, name, type_, default, help, dest=f"stores.entries.options.{field}", **more)


_DATASTORES = _option(
    "vmware_datastores", TEXT, None,
    "`data centre:datastore` or `data centre:datastore:weight`, repeated; the highest weight with enough space takes"
    " the data", "datastores", multi=True,
)  # fmt: skip
_MANDATORY = (
    _option("vmware_server_host", types.HostAddress(), None, "ESX host or vCenter", "host"),
    _option("vmware_server_username", TEXT, None, "user of that server", "username"),
    _option("vmware_server_password", TEXT, None, "password of that user", "password"),
    _DATASTORES,
)
OPTIONS = (
    *_MANDATORY,
    _option("vmware_api_retry_count", at_least(1), VmwareStore.retries, "retries of a request that failed",
            "retries"),
    _option("vmware_task_poll_interval", at_least(1, MAX_SECONDS), VmwareStore.poll_interval,
            "seconds between questions about a task of the server", "poll_interval"),
    _option("vmware_store_image_dir", TEXT, VmwareStore.image_dir, "directory of the images in a datastore",
            "image_dir"),
    _option("vmware_insecure", BOOL, VmwareStore.insecure, "skip TLS certificate verification", "insecure",
            deprecated_names=((STORE, "vmware_api_insecure"),)),
    _option("vmware_ca_file", TEXT, None, "CA certificates for the server", "cacert"),
)  # fmt: skip


def read(values: Values, sections: Sequence[str]) -> VmwareStore:
    """Return the store's configuration; the first of ``sections`` that sets an option decides about it."""
    for option in _MANDATORY:
        values.require(sections, option, "vmware")
    section, listed = values.of_store(sections, _DATASTORES)
    fields = values.store_fields(sections, OPTIONS)
    fields = {name: value for name, value in fields.items() if value is not None}
    return VmwareStore(**fields | {"datastores": _datastores(values, section, listed or ())})


def _datastores(values: Values, section: str, listed: Sequence[str]) -> tuple[tuple[str, str, int], ...]:
    found = []
    for entry in listed:
        centre, *rest = (part.strip() for part in entry.rsplit(":", 2))
        name, weight = (*rest, "", "")[:2]
        if not centre or not name or not re.fullmatch(r"[-+]?\d+|", weight, re.ASCII):
            text = f"contains {entry!r}; write data centre:datastore or data centre:datastore:weight"
            values.problem(section, _DATASTORES.name, text, show=False)
        else:
            found.append((centre, name, int(weight or 0)))
    return tuple(found)
