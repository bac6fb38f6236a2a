"""The connection parameters of libpq, as Glance's connection URLs have them, and what becomes of each one here.

The service connects through asyncpg, which knows some of them. A parameter that cannot be honoured is refused where
ignoring it would weaken security or change what the connection does; any other has a warning.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

TRANSLATED, IGNORED, REFUSED = "translated", "ignored", "refused"


class Parameter(NamedTuple):
    """What becomes of a parameter. ``reason`` says why it is ignored or refused, and continues a sentence.

    ``neutral`` values say what the service does anyway; ``refused`` ones are refused although others are ignored.
    ``variable`` is the environment variable that sets it where the driver does not look at that itself.
    """

    effect: str
    reason: str = ""
    choices: tuple[str, ...] = ()
    neutral: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    variable: str | None = None


def effect(name: str, value: str) -> str | None:
    """Return whether a value is translated, ignored or refused; None where the service does that anyway."""
    parameter = PARAMETERS[name]
    if value in parameter.neutral:
        return None
    return REFUSED if value in parameter.refused else parameter.effect


_KEEPALIVE = "the service ends a statement that takes more than 60 seconds, whatever the network does"
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_OAUTH = "the driver cannot log in with OAuth; use a password, a certificate or peer authentication"
_SCRAM_KEYS = "the driver logs in with the password, not with keys derived from it; set password"

PARAMETERS: Mapping[str, Parameter] = MappingProxyType(
    {
        "host": Parameter(TRANSLATED),
        "hostaddr": Parameter(TRANSLATED, variable="PGHOSTADDR"),
        "port": Parameter(TRANSLATED),
        "dbname": Parameter(TRANSLATED),
        "user": Parameter(TRANSLATED),
        "password": Parameter(TRANSLATED),
        "passfile": Parameter(TRANSLATED),
        "service": Parameter(TRANSLATED, variable="PGSERVICE"),
        "servicefile": Parameter(TRANSLATED, variable="PGSERVICEFILE"),
        "connect_timeout": Parameter(TRANSLATED, variable="PGCONNECT_TIMEOUT"),
        "options": Parameter(TRANSLATED, variable="PGOPTIONS"),
        "application_name": Parameter(TRANSLATED, variable="PGAPPNAME"),
        "fallback_application_name": Parameter(TRANSLATED),
        "target_session_attrs": Parameter(
            TRANSLATED,
            "the service writes, so it needs a primary; use primary or read-write",
            choices=("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
            refused=("read-only", "standby"),
        ),
        "sslmode": Parameter(
            TRANSLATED, choices=("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
        ),
        "requiressl": Parameter(TRANSLATED, choices=("0", "1"), neutral=("0",), variable="PGREQUIRESSL"),
        "sslnegotiation": Parameter(TRANSLATED, choices=("postgres", "direct")),
        "sslcert": Parameter(TRANSLATED),
        "sslkey": Parameter(TRANSLATED),
        "sslpassword": Parameter(TRANSLATED),
        "sslrootcert": Parameter(TRANSLATED),
        "sslcrl": Parameter(TRANSLATED),
        "ssl_min_protocol_version": Parameter(TRANSLATED, choices=_TLS_VERSIONS),
        "ssl_max_protocol_version": Parameter(TRANSLATED, choices=_TLS_VERSIONS),
        "krbsrvname": Parameter(TRANSLATED),
        # -- ignored with a warning
        "client_encoding": Parameter(
            IGNORED,
            "connections always use UTF-8",
            neutral=("utf8", "UTF8", "utf-8", "UTF-8", "unicode", "UNICODE", "auto"),
            variable="PGCLIENTENCODING",
        ),
        "keepalives": Parameter(IGNORED, _KEEPALIVE),
        "keepalives_idle": Parameter(IGNORED, _KEEPALIVE),
        "keepalives_interval": Parameter(IGNORED, _KEEPALIVE),
        "keepalives_count": Parameter(IGNORED, _KEEPALIVE),
        "tcp_user_timeout": Parameter(IGNORED, _KEEPALIVE, neutral=("0",)),
        "load_balance_hosts": Parameter(
            IGNORED,
            "hosts are tried in the order in which they are listed",
            choices=("disable", "random"),
            neutral=("disable",),
            variable="PGLOADBALANCEHOSTS",
        ),
        "gssencmode": Parameter(
            IGNORED,
            "the driver does not encrypt with GSSAPI; use TLS with sslmode",
            choices=("disable", "prefer", "require"),
            neutral=("disable",),
            refused=("require",),
            variable="PGGSSENCMODE",
        ),
        "channel_binding": Parameter(
            IGNORED,
            "the driver does not support channel binding; sslmode=verify-full verifies the server instead",
            choices=("disable", "prefer", "require"),
            neutral=("disable",),
            refused=("require",),
            variable="PGCHANNELBINDING",
        ),
        "gsslib": Parameter(IGNORED, "it chooses a library on Windows only"),
        "gssdelegation": Parameter(
            IGNORED, "the driver delegates no credentials to the server", neutral=("0",), variable="PGGSSDELEGATION"
        ),
        "sslcompression": Parameter(IGNORED, "TLS is never compressed", neutral=("0",)),
        "sslsni": Parameter(IGNORED, "the driver always sends the server's name with TLS", neutral=("1",)),
        "sslkeylogfile": Parameter(IGNORED, "the service never writes the keys of TLS connections"),
        "max_protocol_version": Parameter(IGNORED, "the driver uses protocol 3.0", neutral=("3.0", "latest")),
        "authtype": Parameter(IGNORED, "libpq no longer has this parameter"),
        "tty": Parameter(IGNORED, "libpq no longer has this parameter"),
        # -- refused
        "require_auth": Parameter(
            REFUSED,
            "the driver uses whichever method the server asks for; restrict the methods in the server's pg_hba.conf",
            variable="PGREQUIREAUTH",
        ),
        "requirepeer": Parameter(
            REFUSED,
            "the driver cannot verify which user runs the server; use a socket directory that only this user can"
            " write to",
            variable="PGREQUIREPEER",
        ),
        "sslcertmode": Parameter(
            REFUSED,
            "the driver sends a certificate whenever there is one and the server asks for it",
            choices=("disable", "allow", "require"),
            neutral=("allow",),
            variable="PGSSLCERTMODE",
        ),
        "sslcrldir": Parameter(
            REFUSED,
            "the driver reads revoked certificates from one file; name it with sslcrl",
            variable="PGSSLCRLDIR",
        ),
        "min_protocol_version": Parameter(
            REFUSED, "the driver uses protocol 3.0", neutral=("3.0",), variable="PGMINPROTOCOLVERSION"
        ),
        "replication": Parameter(
            REFUSED,
            "a replication connection runs no statements",
            neutral=("false", "off", "no", "0"),
        ),
        "scram_client_key": Parameter(REFUSED, _SCRAM_KEYS),
        "scram_server_key": Parameter(REFUSED, _SCRAM_KEYS),
        "oauth_issuer": Parameter(REFUSED, _OAUTH),
        "oauth_client_id": Parameter(REFUSED, _OAUTH),
        "oauth_client_secret": Parameter(REFUSED, _OAUTH),
        "oauth_scope": Parameter(REFUSED, _OAUTH),
    }
)  # fmt: skip
#: Other names that SQLAlchemy and psycopg2 have for parameters.
ALIASES: Mapping[str, str] = MappingProxyType({"database": "dbname", "username": "user"})
