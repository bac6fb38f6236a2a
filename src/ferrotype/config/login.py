"""How the service itself logs in to Keystone: ``[keystone_authtoken]`` and ``[oslo_limit]`` say it alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ferrotype.config.files import last, no_file
from ferrotype.config.options import BOOL, TEXT, Option
from ferrotype.config.values import Values


@dataclass(frozen=True)
class Login:
    """How the service itself logs in to Keystone, and which of its endpoints it uses."""

    auth_type: str
    #: options of the keystoneauth plugin ``auth_type``, as they are written
    options: Mapping[str, str] = field(repr=False)
    #: in the order of preference
    interfaces: tuple[str, ...] = ("internal",)
    region: str | None = None
    #: verify Keystone's TLS certificate
    verify: bool = True
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    #: seconds to wait for a response
    timeout: float = 10.0
    #: retries of a failed connection within that time
    retries: int = 3


#: Options of keystoneauth's plugins.
PLUGIN_OPTIONS = (
    "auth_url", "username", "password", "user_id", "user_domain_id", "user_domain_name", "project_id",
    "project_name", "project_domain_id", "project_domain_name", "domain_id", "domain_name", "system_scope",
    "trust_id", "default_domain_id", "default_domain_name", "tenant_id", "tenant_name", "token",
    "application_credential_id", "application_credential_name", "application_credential_secret", "passcode",
    "auth_methods", "client_id", "client_secret", "oauth2_endpoint", "oauth2_client_id", "oauth2_client_secret",
    "identity_provider", "protocol", "discovery_endpoint", "access_token", "access_token_endpoint",
    "access_token_type", "scope",
)  # fmt: skip
#: What common plugins need; each entry is satisfied by one of its names.
_REQUIRED: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
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


def login_options(section: str, dest: str) -> tuple[Option, ...]:
    """Return the options with which a section says how to log in and how to connect."""
    former = {"username": ((section, "user-name"), (section, "user_name"))}
    return (
        Option(section, "auth_type", TEXT, None,
               "keystoneauth plugin that the service logs in with: `password`, `v3applicationcredential` or another",
               dest=f"{dest}.auth_type", deprecated_names=((section, "auth_plugin"),)),
        Option(section, "auth_section", TEXT, None, "section that holds `auth_type` and the options of its plugin",
               dest=f"{dest}.auth_type", sample_default="this one"),
        *(Option(section, name, None, None, "passed to the plugin that `auth_type` names",
                 dest=f"{dest}.options", deprecated_names=former.get(name, ()))
          for name in PLUGIN_OPTIONS),
        Option(section, "region_name", TEXT, None, "region of Keystone's endpoint", dest=f"{dest}.region"),
        Option(section, "cafile", TEXT, None, "CA certificates to verify Keystone's certificate with",
               dest=f"{dest}.cafile", sample_default="those of the system"),
        Option(section, "certfile", TEXT, None, "TLS client certificate for Keystone", dest=f"{dest}.certfile"),
        Option(section, "keyfile", TEXT, None, "key of that certificate", dest=f"{dest}.keyfile"),
        Option(section, "insecure", BOOL, False, "skip TLS certificate verification for Keystone",
               dest=f"{dest}.verify"),
    )  # fmt: skip


def read_login(
    values: Values, section: str, interfaces: tuple[str, ...], timeout: float | None, retries: int | None
) -> Login:
    """Return how the service logs in, as ``section`` says; None is the default."""
    home = values.get(section, "auth_section") or section
    home = home if home == "DEFAULT" else home.lower()
    auth_type = _text(values, home, "auth_type") or _text(values, home, "auth_plugin")
    # Names that we do not know are passed on too: a third-party plugin may have them.
    known = PLUGIN_OPTIONS if home == section else ()
    names = dict.fromkeys([*known, *(line.name for line in values.lines if line.section == home)])
    options = {name.replace("-", "_"): text for name in names if (text := _text(values, home, name))}
    if not auth_type and home != section and home not in {line.section for line in values.lines}:
        values.problem(section, "auth_section", "names a section that does not exist; add it, or remove auth_section")
    elif (
        not auth_type and not values.is_invalid(section, "auth_section") and not values.is_invalid(home, "auth_type")
    ):
        text = "must name the plugin with which the service logs in to Keystone; usually: password"
        values.problem(home, "auth_type", text)
    for choice in _REQUIRED.get(auth_type, ()):
        if not any(options.get(name) or values.is_invalid(home, name) for name in choice):
            values.problem(home, choice[0], f"must be set for auth_type {auth_type}")
    files = {name: values.get(section, name) or None for name in ("cafile", "certfile", "keyfile")}
    for option, file in files.items():
        if file and (reason := no_file(file)):
            values.problem(section, option, f"{reason}; correct the path or remove the option")
    return Login(
        auth_type=auth_type,
        options=MappingProxyType(options),
        interfaces=interfaces,
        region=values.get(section, "region_name") or None,
        verify=not values.get(section, "insecure"),
        timeout=float(timeout or Login.timeout),
        retries=max(0, retries or 0),
        **files,
    )


def _text(values: Values, section: str, name: str) -> str:
    """Return the value of exactly this name, as it is written; empty where it is not set."""
    if (section, name) in values.table.by_name:
        return str(values.get(section, name) or "")
    line = last(values.lines, section, name)
    if line is None:
        return ""
    registered = name.isidentifier() and values.table.declared(section, name, values.store_ids)[0] is None
    return str(values.get(section, name) or "") if registered else line.value
