"""What the built-in Identity API keeps: the secret that signs its tokens, and the tokens that were revoked."""

import secrets

from sqlalchemy import Text, bindparam, delete, select

from ferrotype.db import tables
from ferrotype.db.engine import Connection, Database, Statement, now, upsert

_s, _r = tables.secrets.c, tables.revoked_tokens.c
_SECRET = Statement(select(_s.value).where(_s.name == bindparam("of", type_=Text)))
_CREATE_SECRET = Statement(upsert(tables.secrets))
_IS_REVOKED = Statement(select(_r.id).where(_r.id == bindparam("token", type_=Text)))
_REVOKE = Statement(upsert(tables.revoked_tokens))
_DELETE_EXPIRED = Statement(delete(tables.revoked_tokens).where(_r.expires_at < now()))


async def secret(db: Database, name: str) -> bytes:
    """Return the deployment's secret of this name: 32 random bytes, created on first use."""
    row = await db.row(_SECRET, of=name)
    if row is None:
        async with db.begin() as tx:
            await tx.run(_CREATE_SECRET, name=name, value=secrets.token_hex(32))
        row = await db.row(_SECRET, of=name)  # Another process may have created it first.
    if row is None:
        raise RuntimeError("a secret that was just written was not found")
    return bytes.fromhex(row[0])


async def is_revoked(connection: Connection, token_id: str) -> bool:
    """Return whether a token was revoked."""
    return await connection.row(_IS_REVOKED, token=token_id) is not None


async def revoke(db: Database, token_id: str, expires_at: int) -> None:
    """Revoke a token; revoking it again changes nothing. The row is kept until the token would have expired."""
    async with db.begin() as tx:
        await tx.run(_DELETE_EXPIRED)
        await tx.run(_REVOKE, id=token_id, expires_at=expires_at)
