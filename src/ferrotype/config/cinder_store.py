"""A store of type ``cinder``: each object is a volume of the Block Storage service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ferrotype.config.options import BOOL, MAX_SECONDS, STORE, TEXT, Option, at_least
from ferrotype.config.values import Values


@dataclass(frozen=True)
class CinderStore:
    """How a cinder store finds its service, as whom, and how it attaches volumes. Times are seconds."""

    #: service type, name and interface in the catalogue, between colons
    catalog_info: str = "volumev3::publicURL"
    endpoint_template: str | None = None
    region: str | None = None
    cacert: str | None = None
    insecure: bool = False
    retries: int = 3
    transition_timeout: int = 300
    attachment_attempts: int = 5
    #: with an address and credentials the volumes belong to a service project, else to the caller's
    auth_address: str | None = None
    user_name: str | None = None
    password: str | None = None
    project_name: str | None = None
    user_domain_name: str = "Default"
    project_domain_name: str = "Default"
    application_credential_id: str | None = None
    application_credential_secret: str | None = None
    volume_type: str | None = None
    use_multipath: bool = False
    enforce_multipath: bool = False
    extend_attached: bool = False
    mount_point_base: str = "/var/lib/glance/mnt"
    rootwrap_config: str = "/etc/glance/rootwrap.conf"

    @property
    def place(self) -> str:
        """What an operator reads about where the objects are."""
        return f"volumes of type {self.volume_type}" if self.volume_type else "volumes"

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the operators' discovery shows (DISC-78, DISC-79)."""
        return {"volume_type": self.volume_type or None, "use_multipath": self.use_multipath}


def _option(name: str, type_: Any, default: Any, help: str, field: str, *former: str) -> Option:
    names = tuple((STORE, each) for each in former)
    return Option(STORE, name, type_, default, help, dest=f"stores.entries.options.{field}", deprecated_names=names)


_CATALOG_INFO = _option(
    "cinder_catalog_info", TEXT, CinderStore.catalog_info,
    "`service type:service name:interface` in the catalogue", "catalog_info",
)  # fmt: skip
OPTIONS = (
    _CATALOG_INFO,
    _option("cinder_endpoint_template", TEXT, None,
            "URL of the service instead of the catalogue's; `%(project_id)s` is the caller's project",
            "endpoint_template"),
    _option("cinder_os_region_name", TEXT, None, "region in the catalogue", "region", "os_region_name"),
    _option("cinder_ca_certificates_file", TEXT, None, "CA certificates for Cinder and Keystone", "cacert"),
    _option("cinder_api_insecure", BOOL, CinderStore.insecure, "skip TLS certificate verification", "insecure"),
    _option("cinder_http_retries", at_least(0), CinderStore.retries, "retries of a request that failed", "retries"),
    _option("cinder_state_transition_timeout", at_least(0, MAX_SECONDS), CinderStore.transition_timeout,
            "seconds to wait for a volume to change its state", "transition_timeout"),
    _option("cinder_attachment_retry_attempts", at_least(1), CinderStore.attachment_attempts,
            "attempts to attach a volume", "attachment_attempts"),
    _option("cinder_store_auth_address", TEXT, None, "URL of Keystone, for credentials of the service",
            "auth_address"),
    _option("cinder_store_user_name", TEXT, None, "user that owns the volumes", "user_name"),
    _option("cinder_store_password", TEXT, None, "password of that user", "password"),
    _option("cinder_store_project_name", TEXT, None, "project that owns the volumes", "project_name"),
    _option("cinder_store_user_domain_name", TEXT, CinderStore.user_domain_name, "domain of the user",
            "user_domain_name"),
    _option("cinder_store_project_domain_name", TEXT, CinderStore.project_domain_name, "domain of the project",
            "project_domain_name"),
    _option("cinder_store_application_credential_id", TEXT, None,
            "application credential instead of a user and a password", "application_credential_id"),
    _option("cinder_store_application_credential_secret", TEXT, None, "secret of the application credential",
            "application_credential_secret"),
    _option("cinder_volume_type", TEXT, None, "type of the volumes", "volume_type"),
    _option("cinder_use_multipath", BOOL, CinderStore.use_multipath, "attach volumes through several paths",
            "use_multipath"),
    _option("cinder_enforce_multipath", BOOL, CinderStore.enforce_multipath,
            "refuse to attach a volume when multipath does not run", "enforce_multipath"),
    _option("cinder_do_extend_attached", BOOL, CinderStore.extend_attached,
            "extend a volume of unknown size while it is attached", "extend_attached"),
    _option("cinder_mount_point_base", TEXT, CinderStore.mount_point_base, "where volumes on NFS are mounted",
            "mount_point_base"),
    _option("rootwrap_config", TEXT, CinderStore.rootwrap_config, "rules of the program that attaches as root",
            "rootwrap_config"),
)  # fmt: skip


def read(values: Values, sections: Sequence[str]) -> CinderStore:
    """Return the store's configuration; the first of ``sections`` that sets an option decides about it."""
    store = CinderStore(**values.store_fields(sections, OPTIONS))
    if store.catalog_info.count(":") != 2:
        section, _ = values.of_store(sections, _CATALOG_INFO)
        values.problem(section, _CATALOG_INFO.name, "must be `service type:service name:interface`")
    return store
