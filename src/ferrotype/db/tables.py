"""The tables. Strings are compared byte by byte, times are microseconds since 1970 in BIGINT.

An image is one row: its properties, tags and locations are JSON in it, so that a page of images costs one statement.
``image_properties`` and ``image_tags`` are the search index over that JSON, written in the same transaction.
``blobs`` is the ledger of bytes, ``usage`` its sum for each project.

Every column that is a key or has an index has a length: the API's limit for what it holds. A partial index only
makes a query faster. No result depends on one, as not every database has them.
"""

from sqlalchemy import BigInteger, Boolean, Column, Computed, Index, Integer, MetaData, Table

from ferrotype.db.engine import ExactString, ExactText

metadata = MetaData()

# Lengths in characters.
_ID = ExactString(36)
_NAME = ExactString(255)
_WORD = ExactString(32)  # one of a closed set, such as a status
_MD5 = ExactString(32)
_ALGORITHM = ExactString(64)
_DIGEST = ExactString(128)
_JSON = ExactText()

images = Table(
    "images",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", _NAME),
    Column("status", _WORD, nullable=False),
    Column("visibility", _WORD, nullable=False),
    Column("owner", _NAME),
    Column("protected", Boolean, nullable=False),
    Column("os_hidden", Boolean, nullable=False),
    Column("disk_format", _NAME),
    Column("container_format", _NAME),
    Column("min_disk", Integer, nullable=False),
    Column("min_ram", Integer, nullable=False),
    Column("size", BigInteger),
    Column("virtual_size", BigInteger),
    Column("checksum", _MD5),
    Column("os_hash_algo", _ALGORITHM),
    Column("os_hash_value", _DIGEST),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("tags", _JSON, nullable=False),
    Column("properties", _JSON, nullable=False),
    Column("system", _JSON, nullable=False),
    Column("locations", _JSON, nullable=False),
    # A deleted image keeps its row: its id stays taken, and its sort values still serve as a marker, the status
    # that it had while it was listed among them.
    Column("deleted_at", BigInteger),
    Column("last_status", _WORD),
    # Sort keys that are never null, so that a keyset needs no special case.
    Column("name_key", _NAME, Computed("coalesce(name, '')", persisted=True)),
    Column("disk_format_key", _NAME, Computed("coalesce(disk_format, '')", persisted=True)),
    Column("container_format_key", _NAME, Computed("coalesce(container_format, '')", persisted=True)),
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
    Column("image_id", _ID, primary_key=True),
    Column("name", _NAME, primary_key=True),
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
    Column("image_id", _ID, primary_key=True),
    Column("tag", _NAME, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
)
Index("image_tags_by_tag", image_tags.c.tag, image_tags.c.created_at.desc(), image_tags.c.image_id.desc())

image_members = Table(
    "image_members",
    metadata,
    Column("image_id", _ID, primary_key=True),
    Column("member", _NAME, primary_key=True),
    Column("status", _WORD, nullable=False),
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
    Column("id", _ID, primary_key=True),
    Column("store", _NAME, nullable=False),
    Column("name", _NAME, nullable=False),
    Column("image_id", _ID, nullable=False),
    Column("project", _NAME),
    Column("purpose", _WORD, nullable=False),
    Column("state", _WORD, nullable=False),
    Column("charged", BigInteger, nullable=False),
    Column("size", BigInteger),
    Column("writer", _ID),
    Column("checksum", _MD5),
    Column("hash_algo", _ALGORITHM),
    Column("hash_value", _DIGEST),
    Column("findings", _JSON),
    Column("created_at", BigInteger, nullable=False),
    # While deleting: when to try (again) to remove the bytes, and how often that failed.
    Column("remove_at", BigInteger),
    Column("attempts", Integer, nullable=False),
    # When a read first found the object missing or altered.
    Column("damaged_at", BigInteger),
    # What the back end calls the object, where that is not its name.
    Column("handle", ExactString(1024)),
)
Index("blobs_by_name", blobs.c.store, blobs.c.name, unique=True)
Index("blobs_by_image", blobs.c.image_id)
_deleting = blobs.c.state == "deleting"
Index("blobs_deleting", blobs.c.remove_at, postgresql_where=_deleting, sqlite_where=_deleting)
# What is being written, and what its silent writer may still be writing.
_written = blobs.c.writer.is_not(None)
Index("blobs_by_writer", blobs.c.writer, postgresql_where=_written, sqlite_where=_written)

# The id that each directory of a store has in its file .ferrotype: tells whether another directory is in its place.
store_directories = Table(
    "store_directories",
    metadata,
    Column("store", _NAME, primary_key=True),
    Column("path_hash", ExactString(64), primary_key=True),  # A path may be longer than a key.
    Column("path", ExactText(), nullable=False),
    Column("directory_id", ExactText(), nullable=False),
)

usage = Table(
    "usage",
    metadata,
    Column("project", _NAME, primary_key=True),
    Column("stored", BigInteger, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("id", _ID, primary_key=True),
    # Boot, process-id namespace, process id and start time: enough to see on the same machine that it is gone.
    Column("process", ExactText(), nullable=False),
    Column("started_at", BigInteger, nullable=False),
    # How long it may not renew its counter, in microseconds. See ``db.workers`` for the states.
    Column("lease", BigInteger, nullable=False),
    Column("renewals", BigInteger, nullable=False),
    Column("state", ExactString(32), nullable=False),
)

# Made once by whichever process needs it first, so that all of a deployment have the same.
secrets = Table(
    "secrets",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("value", ExactText(), nullable=False),
)

revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("expires_at", BigInteger, nullable=False),
)
