"""Configurations of stores, what Glance answered to them, and what we answer; the published schemas.

``tests/golden/discovery.json`` has the answers of Glance 33.0.0 with glance_store 5.7.0. No Ceph ran: a stand-in for
its library told the fsid.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import fastjsonschema
from repository import ROOT

from ferrotype.config.read import Reading, examine
from ferrotype.config.stores import READ_ONLY, TYPES, UNSUPPORTED, WITHOUT_DRIVER, StoreConfig

GOLDEN = ROOT / "tests" / "golden" / "discovery.json"
SCHEMAS = ROOT / "docs" / "reference" / "schemas"
SCHEMA_OF = {
    "import": "info-import.json",
    "stores": "info-stores.json",
    "stores/detail": "info-stores-detail.json",
    "usage": "info-usage.json",
}
#: Types that have neither options nor a record here.
UNKNOWN = frozenset(UNSUPPORTED) - WITHOUT_DRIVER.keys()


class Case(NamedTuple):
    """A configuration, and Glance's answers; none where it did not start."""

    name: str
    configuration: str
    started: bool
    stores: Mapping[str, Any] | None = None
    detail: Mapping[str, Any] | None = None


#: Properties that differ from Glance's, with the reason: (case, store) -> {key: value}.
ALL, SET = "every type, defaults", "every type, options set"
DIFFERENT: Mapping[tuple[str, str], tuple[Mapping[str, Any], str]] = {
    (ALL, "ceph"): ({"fsid": None}, "null as long as no cluster was reached (DISC-77)"),
    (SET, "ceph"): ({"fsid": None}, "null as long as no cluster was reached (DISC-77)"),
    (ALL, "tenants"): ({"container": "glance"}, "null in Glance until the process stored something (DISC-80)"),
    (SET, "tenants"): ({"container": "own"}, "null in Glance until the process stored something (DISC-80)"),
}
#: Configurations to which Glance answers otherwise: the words of our problem, or None where the service runs.
OTHERWISE: Mapping[str, tuple[str, ...] | None] = {
    "rbd without its library": ("ceph", "rbd"),
    "several directories": None,
    "cinder with a type of volumes": None,
    "vmware, server unreachable": None,
    "s3 without a bucket": ("bucket", "s3_store_bucket"),
    "swift without credentials": ("objects", "swift_store_auth_address"),
    "swift for each tenant with a file of references": ("objects", "swift_store_config_file"),
    "vmware without options": ("esx", "vmware_server_host"),
    "unknown type": ("tape", "lto"),
}


@cache
def cases() -> tuple[Case, ...]:
    """Return all cases."""
    return tuple(Case(**each) for each in json.loads(GOLDEN.read_text()))


def read(case: Case, directory: Path) -> Reading:
    """Return what we read in the configuration of a case."""
    file = directory / "glance-api.conf"
    file.write_text(case.configuration.replace("{base}", str(directory)))
    return examine([file], [], {})


def known(entries: tuple[StoreConfig, ...]) -> tuple[StoreConfig, ...]:
    """Return the stores whose type has a record."""
    return tuple(entry for entry in entries if entry.options is not None)


def expected(case: Case, directory: Path) -> Iterator[dict[str, Any]]:
    """Yield what we should answer for each store, by Glance's answer and the differences."""
    assert case.detail is not None
    types = {**TYPES, **WITHOUT_DRIVER}
    for store in case.detail["body"]["stores"]:
        if store["type"] in types:
            changed, _ = DIFFERENT.get((case.name, store["id"]), ({}, ""))
            shown = json.loads(json.dumps(store).replace("{base}", str(directory)))
            yield {**shown, "properties": {**shown["properties"], **changed}}


@cache
def schema(call: str) -> Callable[[Any], Any]:
    """Return the function that raises when a body does not match the published schema of a call."""
    return fastjsonschema.compile(json.loads((SCHEMAS / SCHEMA_OF[call]).read_text()))  # type: ignore[no-any-return]


def is_read_only(type_: str) -> bool:
    """Return whether stores of a type never take data."""
    return type_ in READ_ONLY


# -- the tables of docs/reference/discovery.md ------------------------------------------------------


def properties_table() -> str:
    """Return the properties that Glance shows of each type, and what differs here, as a Markdown table."""
    lines = ["| type | configuration | Glance | here |", "|---|---|---|---|"]
    rows = []
    for case in cases()[:2]:
        assert case.detail is not None
        for store in case.detail["body"]["stores"]:
            changed, reason = DIFFERENT.get((case.name, store["id"]), ({}, ""))
            here = f"`{_shown(changed)}`: {reason}" if changed else "the same"
            rows.append(
                (
                    store["type"],
                    f"| {store['type']} | {_options(case, store['id'])} | `{_shown(store['properties'])}` | {here} |",
                )
            )
    return "\n".join([*lines, *(row for _, row in sorted(rows, key=lambda row: row[0]))]) + "\n"


def faults_table() -> str:
    """Return what Glance and we do with configurations and back ends that are not in order, as a Markdown table."""
    lines = ["| | Glance: `stores`, `stores/detail` | here |", "|---|---|---|"]
    for case in cases():
        if case.name in OTHERWISE:
            words = OTHERWISE[case.name]
            here = f"refuses to start: {_why(case)}" if words else "200, 200; `read-only` while it takes no data"
            if case.name == "several directories":
                here = "200, 200; all of them in `data_dirs`"
            lines.append(f"| {case.name} | {_statuses(case)} | {here} |")
    return "\n".join(lines) + "\n"


def _shown(properties: Mapping[str, Any]) -> str:
    return json.dumps(properties).replace("{base}", "/srv")


def _options(case: Case, store_id: str) -> str:
    """Return the options of a store's section that discovery shows."""
    section = case.configuration.split(f"[{store_id}]\n")[1].partition("\n[")[0]
    hidden = ("description", "weight", "address", "user", "key", "host", "bucket", "datadir")
    shown = [line for line in section.splitlines() if line and not line.split(" = ")[0].endswith(hidden)]
    return ", ".join(f"`{line}`" for line in shown) or "defaults"


def _statuses(case: Case) -> str:
    if case.stores is None or case.detail is None:
        return "does not start"
    stores, detail = case.stores, case.detail
    lost = len(stores["body"]["stores"]) < 2 if stores["status"] == 200 else False
    return f"{stores['status']}, {detail['status']}" + (" without the store" if lost else "")


def _why(case: Case) -> str:
    """Return the problem that we report, without what comes from the place of the file."""
    words = OTHERWISE[case.name] or ()
    with TemporaryDirectory() as directory:
        found = read(case, Path(directory)).problems
    problems = [each for each in found if all(word in each for word in words)]
    problem = re.sub(r" \(/[^)]*\)", "", problems[0]) if problems else "the type has no driver"
    return problem.partition("; ")[0].removesuffix(".")
