"""The caller of a request."""

from msgspec import Struct


class Caller(Struct, frozen=True):
    """Facts about the caller. ``roles`` are lower case; ``is_admin`` is the result of the policy."""

    user: str | None = None
    project: str | None = None
    roles: frozenset[str] = frozenset()
    service_roles: frozenset[str] = frozenset()
    is_admin: bool = False
    #: a token may be scoped to a domain or to the system instead of a project
    domain: str | None = None
    system: str | None = None
    user_domain: str | None = None
    project_domain: str | None = None
    #: not authenticated, where the deployment allows that: may read, never write
    anonymous: bool = False
