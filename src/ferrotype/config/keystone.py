"""How Keystone validates tokens: ``[keystone_authtoken]`` as keystonemiddleware has it."""

from dataclasses import dataclass, field

from oslo_config import types

from ferrotype.config.login import Login, login_options, read_login
from ferrotype.config.options import (
    BOOL,
    COUNT,
    MAX_CONNECTIONS,
    MAX_SECONDS,
    NAMES,
    TEXT,
    Option,
    at_least,
    at_most,
    ignored_option,
)
from ferrotype.config.values import Values

SECTION = "keystone_authtoken"
#: Options of the login that are secrets; the first one that is set encrypts entries in memcached by default.
_LOGIN_SECRETS = (
    "password", "application_credential_secret", "client_secret", "oauth2_client_secret", "passcode", "token",
)  # fmt: skip


@dataclass(frozen=True)
class Memcached:
    """Where validated tokens are cached for all processes. ``secret`` encrypts the entries. Times are seconds."""

    #: ``host:port``, ``[address]:port`` or ``unix:/path``
    servers: tuple[str, ...]
    secret: str = field(repr=False)
    timeout: float = 3
    #: how long a server that failed is not used
    dead_retry: float = 300
    #: to each server
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
    #: lower-case
    service_token_roles: tuple[str, ...] = ("service",)
    #: ignore a service token without one of these roles
    service_token_roles_required: bool = True
    #: seconds that a validated token is cached; negative: not at all
    token_cache_time: int = 300
    memcached: Memcached | None = None


OPTIONS = (
    *login_options(SECTION, "keystone.login"),
    Option(SECTION, "interface", TEXT, "internal", "interface of Keystone's endpoint",
           dest="keystone.login.interfaces"),
    Option(SECTION, "http_connect_timeout", at_least(1, MAX_SECONDS), None,
           "seconds to wait for Keystone; after that a request gets 503", dest="keystone.login.timeout",
           sample_default="10"),
    Option(SECTION, "http_request_max_retries", at_most(MAX_SECONDS), Login.retries,
           "retries of a failed connection within that time", dest="keystone.login.retries"),
    Option(SECTION, "service_token_roles", NAMES, list(Keystone.service_token_roles),
           "with a service token of one of these roles, a user's expired token is accepted",
           dest="keystone.service_token_roles"),
    Option(SECTION, "service_token_roles_required", BOOL, Keystone.service_token_roles_required,
           "ignore service tokens without one of these roles", dest="keystone.service_token_roles_required"),
    Option(SECTION, "token_cache_time", COUNT, Keystone.token_cache_time,
           "seconds that a validated token is cached, at most until it expires; negative: not at all",
           dest="keystone.token_cache_time"),
    Option(SECTION, "memcached_servers", NAMES, [],
           "servers that cache validated tokens for all processes; needs the package pymemcache",
           dest="keystone.memcached.servers", deprecated_names=((SECTION, "memcache_servers"),)),
    Option(SECTION, "memcache_security_strategy",
           types.String(choices=["none", "mac", "encrypt"], ignore_case=True), "none",
           "entries are always encrypted and authenticated; all but `none` require `memcache_secret_key`"),
    Option(SECTION, "memcache_secret_key", TEXT, None, "secret from which the key of the entries is derived",
           dest="keystone.memcached.secret", sample_default="the secret that the service logs in with"),
    Option(SECTION, "memcache_pool_dead_retry", at_most(MAX_SECONDS), Memcached.dead_retry,
           "seconds that a memcached server is not used after it failed", dest="keystone.memcached.dead_retry"),
    Option(SECTION, "memcache_pool_maxsize", at_least(0, MAX_CONNECTIONS), Memcached.connections,
           "connections to each memcached server; 0: no limit of their own", dest="keystone.memcached.connections"),
    Option(SECTION, "memcache_pool_socket_timeout", at_least(1, MAX_SECONDS), Memcached.timeout,
           "seconds to wait for a memcached server", dest="keystone.memcached.timeout"),
    Option(SECTION, "memcache_tls_enabled", BOOL, Memcached.tls, "use TLS with memcached",
           dest="keystone.memcached.tls"),
    Option(SECTION, "memcache_tls_cafile", TEXT, None, "CA certificates to verify memcached's certificate with",
           dest="keystone.memcached.cafile"),
    Option(SECTION, "memcache_tls_certfile", TEXT, None, "TLS client certificate for memcached",
           dest="keystone.memcached.certfile"),
    Option(SECTION, "memcache_tls_keyfile", TEXT, None, "key of that certificate", dest="keystone.memcached.keyfile"),
    Option(SECTION, "memcache_tls_allowed_ciphers", TEXT, None, "TLS ciphers for memcached",
           dest="keystone.memcached.ciphers"),
    ignored_option(SECTION, "memcache_sasl_enabled", BOOL, "not supported; rejected together with memcached_servers"),
)  # fmt: skip


def read(values: Values) -> Keystone:
    """Return how tokens are validated."""
    timeout, retries = values.get(SECTION, "http_connect_timeout"), values.get(SECTION, "http_request_max_retries")
    before = len(values.problems)
    login = read_login(values, SECTION, (values.get(SECTION, "interface"),), timeout, retries)
    incomplete = len(values.problems) > before
    fields = values.fields(OPTIONS, "keystone")
    roles = tuple(role.lower() for role in fields["service_token_roles"])
    memcached = _memcached(values, login, incomplete)
    return Keystone(**{**fields, "login": login, "service_token_roles": roles, "memcached": memcached})


def _memcached(values: Values, login: Login, incomplete: bool) -> Memcached | None:
    """Return where tokens are cached; None: nowhere. The secret of an ``incomplete`` login is not missed again."""
    fields = values.fields(OPTIONS, "keystone.memcached")
    if not fields["servers"]:
        return None
    # The type ignores case, and returns the value as it is written.
    strategy, key = values.get(SECTION, "memcache_security_strategy").lower(), fields["secret"]
    secret = key or next((login.options[name] for name in _LOGIN_SECRETS if login.options.get(name)), "")
    if values.is_invalid(SECTION, "memcache_secret_key"):
        incomplete = True
    elif strategy != "none" and not key:
        incomplete = True
        values.problem(SECTION, "memcache_secret_key", f"must be set for memcache_security_strategy {strategy}")
    if values.get(SECTION, "memcache_sasl_enabled"):
        text = "is not supported; use TLS, or restrict memcached to the network of the service"
        values.problem(SECTION, "memcache_sasl_enabled", text)
    if not secret and not incomplete:
        text = "must be set: it encrypts the entries in memcached, as this auth_type has no other secret"
        values.problem(SECTION, "memcache_secret_key", text)
    files = {name: fields[name] or None for name in ("cafile", "certfile", "keyfile", "ciphers")}
    numbers = {
        "connections": fields["connections"] or MAX_CONNECTIONS,
        "dead_retry": max(0, fields["dead_retry"]),
    }
    return Memcached(**{**fields, **files, **numbers, "secret": secret})
