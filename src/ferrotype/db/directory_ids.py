"""The id of each directory of a store, to notice a different directory at its path."""

import hashlib
import os

from sqlalchemy import Text, bindparam, select, update

from ferrotype.db.engine import Connection, Statement, Transaction, upsert
from ferrotype.db.tables import store_directories

_d = store_directories.c
_OF_STORE = Statement(select(_d.path, _d.directory_id).where(_d.store == bindparam("of", type_=Text)))
_ADD = Statement(upsert(store_directories))
_REPLACE = Statement(
    update(store_directories)
    .where(
        _d.store == bindparam("store_", type_=Text),
        _d.path_hash == bindparam("hash_", type_=Text),
        _d.directory_id == bindparam("known", type_=Text),
    )
    .values(directory_id=bindparam("new", type_=Text))
)


async def of_store(connection: Connection, store: str) -> dict[str, str]:
    """Return path -> directory id for each known directory of a store."""
    return {row[0]: row[1] for row in await connection.rows(_OF_STORE, of=store)}


async def record(tx: Transaction, store: str, path: str, known: str | None, new: str) -> None:
    """Record the id of a directory if the one that is recorded is still ``known`` (compare-and-set).

    Of several nodes that start at the same time, the first one decides. None: no id is known for the path.
    """
    path_hash = hashlib.sha256(os.fsencode(path)).hexdigest()
    if known is None:
        await tx.run(_ADD, store=store, path_hash=path_hash, path=path, directory_id=new)
    else:
        await tx.run(_REPLACE, store_=store, hash_=path_hash, known=known, new=new)
