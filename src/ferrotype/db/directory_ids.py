"""The id of each directory of a store, to notice a different directory at its path."""

import hashlib
import os
from collections.abc import Mapping

from sqlalchemy import Text, bindparam, select

from ferrotype.db.engine import Connection, Statement, Transaction, upsert
from ferrotype.db.tables import store_directories

_d = store_directories.c
_OF_STORE = Statement(select(_d.path, _d.directory_id).where(_d.store == bindparam("of", type_=Text)))
_SET = Statement(upsert(store_directories, update=("path", "directory_id")))


async def of_store(connection: Connection, store: str) -> dict[str, str]:
    """Return path -> directory id for each known directory of a store."""
    return {row[0]: row[1] for row in await connection.rows(_OF_STORE, of=store)}


async def remember(tx: Transaction, store: str, directory_ids: Mapping[str, str]) -> None:
    """Record path -> directory id; an id that was known for a path is replaced."""
    for path, directory_id in sorted(directory_ids.items()):
        path_hash = hashlib.sha256(os.fsencode(path)).hexdigest()
        await tx.run(_SET, store=store, path_hash=path_hash, path=path, directory_id=directory_id)
