"""What a deployment that logs people in itself has to keep: its secret, and tokens that were given back early."""

import secrets
from contextlib import suppress

from sqlalchemy import BigInteger, Text, bindparam, delete, insert, select

from ferrotype.db import tables
from ferrotype.db.engine import Database, Duplicate, Statement, now

_s, _r = tables.secrets.c, tables.revoked_tokens.c
_name = bindparam("of", type_=Text)
_SECRET = Statement(select(_s.value).where(_s.name == _name))
_MAKE = Statement(
    insert(tables.secrets).values(name=bindparam("name", type_=Text), value=bindparam("value", type_=Text))
)
_REVOKED = Statement(select(_r.id).where(_r.id == bindparam("token", type_=Text)))
_REVOKE = Statement(
    insert(tables.revoked_tokens).values(
        id=bindparam("id", type_=Text), expires_at=bindparam("expires_at", type_=BigInteger)
    )
)
_FORGET = Statement(delete(tables.revoked_tokens).where(_r.expires_at < now()))


async def secret(db: Database, name: str) -> bytes:
    """Return the deployment's secret of this name: random, made by whoever asks first, the same for all."""
    row = await db.row(_SECRET, of=name)
    if row is None:
        with suppress(Duplicate):  # Another process was quicker.
            async with db.begin() as tx:
                await tx.run(_MAKE, name=name, value=secrets.token_hex(32))
        row = await db.row(_SECRET, of=name)
    if row is None:
        raise RuntimeError("a secret that was just written is not there")
    return bytes.fromhex(row[0])


async def is_revoked(db: Database, token: str) -> bool:
    """Tell whether a token was given back."""
    return await db.row(_REVOKED, token=token) is not None


async def revoke(db: Database, token: str, expires_at: int) -> None:
    """Give a token back; that it was is remembered until it would have ended by itself."""
    with suppress(Duplicate):  # It was given back before.
        async with db.begin() as tx:
            await tx.run(_FORGET)
            await tx.run(_REVOKE, id=token, expires_at=expires_at)
