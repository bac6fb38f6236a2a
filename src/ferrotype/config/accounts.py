"""The files of users, their roles and API tokens, where there is no Keystone."""

from dataclasses import dataclass
from pathlib import Path

from ferrotype.config.auth import Auth
from ferrotype.config.options import BOOL, TEXT, Option
from ferrotype.config.server import Server, is_loopback
from ferrotype.config.values import Values


@dataclass(frozen=True)
class Accounts:
    """The files of users, roles and API tokens. ``identity_api``: the built-in Identity API is enabled."""

    users: Path
    roles: Path = Path("/etc/ferrotype/roles")
    tokens: Path | None = None
    identity_api: bool = True


OPTIONS = (
    Option("oslo_middleware", "http_basic_auth_user_file", TEXT, "/etc/htpasswd",
           "file of users with bcrypt hashes of their passwords, where `auth_strategy` is `http_basic`",
           dest="accounts.users"),
    Option("identity", "roles_file", TEXT, str(Accounts.roles),
           "file of users' roles by project, where `auth_strategy` is `http_basic`; `ferrotype user grant` writes it",
           dest="accounts.roles"),
    Option("identity", "tokens_file", TEXT, None,
           "file of hashed API tokens, where `auth_strategy` is `http_basic`; `ferrotype token new` writes it",
           dest="accounts.tokens"),
    Option("identity", "enabled", BOOL, None,
           "built-in Identity API: clients may log in at `/identity/v3` or `/v3` as they do with Keystone",
           dest="accounts.identity_api", sample_default="true where `auth_strategy` is `http_basic`"),
)  # fmt: skip


def read(values: Values, auth: Auth, server: Server) -> Accounts | None:
    """Return the files; None unless the strategy is http_basic. The service reads them at start and on changes."""
    tokens, enabled = values.get("identity", "tokens_file") or None, values.get("identity", "enabled")
    if auth.strategy != "http_basic":
        if enabled:
            text = "needs a user file; set [DEFAULT] auth_strategy = http_basic, or remove it"
            values.problem("identity", "enabled", text)
        if tokens:
            values.warn("[identity] tokens_file has no effect: [DEFAULT] auth_strategy is not http_basic.")
        return None
    if not is_loopback(server.bind_host) and not (server.public_endpoint or "").startswith("https://"):
        values.warn(
            f"Clients send passwords unencrypted to {server.bind_host}; put a TLS proxy in front of the service"
            " and set public_endpoint to its https URL."
        )
    users = Path(values.get("oslo_middleware", "http_basic_auth_user_file")).absolute()
    roles = Path(values.get("identity", "roles_file")).absolute()
    return Accounts(users, roles, Path(tokens).absolute() if tokens else None, enabled is not False)
