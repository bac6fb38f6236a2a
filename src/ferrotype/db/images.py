"""Images in the database: one row each, and the search index over properties and tags."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Text, bindparam, delete, exists, insert, null, select, update

from ferrotype.db.engine import Connection, Duplicate, Row, Statement, Transaction, UpdateReturning, now
from ferrotype.db.tables import image_members, image_properties, image_tags, images
from ferrotype.model.errors import Conflict
from ferrotype.model.image import Image, Location

_c = images.c

#: The columns of an image in the order of ``image_from``.
COLUMNS = (
    _c.id, _c.name, _c.status, _c.visibility, _c.owner, _c.protected, _c.os_hidden, _c.disk_format,
    _c.container_format, _c.min_disk, _c.min_ram, _c.size, _c.virtual_size, _c.checksum, _c.os_hash_algo,
    _c.os_hash_value, _c.created_at, _c.updated_at, _c.tags, _c.properties, _c.system, _c.locations,
)  # fmt: skip

_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_locations = msgspec.json.Decoder(tuple[Location, ...]).decode
_encode = msgspec.json.Encoder().encode


def image_from(row: Row) -> Image:
    """Return the image that a row of ``COLUMNS`` holds; further columns are left to the caller."""
    return Image(
        id=row[0],
        name=row[1],
        status=row[2],
        visibility=row[3],
        owner=row[4],
        protected=bool(row[5]),
        os_hidden=bool(row[6]),
        disk_format=row[7],
        container_format=row[8],
        min_disk=row[9],
        min_ram=row[10],
        size=row[11],
        virtual_size=row[12],
        checksum=row[13],
        os_hash_algo=row[14],
        os_hash_value=row[15],
        created_at=row[16],
        updated_at=row[17],
        tags=_decode_tags(row[18]) if row[18] != "[]" else (),
        properties=_decode_object(row[19]) if row[19] != "{}" else {},
        system=_decode_object(row[20]) if row[20] != "{}" else {},
        locations=_decode_locations(row[21]) if row[21] != "[]" else (),
    )


def value_hash(value: Any) -> int:
    """Return the hash by which the search index finds a property's value. Hits must be compared with the value."""
    digest = hashlib.blake2b(as_text(value).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def as_text(value: Any) -> str:
    """Return a property's value as a filter spells it: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else _encode(value).decode()


_id = bindparam("id", type_=Text)
_is_member = exists().where(
    image_members.c.image_id == _c.id,
    image_members.c.member == bindparam("project", type_=Text),
    image_members.c.removed_at.is_(None),
)
_get = select(*COLUMNS, _is_member).where(_c.id == _id, _c.deleted_at.is_(None))
GET = Statement(_get)
GET_LOCKED = Statement(_get.with_for_update(of=images))
MARKER = Statement(select(*COLUMNS, _is_member, _c.last_status).where(_c.id == _id))


async def get(
    connection: Connection, image_id: str, project: str | None, lock: bool = False
) -> tuple[Image, bool] | None:
    """Return an image that is not deleted, and whether ``project`` is one of its members; None when there is none.

    With ``lock`` no other transaction can change the image before this one ends.
    """
    row = await connection.row(GET_LOCKED if lock else GET, id=image_id, project=project)
    return (image_from(row), bool(row[len(COLUMNS)])) if row else None


async def marker(connection: Connection, image_id: str, project: str | None) -> tuple[Image, bool] | None:
    """Return an image that serves as a page marker, even when it was deleted meanwhile: then with its last status."""
    row = await connection.row(MARKER, id=image_id, project=project)
    if row is None:
        return None
    image = image_from(row)
    return replace(image, status=row[len(COLUMNS) + 1] or image.status), bool(row[len(COLUMNS)])


# -- writing ------------------------------------------------------------------------------------

_INSERTED = tuple(column for column in COLUMNS if column.name not in ("created_at", "updated_at"))
_clock = select(now().label("now")).cte("clock")
INSERT = Statement(
    insert(images)
    .from_select(
        [*(column.name for column in _INSERTED), "created_at", "updated_at"],
        select(
            *(bindparam(column.name, type_=column.type).label(column.name) for column in _INSERTED),
            _clock.c.now,
            _clock.c.now,
        ),
    )
    .returning(_c.created_at)
)
_INDEX_PROPERTY = Statement(
    insert(image_properties).values({column: bindparam(column.name) for column in image_properties.c})
)
_DELETE_PROPERTY = Statement(
    delete(image_properties).where(image_properties.c.image_id == _id, image_properties.c.name == bindparam("key"))
)
_INDEX_TAG = Statement(insert(image_tags).values({column: bindparam(column.name) for column in image_tags.c}))
_DELETE_TAG = Statement(delete(image_tags).where(image_tags.c.image_id == _id, image_tags.c.tag == bindparam("key")))
_DELETE_PROPERTIES = Statement(delete(image_properties).where(image_properties.c.image_id == _id))
_DELETE_TAGS = Statement(delete(image_tags).where(image_tags.c.image_id == _id))
_SET_LISTED = Statement(
    update(image_members)
    .where(image_members.c.image_id == _id, image_members.c.removed_at.is_(None))
    .values(listed_at=bindparam("listed_at", type_=image_members.c.listed_at.type))
)


def _column_value(name: str, value: Any) -> Any:
    return _encode(value).decode() if name in ("tags", "properties", "system", "locations") else value


async def insert_image(tx: Transaction, image: Image) -> Image:
    """Write a new image and return it with its times. An id that was ever used is a Conflict."""
    values = {column.name: _column_value(column.name, getattr(image, column.name)) for column in _INSERTED}
    try:
        row = await tx.row(INSERT, **values)
    except Duplicate:
        raise Conflict(f"An image with ID {image.id} already exists, or existed before.") from None
    if row is None:
        raise RuntimeError("the database returned no row for an image that was inserted")
    created = replace(image, created_at=row[0], updated_at=row[0])
    await _index_properties(tx, created, created.properties.items())
    await _index_tags(tx, created, created.tags)
    return created


async def _index_properties(tx: Transaction, image: Image, properties: Iterable[tuple[str, Any]]) -> None:
    await tx.run_many(
        _INDEX_PROPERTY,
        [
            {
                "image_id": image.id,
                "name": name,
                "value_hash": value_hash(value),
                "created_at": image.created_at,
            }
            for name, value in properties
            if value is not None  # No filter matches null.
        ],
    )


async def _index_tags(tx: Transaction, image: Image, tags: Iterable[str]) -> None:
    await tx.run_many(
        _INDEX_TAG, [{"image_id": image.id, "tag": tag, "created_at": image.created_at} for tag in tags]
    )


@lru_cache(maxsize=1024)
def _update(changed: tuple[str, ...], was_live: bool, is_live: bool) -> UpdateReturning:
    """Return the statement that writes these columns and no others, where the status is the expected one."""
    values: dict[str, Any] = {name: bindparam(name, type_=_c[name].type) for name in changed}
    # A deleted image keeps its updated_at, so that it still serves as a marker of a list sorted by it.
    if was_live and not is_live:
        values |= {"deleted_at": now(), "last_status": _c.status}
    elif is_live:
        values["updated_at"] = now()
    if is_live and not was_live:
        values |= {"deleted_at": null(), "last_status": null()}
    change = (
        update(images)
        .where(_c.status == bindparam("expecting", type_=Text))
        .where(_c.deleted_at.is_(None) if was_live else _c.deleted_at.is_not(None))
        .values(values)
    )
    return UpdateReturning(change, _c.id == bindparam("of", type_=Text), (_c.updated_at,))


async def save(tx: Transaction, before: Image, after: Image) -> Image:
    """Write the columns that differ between the two and return ``after`` with its new ``updated_at``.

    Raises Conflict, and writes nothing, when the stored status is not that of ``before``. Columns that do not differ
    keep what another request may have written meanwhile.
    """
    changed = tuple(name for name in _SAVED if getattr(before, name) != getattr(after, name))
    was_live, is_live = before.status != "pending_delete", after.status not in ("deleted", "pending_delete")
    values = {name: _column_value(name, getattr(after, name)) for name in changed}
    update_columns = _update(changed, was_live, is_live)
    row = await tx.update_returning(update_columns, of=before.id, expecting=before.status, **values)
    if row is None:
        raise Conflict(f"Image {before.id} is no longer {before.status}: another request changed it.")
    await _save_search_index(tx, before, after)
    if was_live != is_live or before.visibility != after.visibility or before.os_hidden != after.os_hidden:
        listed = is_live and after.visibility == "shared" and not after.os_hidden
        await tx.run(_SET_LISTED, id=after.id, listed_at=after.created_at if listed else None)
    return replace(after, updated_at=row[0])


_SAVED = tuple(column.name for column in COLUMNS if column.name not in ("id", "created_at", "updated_at"))


async def _save_search_index(tx: Transaction, before: Image, after: Image) -> None:
    if after.status == "deleted":
        await tx.run(_DELETE_PROPERTIES, id=after.id)
        await tx.run(_DELETE_TAGS, id=after.id)
        return
    if before.properties != after.properties:
        stale = [k for k, v in before.properties.items() if k not in after.properties or after.properties[k] != v]
        changed = [
            (k, v) for k, v in after.properties.items() if k not in before.properties or before.properties[k] != v
        ]
        await tx.run_many(_DELETE_PROPERTY, [{"id": after.id, "key": key} for key in stale])
        await _index_properties(tx, after, changed)
    if before.tags != after.tags:
        removed, added = set(before.tags) - set(after.tags), set(after.tags) - set(before.tags)
        await tx.run_many(_DELETE_TAG, [{"id": after.id, "key": tag} for tag in removed])
        await _index_tags(tx, after, added)
