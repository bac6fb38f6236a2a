"""The tables. Ids and names are compared byte by byte, times are microseconds since 1970 in BIGINT.

An image is one row: its properties, tags and locations are JSON texts in it (the truth), so that a page
of images costs one statement. ``image_properties`` and ``image_tags`` only *find* images by them; they are
written in the same transaction. ``blobs`` is the ledger of bytes, ``usage`` its sum for each project.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)

metadata = MetaData()


def _text() -> Text:
    """Text in byte order on every database: SQLite compares so by itself."""
    return Text().with_variant(Text(collation="C"), "postgresql")


images = Table(
    "images",
    metadata,
    Column("id", _text(), primary_key=True),
    Column("name", _text()),
    Column("status", _text(), nullable=False),
    Column("visibility", _text(), nullable=False),
    Column("owner", _text()),
    Column("protected", Boolean, nullable=False),
    Column("os_hidden", Boolean, nullable=False),
    Column("disk_format", _text()),
    Column("container_format", _text()),
    Column("min_disk", Integer, nullable=False),
    Column("min_ram", Integer, nullable=False),
    Column("size", BigInteger),
    Column("virtual_size", BigInteger),
    Column("checksum", _text()),
    Column("os_hash_algo", _text()),
    Column("os_hash_value", _text()),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("tags", _text(), nullable=False),
    Column("properties", _text(), nullable=False),
    Column("system", _text(), nullable=False),
    Column("locations", _text(), nullable=False),
    # A deleted image keeps its row: its id stays taken, and its sort values still serve as a marker, the status
    # that it had while it was listed among them.
    Column("deleted_at", BigInteger),
    Column("last_status", _text()),
    # Sort keys that are never null, so that a keyset needs no special case.
    Column("name_key", _text(), Computed("coalesce(name, '')", persisted=True)),
    Column("disk_format_key", _text(), Computed("coalesce(disk_format, '')", persisted=True)),
    Column("container_format_key", _text(), Computed("coalesce(container_format, '')", persisted=True)),
    Column("size_key", BigInteger, Computed("coalesce(size, 0)", persisted=True)),
)

_live = images.c.deleted_at.is_(None)
for _name, _columns in {
    "images_by_owner": (images.c.owner,),
    "images_by_visibility": (images.c.visibility,),
    "images_by_age": (),
}.items():
    Index(
        _name,
        *_columns,
        images.c.created_at.desc(),
        images.c.id.desc(),
        postgresql_where=_live,
        sqlite_where=_live,
    )
Index("images_by_name", images.c.name, postgresql_where=_live, sqlite_where=_live)
_moving = images.c.status.in_(("saving", "uploading", "importing"))
Index("images_moving", images.c.status, postgresql_where=_moving, sqlite_where=_moving)
_kept = images.c.status == "pending_delete"
Index("images_pending_delete", images.c.deleted_at, postgresql_where=_kept, sqlite_where=_kept)

image_properties = Table(
    "image_properties",
    metadata,
    Column("image_id", _text(), primary_key=True),
    Column("name", _text(), primary_key=True),
    Column("value_hash", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
Index(
    "image_properties_by_value",
    image_properties.c.name,
    image_properties.c.value_hash,
    image_properties.c.created_at.desc(),
    image_properties.c.image_id.desc(),
)

image_tags = Table(
    "image_tags",
    metadata,
    Column("image_id", _text(), primary_key=True),
    Column("tag", _text(), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
)
Index("image_tags_by_tag", image_tags.c.tag, image_tags.c.created_at.desc(), image_tags.c.image_id.desc())

image_members = Table(
    "image_members",
    metadata,
    Column("image_id", _text(), primary_key=True),
    Column("member", _text(), primary_key=True),
    Column("status", _text(), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger),
    # The image's created_at while the share can be listed; null while it is dormant, hidden or gone.
    Column("listed_at", BigInteger),
)
_listed = image_members.c.listed_at.is_not(None)
Index(
    "image_members_listed",
    image_members.c.member,
    image_members.c.status,
    image_members.c.listed_at.desc(),
    image_members.c.image_id.desc(),
    postgresql_where=_listed,
    sqlite_where=_listed,
)
Index("image_members_by_member", image_members.c.member)

blobs = Table(
    "blobs",
    metadata,
    Column("id", _text(), primary_key=True),
    Column("store", _text(), nullable=False),
    Column("name", _text(), nullable=False),
    Column("handle", _text()),
    Column("image_id", _text(), nullable=False),
    Column("project", _text()),
    Column("purpose", _text(), nullable=False),
    Column("state", _text(), nullable=False),
    Column("charged", BigInteger, nullable=False),
    Column("size", BigInteger),
    Column("writer", _text()),
    Column("checksum", _text()),
    Column("hash_algo", _text()),
    Column("hash_value", _text()),
    Column("findings", _text()),
    Column("created_at", BigInteger, nullable=False),
    # While deleting: when to (re)try to remove the data, and how often that failed.
    Column("remove_at", BigInteger),
    Column("attempts", Integer, nullable=False),
    # When a read first found the object missing or altered.
    Column("damaged_at", BigInteger),
)
Index("blobs_by_name", blobs.c.store, blobs.c.name, unique=True)
Index("blobs_by_image", blobs.c.image_id)
_deleting = blobs.c.state == "deleting"
Index("blobs_deleting", blobs.c.remove_at, postgresql_where=_deleting, sqlite_where=_deleting)
# What is being written, and what its silent writer may still be writing.
_written = blobs.c.writer.is_not(None)
Index("blobs_by_writer", blobs.c.writer, postgresql_where=_written, sqlite_where=_written)

# Which directory is which: what it says of itself in its file .ferrotype, so that another in its place is noticed.
store_marks = Table(
    "store_marks",
    metadata,
    Column("store", _text(), primary_key=True),
    Column("place", _text(), primary_key=True),
    Column("mark", _text(), nullable=False),
)

usage = Table(
    "usage",
    metadata,
    Column("project", _text(), primary_key=True),
    Column("stored", BigInteger, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("id", _text(), primary_key=True),
    # Boot, process-id namespace, process id and start time: enough to see on the same machine that it is gone.
    Column("process", _text(), nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
)

# Made once by whichever process needs it first, so that all of a deployment have the same.
secrets = Table(
    "secrets",
    metadata,
    Column("name", _text(), primary_key=True),
    Column("value", _text(), nullable=False),
)

revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("id", _text(), primary_key=True),
    Column("expires_at", BigInteger, nullable=False),
)
