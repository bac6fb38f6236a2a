"""Who is calling, as far as it was proved."""

from msgspec import Struct


class Caller(Struct, frozen=True):
    """Facts about the caller. ``roles`` are lower case; ``is_admin`` is what the rules make of them."""

    user: str | None = None
    project: str | None = None
    roles: frozenset[str] = frozenset()
    service_roles: frozenset[str] = frozenset()
    is_admin: bool = False
    #: what a token without a project may be scoped to instead
    domain: str | None = None
    system: str | None = None
    user_domain: str | None = None
    project_domain: str | None = None
    #: nobody was identified, and the deployment allows that: may read, never write
    anonymous: bool = False
