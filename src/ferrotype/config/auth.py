"""How callers are authenticated."""

from dataclasses import dataclass

from oslo_config import types

from ferrotype.config.options import BOOL, TEXT, Option
from ferrotype.config.values import Values

STRATEGIES = ("none", "keystone", "http_basic")
#: Words of ``[paste_deploy] flavor`` that mean something.
_FLAVORS = ("keystone", "caching", "cachemanagement")


@dataclass(frozen=True)
class Auth:
    """``strategy`` is one of ``STRATEGIES``."""

    strategy: str = "none"
    #: requests without a token may read
    allow_anonymous: bool = False
    #: the address that a 401 response names
    www_authenticate_uri: str | None = None
    #: without authentication, listen on other than loopback addresses all the same
    allow_unauthenticated_listen: bool = False


OPTIONS = (
    Option("DEFAULT", "auth_strategy", types.String(ignore_case=True), None,
           "`keystone`, `http_basic` (names and passwords from a file) or `none`", dest="auth.strategy",
           sample_default="`keystone` where `[paste_deploy] flavor` names it, else `none`"),
    Option("paste_deploy", "flavor", TEXT, None, "selects `auth_strategy` where that is not set",
           dest="auth.strategy"),
    Option("DEFAULT", "allow_unauthenticated_listen", BOOL, False,
           "listen on other than loopback addresses although authentication is disabled: any client that can connect"
           " has full access", dest="auth.allow_unauthenticated_listen"),
    Option("DEFAULT", "allow_anonymous_access", BOOL, False, "requests without a token may read",
           dest="auth.allow_anonymous", reloadable=True),
    Option("keystone_authtoken", "www_authenticate_uri", TEXT, None,
           "address of Keystone that a 401 response names", dest="auth.www_authenticate_uri",
           sample_default="`auth_url`"),
)  # fmt: skip


def read(values: Values) -> Auth:
    """Return how callers are authenticated. ``www_authenticate_uri`` is None where it is not set."""
    chosen = values.get("DEFAULT", "auth_strategy")
    words = [word for word in (values.get("paste_deploy", "flavor") or "").split("+") if word]
    strategy = (chosen or ("keystone" if "keystone" in words else "none")).lower()
    if values.is_invalid("DEFAULT", "auth_strategy") or (not chosen and values.is_invalid("paste_deploy", "flavor")):
        strategy = "unknown"  # What follows from a strategy would be untrue.
    elif strategy not in STRATEGIES:
        values.problem("DEFAULT", "auth_strategy", "must be none, keystone or http_basic")
    elif not chosen and (strange := [word for word in words if word not in _FLAVORS]):
        text = (
            f"contains the unknown word {strange[0]!r}; set [DEFAULT] auth_strategy to none, keystone or http_basic"
        )
        values.problem("paste_deploy", "flavor", text)
    elif strategy == "none" and "keystone" in words:
        values.warn("[DEFAULT] auth_strategy = none overrides [paste_deploy] flavor, which names keystone.")
    elif strategy == "none" and any(line.section == "keystone_authtoken" for line in values.lines):
        values.warn(
            "[keystone_authtoken] has no effect: authentication is disabled ([DEFAULT] auth_strategy is none)."
        )
    if "caching" in words or "cachemanagement" in words or values.get("DEFAULT", "image_cache_dir"):
        values.warn("An image cache is configured, but this version has none: every download reads from a store.")
    fields = values.fields(OPTIONS, "auth")
    uri = fields["www_authenticate_uri"] or None
    return Auth(**{**fields, "strategy": strategy, "www_authenticate_uri": uri})
