"""The table of options: what becomes of every name that a Glance configuration file may hold.

    used      read, checked, and part of ``Config``
    accepted  known; what it asks for is not in this version, or is not needed: the note says which
    obsolete  known from older files; does nothing

Options of stores stand in the section ``<store>``: in a file that is the section
named like the store, ``[backend_defaults]``, or ``[glance_store]`` where one store has no id.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from oslo_config import types

from ferrotype.config.model import Cors

STORE = "<store>"
DEFAULT_DATADIR = "/var/lib/glance/images"

#: Import methods of the Image API.
IMPORT_METHODS = ("glance-direct", "web-download", "copy-image", "glance-download")

#: Digests that may become ``os_hash_algo``: of a fixed length and known to every client.
HASHES = (
    "md5", "sha1", "sha224", "sha256", "sha384", "sha512",
    "sha3_224", "sha3_256", "sha3_384", "sha3_512", "blake2b", "blake2s",
)  # fmt: skip


@dataclass(frozen=True)
class Option:
    """One name: where it stands, what becomes of it, and how its value is read.

    ``goes_to`` names the place in ``Config`` which takes the value as it is; the
    other used options are read by name in ``read`` and ``stores``.
    """

    section: str
    name: str
    standing: str
    note: str
    #: None for text that is taken as it is, and where nobody looks at the value
    type: types.ConfigType | None = None
    default: Any = None
    goes_to: str | None = None
    reloadable: bool = False
    multi: bool = False
    #: older names, as (section, name)
    older: tuple[tuple[str, str], ...] = ()
    #: what the documentation shows where the default is worked out
    shown: str | None = None

    @property
    def title(self) -> str:
        """The name as an operator would look for it."""
        return f"[{self.section}] {self.name}"


# Connections and bus addresses carry passwords inside; the others are secrets as a whole.
SECRET = re.compile(
    r"(password|secret|hmac_keys|transport_url|connection|encryption_key|_store_key|access_key"
    r"|secret_key|token)$|^(role_id|approle_\w+_id|admin_token)$"
)


def secret(name: str) -> bool:
    """Return whether values of this option must never be printed."""
    return SECRET.search(name.replace("-", "_").lower()) is not None


TEXT = types.String()
BOOL = types.Boolean()
NAMES = types.List(item_type=types.String(), bounds=False)
BRACKETED = types.List(item_type=types.String(quotes=True), bounds=True)
PORTS = types.List(item_type=types.Integer(min=0, max=65535), bounds=True)
COUNT = types.Integer()
BIGGEST = 2**63
#: processes that one service may be told to have: more is a slip of the hand, and each opens connections
MOST_WORKERS = 256


def at_least(least: int) -> types.Integer:
    """Return the type of whole numbers from ``least`` on."""
    return types.Integer(min=least)


def used(section: str, name: str, type_: types.ConfigType, default: Any, note: str, **more: Any) -> Option:
    return Option(section, name, "used", note, type_, default, **more)


def handed_on(section: str) -> Iterator[Option]:
    """Return the options of ways to log in. Which of them count, and how, is said by the plugin."""
    for name in LOGIN:
        older = ((section, "user-name"), (section, "user_name")) if name == "username" else ()
        note = "given to the plugin that `auth_type` names, which knows what it needs"
        yield Option(section, name, "used", note, older=older)


def rows(standing: str, section: str, names: str, note: str) -> Iterator[Option]:
    for name in names.split():
        yield Option(section, name, standing, note)


def accepted(section: str, names: str, note: str) -> Iterator[Option]:
    return rows("accepted", section, names, note)


def obsolete(section: str, names: str, note: str) -> Iterator[Option]:
    return rows("obsolete", section, names, note)


def checked(section: str, name: str, type_: types.ConfigType, note: str, **more: Any) -> Option:
    """An accepted option whose value is checked nevertheless: a mistake in it should not wait for later."""
    return Option(section, name, "accepted", note, type_, **more)


IMPORT = "images are not imported in this version"
#: Options of keystoneauth's plugins.
LOGIN = (
    "auth_url", "username", "password", "user_id", "user_domain_id", "user_domain_name", "project_id",
    "project_name", "project_domain_id", "project_domain_name", "domain_id", "domain_name", "system_scope",
    "trust_id", "default_domain_id", "default_domain_name", "tenant_id", "tenant_name", "token",
    "application_credential_id", "application_credential_name", "application_credential_secret", "passcode",
    "auth_methods", "client_id", "client_secret", "oauth2_endpoint", "oauth2_client_id", "oauth2_client_secret",
    "identity_provider", "protocol", "discovery_endpoint", "access_token", "access_token_endpoint",
    "access_token_type", "scope",
)  # fmt: skip
INTERFACES = ["public", "publicURL", "internal", "internalURL", "admin", "adminURL"]

ADAPTER = "Keystone's version 3 is asked; nothing else about the connection is adjustable"
CACHE = "there is no local cache of images in this version"
EVENTS = "notifications are not sent in this version"
TASKS = "there are no tasks in this version"
SCRUB = "deleted data is removed by the service itself; no scrubber runs beside it"
SIGNED = "signatures are not verified in this version; images that carry one are refused"
FORMAT = "log lines have a fixed form"
ROTATE = "log files are not rotated by the service; use logrotate or the journal"
EVENTLET = "belonged to a server that Glance no longer has; it has no counterpart"
REGISTRY = "belonged to the registry, which no longer exists"
BUS = "there is no message bus; nothing is needed in its place"
POOL = "the pool of connections is managed by the service"
MARIADB = "there is no MariaDB support yet"
GONE = "Glance no longer has this option"

#: Sections of other libraries, accepted or obsolete as a whole.
WHOLE_SECTIONS: dict[str, tuple[str, str]] = {
    "oslo_messaging_notifications": ("accepted", EVENTS),
    "oslo_messaging_rabbit": ("accepted", EVENTS),
    "oslo_messaging_kafka": ("accepted", EVENTS),
    "oslo_messaging_metrics": ("accepted", EVENTS),
    "oslo_messaging_amqp": ("obsolete", BUS),
    "oslo_messaging_zmq": ("obsolete", BUS),
    "matchmaker_redis": ("obsolete", BUS),
    "key_manager": ("accepted", SIGNED),
    "barbican": ("accepted", SIGNED),
    "barbican_service_user": ("accepted", SIGNED),
    "vault": ("accepted", SIGNED),
    "profiler": ("accepted", "requests are not traced in this version"),
    "profiler_jaeger": ("accepted", "requests are not traced in this version"),
    "profiler_otlp": ("accepted", "requests are not traced in this version"),
    "oslo_middleware_tracing": ("accepted", "requests are not traced in this version"),
    "oslo_reports": ("obsolete", "the service writes no error reports"),
    "os_brick": ("accepted", "stores of type cinder are not in this version"),
    "ssl": ("obsolete", "the service speaks plain HTTP; TLS ends at the proxy in front of it"),
    "os_glance_tasks_store": ("accepted", "tasks need no directory of their own"),
    "os_glance_staging_store": ("accepted", "staged bytes go to [DEFAULT] staging_store, or to the default store"),
}  # fmt: skip

TABLE: tuple[Option, ...] = (
    # Where and how the service listens.
    used("DEFAULT", "bind_host", types.HostAddress(), None, "address to listen on",
         shown="`127.0.0.1` where nobody is asked who they are, else `0.0.0.0`"),
    used("DEFAULT", "bind_port", types.Port(), 9292, "port to listen on; 0 takes a free one",
         goes_to="server.bind_port"),
    used("DEFAULT", "workers", types.Integer(min=1, max=MOST_WORKERS), None,
         f"processes that answer requests, {MOST_WORKERS} at most",
         shown="1 on SQLite, else one a processor, at most 8"),
    used("DEFAULT", "backlog", at_least(1), 4096, "connections that may wait to be accepted",
         goes_to="server.backlog"),
    used("DEFAULT", "graceful_shutdown_timeout", at_least(1), 60,
         "seconds that running transfers get after SIGTERM", goes_to="server.graceful_timeout"),
    used("DEFAULT", "public_endpoint", TEXT, None, "address users know the service by; base of version links"),
    used("DEFAULT", "max_request_id_length", at_least(0), 64,
         "longest request id a client may send; 0: any", goes_to="server.max_request_id_length"),
    used("oslo_middleware", "enable_proxy_headers_parsing", BOOL, False,
         "believe X-Forwarded-* and Forwarded headers", goes_to="server.proxy_headers"),
    used("healthcheck", "disable_by_file_path", TEXT, None,
         "file whose presence makes /healthcheck answer 503", shown="unset: never"),
    # Web pages of other origins.
    used("cors", "allowed_origin", NAMES, [],
         "origins whose pages may call the service, such as `https://dashboard.example.org`; `*`: every page",
         reloadable=True),
    used("cors", "allow_credentials", BOOL, Cors.allow_credentials,
         "such a page may send what the browser keeps for this service; never with `*`",
         goes_to="cors.allow_credentials", reloadable=True),
    used("cors", "max_age", at_least(0), Cors.max_age,
         "seconds that a browser may remember what a page was allowed; 0 leaves it to the browser",
         goes_to="cors.max_age", reloadable=True),
    used("cors", "allow_methods", NAMES, list(Cors.allow_methods), "methods such a page may use", reloadable=True),
    used("cors", "allow_headers", NAMES, list(Cors.allow_headers), "headers such a page may send", reloadable=True),
    used("cors", "expose_headers", NAMES, list(Cors.expose_headers), "headers such a page may read",
         reloadable=True),
    # Who may call.
    used("DEFAULT", "auth_strategy", types.String(ignore_case=True), None,
         "`keystone`, `http_basic` (names and passwords from a file) or `none`",
         shown="`keystone` where `[paste_deploy] flavor` names it, else `none`"),
    used("DEFAULT", "allow_unauthenticated_listen", BOOL, False,
         "listen beyond loopback although nobody is asked who they are: whoever reaches the port may do anything",
         goes_to="auth.allow_open"),
    used("DEFAULT", "allow_anonymous_access", BOOL, False, "requests without a token may read",
         goes_to="auth.allow_anonymous", reloadable=True),
    used("oslo_middleware", "http_basic_auth_user_file", TEXT, "/etc/htpasswd",
         "names and bcrypt hashes of passwords, where `auth_strategy` is `http_basic`"),
    used("identity", "roles_file", TEXT, "/etc/ferrotype/roles",
         "roles of users by project, where `auth_strategy` is `http_basic`; `ferrotype user grant` writes it"),
    used("identity", "tokens_file", TEXT, None,
         "API tokens, by their hash, where `auth_strategy` is `http_basic`; `ferrotype token new` writes it"),
    used("identity", "door", BOOL, None,
         "clients may log in at `/identity/v3` or `/v3` as if there were a Keystone",
         shown="true where `auth_strategy` is `http_basic`"),
    used("paste_deploy", "flavor", TEXT, None, "decides `auth_strategy` where that is unset"),
    used("keystone_authtoken", "www_authenticate_uri", TEXT, None,
         "address of Keystone that a 401 answer names", shown="`auth_url`"),
    used("keystone_authtoken", "auth_type", TEXT, None,
         "how the service itself logs in: `password`, `v3applicationcredential` or another plugin",
         older=(("keystone_authtoken", "auth_plugin"),)),
    used("keystone_authtoken", "auth_section", TEXT, None, "section that holds `auth_type` and what it needs",
         shown="this one"),
    *handed_on("keystone_authtoken"),
    used("keystone_authtoken", "interface", TEXT, "internal", "which of Keystone's endpoints is asked"),
    used("keystone_authtoken", "region_name", TEXT, None, "region of that endpoint"),
    used("keystone_authtoken", "cafile", TEXT, None, "certificates of the authorities that may vouch for Keystone",
         shown="those of the system"),
    used("keystone_authtoken", "certfile", TEXT, None, "certificate to show to Keystone"),
    used("keystone_authtoken", "keyfile", TEXT, None, "its key"),
    used("keystone_authtoken", "insecure", BOOL, False, "believe anybody who says he is Keystone"),
    used("keystone_authtoken", "http_connect_timeout", at_least(1), None,
         "seconds after which an answer of Keystone comes too late: 503", shown="10"),
    used("keystone_authtoken", "http_request_max_retries", at_least(0), 3,
         "how often a connection that failed is tried again within that time"),
    used("keystone_authtoken", "service_token_roles", NAMES, ["service"],
         "roles of services whose `X-Service-Token` lets an expired token of a user pass"),
    used("keystone_authtoken", "service_token_roles_required", BOOL, True,
         "a service token without such a role counts for nothing"),
    used("keystone_authtoken", "token_cache_time", COUNT, 300,
         "seconds for which a validated token is believed, never beyond its own end; negative: it is asked about"
         " every time"),
    used("keystone_authtoken", "memcached_servers", NAMES, [],
         "servers that keep validated tokens for all processes; needs the package pymemcache",
         older=(("keystone_authtoken", "memcache_servers"),)),
    used("keystone_authtoken", "memcache_security_strategy",
         types.String(choices=["none", "mac", "encrypt"], ignore_case=True), "none",
         "whatever it says, entries are encrypted and signed; all but `none` demand a `memcache_secret_key`"),
    used("keystone_authtoken", "memcache_secret_key", TEXT, None, "what entries are sealed with",
         shown="the secret that the service logs in with"),
    used("keystone_authtoken", "memcache_pool_dead_retry", at_least(0), 300,
         "seconds for which a memcached that failed is left alone"),
    used("keystone_authtoken", "memcache_pool_maxsize", at_least(1), 10, "connections to each memcached"),
    used("keystone_authtoken", "memcache_pool_socket_timeout", at_least(1), 3,
         "seconds after which a memcached has failed"),
    used("keystone_authtoken", "memcache_tls_enabled", BOOL, False, "speak TLS with memcached"),
    used("keystone_authtoken", "memcache_tls_cafile", TEXT, None, "authorities that may vouch for memcached"),
    used("keystone_authtoken", "memcache_tls_certfile", TEXT, None, "certificate to show to memcached"),
    used("keystone_authtoken", "memcache_tls_keyfile", TEXT, None, "its key"),
    used("keystone_authtoken", "memcache_tls_allowed_ciphers", TEXT, None, "ciphers for that"),
    # The database.
    used("database", "connection", TEXT, None,
         "`sqlite:////path/of/file` or `postgresql://user:password@host/name`; a driver named in it is ignored",
         older=(("DEFAULT", "sql_connection"), ("database", "sql_connection")),
         shown="SQLite in the data home"),
    used("database", "max_pool_size", at_least(1), 10,
         "connections of a worker to PostgreSQL, at least 3: one for its lease, a third of the rest only for reading",
         goes_to="database.pool_size"),
    # What the API shows, and how much of it.
    used("DEFAULT", "limit_param_default", at_least(1), 25, "images on a page when `limit` is not given",
         goes_to="api.limit_default", reloadable=True),
    used("DEFAULT", "api_limit_max", at_least(1), 1000, "most images on a page",
         goes_to="api.limit_max", reloadable=True),
    used("DEFAULT", "show_image_direct_url", BOOL, False, "images show `direct_url`",
         goes_to="api.show_direct_url", reloadable=True),
    used("DEFAULT", "show_multiple_locations", BOOL, False,
         "images show `locations`, and whoever may change an image may change them: unsafe",
         goes_to="api.show_locations", reloadable=True),
    used("DEFAULT", "hashing_algorithm", types.String(choices=HASHES), "sha512",
         "digest of new data: " + ", ".join(HASHES), goes_to="api.hashing_algorithm", reloadable=True),
    used("DEFAULT", "delayed_delete", BOOL, False,
         "the data of a deleted image is kept for `scrub_time`; it counts towards no quota meanwhile",
         goes_to="api.delayed_delete"),
    used("DEFAULT", "scrub_time", types.Integer(min=0, max=10**10), 0,
         "seconds for which it is kept; what was deleted longer ago goes within seconds, on whichever node",
         goes_to="api.scrub_time", reloadable=True),
    # Limits.
    used("DEFAULT", "image_size_cap", types.Integer(min=1, max=BIGGEST), 1 << 40,
         "most bytes of one image", reloadable=True),
    used("DEFAULT", "user_storage_quota", TEXT, "0",
         "most bytes of all images of a project: a number and B, KB, MB, GB or TB (powers of 1024); 0 is off",
         reloadable=True),
    used("DEFAULT", "image_property_quota", COUNT, 128, "most properties of an image; negative: no limit",
         goes_to="limits.image_property_quota", reloadable=True),
    used("DEFAULT", "image_tag_quota", COUNT, 128, "most tags of an image; negative: no limit",
         goes_to="limits.image_tag_quota", reloadable=True),
    used("DEFAULT", "image_member_quota", COUNT, 128, "most members of an image; negative: no limit",
         goes_to="limits.image_member_quota", reloadable=True),
    used("DEFAULT", "image_location_quota", COUNT, 10, "most locations of an image; negative: no limit",
         goes_to="limits.image_location_quota", reloadable=True),
    used("DEFAULT", "use_keystone_limits", BOOL, False,
         "the limits of projects are those that Keystone has registered; `user_storage_quota` does not count then"),
    used("oslo_limit", "endpoint_id", TEXT, None, "endpoint of the image service, as Keystone's catalog has it"),
    used("oslo_limit", "endpoint_service_type", TEXT, None, "instead: the type of its service"),
    used("oslo_limit", "endpoint_service_name", TEXT, None, "instead: the name of its service"),
    used("oslo_limit", "endpoint_region_name", TEXT, None, "and its region"),
    used("oslo_limit", "endpoint_interface", types.String(choices=INTERFACES), "public", "and its interface"),
    used("oslo_limit", "auth_type", TEXT, None, "how the service logs in to read limits",
         older=(("oslo_limit", "auth_plugin"),)),
    used("oslo_limit", "auth_section", TEXT, None, "section that holds `auth_type` and what it needs",
         shown="this one"),
    *handed_on("oslo_limit"),
    used("oslo_limit", "valid_interfaces", NAMES, ["internal", "public"],
         "which of Keystone's endpoints is asked, the first that there is"),
    used("oslo_limit", "region_name", TEXT, None, "region of that endpoint"),
    used("oslo_limit", "cafile", TEXT, None, "certificates of the authorities that may vouch for Keystone",
         shown="those of the system"),
    used("oslo_limit", "certfile", TEXT, None, "certificate to show to Keystone"),
    used("oslo_limit", "keyfile", TEXT, None, "its key"),
    used("oslo_limit", "insecure", BOOL, False, "believe anybody who says he is Keystone"),
    used("oslo_limit", "timeout", at_least(1), None, "seconds after which an answer of Keystone comes too late",
         shown="10"),
    used("oslo_limit", "connect_retries", at_least(0), 3,
         "how often a connection that failed is tried again within that time"),
    # Formats.
    used("image_format", "disk_formats", NAMES,
         ["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"],
         "what `disk_format` may be", older=(("DEFAULT", "disk_formats"),), reloadable=True),
    used("image_format", "container_formats", NAMES,
         ["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"],
         "what `container_format` may be", older=(("DEFAULT", "container_formats"),), reloadable=True),
    used("image_format", "require_image_format_match", BOOL, True,
         "data must be of the declared format; safety checks run in any case",
         goes_to="formats.require_match", reloadable=True),
    used("image_format", "gpt_safety_checks_nonfatal", NAMES, [],
         "checks of partition tables that only warn: `mbr`, `gptmbr`", reloadable=True),
    # Stores.
    used("DEFAULT", "enabled_backends", TEXT, None, "stores as `id:type,id:type`, in the order users see",
         shown="unset: one store without an id"),
    used("DEFAULT", "staging_store", TEXT, None, "id of the store that takes staged bytes",
         shown="the default store"),
    used("glance_store", "default_backend", TEXT, None,
         "id of the store that takes data when none is named; required with `enabled_backends`"),
    used("glance_store", "stores", NAMES, ["file", "http"], "types of stores, without `enabled_backends`"),
    used("glance_store", "default_store", TEXT, "file", "type that takes data, without `enabled_backends`"),
    used(STORE, "store_description", TEXT, None, "what users read about the store"),
    used(STORE, "weight", COUNT, 0, "copies in the store of the highest weight are read first"),
    used(STORE, "filesystem_store_datadir", TEXT, DEFAULT_DATADIR, "directory of a file store"),
    used(STORE, "filesystem_store_datadirs", TEXT, None,
         "instead: `path` or `path:priority`, repeated; the highest priority with room takes the data",
         multi=True),
    used(STORE, "filesystem_store_metadata_file", TEXT, None,
         "JSON file that tells consumers which directory is mounted where"),
    used(STORE, "filesystem_store_file_perm", TEXT, "0",
         "permissions of new files, in octal digits; 0 leaves them to the umask"),
    used(STORE, "filesystem_store_chunk_size", at_least(1), 65536, "bytes read at a time"),
    used(STORE, "filesystem_thin_provisioning", BOOL, False, "blocks of zeros take no room"),
    # Logging.
    used("DEFAULT", "debug", BOOL, False, "log at level DEBUG instead of INFO", reloadable=True),
    used("DEFAULT", "log_file", TEXT, None, "file to log to", older=(("DEFAULT", "logfile"),),
         shown="unset: standard error"),
    used("DEFAULT", "log_dir", TEXT, None, "directory of `log_file`", older=(("DEFAULT", "logdir"),)),
    # Who may touch which properties. Going on without would let through what they were set to stop.
    used("DEFAULT", "property_protection_file", TEXT, None,
         "file that says who may create, read, update and delete which additional properties;"
         " read again whenever it changes"),
    used("DEFAULT", "property_protection_rule_format", types.String(choices=["roles", "policies"]), "roles",
         "whether that file names `roles` or rules of the policy (`policies`)"),
    # Import.
    checked("DEFAULT", "enabled_import_methods", BRACKETED, IMPORT),
    checked("image_import_opts", "image_import_plugins", BRACKETED, IMPORT),
    checked("image_import_opts", "max_parallel_stores", at_least(1), IMPORT),
    checked("import_filtering_opts", "allowed_networks", BRACKETED,
            IMPORT + "; later: networks that a download may reach beyond the public ones"),
    *(checked("import_filtering_opts", f"{which}_{what}", kind, IMPORT)
      for which in ("allowed", "disallowed")
      for what, kind in (("schemes", BRACKETED), ("hosts", BRACKETED), ("ports", PORTS))),
    checked("glance_download_properties", "extra_properties", BRACKETED, IMPORT),
    checked("image_conversion", "output_format",
            types.String(choices=["qcow2", "raw", "vmdk"], ignore_case=True), IMPORT),
    *accepted("inject_metadata_properties", "inject ignore_user_roles", IMPORT),
    *accepted("DEFAULT", "node_staging_uri", "staged bytes go to [DEFAULT] staging_store, or to the default store"),
    *accepted("DEFAULT", "worker_self_reference_url", "nodes do not call each other; it is not needed"),
    *accepted("image_format", "vmdk_allowed_types", "every upload is held to the default types"),
    # Tasks.
    checked("task", "task_time_to_live", COUNT, TASKS, older=(("DEFAULT", "task_time_to_live"),)),
    *accepted("task", "task_executor work_dir", TASKS),
    *accepted("taskflow_executor", "engine_mode max_workers conversion_format", TASKS),
    *accepted("wsgi", "task_pool_threads", TASKS),
    *obsolete("wsgi", "python_interpreter", "no other interpreter is started"),
    *accepted("DEFAULT", "do_secure_hash http_retries", "locations cannot be registered in this version"),
    # Policy, identity, limits.
    used("oslo_policy", "policy_file", TEXT, None,
         "file of rules, beside the configuration; read again whenever it changes", reloadable=True,
         shown="policy.yaml, else policy.json"),
    used("oslo_policy", "policy_dirs", types.String(), None, "directories of more files of rules",
         reloadable=True, multi=True, shown="policy.d"),
    used("oslo_policy", "policy_default_rule", TEXT, "default",
         "rule that counts where one is referred to that does not exist",
         goes_to="policy.default_rule", reloadable=True),
    used("oslo_policy", "enforce_new_defaults", BOOL, True,
         "rules ask for the roles admin, member and reader; off: for the project alone",
         goes_to="policy.new_defaults", reloadable=True),
    used("oslo_policy", "enforce_scope", BOOL, True, "tokens of domains and of the system are refused",
         goes_to="policy.projects_only", reloadable=True),
    *accepted("oslo_policy",
              "remote_content_type remote_ssl_ca_crt_file remote_ssl_client_crt_file remote_ssl_client_key_file"
              " remote_ssl_verify_server_crt remote_timeout",
              "rules that ask another server are not supported; a file that holds one is refused"),
    *accepted("keystone_authtoken", "auth_version", "version 3 is the only one there is"),
    *accepted("keystone_authtoken", "delay_auth_decision", "allow_anonymous_access says what becomes of others"),
    *accepted("keystone_authtoken", "include_service_catalog", "nothing here needs the catalog; it is not fetched"),
    *accepted("keystone_authtoken", "enforce_token_bind", "Keystone no longer binds tokens"),
    *accepted("keystone_authtoken", "service_type",
              "credentials that are restricted to some requests are refused as a whole"),
    *accepted("keystone_authtoken", "cache", "there is no server around the service that could have one"),
    *accepted("keystone_authtoken",
              "memcache_pool_conn_get_timeout memcache_pool_unused_timeout memcache_use_advanced_pool",
              "connections are pooled in one way only"),
    checked("keystone_authtoken", "memcache_sasl_enabled", BOOL, "not supported; refused with memcached_servers"),
    *accepted("keystone_authtoken", "memcache_username memcache_password", "belong to memcache_sasl_enabled"),
    *obsolete("keystone_authtoken",
              "auth_uri identity_uri auth_host auth_port auth_protocol auth_admin_prefix admin_user admin_password"
              " admin_tenant_name admin_token signing_dir revocation_cache_time check_revocations_for_cached"
              " hash_algorithms", "Keystone's middleware no longer has this option"),
    *accepted("oslo_limit",
              "collect_timing connect_retry_delay endpoint_override max_version min_version retriable_status_codes"
              " service_name service_type split_loggers status_code_retries status_code_retry_delay tls_ciphers"
              " tls_min_version version", ADAPTER),
    # HTTP.
    *accepted("paste_deploy", "config_file", "the parts of the service are put together in the program"),
    *accepted("oslo_middleware", "max_request_body_size",
              "has no effect in Glance either; images may be of any size"),
    *obsolete("oslo_middleware", "secure_proxy_ssl_header", "use enable_proxy_headers_parsing"),
    *accepted("healthcheck",
              "allowed_source_ranges backends detailed disable_by_file_paths enable_by_file_paths"
              " ignore_proxied_requests path", "the health check looks at disable_by_file_path only"),
    # Cache, deleting, notifications.
    *accepted("DEFAULT",
              "image_cache_dir image_cache_driver image_cache_max_size image_cache_sqlite_db image_cache_stall_time",
              CACHE),
    *accepted("DEFAULT", "scrub_pool_size wakeup_time daemon restore", SCRUB),
    *accepted("DEFAULT", "default_publisher_id disabled_notifications control_exchange", EVENTS),
    Option("DEFAULT", "executor_thread_pool_size", "accepted", EVENTS,
           older=(("DEFAULT", "rpc_thread_pool_size"),)),
    *accepted("DEFAULT", "transport_url rpc_ping_enabled rpc_response_timeout", EVENTS),
    *accepted("oslo_concurrency", "lock_path disable_process_locking", "no lock files are needed"),
    *accepted("DEFAULT", "metadata_encryption_key",
              "locations are stored as they are, without secrets in them; encrypted ones cannot be read"),
    # Database, the rest.
    *accepted("database",
              "backend connection_debug connection_trace connection_recycle_time max_overflow pool_timeout"
              " max_retries retry_interval use_db_reconnect db_retry_interval db_inc_retry_interval"
              " db_max_retry_interval db_max_retries", POOL),
    *accepted("database", "connection_parameters", "write parameters into connection, after a question mark"),
    *accepted("database", "slave_connection asyncio_connection asyncio_slave_connection synchronous_reader",
              "reads and writes go to connection"),
    *accepted("database", "mysql_sql_mode mysql_wsrep_sync_wait", MARIADB),
    *accepted("database", "sqlite_synchronous", "SQLite always waits until its data is on disk"),
    *obsolete("database",
              "min_pool_size idle_timeout sql_idle_timeout sql_max_retries use_tpool mysql_enable_ndb sqlite_db"
              " sqlite_file", "oslo.db no longer has this option"),
    # Logging, the rest.
    *accepted("DEFAULT",
              "log_color log_date_format logging_context_format_string logging_debug_format_suffix"
              " logging_default_format_string logging_exception_prefix logging_user_identity_format"
              " instance_format instance_uuid_format", FORMAT),
    *accepted("DEFAULT",
              "log_rotate_interval log_rotate_interval_type log_rotation_type max_logfile_count max_logfile_size_mb",
              ROTATE),
    *accepted("DEFAULT",
              "default_log_levels use_json use_journal use_syslog syslog_log_facility rate_limit_burst"
              " rate_limit_except_level rate_limit_interval", "logging knows debug, log_file and log_dir only"),
    Option("DEFAULT", "log_config_append", "accepted", "logging knows debug, log_file and log_dir only",
           older=(("DEFAULT", "log_config"), ("DEFAULT", "log-config"))),
    *accepted("DEFAULT", "use_stderr", "the log goes to standard error unless log_file or log_dir is set"),
    *accepted("DEFAULT", "publish_errors fatal_deprecations", "errors are logged, and nothing else"),
    *obsolete("DEFAULT", "verbose watch_log_file use_syslog_rfc_format log_format",
              "oslo.log no longer has this option"),
    # Drivers that are not here yet.
    *accepted(STORE, "filesystem_store_timeout filesystem_store_thread_pool_size"
                     " filesystem_store_threadpool_threshold",
              "file stores never make other requests wait, whatever the file system does"),
    *accepted(STORE, "rbd_store_pool rbd_store_user rbd_store_ceph_conf rbd_store_chunk_size rados_connect_timeout"
                     " rbd_thin_provisioning", "stores of type rbd are not in this version"),
    *accepted(STORE, "swift_store_config_file default_swift_reference swift_store_container"
                     " swift_store_large_object_size swift_store_large_object_chunk_size"
                     " swift_store_create_container_on_put swift_store_multi_tenant"
                     " swift_store_multiple_containers_seed swift_store_admin_tenants swift_store_endpoint_type"
                     " swift_store_service_type swift_store_region swift_store_endpoint swift_store_auth_insecure"
                     " swift_store_cacert swift_store_ssl_compression swift_store_retry_get_count"
                     " swift_store_expire_soon_interval swift_store_use_trusts swift_buffer_on_upload"
                     " swift_upload_buffer_dir swift_store_auth_version swift_store_auth_address swift_store_user"
                     " swift_store_key swift_store_project_name swift_store_project_id"
                     " swift_store_application_credential_id swift_store_application_credential_secret",
              "stores of type swift are not in this version"),
    *accepted(STORE, "s3_store_host s3_store_access_key s3_store_secret_key s3_store_bucket s3_store_region_name"
                     " s3_store_create_bucket_on_put s3_store_bucket_url_format s3_store_large_object_size"
                     " s3_store_large_object_chunk_size s3_store_thread_pools s3_store_cacert"
                     " s3_store_enable_data_integrity_protection s3_store_request_checksum_calculation"
                     " s3_store_response_checksum_validation", "stores of type s3 are not in this version"),
    *accepted(STORE, "https_ca_certificates_file https_insecure http_proxy_information",
              "stores of type http are not in this version"),
    *accepted(STORE, "cinder_catalog_info cinder_endpoint_template cinder_os_region_name"
                     " cinder_ca_certificates_file cinder_api_insecure cinder_http_retries"
                     " cinder_state_transition_timeout cinder_attachment_retry_attempts cinder_store_auth_address"
                     " cinder_store_user_name cinder_store_password cinder_store_project_name"
                     " cinder_store_user_domain_name cinder_store_project_domain_name"
                     " cinder_store_application_credential_id cinder_store_application_credential_secret"
                     " cinder_volume_type cinder_use_multipath cinder_enforce_multipath cinder_do_extend_attached"
                     " cinder_mount_point_base rootwrap_config", "stores of type cinder are not in this version"),
    *accepted(STORE, "vmware_server_host vmware_server_username vmware_server_password vmware_datastores"
                     " vmware_api_retry_count vmware_task_poll_interval vmware_store_image_dir vmware_ca_file",
              "stores of type vmware are not in this version"),
    Option(STORE, "vmware_insecure", "accepted", "stores of type vmware are not in this version",
           older=((STORE, "vmware_api_insecure"),)),
    # Names that older files still carry.
    *obsolete("DEFAULT", "digest_algorithm", "signatures name their own digest"),
    *obsolete("DEFAULT", "pydev_worker_debug_host pydev_worker_debug_port", "there is no remote debugger"),
    *obsolete("DEFAULT",
              "registry_host registry_port registry_client_protocol registry_client_key_file"
              " registry_client_cert_file registry_client_ca_file registry_client_insecure registry_client_timeout"
              " use_user_token send_identity_headers admin_user admin_password admin_tenant_name auth_url"
              " auth_region enable_v1_registry enable_v2_registry data_api", REGISTRY),
    *obsolete("DEFAULT", "client_socket_timeout http_keepalive tcp_keepidle max_header_line", EVENTLET),
    *obsolete("DEFAULT", "cert_file key_file ca_file",
              "the service speaks plain HTTP; TLS ends at the proxy in front of it"),
    *obsolete("DEFAULT", "secure_proxy_ssl_header", "use [oslo_middleware] enable_proxy_headers_parsing"),
    *obsolete("DEFAULT",
              "enable_v1_api enable_v2_api enable_image_import allow_additional_image_properties owner_is_tenant"
              " admin_role location_strategy image_cache_invalid_entry_grace_period scrubber_datadir"
              " cleanup_scrubber cleanup_scrubber_time store_type_preference", GONE),
    *obsolete("DEFAULT",
              "rpc_backend notification_driver notification_topics notification_transport_url notifier_strategy"
              " rabbit_host rabbit_port rabbit_hosts rabbit_userid rabbit_password rabbit_virtual_host"
              " rabbit_use_ssl rabbit_ha_queues rabbit_notification_exchange rabbit_notification_topic"
              " qpid_hostname qpid_port qpid_username qpid_password", BUS),
    *obsolete("DEFAULT", "known_stores default_store filesystem_store_datadir filesystem_store_datadirs",
              "belongs into [glance_store]"),
    *obsolete("DEFAULT", "lock_path", "no lock files are needed"),
    *obsolete("DEFAULT", "policy_file policy_default_rule policy_dirs", "belongs into [oslo_policy]"),
    *obsolete("glance_store", "store_capabilities_update_min_interval sheepdog_store_address sheepdog_store_port"
                              " sheepdog_store_chunk_size", GONE),
    *obsolete("store_type_location_strategy", "store_type_preference",
              "give stores a weight instead; the highest is read first"),
)  # fmt: skip

BY_NAME: dict[tuple[str, str], Option] = {(option.section, option.name): option for option in TABLE}
OLDER: dict[tuple[str, str], Option] = {older: option for option in TABLE for older in option.older}

#: Sections whose options are those of stores, besides the sections named like a store.
STORE_SECTIONS = ("glance_store", "backend_defaults")


def sections() -> tuple[str, ...]:
    """Return every section that has a meaning of its own, in the order of the table."""
    named = dict.fromkeys(option.section for option in TABLE if option.section != STORE)
    return (*named, "backend_defaults", *WHOLE_SECTIONS)


def find(section: str, name: str, stores: frozenset[str]) -> tuple[Option | None, bool]:
    """Return the option that a line in a file means, and whether the line uses an older name of it.

    ``stores`` are the ids of stores, in small letters. Sections must be spelled
    as oslo.config compares them: in small letters, except ``DEFAULT``.
    """
    places = [section]
    if section in STORE_SECTIONS or section in stores:
        places.append(STORE)
    for place in places:
        if (place, name) in BY_NAME:
            return BY_NAME[place, name], False
        if (place, name) in OLDER:
            return OLDER[place, name], True
    if section in WHOLE_SECTIONS and section not in stores:
        standing, note = WHOLE_SECTIONS[section]
        return Option(section, name, standing, note), False
    return None, False


def names_in(section: str, stores: frozenset[str]) -> list[str]:
    """Return the names that have a meaning in this section."""
    places = {section, STORE} if section in STORE_SECTIONS or section in stores else {section}
    return [option.name for option in TABLE if option.section in places]


def reference() -> str:
    """Return the used options as a Markdown table, for the documentation."""
    lines = ["| option | default | meaning | SIGHUP |", "|---|---|---|---|"]
    for (_, note), group in groupby(TABLE, lambda option: (option.section, option.note)):
        options = [option for option in group if option.standing == "used"]
        if options:
            names = ", ".join(f"`{name}`" for name in [options[0].title, *(other.name for other in options[1:])])
            reload = "yes" if options[0].reloadable else ""
            lines.append(f"| {names} | {_default(options[0])} | {note} | {reload} |")
    return "\n".join(lines) + "\n"


def _default(option: Option) -> str:
    if option.shown is not None:
        return option.shown
    if option.default is None:
        return "unset"
    if isinstance(option.default, bool):
        return f"`{str(option.default).lower()}`"
    if isinstance(option.default, list):
        return f"`{','.join(option.default)}`" if option.default else "none"
    return f"`{option.default}`"
