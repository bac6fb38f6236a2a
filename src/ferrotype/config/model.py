"""The configuration as the service sees it: one frozen record, read once, handed out in sections.

Sizes are bytes, times are seconds. Every value here has been checked: whoever
reads it needs no second look.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

#: What an id looks like, in the spelling of the schemas that clients see.
UUID = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"

#: What Glance's own schema-image.json says; it holds where a deployment has no such file.
SHIPPED_SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "kernel_id": {
            "type": ["null", "string"],
            "pattern": UUID,
            "description": "ID of the image that holds the kernel to boot this image with.",
        },
        "ramdisk_id": {
            "type": ["null", "string"],
            "pattern": UUID,
            "description": "ID of the image that holds the ramdisk to boot this image with.",
        },
        "instance_uuid": {"type": "string", "description": "ID of the instance this image was made from."},
        "architecture": {"type": "string", "description": "Architecture of the operating system."},
        "os_distro": {"type": "string", "description": "Name of the operating system's distribution."},
        "os_version": {"type": "string", "description": "Version of the operating system."},
        "description": {"type": "string", "description": "A text about this image for people."},
        "cinder_encryption_key_id": {
            "type": "string",
            "description": "ID of the key that the image's data is encrypted with.",
        },
        "cinder_encryption_key_deletion_policy": {
            "type": "string",
            "enum": ["on_image_deletion", "do_not_delete"],
            "description": "What becomes of that key when the image is deleted.",
        },
    }
)


class ConfigError(Exception):
    """The configuration is impossible. Each of ``problems`` is a sentence that says what to do."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Server:
    """Where and how the service listens."""

    bind_host: str = "127.0.0.1"
    bind_port: int = 9292
    workers: int = 1
    backlog: int = 4096
    public_endpoint: str | None = None
    max_request_id_length: int = 64
    #: honour X-Forwarded-* and Forwarded
    proxy_headers: bool = False
    #: seconds that running transfers get after SIGTERM
    graceful_timeout: float = 60.0
    #: seconds an idle keep-alive connection is kept
    keep_alive: float = 75.0
    #: largest JSON body in bytes
    max_json_body: int = 8 * 1024 * 1024
    healthcheck_disable_file: Path | None = None


@dataclass(frozen=True)
class Cors:
    """Pages of which other origins may call the service, and how. Without origins none may, and nothing is said."""

    #: as browsers send them; ``*`` is every page
    origins: tuple[str, ...] = ()
    allow_credentials: bool = True
    #: seconds that a browser may remember what it was allowed; 0 leaves that to the browser
    max_age: int = 3600
    allow_methods: tuple[str, ...] = ("GET", "PUT", "POST", "DELETE", "PATCH")
    allow_headers: tuple[str, ...] = (
        "Content-MD5", "X-Image-Meta-Checksum", "X-Storage-Token", "Accept-Encoding", "X-Auth-Token",
        "X-Identity-Status", "X-Roles", "X-Service-Catalog", "X-User-Id", "X-Tenant-Id", "X-OpenStack-Request-ID",
    )  # fmt: skip
    expose_headers: tuple[str, ...] = (
        "X-Image-Meta-Checksum", "X-Auth-Token", "X-Subject-Token", "X-Service-Token", "X-OpenStack-Request-ID",
    )  # fmt: skip


@dataclass(frozen=True)
class Auth:
    """Who may call: ``strategy`` is none, http_basic or keystone."""

    strategy: str = "none"
    allow_anonymous: bool = False
    www_authenticate_uri: str | None = None
    #: listen beyond loopback although nobody is asked who they are
    allow_open: bool = False


@dataclass(frozen=True)
class Accounts:
    """The account files, without Keystone. ``door``: clients may log in as if there were a Keystone."""

    users: Path
    tokens: Path | None = None
    door: bool = True
    roles: Path = Path("/etc/ferrotype/roles")


@dataclass(frozen=True)
class Login:
    """How the service itself logs in to Keystone, and at which of its endpoints it asks."""

    auth_type: str
    #: what the plugin that ``auth_type`` names may ask for, as it was written
    options: Mapping[str, str] = field(repr=False)
    #: in the order of preference
    interfaces: tuple[str, ...] = ("internal",)
    region: str | None = None
    verify: bool = True
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    #: seconds after which an answer comes too late
    timeout: float = 10.0
    #: how often a connection that failed is tried again within that time
    retries: int = 3


@dataclass(frozen=True)
class Memcached:
    """Where validated tokens are kept for all processes. ``secret`` seals them."""

    #: ``host:port``, ``[address]:port`` or ``unix:/path``
    servers: tuple[str, ...]
    secret: str = field(repr=False)
    timeout: float = 3.0
    #: seconds for which a server that failed is left alone
    dead_retry: float = 300.0
    connections: int = 10
    tls: bool = False
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    ciphers: str | None = None


@dataclass(frozen=True)
class Keystone:
    """How tokens are validated."""

    login: Login
    service_token_roles: tuple[str, ...] = ("service",)
    #: a service token without one of these roles is as good as none
    service_token_roles_required: bool = True
    #: seconds for which a validated token is believed; negative: it is asked about every time
    token_cache_time: int = 300
    memcached: Memcached | None = None


@dataclass(frozen=True)
class UnifiedLimits:
    """Which endpoint's limits in Keystone count: its id, or what is known of its service."""

    login: Login
    endpoint_id: str | None = None
    service_type: str | None = None
    service_name: str | None = None
    region: str | None = None
    interface: str = "public"


@dataclass(frozen=True)
class Policy:
    """Where a deployment's own rules are. Files that do not exist are fine; they may appear while we run."""

    file: Path | None = None
    dirs: tuple[Path, ...] = ()
    #: rules ask for roles; without, everybody of a project may do everything in it
    new_defaults: bool = True
    #: tokens of domains and of the system are refused
    projects_only: bool = True
    #: the rule that counts where another one is referred to and does not exist
    default_rule: str = "default"


@dataclass(frozen=True)
class Protections:
    """The file that protects additional properties; ``by_roles``: its values are roles, else policy rules."""

    file: Path | None = None
    by_roles: bool = True


@dataclass(frozen=True)
class Database:
    """``kind`` is sqlite or postgresql; ``url`` has no driver in its scheme (``sqlite:////path``, ``postgresql://...``)."""

    url: str
    kind: str
    #: file of a SQLite database
    path: Path | None = None
    pool_size: int = 10
    busy_timeout: float = 30.0


@dataclass(frozen=True)
class Api:
    """What the Image API shows and how much of it at once."""

    limit_default: int = 25
    limit_max: int = 1000
    show_direct_url: bool = False
    show_locations: bool = False
    hashing_algorithm: str = "sha512"
    import_methods: tuple[str, ...] = ()
    image_cache_dir: Path | None = None
    delayed_delete: bool = False
    #: seconds for which the data of an image that was deleted with delay are kept
    scrub_time: int = 0
    #: additional properties with a schema of their own: the deployment's schema-image.json, else the shipped one
    schema_properties: Mapping[str, Any] = field(default_factory=lambda: SHIPPED_SCHEMA)
    schema_required: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """Static limits. A negative count means unlimited; bytes of 0 mean off for the storage quota."""

    image_size_cap: int = 1 << 40
    user_storage_quota: int = 0
    image_property_quota: int = 128
    image_tag_quota: int = 128
    image_member_quota: int = 128
    image_location_quota: int = 10


@dataclass(frozen=True)
class Formats:
    """Which formats an image may declare, and how strictly its bytes are held to it."""

    disk_formats: tuple[str, ...] = (
        "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop",
    )  # fmt: skip
    container_formats: tuple[str, ...] = (
        "ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed",
    )  # fmt: skip
    require_match: bool = True
    gpt_nonfatal: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoreConfig:
    """One store: its id, driver type, what discovery says of it, and the driver's own options."""

    id: str
    type: str
    description: str | None = None
    weight: int = 0
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Stores:
    """``multi``: ids are shown to users. In single-store mode the one store has an internal id (RUL-34)."""

    multi: bool
    default: str
    entries: tuple[StoreConfig, ...]
    #: where staged bytes go; None: the default store
    staging: str | None = None


@dataclass(frozen=True)
class Logging:
    """``level`` is a name of the logging module."""

    level: str = "INFO"
    file: Path | None = None


@dataclass(frozen=True)
class Config:
    """Everything the service was told, checked."""

    server: Server
    auth: Auth
    database: Database
    api: Api
    limits: Limits
    formats: Formats
    stores: Stores
    logging: Logging
    policy: Policy = Policy()
    protection: Protections = Protections()
    cors: Cors = Cors()
    #: where ``auth.strategy`` is http_basic
    accounts: Accounts | None = None
    #: where ``auth.strategy`` is keystone
    keystone: Keystone | None = None
    #: where limits of projects are Keystone's
    unified_limits: UnifiedLimits | None = None
    #: sentences about options that are unknown, obsolete or questionable; logged at start
    remarks: tuple[str, ...] = ()
    #: files that were read, in order
    files: tuple[Path, ...] = ()
