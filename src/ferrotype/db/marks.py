"""What the places of each store say of themselves, so that another in the place of one is noticed."""

from collections.abc import Mapping

from sqlalchemy import Text, bindparam, select, text

from ferrotype.db.engine import Connection, Statement, Transaction
from ferrotype.db.tables import store_marks

_OF_STORE = Statement(
    select(store_marks.c.place, store_marks.c.mark).where(store_marks.c.store == bindparam("store_", type_=Text))
)
_REMEMBER = Statement(
    text(
        "INSERT INTO store_marks (store, place, mark) VALUES (:store, :place, :mark)"
        " ON CONFLICT (store, place) DO UPDATE SET mark = excluded.mark"
    )
)


async def of_store(connection: Connection, store: str) -> dict[str, str]:
    """Return the mark of each place of a store that is known."""
    return {row[0]: row[1] for row in await connection.rows(_OF_STORE, store_=store)}


async def remember(tx: Transaction, store: str, marks: Mapping[str, str]) -> None:
    """Note marks of places, in the place of those that were known."""
    for place, mark in sorted(marks.items()):
        await tx.run(_REMEMBER, store=store, place=place, mark=mark)
