"""How to reach Keystone: ``[keystone_authtoken]`` and ``[oslo_limit]``, as operators write them everywhere."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ferrotype.config.files import last
from ferrotype.config.model import Keystone, Login, Memcached, UnifiedLimits
from ferrotype.config.options import BY_NAME, LOGIN, find
from ferrotype.config.values import Values

TOKENS, LIMITS = "keystone_authtoken", "oslo_limit"

#: What common ways of logging in cannot do without; each entry is satisfied by one of its names.
_NEEDED: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "password": (("auth_url",), ("username", "user_name", "user_id"), ("password",)),
        "v3password": (("auth_url",), ("username", "user_name", "user_id"), ("password",)),
        "v3applicationcredential": (
            ("auth_url",),
            ("application_credential_id", "application_credential_name"),
            ("application_credential_secret",),
        ),
    }
)
#: Sealed entries need a secret that the service alone has; these are such where no other is named.
_SECRETS = ("password", "application_credential_secret", "client_secret", "oauth2_client_secret", "passcode", "token")


def keystone(values: Values) -> Keystone:
    """Return how tokens are validated."""
    login = _login(values, TOKENS, "interface")
    return Keystone(
        login=login,
        service_token_roles=tuple(role.lower() for role in values.get(TOKENS, "service_token_roles")),
        service_token_roles_required=values.get(TOKENS, "service_token_roles_required"),
        token_cache_time=values.get(TOKENS, "token_cache_time"),
        memcached=_memcached(values, login),
    )


def unified(values: Values) -> UnifiedLimits:
    """Return where the limits of projects are found."""
    endpoint = {name: values.get(LIMITS, f"endpoint_{name}") for name in ("id", "service_type", "service_name")}
    if not any(endpoint.values()):
        text = "must say which endpoint's limits count; or set endpoint_service_type and endpoint_region_name"
        values.problem(LIMITS, "endpoint_id", text)
    return UnifiedLimits(
        login=_login(values, LIMITS, "valid_interfaces"),
        endpoint_id=endpoint["id"] or None,
        service_type=endpoint["service_type"] or None,
        service_name=endpoint["service_name"] or None,
        region=values.get(LIMITS, "endpoint_region_name") or None,
        interface=values.get(LIMITS, "endpoint_interface").removesuffix("URL"),
    )


def _login(values: Values, section: str, interface: str) -> Login:
    home = values.get(section, "auth_section") or section
    home = home if home == "DEFAULT" else home.lower()
    kind = _text(values, home, "auth_type") or _text(values, home, "auth_plugin")
    # Names that we do not know are handed on as well: a plugin of somebody else's may ask for them.
    names = dict.fromkeys([*(LOGIN if home == section else ()), *(x.name for x in values.lines if x.section == home)])
    options = {name.replace("-", "_"): text for name in names if (text := _text(values, home, name))}
    if not kind:
        values.problem(section, "auth_type", "must say how the service itself logs in to Keystone; usually: password")
    for choice in _NEEDED.get(kind, ()):
        if not any(options.get(name) for name in choice):
            values.problem(home, choice[0], f"must be set for auth_type {kind}")
    files = {name: values.get(section, name) for name in ("cafile", "certfile", "keyfile")}
    for option, file in files.items():
        if file and not Path(file).is_file():
            values.problem(section, option, "is no file")
    wanted = values.get(section, interface)
    timeout = values.get(section, "http_connect_timeout" if section == TOKENS else "timeout")
    retries = values.get(section, "http_request_max_retries" if section == TOKENS else "connect_retries")
    return Login(
        auth_type=kind,
        options=MappingProxyType(options),
        interfaces=tuple(wanted) if isinstance(wanted, list) else (wanted,),
        region=values.get(section, "region_name") or None,
        verify=not values.get(section, "insecure"),
        cafile=files["cafile"] or None,
        certfile=files["certfile"] or None,
        keyfile=files["keyfile"] or None,
        timeout=float(timeout or Login.timeout),
        retries=retries or 0,
    )


def _text(values: Values, section: str, name: str) -> str:
    """Return what is said under exactly this name, empty where nothing is."""
    if (section, name) in BY_NAME:
        return str(values.get(section, name) or "")
    line = last(values.lines, section, name)
    if line is None:
        return ""
    registered = name.isidentifier() and find(section, name, values.ids)[0] is None
    return str(values.get(section, name) or "") if registered else line.value


def _memcached(values: Values, login: Login) -> Memcached | None:
    servers = tuple(values.get(TOKENS, "memcached_servers"))
    if not servers:
        return None
    strategy = values.get(TOKENS, "memcache_security_strategy")
    own = values.get(TOKENS, "memcache_secret_key")
    secret = own or next((login.options[name] for name in _SECRETS if login.options.get(name)), "")
    if strategy != "none" and not own:
        values.problem(TOKENS, "memcache_secret_key", f"must be set where memcache_security_strategy is {strategy}")
    if values.get(TOKENS, "memcache_sasl_enabled"):
        text = "asks for something that is not supported; use TLS, or leave memcached to the service's own network"
        values.problem(TOKENS, "memcache_sasl_enabled", text)
    if not secret:
        text = "must be set: entries in memcached are sealed with it, as this auth_type has no other secret"
        values.problem(TOKENS, "memcache_secret_key", text)
    tls = values.get(TOKENS, "memcache_tls_enabled")
    return Memcached(
        servers=servers,
        secret=secret,
        timeout=float(values.get(TOKENS, "memcache_pool_socket_timeout")),
        dead_retry=float(values.get(TOKENS, "memcache_pool_dead_retry")),
        connections=values.get(TOKENS, "memcache_pool_maxsize"),
        tls=tls,
        cafile=values.get(TOKENS, "memcache_tls_cafile") or None,
        certfile=values.get(TOKENS, "memcache_tls_certfile") or None,
        keyfile=values.get(TOKENS, "memcache_tls_keyfile") or None,
        ciphers=values.get(TOKENS, "memcache_tls_allowed_ciphers") or None,
    )
