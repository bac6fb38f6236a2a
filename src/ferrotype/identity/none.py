"""Authentication disabled: every caller is the administrator of the one project."""

from collections.abc import Mapping

from ferrotype.model.caller import Caller

#: The project that owns everything created without authentication. It never changes.
PROJECT = "00000000000000000000000000000001"

_ADMINISTRATOR = Caller(user="anybody", project=PROJECT, roles=frozenset({"admin", "member", "reader"}))


async def identify(headers: Mapping[str, str], client: str = "") -> Caller:
    """Return the administrator, whatever the request carries: clients send placeholders for tokens."""
    return _ADMINISTRATOR
