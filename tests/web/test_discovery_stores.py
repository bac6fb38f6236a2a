"""Stores as users and operators see them, healthy and not."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

import pytest

from ferrotype.config.file_store import FileStore
from ferrotype.config.server import Server
from ferrotype.config.stores import StoreConfig, Stores
from ferrotype.stores import stores as stores_module
from ferrotype.stores import supervisor
from ferrotype.stores.driver import Health
from ferrotype.testing.client import OCTETS, OWNER, client

DATA = {"content-type": OCTETS}


def entry(store_id, *directories, description=None, weight=0, **options):
    with_priorities = tuple(each if isinstance(each, tuple) else (each, 0) for each in directories)
    return StoreConfig(store_id, "file", description, weight, FileStore(with_priorities, **options))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("stores")
    (directory / "file").write_text("no directory can be below this")
    return directory


@pytest.fixture(scope="module")
def api(directory):
    entries = (
        entry("zeta", directory / "zeta", description="Schnelle Pl\u00e4tze", weight=-3, chunk_size=4096),
        entry("shut", directory / "file" / "shut", description="", weight=7),
        entry("alpha", directory / "alpha", thin_provisioning=True),
        entry("many", (directory / "low", 1), (directory / "high", 9), (directory / "mid", 5)),
    )
    with client(directory, stores=Stores(True, "alpha", entries)) as api:
        yield api


def test_users_see_ids_descriptions_the_default_and_what_is_read_only(api):
    answer = api.get("/v2/info/stores", caller=OWNER)
    assert answer.json == {
        "stores": [  # DISC-30, DISC-31, DISC-32, DISC-33, DISC-34, DISC-36, DISC-152
            {"id": "zeta", "description": "Schnelle Pl\u00e4tze"},  # DISC-45
            {"id": "shut", "read-only": "true"},
            {"id": "alpha", "default": "true"},
            {"id": "many"},
        ]
    }
    assert list(answer.json["stores"][0]) == ["id", "description"]
    for hidden in ("weight", "properties", str(api.application.ctx.config.database.path.parent), "os_glance"):
        assert hidden not in answer.text  # DISC-31, DISC-37


def test_operators_see_types_properties_and_weights_too(api, directory):
    stores = api.get("/v2/info/stores/detail").json["stores"]
    assert [store["id"] for store in stores] == ["zeta", "shut", "alpha", "many"]  # DISC-50
    assert list(stores[0]) == ["id", "description", "type", "properties", "weight"]
    assert list(stores[1]) == ["id", "read-only", "type", "properties", "weight"]
    assert [store["weight"] for store in stores] == [-3, 7, 0, 0]  # DISC-52, DISC-151
    assert {store["type"] for store in stores} == {"file"}  # DISC-51
    assert stores[0]["properties"] == {  # DISC-53, DISC-70, DISC-72, DISC-60, DISC-147
        "data_dir": str(directory / "zeta"),
        "chunk_size": 4096,
        "thin_provisioning": False,
    }
    assert stores[1]["properties"]["data_dir"] == str(directory / "file" / "shut")  # DISC-58
    assert stores[2]["properties"] == {
        "data_dir": str(directory / "alpha"),
        "chunk_size": 65536,
        "thin_provisioning": True,
    }
    assert stores[3]["properties"]["data_dir"] == str(directory / "high")  # DISC-73
    assert stores[3]["properties"]["data_dirs"] == [str(directory / name) for name in ("high", "mid", "low")]


def test_the_stores_header_names_every_store(api):
    made = api.post("/v2/images", json={"disk_format": "raw", "container_format": "bare"}, caller=OWNER)
    assert made.headers["openstack-image-store-ids"] == "zeta,shut,alpha,many"  # DISC-42, HDR-06


@pytest.mark.parametrize(("store_id", "status"), [("zeta", 204), ("alpha", 204), ("shut", 503), ("none", 400)])
def test_uploads_behave_as_discovery_reports(api, store_id, status):
    path = f"/v2/images/{api.image(caller=OWNER)['id']}"
    answer = api.put(f"{path}/file", body=b"x", headers=DATA | {"x-image-meta-store": store_id}, caller=OWNER)
    assert answer.status == status  # DISC-36, DISC-43
    assert api.get(path, caller=OWNER).json.get("stores") == (store_id if status == 204 else None)


def test_a_store_without_its_directory_is_read_only_until_it_returns(api, directory):
    alpha = api.application.ctx.stores.get("alpha")

    def seen():
        api.run(alpha.probe())
        return api.get("/v2/info/stores").json["stores"][2], api.get("/v2/info/stores/detail").json["stores"][2]

    place, aside = directory / "alpha", directory / "aside"
    place.rename(aside)
    place.write_text("a file where the directory was")
    try:
        for shown in seen():
            assert (shown["read-only"], shown["default"]) == ("true", "true")  # DISC-35, DISC-36
        listed = [each["id"] for each in api.get("/v2/info/stores").json["stores"]]
        assert listed == ["zeta", "shut", "alpha", "many"]
    finally:
        place.unlink()
        aside.rename(place)
    for shown in seen():
        assert "read-only" not in shown


class Dead:
    """A backend that never answers anything, as a network file system whose server is gone."""

    properties = MappingProxyType({"fsid": None})
    gone = threading.Event()
    probes = 0

    def __init__(self, store, options, pools):
        self._pools = pools

    async def probe(self):
        Dead.probes += 1
        await self._pools.offload(self.gone.wait)
        return Health(True)

    async def put(self, object, batches, size, noted):
        await self._pools.offload(self.gone.wait)
        raise AssertionError("nothing is put into a store that does not answer")

    async def delete(self, name, handle):
        await self._pools.offload(self.gone.wait)

    def parse(self, url):
        return None


def test_discovery_never_waits_for_a_store(tmp_path, monkeypatch):
    monkeypatch.setitem(stores_module.DRIVERS, "dead", Dead)
    monkeypatch.setattr(supervisor, "PROBE_TIMEOUT", 0.2)
    entries = (StoreConfig("dead", "dead"), entry("fast", tmp_path / "fast"))
    try:
        with client(tmp_path, stores=Stores(True, "fast", entries)) as api:
            stores = api.application.ctx.stores
            with ThreadPoolExecutor(1) as pool:
                try:
                    for _ in range(3):
                        api.run(stores.get("dead").probe())  # It is not asked again as long as it owes an answer.
                        for call in ("import", "stores", "stores/detail", "usage"):
                            # It never answers, so a response proves that the request did not wait for it.
                            asked = pool.submit(api.get, f"/v2/info/{call}")
                            assert asked.result(60).status == 200  # DISC-57, DISC-58
                except TimeoutError:
                    Dead.gone.set()
                    raise
            assert Dead.probes == 1  # DISC-59, DISC-16
            stores.get("fast").supervisor.timeout = 60  # The other store may be as slow as this machine.
            api.run(stores.get("fast").probe())
            dead, fast = api.get("/v2/info/stores/detail").json["stores"]
            assert dead == {  # DISC-36, DISC-58: what only the backend knows is null
                "id": "dead", "read-only": "true", "type": "dead", "properties": {"fsid": None}, "weight": 0,
            }  # fmt: skip
            assert "read-only" not in fast
            image = api.image(b"data")
            assert image["stores"] == "fast"
            path = f"/v2/images/{api.image()['id']}/file"
            answer = api.put(path, body=b"x", headers=DATA | {"x-image-meta-store": "dead"})
            assert answer.status == 503  # IMG-UP-24: it may answer again at any moment
            Dead.gone.set()
            api.run(stores.probe())
            assert "read-only" not in api.get("/v2/info/stores").json["stores"][0]
    finally:
        Dead.gone.set()


def test_the_default_store_may_be_the_one_without_a_description(tmp_path):
    entries = (entry("only", tmp_path / "only"),)
    with client(tmp_path, stores=Stores(True, "only", entries), server=Server(workers=1)) as api:
        assert api.get("/v2/info/stores").json == {
            "stores": [{"id": "only", "default": "true"}]
        }  # DISC-31, DISC-32, DISC-33
