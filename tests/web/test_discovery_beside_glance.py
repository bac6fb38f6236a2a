"""Discovery of every type of store, from its configuration alone, beside what Glance answers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from discovery_cases import (
    DIFFERENT,
    OTHERWISE,
    SCHEMA_OF,
    SCHEMAS,
    UNKNOWN,
    Case,
    cases,
    expected,
    is_read_only,
    known,
    read,
    schema,
)

from ferrotype.config.stores import TYPES, UNSUPPORTED, WITHOUT_DRIVER, Stores
from ferrotype.stores import stores as stores_module
from ferrotype.stores.driver import Health
from ferrotype.testing.client import OWNER, Client, client

ANSWERED = [case for case in cases() if case.detail and case.detail["status"] == 200 and case.name not in OTHERWISE]


def unconnected(type_: str, healthy: bool) -> Any:
    """Return a driver of a type that has reached nothing yet: it knows its configuration."""

    class Unconnected:
        def __init__(self, store: str, options: Any, pools: Any):
            self.properties = options.properties

        async def probe(self) -> Health:
            return Health(healthy and not is_read_only(type_), "it takes no data" if is_read_only(type_) else "")

    return Unconnected


@contextmanager
def service(case: Case, directory: Path, healthy: bool = True) -> Iterator[Client]:
    """Run a service with the stores of a case, none of which has a back end."""
    stores = read(case, directory).config.stores
    with pytest.MonkeyPatch.context() as patch:
        for type_ in {**TYPES, **WITHOUT_DRIVER}:
            patch.setitem(stores_module.DRIVERS, type_, unconnected(type_, healthy))  # type: ignore[arg-type]
        entries = known(stores.entries)
        assert {entry.type for entry in stores.entries} - {entry.type for entry in entries} <= UNKNOWN
        with client(directory, stores=Stores(True, stores.default, entries)) as api:
            yield api


@pytest.mark.parametrize("case", ANSWERED, ids=lambda case: case.name)
def test_we_answer_what_glance_answers(case: Case, tmp_path: Path) -> None:
    with service(case, tmp_path) as api:
        detail = api.get("/v2/info/stores/detail").json["stores"]
        plain = api.get("/v2/info/stores", caller=OWNER).json["stores"]
    # DISC-50..53, DISC-60, DISC-70..72, DISC-74..86, DISC-40, DISC-35
    wanted = list(expected(case, tmp_path))
    assert detail == wanted
    # The order of keys is Glance's, too: DISC-31, DISC-50
    assert [(list(each), list(each["properties"])) for each in detail] == [
        (list(each), list(each["properties"])) for each in wanted
    ]
    operators = {"type", "properties", "weight"}
    assert plain == [{key: each[key] for key in each if key not in operators} for each in wanted]
    assert "hunter2" not in str(detail)


def test_the_cases_cover_every_type_of_glance_with_defaults_and_without() -> None:
    listed = [{store["type"] for store in case.detail["body"]["stores"]} for case in ANSWERED[:2]]
    assert listed == [{"file", "rbd", "swift", "s3", "cinder", "http"}] * 2
    names = {case.name for case in cases()}
    assert {name for name, _ in DIFFERENT} | OTHERWISE.keys() <= names
    assert len(ANSWERED) + len(OTHERWISE) == len(names)


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_fails_in_glance_refuses_to_start_or_is_200(name: str, tmp_path: Path) -> None:
    (case,) = (each for each in cases() if each.name == name)
    found = read(case, tmp_path)
    words = OTHERWISE[name]
    if words is None:  # DISC-36, DISC-57, DISC-58: 200, whatever happened to the back end
        assert [problem for problem in found.problems if "does not support" not in problem] == []
        with service(case, tmp_path, healthy=False) as api:
            shown = api.get("/v2/info/stores/detail").json["stores"]
            assert [store["read-only"] for store in shown] == ["true", "true"]
            assert [store["id"] for store in shown] == [entry.id for entry in found.config.stores.entries]
            for call in SCHEMA_OF:
                answer = api.get(f"/v2/info/{call}")
                assert answer.status == 200
                schema(call)(answer.json)
    else:  # DISC-38, DISC-39, RUL-89
        of_type = {entry.type for entry in found.config.stores.entries}
        store, *rest = words if not of_type & UNKNOWN else words[:1]
        assert any(all(word in problem for word in (store, *rest)) for problem in found.problems), found.problems


@pytest.mark.parametrize("case", ANSWERED, ids=lambda case: case.name)
def test_the_published_schemas_match_our_bodies_and_glances(case: Case, tmp_path: Path) -> None:
    assert case.stores and case.detail
    schema("stores")(case.stores["body"])
    schema("stores/detail")(case.detail["body"])
    with service(case, tmp_path) as api:
        for call in SCHEMA_OF:
            schema(call)(api.get(f"/v2/info/{call}").json)


GOOD: dict[str, Any] = {
    "import": {"import-methods": {"description": "Import methods available.", "type": "array", "value": []}},
    "stores": {"stores": [{"id": "a", "default": "true"}]},
    "stores/detail": {
        "stores": [{"id": "a", "type": "cinder", "properties": {"volume_type": None, "use_multipath": False},
                    "weight": 0}]
    },
    "usage": {
        "usage": {
            name: {"usage": 0, "limit": -1}
            for name in ("image_size_total", "image_stage_total", "image_count_total", "image_count_uploading")
        }
    },
}  # fmt: skip


def damaged(value: Any) -> Iterator[Any]:
    """Yield a body with one key missing, one key too many, or one value of another type."""
    if isinstance(value, dict):
        yield {**value, "unheard-of": 1}
        for key, inner in value.items():
            yield {name: each for name, each in value.items() if name != key}
            yield from ({**value, key: each} for each in damaged(inner))
    elif isinstance(value, list):
        yield from ([each] for inner in value for each in damaged(inner))
        yield {}
    else:
        yield True if value is not True and value is not False else "true"


@pytest.mark.parametrize("call", SCHEMA_OF)
def test_the_published_schemas_notice_every_change(call: str) -> None:
    schema(call)(GOOD[call])
    bodies = list(damaged(GOOD[call]))
    accepted = [body for body in bodies if not refuses(call, body)]
    without_default = {"stores": [{"id": "a"}]}
    assert all(body == without_default for body in accepted), accepted
    assert len(bodies) >= 8


def test_the_schema_describes_the_properties_of_every_type() -> None:
    document = json.loads((SCHEMAS / SCHEMA_OF["stores/detail"]).read_text())
    rules = document["properties"]["stores"]["items"]["allOf"]
    described = {rule["if"]["properties"]["type"]["const"] for rule in rules}
    assert described >= {*TYPES, *UNSUPPORTED}  # DISC-53, DISC-87


def refuses(call: str, body: Any) -> bool:
    try:
        schema(call)(body)
    except fastjsonschema.JsonSchemaException:
        return True
    return False
