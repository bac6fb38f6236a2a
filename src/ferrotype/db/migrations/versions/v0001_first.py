"""The first schema: images and their search index, members, the ledger of bytes, usage, workers."""

import sqlalchemy as sa
from alembic import op

from ferrotype.db.engine import ExactString, ExactText

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table and index."""
    op.create_table(
        "blobs",
        sa.Column("id", ExactString(36), nullable=False),
        sa.Column("store", ExactString(255), nullable=False),
        sa.Column("name", ExactString(255), nullable=False),
        sa.Column("image_id", ExactString(36), nullable=False),
        sa.Column("project", ExactString(255), nullable=True),
        sa.Column("purpose", ExactString(32), nullable=False),
        sa.Column("state", ExactString(32), nullable=False),
        sa.Column("charged", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("writer", ExactString(36), nullable=True),
        sa.Column("checksum", ExactString(32), nullable=True),
        sa.Column("hash_algo", ExactString(64), nullable=True),
        sa.Column("hash_value", ExactString(128), nullable=True),
        sa.Column("findings", ExactText(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("remove_at", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("damaged_at", sa.BigInteger(), nullable=True),
        sa.Column("handle", ExactString(1024), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("blobs_by_image", "blobs", ["image_id"], unique=False)
    op.create_index("blobs_by_name", "blobs", ["store", "name"], unique=True)
    op.create_index(
        "blobs_by_writer",
        "blobs",
        ["writer"],
        unique=False,
        postgresql_where=sa.text("writer IS NOT NULL"),
        sqlite_where=sa.text("writer IS NOT NULL"),
    )
    op.create_index(
        "blobs_deleting",
        "blobs",
        ["remove_at"],
        unique=False,
        postgresql_where=sa.text("state = 'deleting'"),
        sqlite_where=sa.text("state = 'deleting'"),
    )
    op.create_table(
        "image_members",
        sa.Column("image_id", ExactString(36), nullable=False),
        sa.Column("member", ExactString(255), nullable=False),
        sa.Column("status", ExactString(32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.Column("listed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("image_id", "member"),
    )
    op.create_index("image_members_by_member", "image_members", ["member"], unique=False)
    op.create_index(
        "image_members_listed",
        "image_members",
        ["member", "status", sa.literal_column("listed_at DESC"), sa.literal_column("image_id DESC")],
        unique=False,
        postgresql_where=sa.text("listed_at IS NOT NULL"),
        sqlite_where=sa.text("listed_at IS NOT NULL"),
    )
    op.create_table(
        "image_properties",
        sa.Column("image_id", ExactString(36), nullable=False),
        sa.Column("name", ExactString(255), nullable=False),
        sa.Column("value_hash", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("image_id", "name"),
    )
    op.create_index(
        "image_properties_by_value",
        "image_properties",
        ["name", "value_hash", sa.literal_column("created_at DESC"), sa.literal_column("image_id DESC")],
        unique=False,
    )
    op.create_table(
        "image_tags",
        sa.Column("image_id", ExactString(36), nullable=False),
        sa.Column("tag", ExactString(255), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("image_id", "tag"),
    )
    op.create_index(
        "image_tags_by_tag",
        "image_tags",
        ["tag", sa.literal_column("created_at DESC"), sa.literal_column("image_id DESC")],
        unique=False,
    )
    op.create_table(
        "images",
        sa.Column("id", ExactString(36), nullable=False),
        sa.Column("name", ExactString(255), nullable=True),
        sa.Column("status", ExactString(32), nullable=False),
        sa.Column("visibility", ExactString(32), nullable=False),
        sa.Column("owner", ExactString(255), nullable=True),
        sa.Column("protected", sa.Boolean(), nullable=False),
        sa.Column("os_hidden", sa.Boolean(), nullable=False),
        sa.Column("disk_format", ExactString(255), nullable=True),
        sa.Column("container_format", ExactString(255), nullable=True),
        sa.Column("min_disk", sa.Integer(), nullable=False),
        sa.Column("min_ram", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("virtual_size", sa.BigInteger(), nullable=True),
        sa.Column("checksum", ExactString(32), nullable=True),
        sa.Column("os_hash_algo", ExactString(64), nullable=True),
        sa.Column("os_hash_value", ExactString(128), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("tags", ExactText(), nullable=False),
        sa.Column("properties", ExactText(), nullable=False),
        sa.Column("system", ExactText(), nullable=False),
        sa.Column("locations", ExactText(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.Column("last_status", ExactString(32), nullable=True),
        sa.Column("name_key", ExactString(255), sa.Computed("coalesce(name, '')", persisted=True), nullable=True),
        sa.Column(
            "disk_format_key",
            ExactString(255),
            sa.Computed("coalesce(disk_format, '')", persisted=True),
            nullable=True,
        ),
        sa.Column(
            "container_format_key",
            ExactString(255),
            sa.Computed("coalesce(container_format, '')", persisted=True),
            nullable=True,
        ),
        sa.Column("size_key", sa.BigInteger(), sa.Computed("coalesce(size, 0)", persisted=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "images_by_age",
        "images",
        [sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
        sqlite_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "images_by_name",
        "images",
        ["name"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
        sqlite_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "images_by_owner",
        "images",
        ["owner", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
        sqlite_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "images_by_visibility",
        "images",
        ["visibility", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
        sqlite_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "images_moving",
        "images",
        ["status"],
        unique=False,
        postgresql_where=sa.text("status IN ('saving', 'uploading', 'importing')"),
        sqlite_where=sa.text("status IN ('saving', 'uploading', 'importing')"),
    )
    op.create_index(
        "images_pending_delete",
        "images",
        ["deleted_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending_delete'"),
        sqlite_where=sa.text("status = 'pending_delete'"),
    )
    op.create_table(
        "revoked_tokens",
        sa.Column("id", ExactString(36), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "secrets",
        sa.Column("name", ExactString(255), nullable=False),
        sa.Column("value", ExactText(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "store_directories",
        sa.Column("store", ExactString(255), nullable=False),
        sa.Column("path_hash", ExactString(64), nullable=False),
        sa.Column("path", ExactText(), nullable=False),
        sa.Column("directory_id", ExactText(), nullable=False),
        sa.PrimaryKeyConstraint("store", "path_hash"),
    )
    op.create_table(
        "usage",
        sa.Column("project", ExactString(255), nullable=False),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project"),
    )
    op.create_table(
        "workers",
        sa.Column("id", ExactString(36), nullable=False),
        sa.Column("process", ExactText(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("lease", sa.BigInteger(), nullable=False),
        sa.Column("renewals", sa.BigInteger(), nullable=False),
        sa.Column("state", ExactString(32), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
