# ruff: noqa: S603, S608  (it starts PostgreSQL, and builds SQL from its own constants only)
"""Measure how properties and tags should come with a page of images.

    python bench/page_layouts.py --images 1000 100000 --json figures.json

Three layouts hold the same images, in a scratch PostgreSQL and in a scratch SQLite file:

A  properties and tags are JSON text in the image's row; narrow search tables find them
B  properties and tags are child rows, fetched by two more statements and assembled here
C  the same child rows, aggregated in SQL by the one statement that fetches the page

A page is measured from the statement to the JSON bytes of the answer. JSON text out of the database (A, C)
can be made part of the answer in four ways: `decode` it and encode it again with the image; `raw`, decode the
names only and leave every value raw (msgspec.Raw); `splice` the text into the encoded image; `record`, the
same with the image as a msgspec.Struct instead of a dict. All layouts are seen to give the same images before
they are timed.

Client CPU is this process (with SQLite: the database too). Server CPU is the PostgreSQL backend's time on a
core as /proc counts it in nanoseconds: its utime and stime without the rounding to 10 ms.
"""

import argparse
import functools
import hashlib
import itertools
import json
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import uvloop

Row = Sequence[Any]


# The images. Every hundredth has foo=bar, so a filter on it hits 1 %.


@dataclass(frozen=True)
class Image:
    """One image as it is stored: its columns in the order of COLUMNS, and what hangs on it."""

    columns: tuple[Any, ...]
    properties: dict[str, str]
    tags: list[str]

    @property
    def id(self) -> str:
        return str(self.columns[0])

    @property
    def created_at(self) -> int:
        return int(self.columns[16])


COLUMNS = [
    *("id", "name", "status", "visibility", "owner", "protected", "os_hidden", "disk_format"),
    *("container_format", "min_disk", "min_ram", "size", "virtual_size", "checksum"),
    *("os_hash_algo", "os_hash_value", "created_at", "updated_at"),
]


def make_image(n: int) -> Image:
    """Return the n-th image; the same n always gives the same image."""
    at = 1_700_000_000_000_000 + n * 1_000_003
    digest = hashlib.sha512(str(n).encode()).hexdigest()
    columns = (
        str(uuid.UUID(digest[:32])), f"image-{n}", "active", "public", digest[32:64], False, False,
        "qcow2", "bare", 10, 512, 2_361_393_152 + n, 10_737_418_240,
        digest[64:96], "sha512", digest, at, at + 5_000_000,
    )  # fmt: skip
    properties = {
        "foo": "bar" if n % 100 == 0 else f"other-{n % 1000}",
        "architecture": "x86_64",
        "os_distro": ("ubuntu", "debian", "rocky", "fedora")[n % 4],
        "os_version": f"{n % 12}.04",
        "hw_disk_bus": "virtio",
        "hw_firmware_type": "uefi",
        "hw_qemu_guest_agent": "yes",
        "hw_machine_type": "q35",
        "build_id": digest[96:128],
        "description": f'Nightly build {n} of the "base" image, für alle',
    }
    return Image(columns, properties, [f"build-{n % 50}", "nightly", f"team-{n % 7}"])


@functools.lru_cache(100_000)
def hash_of(value: str) -> int:
    """Return the 64 bits by which a property's value is found: an index cannot hold 65,535 bytes."""
    return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), signed=True)


# The tables. `{text}` is text in byte order in either database; keys come after loading, as it is quicker.

IMAGE = """id {text} NOT NULL, name {text}, status {text} NOT NULL, visibility {text} NOT NULL, owner {text},
    protected BOOLEAN NOT NULL, os_hidden BOOLEAN NOT NULL, disk_format {text}, container_format {text},
    min_disk BIGINT NOT NULL, min_ram BIGINT NOT NULL, size BIGINT, virtual_size BIGINT, checksum {text},
    os_hash_algo {text}, os_hash_value {text}, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL"""
FOUND = "hash BIGINT NOT NULL, created_at BIGINT NOT NULL, image_id {text} NOT NULL"

# table: (layout, columns, primary key, further index)
TABLES = {
    "images_a": ("A", f"{IMAGE}, properties TEXT NOT NULL, tags TEXT NOT NULL", "id", "created_at, id"),
    "property_search": ("A", f"name {{text}} NOT NULL, {FOUND}", "name, hash, created_at, image_id", None),
    "tag_search": ("A", FOUND, "hash, created_at, image_id", None),
    "images_b": ("BC", IMAGE, "id", "created_at, id"),
    "image_properties": (
        "BC",
        f"name {{text}} NOT NULL, {FOUND}, value TEXT NOT NULL",
        "image_id, name",
        "name, hash, created_at, image_id",
    ),
    "image_tags": ("BC", f"{FOUND}, tag {{text}} NOT NULL", "image_id, tag", "hash, created_at, image_id"),
}


def rows_of(image: Image) -> dict[str, list[Row]]:
    """Return the rows an image has in every table."""
    key = (image.created_at, image.id)
    properties = [(name, hash_of(value), *key) for name, value in image.properties.items()]
    tags = [(hash_of(tag), *key) for tag in image.tags]
    return {
        "images_a": [(*image.columns, text_of(image.properties), text_of(image.tags))],
        "property_search": list(properties),
        "tag_search": list(tags),
        "images_b": [image.columns],
        "image_properties": [(*row, image.properties[row[0]]) for row in properties],
        "image_tags": [(*row, tag) for row, tag in zip(tags, image.tags, strict=True)],
    }


def loads(count: int) -> Iterator[tuple[str, list[Row]]]:
    """Yield all rows of `count` images, a few thousand images at a time, table by table."""
    for start in range(0, count, 5000):
        chunk: dict[str, list[Row]] = {table: [] for table in TABLES}
        for n in range(start, min(start + 5000, count)):
            for table, rows in rows_of(make_image(n)).items():
                chunk[table] += rows
        yield from chunk.items()


def indexes() -> Iterator[str]:
    for table, (_, _, _, further) in TABLES.items():
        if further:
            yield f"CREATE INDEX {table}_by ON {table} ({further})"


# The two databases, as one measures them: one connection, statements written with $1.


class SQLite:
    """A scratch file: WAL, synchronous=FULL, a cache of 64 MiB."""

    aggregates = ("json_group_object(p.name, p.value)", "json_group_array(t.tag)")
    in_ids = "IN (SELECT value FROM json_each($1))"
    for_update = ""
    begin = "BEGIN IMMEDIATE"
    server = None

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536"):
            self.connection.execute(f"PRAGMA {pragma}")

    async def load(self, count: int) -> None:
        for table, (_, columns, key, _) in TABLES.items():
            # Child and search rows live in their key's order; an image's row is wide and does not.
            shape = "" if table.startswith("images_") else "WITHOUT ROWID"
            columns = columns.format(text="TEXT")
            self.connection.execute(f"CREATE TABLE {table} ({columns}, PRIMARY KEY ({key})) {shape}")
        self.connection.execute("BEGIN")
        for table, rows in loads(count):
            await self.many(insert(table), rows)
        for index in indexes():
            self.connection.execute(index)
        self.connection.execute("COMMIT")
        self.connection.execute("ANALYZE")
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        return self.connection.execute(sql.replace("$", "?"), values).fetchall()

    async def execute(self, sql: str, *values: Any) -> None:
        self.connection.execute(sql.replace("$", "?"), values)

    async def many(self, sql: str, rows: Iterable[Row]) -> None:
        self.connection.executemany(sql.replace("$", "?"), rows)

    def ids(self, rows: Iterable[Row]) -> Any:
        return text_of([row[0] for row in rows])

    async def size(self, table: str) -> int:
        parts = "($1, $1 || '_by', 'sqlite_autoindex_' || $1 || '_1')"
        return int((await self.fetch(f"SELECT sum(pgsize) FROM dbstat WHERE name IN {parts}", table))[0][0])


class Postgres:
    """A connection over a Unix socket to a cluster of our own."""

    aggregates = ("json_object_agg(p.name, p.value)", "json_agg(t.tag)")
    in_ids = "= ANY($1::text[])"
    for_update = "FOR UPDATE OF i"
    begin = "BEGIN"

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.server = connection.get_server_pid()
        self.fetch = connection.fetch
        self.execute = connection.execute
        self.many = connection.executemany

    async def load(self, count: int) -> None:
        for table, (_, columns, _, _) in TABLES.items():
            columns = columns.format(text='TEXT COLLATE "C"')
            await self.execute(f"CREATE TABLE {table} ({columns})")
        for table, rows in loads(count):
            await self.connection.copy_records_to_table(table, records=rows)
        for table, (_, _, key, _) in TABLES.items():
            await self.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({key})")
        for index in indexes():
            await self.execute(index)
        await self.execute("VACUUM ANALYZE")
        await self.execute("CHECKPOINT")

    def ids(self, rows: Iterable[Row]) -> Any:
        return [row[0] for row in rows]

    async def size(self, table: str) -> int:
        return int(await self.connection.fetchval("SELECT pg_total_relation_size($1::text::regclass)", table))


Database = SQLite | Postgres


def insert(table: str) -> str:
    width = len(rows_of(make_image(0))[table][0])
    return f"INSERT INTO {table} VALUES ({', '.join(f'${n}' for n in range(1, width + 1))})"


@contextmanager
def cluster(binaries: Path, user: str) -> Iterator[str]:
    """Run a PostgreSQL of our own on a socket in a temporary directory; yield that directory."""
    home = Path(tempfile.mkdtemp(prefix="page-layouts-"))
    become: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(home, user)
        become = ["runuser", "-u", user, "--"]
    control = [*become, str(binaries / "pg_ctl"), "-D", str(home / "data"), "-s", "-w"]
    options = f"-k {home} -c listen_addresses= -c shared_buffers=1GB -c max_wal_size=8GB"
    try:
        initdb = [*become, str(binaries / "initdb"), "-D", str(home / "data"), "-U", "bench", "-E", "UTF8"]
        subprocess.run([*initdb, "-A", "trust"], check=True, stdout=subprocess.DEVNULL, cwd=home)
        subprocess.run([*control, "-l", str(home / "log"), "-o", options, "start"], check=True, cwd=home)
        try:
            yield str(home)
        finally:
            subprocess.run([*control, "-m", "fast", "stop"], check=True, cwd=home)
    finally:
        shutil.rmtree(home)


# Fetching. Every fetch gives rows of the image's columns, then properties and tags: as text, in B as objects.

SELECTED = ", ".join(f"i.{column}" for column in COLUMNS)
PAGE = "WHERE (i.created_at, i.id) < ($1, $2) ORDER BY i.created_at DESC, i.id DESC LIMIT $3"
FILTER = "WHERE s.name = $1 AND s.hash = $2 ORDER BY s.created_at DESC, s.image_id DESC LIMIT $3"


def selected(layout: str, db: Database) -> str:
    """Return what a statement selects of `i` in a layout."""
    if layout == "A":
        return f"SELECT {SELECTED}, i.properties, i.tags"
    if layout == "B":
        return f"SELECT {SELECTED}"
    properties, tags = db.aggregates
    return f"""SELECT {SELECTED},
        coalesce((SELECT {properties} FROM image_properties p WHERE p.image_id = i.id), '{{}}'),
        coalesce((SELECT {tags} FROM image_tags t WHERE t.image_id = i.id), '[]')"""


async def with_children(db: Database, rows: Sequence[Row]) -> list[Row]:
    """Return layout B's rows with their properties and tags, for two more statements."""
    ids = db.ids(rows)
    properties: dict[str, dict[str, str]] = {row[0]: {} for row in rows}
    tags: dict[str, list[str]] = {row[0]: [] for row in rows}
    by_ids = f"WHERE image_id {db.in_ids}"
    sql = f"SELECT image_id, name, value FROM image_properties {by_ids}"
    for image_id, name, value in await db.fetch(sql, ids):
        properties[image_id][name] = value
    for image_id, tag in await db.fetch(f"SELECT image_id, tag FROM image_tags {by_ids}", ids):
        tags[image_id].append(tag)
    return [(*row, properties[row[0]], tags[row[0]]) for row in rows]


async def fetch_page(db: Database, layout: str, marker: tuple[int, str], limit: int) -> Sequence[Row]:
    """Return the page after a marker, newest first."""
    table = "images_a" if layout == "A" else "images_b"
    rows = await db.fetch(f"{selected(layout, db)} FROM {table} i {PAGE}", *marker, limit)
    return await with_children(db, rows) if layout == "B" else rows


async def fetch_filtered(db: Database, layout: str, name: str, value: str, limit: int) -> Sequence[Row]:
    """Return the newest images that have a property with this value.

    The hash only nominates, the truth is looked at here. Asked for it in SQL, PostgreSQL expects a single hit
    and sorts all of them instead of walking the index; and SQLite has no JSON path for every name.
    """
    source = "property_search s JOIN images_a" if layout == "A" else "image_properties s JOIN images_b"
    sql = f"{selected(layout, db)} FROM {source} i ON i.id = s.image_id {FILTER}"
    rows: Sequence[Row] = await db.fetch(sql, name, hash_of(value), limit)
    if layout == "B":
        rows = await with_children(db, rows)
    return [row for row in rows if properties_of(row).get(name) == value]


# From rows to the bytes of the answer. The API shows properties beside the image's own attributes, not below.

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(dict[str, str]).decode
decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
decode_tags = msgspec.json.Decoder(list[str]).decode


def text_of(value: Any) -> str:
    return encode(value).decode()


def properties_of(row: Row) -> dict[str, str]:
    return row[-2] if isinstance(row[-2], dict) else decode(row[-2])


def shown(at: int) -> str:
    return datetime.fromtimestamp(at // 1_000_000, UTC).isoformat()[:19] + "Z"


def attributes(row: Row) -> dict[str, Any]:
    """Return what the API shows of an image besides properties and tags."""
    image = dict(zip(COLUMNS, row, strict=False))
    image["protected"] = bool(row[5])
    image["os_hidden"] = bool(row[6])
    image["created_at"] = shown(row[16])
    image["updated_at"] = shown(row[17])
    image["self"] = f"/v2/images/{row[0]}"
    image["file"] = f"/v2/images/{row[0]}/file"
    image["schema"] = "/v2/schemas/image"
    return image


Attributes = msgspec.defstruct(
    "Attributes",
    [(name, Any) for name in [*COLUMNS, "self_", "file", "schema"]],
    rename={"self_": "self"},
    frozen=True,
    gc=False,
)


def record(row: Row) -> msgspec.Struct:
    """Return the same as `attributes`, as a record."""
    path = f"/v2/images/{row[0]}"
    return Attributes(
        *row[:5], bool(row[5]), bool(row[6]), *row[7:16], shown(row[16]), shown(row[17]),
        path, f"{path}/file", "/v2/schemas/image",
    )  # fmt: skip


def by_objects(rows: Sequence[Row]) -> bytes:
    return encode({"images": [{**row[-2], **attributes(row), "tags": row[-1]} for row in rows]})


def by_decoding(rows: Sequence[Row]) -> bytes:
    images = [{**decode(row[-2]), **attributes(row), "tags": decode_tags(row[-1])} for row in rows]
    return encode({"images": images})


def by_raw(rows: Sequence[Row]) -> bytes:
    images = [{**decode_raw(row[-2]), **attributes(row), "tags": msgspec.Raw(row[-1])} for row in rows]
    return encode({"images": images})


def spliced(rows: Sequence[Row], first: Callable[[Row], Any]) -> bytes:
    """Return the page with the text of properties and tags put in before an image's closing brace."""
    images = []
    for row in rows:
        properties = row[-2]
        rest = "}" if properties == "{}" else "," + properties[1:]
        images.append(encode(first(row))[:-1] + f',"tags":{row[-1]}{rest}'.encode())
    return b'{"images":[' + b",".join(images) + b"]}"


BODIES: dict[str, tuple[str, Callable[[Sequence[Row]], bytes]]] = {
    "A decode": ("A", by_decoding),
    "A raw": ("A", by_raw),
    "A splice": ("A", lambda rows: spliced(rows, attributes)),
    "A record": ("A", lambda rows: spliced(rows, record)),
    "B": ("B", by_objects),
    "C decode": ("C", by_decoding),
    "C splice": ("C", lambda rows: spliced(rows, attributes)),
}


# Writing. A change reads the whole image under a lock first, as judging a PATCH needs it.


async def create(db: Database, layout: str, image: Image) -> None:
    """Store an image in one transaction."""
    rows = rows_of(image)
    await db.execute(db.begin)
    for table, (layouts, *_) in TABLES.items():
        if layout in layouts:
            await db.many(insert(table), rows[table])
    await db.execute("COMMIT")


async def change(db: Database, layout: str, image_id: str, name: str, value: str) -> None:
    """Give a property of an image another value in one transaction."""
    table = "images_a" if layout == "A" else "images_b"
    await db.execute(db.begin)
    sql = f"{selected(layout, db)} FROM {table} i WHERE i.id = $1 {db.for_update}"
    rows: Sequence[Row] = await db.fetch(sql, image_id)
    if layout == "B":
        rows = await with_children(db, rows)
    row = rows[0]
    properties = properties_of(row)
    old, now = properties[name], row[17] + 1
    if layout == "A":
        await db.fetch(
            "UPDATE images_a SET properties = $2, updated_at = $3 WHERE id = $1",
            *(image_id, text_of({**properties, name: value}), now),
        )
        await db.fetch(
            "UPDATE property_search SET hash = $5"
            " WHERE name = $1 AND hash = $2 AND created_at = $3 AND image_id = $4",
            *(name, hash_of(old), row[16], image_id, hash_of(value)),
        )
    else:
        await db.fetch("UPDATE images_b SET updated_at = $2 WHERE id = $1", image_id, now)
        await db.fetch(
            "UPDATE image_properties SET value = $3, hash = $4 WHERE image_id = $1 AND name = $2",
            *(image_id, name, value, hash_of(value)),
        )
    await db.execute("COMMIT")


# Measuring.

Call = Callable[[int], Awaitable[Any]]  # the argument is the number of the call
Figures = dict[str, dict[str, float]]  # layout -> figure -> ms


def server_cpu(db: Database) -> float:
    """Return the milliseconds the connection's backend has spent on a core."""
    return int(Path(f"/proc/{db.server}/schedstat").read_text().split()[0]) / 1e6 if db.server else 0.0


async def in_turns(db: Database, work: dict[str, Call], calls: int, rounds: int) -> Figures:
    """Return each work's medians in ms; rounds go forward and backward by turns.

    Wall time is the median of all calls, CPU time the median over the rounds of a round's mean.
    """
    walls: dict[str, list[float]] = {name: [] for name in work}
    client: dict[str, list[float]] = {name: [] for name in work}
    server: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):  # the first round warms up and does not count
        for name in list(work)[:: -1 if turn % 2 else 1]:
            call, times = work[name], []
            used, used_there = time.process_time(), server_cpu(db)
            for n in range(turn * calls, (turn + 1) * calls):
                begun = time.perf_counter()
                await call(n)
                times.append((time.perf_counter() - begun) * 1e3)
            if turn:
                walls[name] += times
                client[name].append((time.process_time() - used) * 1e3 / calls)
                server[name].append((server_cpu(db) - used_there) / calls)
    return {
        name: {
            "wall_ms": statistics.median(walls[name]),
            "client_cpu_ms": statistics.median(client[name]),
            "server_cpu_ms": statistics.median(server[name]),
        }
        for name in work
    }


def same(body: bytes) -> Any:
    """Return a body in a form in which the layouts must agree."""
    return [{**image, "tags": sorted(image["tags"])} for image in msgspec.json.decode(body)["images"]]


async def measure_reading(db: Database, count: int, args: argparse.Namespace) -> dict[str, Any]:
    """Measure pages of each length at random places, and the filtered page."""
    chance = random.Random(count)  # noqa: S311
    figures = {}
    for limit in args.pages:
        if limit > count:
            continue
        calls = max(5, args.calls * 25 // limit)
        places = [chance.randint(limit, count) for _ in range(calls * (args.rounds + 1))]
        # The image at a place is the page's marker; past the newest there is none, but its key is as good.
        markers = [(image.created_at, image.id) for image in map(make_image, places)]

        work = {name: page(db, name, markers, limit) for name in BODIES}
        figures[f"page of {limit}"] = await agreed(db, work, calls, args.rounds)
    work = {name: filtered(db, name) for name in BODIES}
    figures["filter foo=bar"] = await agreed(db, work, args.calls, args.rounds)
    return figures


def page(db: Database, name: str, markers: list[tuple[int, str]], limit: int) -> Call:
    layout, body = BODIES[name]

    async def call(n: int) -> bytes:
        return body(await fetch_page(db, layout, markers[n], limit))

    return call


def filtered(db: Database, name: str) -> Call:
    layout, body = BODIES[name]

    async def call(_: int) -> bytes:
        return body(await fetch_filtered(db, layout, "foo", "bar", 25))

    return call


async def agreed(db: Database, work: dict[str, Call], calls: int, rounds: int) -> Figures:
    """Measure, once all have been seen to give the same images."""
    bodies = {name: same(await call(0)) for name, call in work.items()}
    first = next(iter(bodies.values()))
    if not first or any(body != first for body in bodies.values()):
        raise SystemExit("the layouts do not give the same images")
    return await in_turns(db, work, calls, rounds)


async def measure_writing(db: Database, count: int, args: argparse.Namespace) -> dict[str, Any]:
    """Measure storing a new image, and changing one property of an old one. B and C store alike."""
    chance = random.Random(count)  # noqa: S311
    victims = [make_image(chance.randrange(count)).id for _ in range(args.writes * (args.rounds + 1))]
    new_images = [make_image(count + n) for n in range(args.writes * (args.rounds + 1))]

    def created(layout: str) -> Call:
        return lambda n: create(db, layout, new_images[n])

    def changed(layout: str) -> Call:
        return lambda n: change(db, layout, victims[n], "description", f"changed the {n}-th time")

    creating = {"A": created("A"), "B, C": created("B")}
    changing = {layout: changed(layout) for layout in "ABC"}
    return {
        "create": await in_turns(db, creating, args.writes, args.rounds),
        "change a property": await in_turns(db, changing, args.writes, args.rounds),
    }


async def measure(name: str, db: Database, count: int, args: argparse.Namespace) -> dict[str, Any]:
    """Load a database, measure everything, print a table."""
    begun = time.monotonic()
    await db.load(count)
    sizes = {"A": 0, "BC": 0}
    for table, (layout, *_) in TABLES.items():
        sizes[layout] += await db.size(table)
    bytes_each = {layout: size // count for layout, size in sizes.items()}
    print(f"\n## {name}, {count:,} images (loaded in {time.monotonic() - begun:.0f} s)\n")
    print(f"Bytes an image with indexes: A {bytes_each['A']:,}; B and C {bytes_each['BC']:,}\n")
    figures = {**await measure_reading(db, count, args), **await measure_writing(db, count, args)}
    print("| what | layout | wall ms | client CPU ms | server CPU ms |\n|---|---|---|---|---|")
    for what, layouts in figures.items():
        for layout, ms in layouts.items():
            server = f"{ms['server_cpu_ms']:.3f}" if db.server else ""
            cells = (what, layout, f"{ms['wall_ms']:.3f}", f"{ms['client_cpu_ms']:.3f}", server)
            print(f"| {' | '.join(cells)} |", flush=True)
    return {"database": name, "images": count, "bytes_an_image": bytes_each, "figures": figures}


async def bench(args: argparse.Namespace) -> None:
    results = []
    for count, database in itertools.product(args.images, args.databases):
        if database == "sqlite":
            with tempfile.TemporaryDirectory(prefix="page-layouts-") as home:
                results.append(await measure("SQLite", SQLite(Path(home, "images.db")), count, args))
            continue
        with cluster(args.pg_bin, args.pg_user) as socket:
            connection = await asyncpg.connect(host=socket, user="bench", database="postgres")
            try:
                results.append(await measure("PostgreSQL", Postgres(connection), count, args))
            finally:
                await connection.close()
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the layouts for properties and tags.")
    option = functools.partial(parser.add_argument, type=int)
    option("--images", nargs="+", default=[1000, 100_000], help="how many (1000 100000)")
    option("--pages", nargs="+", default=[25, 1000], help="lengths of a page (25 1000)")
    option("--rounds", default=6, help="rounds that count (6)")
    option("--calls", default=200, help="pages of 25 a round; of longer pages fewer (200)")
    option("--writes", default=100, help="writes of each kind a round (100)")
    known = ["postgresql", "sqlite"]
    parser.add_argument("--databases", nargs="+", choices=known, default=known)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--pg-bin", type=Path, default=Path("/usr/lib/postgresql/15/bin"))
    parser.add_argument("--pg-user", default="postgres", help="who runs PostgreSQL when we are root")
    args = parser.parse_args()
    uvloop.run(bench(args))


if __name__ == "__main__":
    main()
