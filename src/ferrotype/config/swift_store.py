"""A store of type ``swift``: objects are in a container of one account, or in accounts of the callers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oslo_config import types

from ferrotype.config.options import BOOL, MAX_SECONDS, NAMES, STORE, TEXT, Option, at_least
from ferrotype.config.values import Values

#: Sizes are configured in this unit, which is neither a megabyte nor a mebibyte (DISC-81).
_UNIT = 1000 * 1024


@dataclass(frozen=True)
class SwiftStore:
    """Which account and container a swift store uses, as whom, and how it writes. Sizes are bytes, times seconds."""

    #: a file with several accounts, each of them a section that is named by a reference
    config_file: str | None = None
    reference: str = "ref1"
    container: str = "glance"
    #: objects of this size and larger are stored in segments of ``large_object_chunk_size``
    large_object_size: int = 5120 * _UNIT
    large_object_chunk_size: int = 200 * _UNIT
    create_container: bool = False
    #: objects are in the accounts of the callers
    multi_tenant: bool = False
    #: characters of the image's ID that a container's name ends with
    containers_seed: int = 0
    admin_tenants: tuple[str, ...] = ()
    endpoint_type: str = "publicURL"
    service_type: str = "object-store"
    region: str | None = None
    endpoint: str | None = None
    insecure: bool = False
    cacert: str | None = None
    ssl_compression: bool = True
    retries: int = 0
    expire_soon: int = 60
    use_trusts: bool = True
    buffer_on_upload: bool = False
    buffer_dir: str | None = None
    auth_address: str | None = None
    user: str | None = None
    key: str | None = None
    project_name: str | None = None
    project_id: str | None = None
    application_credential_id: str | None = None
    application_credential_secret: str | None = None

    @property
    def place(self) -> str:
        """What an operator reads about where the objects are."""
        return f"the container {self.container}" + (" of each tenant" if self.multi_tenant else "")

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the operators' discovery shows (DISC-80 to DISC-82)."""
        return {
            "container": self.container,
            "large_object_size": self.large_object_size,
            "large_object_chunk_size": self.large_object_chunk_size,
        }


def _option(name: str, type_: Any, default: Any, help: str, field: str) -> Option:
    return Option(STORE, name, type_, default, help, dest=f"stores.entries.options.{field}")


_CONFIG_FILE = _option(
    "swift_store_config_file", TEXT, None, "file with the accounts of single-tenant stores", "config_file"
)
_AUTH_ADDRESS = _option("swift_store_auth_address", TEXT, None, "URL of Keystone", "auth_address")
_USER = _option("swift_store_user", TEXT, None, "`project:user` whose account holds the objects", "user")
_KEY = _option("swift_store_key", TEXT, None, "password of that user", "key")
_CREDENTIAL_ID = _option(
    "swift_store_application_credential_id", TEXT, None, "application credential instead of a user and a password",
    "application_credential_id",
)  # fmt: skip
_CREDENTIAL_SECRET = _option(
    "swift_store_application_credential_secret", TEXT, None, "secret of the application credential",
    "application_credential_secret",
)  # fmt: skip
_BUFFER_DIR = _option("swift_upload_buffer_dir", TEXT, None, "directory of that file", "buffer_dir")
OPTIONS = (
    _CONFIG_FILE,
    _option("default_swift_reference", TEXT, SwiftStore.reference, "section of that file for new objects",
            "reference"),
    _option("swift_store_container", TEXT, SwiftStore.container, "container, or the beginning of several names",
            "container"),
    _option("swift_store_large_object_size", at_least(1), 5120,
            "objects of this size and larger are stored in segments, in units of 1,024,000 bytes",
            "large_object_size"),
    _option("swift_store_large_object_chunk_size", at_least(1), 200, "size of a segment, in units of 1,024,000 bytes",
            "large_object_chunk_size"),
    _option("swift_store_create_container_on_put", BOOL, SwiftStore.create_container, "create a missing container",
            "create_container"),
    _option("swift_store_multi_tenant", BOOL, SwiftStore.multi_tenant, "store objects in the accounts of the callers",
            "multi_tenant"),
    _option("swift_store_multiple_containers_seed", at_least(0, 32), SwiftStore.containers_seed,
            "characters of an image's ID that the name of its container ends with; 0: one container",
            "containers_seed"),
    _option("swift_store_admin_tenants", NAMES, [], "projects that may write every object of a multi-tenant store",
            "admin_tenants"),
    _option("swift_store_endpoint_type", types.String(choices=["publicURL", "adminURL", "internalURL"]),
            SwiftStore.endpoint_type, "interface of the endpoint in the catalogue", "endpoint_type"),
    _option("swift_store_service_type", TEXT, SwiftStore.service_type, "service type in the catalogue",
            "service_type"),
    _option("swift_store_region", TEXT, None, "region in the catalogue", "region"),
    _option("swift_store_endpoint", TEXT, None, "endpoint instead of the catalogue's", "endpoint"),
    _option("swift_store_auth_insecure", BOOL, SwiftStore.insecure, "skip TLS certificate verification", "insecure"),
    _option("swift_store_cacert", TEXT, None, "CA certificates for Swift and Keystone", "cacert"),
    _option("swift_store_ssl_compression", BOOL, SwiftStore.ssl_compression, "let TLS compress", "ssl_compression"),
    _option("swift_store_retry_get_count", at_least(0), SwiftStore.retries, "how often a broken download resumes",
            "retries"),
    _option("swift_store_expire_soon_interval", at_least(0, MAX_SECONDS), SwiftStore.expire_soon,
            "seconds before its expiry at which a token is renewed", "expire_soon"),
    _option("swift_store_use_trusts", BOOL, SwiftStore.use_trusts,
            "use a trust for uploads that last longer than the caller's token", "use_trusts"),
    _option("swift_buffer_on_upload", BOOL, SwiftStore.buffer_on_upload,
            "keep a segment in a file, so that it can be sent again", "buffer_on_upload"),
    _BUFFER_DIR,
    Option(STORE, "swift_store_auth_version", types.String(choices=["3"]), "3", "version of the Identity API"),
    _AUTH_ADDRESS,
    _USER,
    _KEY,
    _option("swift_store_project_name", TEXT, None, "project of the application credential", "project_name"),
    _option("swift_store_project_id", TEXT, None, "ID of that project", "project_id"),
    _CREDENTIAL_ID,
    _CREDENTIAL_SECRET,
)  # fmt: skip


def read(values: Values, sections: Sequence[str]) -> SwiftStore:
    """Return the store's configuration; the first of ``sections`` that sets an option decides about it."""
    fields = values.store_fields(sections, OPTIONS)
    for name in ("large_object_size", "large_object_chunk_size"):
        fields[name] *= _UNIT
    store = SwiftStore(**fields)
    if store.multi_tenant:
        if store.config_file:
            section, _ = values.of_store(sections, _CONFIG_FILE)  # DISC-38
            text = (
                "has no meaning with swift_store_multi_tenant, where each caller has an account; remove one of them"
            )
            values.problem(section, _CONFIG_FILE.name, text)
    elif not store.config_file:
        values.require(sections, _AUTH_ADDRESS, "swift")
        if store.application_credential_id or store.application_credential_secret:
            values.require(sections, _CREDENTIAL_ID, "swift")
            values.require(sections, _CREDENTIAL_SECRET, "swift")
        else:
            values.require(sections, _USER, "swift")
            values.require(sections, _KEY, "swift")
    if store.buffer_on_upload:
        values.require(sections, _BUFFER_DIR, "swift")
    return store
