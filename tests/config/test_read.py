"""From files to a checked configuration."""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
from configurations import MANDATORY

from ferrotype.config import Config, ConfigError
from ferrotype.config.cors import Cors
from ferrotype.config.exposure import AS_ROOT
from ferrotype.config.file_store import FileStore
from ferrotype.config.files import sources
from ferrotype.config.http_store import HttpStore
from ferrotype.config.read import examine, read
from ferrotype.config.reload import reloadable_changes
from ferrotype.config.schema import SHIPPED_SCHEMA
from ferrotype.config.stores import StoreConfig
from ferrotype.config.table import TABLE
from ferrotype.model.errors import FerrotypeError

LOCAL = "[database]\nconnection = sqlite:////srv/t.sqlite\n"


def config(tmp_path: Path, text: str, **overrides: Any) -> Config:
    file = tmp_path / "glance-api.conf"
    file.write_text(text)
    return read([file], [], overrides)


def problems(tmp_path: Path, text: str, **overrides: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, text, **overrides)
    return caught.value.problems


def test_without_files_one_local_store_answers_on_loopback(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    found = read([], [], {})
    assert found.stores.multi and found.stores.default == "local"
    (store,) = found.stores.entries
    assert (store.id, store.type, store.description) == ("local", "file", "Local directory")
    assert store.options == FileStore(((tmp_path / "ferrotype" / "images", 0),))
    assert found.database.path == tmp_path / "ferrotype" / "ferrotype.sqlite"
    assert found.database.url == f"sqlite:///{found.database.path}"
    assert (found.server.bind_host, found.server.workers, found.auth.strategy) == ("127.0.0.1", 1, "none")
    assert not list(tmp_path.iterdir()), "reading creates nothing"
    assert set(found.warnings) <= {AS_ROOT}


def test_without_xdg_data_home_data_is_below_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read([], [], {}).database.path == tmp_path / ".local/share/ferrotype/ferrotype.sqlite"


def test_a_relative_xdg_data_home_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read([], [], {}).database.path == tmp_path / ".local/share/ferrotype/ferrotype.sqlite"


TWO_STORES = """
[DEFAULT]
images = {base}/images
enabled_backends = fast:file, slow:file
staging_store = slow
bind_port = 9393
public_endpoint = https://images.example.org
user_storage_quota = 3GB
image_tag_quota = -1
image_size_cap = 9223372036854775808
log_dir = {base}/log
[glance_store]
default_backend = fast
[backend_defaults]
filesystem_store_chunk_size = 1048576
filesystem_store_file_perm = 640
[fast]
store_description = Flash
weight = -5
filesystem_store_datadir = $images/fast
filesystem_store_file_perm = 0400
[slow]
filesystem_store_datadir =
filesystem_store_datadirs = {base}/images/a:10
filesystem_store_datadirs = {base}/images/b
filesystem_thin_provisioning = yes
[database]
connection = postgresql+psycopg2://glance:hunter2@db.example.org:5433/glance?sslmode=require
max_pool_size = 7
[image_format]
disk_formats = raw,qcow2,raw
gpt_safety_checks_nonfatal = mbr
[oslo_middleware]
enable_proxy_headers_parsing = true
[healthcheck]
disable_by_file_path = /etc/glance/healthcheck_disable
[keystone_authtoken]
www_authenticate_uri = https://keystone.example.org/v3
"""


def test_a_configuration_with_two_file_stores_starts(tmp_path):
    found = config(tmp_path, TWO_STORES.format(base=tmp_path))
    fast, slow = found.stores.entries
    # STOR-01, STOR-02, STOR-03, CFG-18, CFG-42..44, CFA-60..65
    assert found.stores.multi and found.stores.default == "fast"
    assert (fast.id, fast.type, fast.description, fast.weight) == ("fast", "file", "Flash", -5)
    # DISC-71
    assert fast.options == FileStore(((tmp_path / "images/fast", 0),), chunk_size=1 << 20, file_perm=0o400)
    # STOR-101, STOR-102: the empty single directory leaves the list
    directories = ((tmp_path / "images/a", 10), (tmp_path / "images/b", 0))
    assert slow.options == FileStore(directories, chunk_size=1 << 20, file_perm=0o640, thin_provisioning=True)
    assert (slow.description, slow.weight) == (None, 0)
    assert found.server.bind_port == 9393 and found.server.public_endpoint == "https://images.example.org"
    assert found.server.proxy_headers  # CFG-66
    assert found.server.healthcheck_disable_file == Path("/etc/glance/healthcheck_disable")
    assert found.limits.user_storage_quota == 3 << 30  # CFG-11
    assert found.limits.image_tag_quota == -1
    assert found.limits.image_size_cap == (1 << 63) - 1  # CFG-10
    assert found.formats.disk_formats == ("raw", "qcow2")
    assert found.formats.gpt_nonfatal == ("mbr",)  # CFG-33
    assert found.database.kind == "postgresql" and found.database.path is None
    assert found.database.url == "postgresql://glance:hunter2@db.example.org:5433/glance?sslmode=require"
    assert found.database.pool_size == 7
    assert 1 <= found.server.workers <= 8
    assert found.auth.www_authenticate_uri == "https://keystone.example.org/v3"
    assert found.logging.file == tmp_path / "log/ferrotype.log"
    assert examine([tmp_path / "glance-api.conf"], [], {}).files == (tmp_path / "glance-api.conf",)


def test_pages_of_other_origins_are_allowed_as_glance_allows_them(tmp_path):
    assert config(tmp_path, LOCAL).cors == Cors(origins=())  # COR-01: off unless an origin is named
    cors = config(tmp_path, LOCAL + "[cors]\nallowed_origin = https://a.example.org,http://b:8080\n").cors
    # CFG-65, COR-01..03
    assert cors.origins == ("https://a.example.org", "http://b:8080")
    assert (cors.allow_credentials, cors.max_age) == (True, 3600)
    assert cors.allow_methods == ("GET", "PUT", "POST", "DELETE", "PATCH")
    assert "X-Auth-Token" in cors.allow_headers and "X-OpenStack-Request-ID" in cors.expose_headers
    text = "[cors]\nallow_credentials = false\nmax_age = 0\nallow_methods = GET\nallow_headers = X-A, X-B\n"
    cors = config(tmp_path, LOCAL + text + "expose_headers =\n").cors
    assert cors == Cors((), False, 0, ("GET",), ("X-A", "X-B"), ())


def test_without_enabled_backends_there_is_one_store_without_a_public_id(tmp_path):
    found = config(tmp_path, f"[glance_store]\nfilesystem_store_datadir = {tmp_path}/i\n" + LOCAL)
    # STOR-11
    assert not found.stores.multi and found.stores.default == "os_glance_default"
    store, external = found.stores.entries
    assert store == StoreConfig("os_glance_default", "file", options=FileStore(((tmp_path / "i", 0),)))
    assert external == StoreConfig("os_glance_http", "http", options=HttpStore())  # CFG-40


def test_a_graceful_timeout_of_zero_is_none_as_in_glance(tmp_path):
    assert (
        config(tmp_path, "[DEFAULT]\ngraceful_shutdown_timeout = 0\n").server.graceful_timeout == math.inf
    )  # CFA-206


def test_the_directory_of_a_store_fits_into_the_database(tmp_path):
    long = "/" + "/".join(["é" * 100] * 4 + ["e" * 95])
    assert len(long.encode()) == 900 and len(long) < 900
    text = "[glance_store]\nfilesystem_store_datadir = "
    config(tmp_path, f"{text}{long}\n{LOCAL}")
    for option in (f"{text}{long}e\n", f"[glance_store]\nfilesystem_store_datadirs = {long}e:1\n"):
        (problem,) = problems(tmp_path, option + LOCAL)  # CFA-208
        assert "has 901 bytes; the database has room for 900" in problem


def test_empty_enabled_backends_are_none_as_in_glance(tmp_path):
    assert not config(tmp_path, f"[DEFAULT]\nenabled_backends =\n{LOCAL}").stores.multi  # CFA-206


def test_old_spellings_of_store_types_are_understood(tmp_path):
    text = "[glance_store]\nstores = glance.store.filesystem.Store, glance.store.http.Store\n"
    assert config(tmp_path, text + "default_store = filesystem\n" + LOCAL).stores.entries[0].type == "file"


def test_deprecated_names_of_options_are_supported(tmp_path):
    found = config(tmp_path, "[DEFAULT]\ndisk_formats = raw\nsql_connection = sqlite:////srv/old.sqlite\n")
    assert found.formats.disk_formats == ("raw",)
    assert found.database.path == Path("/srv/old.sqlite")
    assert any("deprecated; use [image_format] disk_formats" in warning for warning in found.warnings)


def test_later_files_win_and_directories_come_after_files_by_name(tmp_path):
    first, second, directory = tmp_path / "1.conf", tmp_path / "2.conf", tmp_path / "d"
    directory.mkdir()
    first.write_text("[DEFAULT]\nbind_port = 1\napi_limit_max = 1\nlimit_param_default = 1\nimage_tag_quota = 1\n")
    second.write_text("[DEFAULT]\nbind_port = 2\napi_limit_max = 2\nlimit_param_default = 2\n")
    (directory / "b.conf").write_text("[DEFAULT]\nbind_port = 4\n")
    (directory / "a.conf").write_text("[DEFAULT]\nbind_port = 3\napi_limit_max = 3\n")
    (directory / ".hidden.conf").write_text("[DEFAULT]\nbind_port = 5\n")
    (directory / "c.conf.bak").write_text("[DEFAULT]\nbind_port = 6\n")
    reading = examine([first, second], [directory], {})
    found = reading.config
    # CFA-01
    assert (found.server.bind_port, found.api.limit_max, found.api.limit_default) == (4, 3, 2)
    assert found.limits.image_tag_quota == 1
    assert [path.name for path in reading.files] == ["1.conf", "2.conf", "a.conf", "b.conf"]


def test_a_byte_order_mark_before_a_file_is_skipped(tmp_path):
    first, second = tmp_path / "1.conf", tmp_path / "2.conf"
    first.write_bytes(b"\xef\xbb\xbf[DEFAULT]\r\nbind_port = 1\r\nworkers = 2\r\n")
    second.write_text("[DEFAULT]\nbind_port = 3\n")
    reading = examine([first, second], [], {})
    found = reading.config
    assert (found.server.bind_port, found.server.workers) == (3, 2)
    assert reading.files == (first, second)


def test_the_command_line_wins_over_files(tmp_path):
    found = config(tmp_path, "[DEFAULT]\nbind_port = 1\nworkers = 3\n", bind_port=2, workers=None)
    assert (found.server.bind_port, found.server.workers) == (2, 3)


def test_the_environment_wins_over_files(tmp_path, monkeypatch):
    monkeypatch.setenv("OS_DEFAULT__BIND_PORT", "7")
    assert config(tmp_path, "[DEFAULT]\nbind_port = 1\n").server.bind_port == 7  # CFA-03


def test_sections_are_read_in_any_case(tmp_path):
    text = "[Database]\nConnection = x\nconnection = sqlite:////srv/x\n[DEFAULT]\nenabled_backends = Fast:file\n"
    found = config(tmp_path, text + "[Glance_Store]\ndefault_backend = Fast\n[fast]\nfilesystem_store_datadir=/q\n")
    assert found.database.path == Path("/srv/x")
    assert found.stores.entries[0].options == FileStore(((Path("/q"), 0),))
    assert [each for each in found.warnings if "Connection" in each and "unknown" in each]


@pytest.mark.parametrize(
    ("text", "overrides", "host"),
    [
        ("", {}, "127.0.0.1"),
        ("[DEFAULT]\nbind_host = ::1\n", {}, "::1"),
        ("[DEFAULT]\nbind_host = localhost\n", {}, "localhost"),
        ("[DEFAULT]\nbind_host = 0.0.0.0\nallow_unauthenticated_listen = true\n", {}, "0.0.0.0"),
        ("[DEFAULT]\nbind_host = 0.0.0.0\n", {"allow_unauthenticated_listen": True}, "0.0.0.0"),
        ("", {"bind_host": "10.1.2.3", "allow_unauthenticated_listen": True}, "10.1.2.3"),
    ],
)
def test_the_service_listens_where_it_may(tmp_path, text, overrides, host):
    found = config(tmp_path, text, **overrides)
    assert found.server.bind_host == host
    assert found.auth.allow_unauthenticated_listen is ("10.1" in host or host == "0.0.0.0")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "images.example.org"])
def test_without_authentication_only_loopback_is_allowed_unless_overridden(tmp_path, host):
    (problem,) = problems(tmp_path, "", bind_host=host, allow_unauthenticated_listen=False)
    assert "bind_host" in problem and host in problem and "allow_unauthenticated_listen" in problem


STORES = "[glance_store]\ndefault_backend = a\n[a]\nfilesystem_store_datadir = {base}/a\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        # Sizes, counts, names
        ("[DEFAULT]\nlimit_param_default = 0", ["limit_param_default = 0", "1"]),  # CFG-04
        ("[DEFAULT]\napi_limit_max = -1", ["api_limit_max = -1"]),  # CFG-05
        ("[DEFAULT]\nimage_size_cap = lots", ["image_size_cap = lots", "whole number"]),
        ("[DEFAULT]\nimage_size_cap = 0", ["image_size_cap = 0"]),  # CFG-10
        ("[DEFAULT]\nuser_storage_quota = 10 GB", ["user_storage_quota = 10 GB", "TB"]),  # CFG-11, QUO-08
        ("[DEFAULT]\nuser_storage_quota = 1.5GB", ["user_storage_quota"]),
        ("[DEFAULT]\nuser_storage_quota = -1", ["user_storage_quota"]),
        ("[DEFAULT]\nuser_storage_quota = 8388608TB", ["user_storage_quota", "8388607TB"]),
        ("[DEFAULT]\nverify_downloads = true", ["verify_downloads = true", "must be one of streamed, always, never"]),
        ("[DEFAULT]\nhashing_algorithm = crc32", ["hashing_algorithm = crc32", "sha512"]),  # CFG-13
        ("[DEFAULT]\nhashing_algorithm = shake_128", ["hashing_algorithm"]),  # SEC-125
        ("[DEFAULT]\nbind_port = 65536", ["bind_port = 65536", "65535"]),
        ("[DEFAULT]\nworkers = 0", ["workers = 0"]),
        ("[DEFAULT]\nworkers = 257", ["workers = 257", "256"]),
        ("[DEFAULT]\ndebug = perhaps", ["debug = perhaps"]),
        ("[DEFAULT]\npublic_endpoint = images.example.org", ["public_endpoint", "https://"]),
        ("[image_format]\ndisk_formats =", ["disk_formats"]),
        ("[image_format]\ngpt_safety_checks_nonfatal = all", ["gpt_safety_checks_nonfatal", "gptmbr"]),
        # Lists in brackets: DISC-22, CFG-19, CFG-50..52
        ("[DEFAULT]\nenabled_import_methods = glance-direct", ["enabled_import_methods", "brackets"]),
        ("[DEFAULT]\nenabled_import_methods =", ["enabled_import_methods", "brackets"]),
        ("[DEFAULT]\nenabled_import_methods = [glance-direct,web-upload]", ["'web-upload'", "web-download"]),
        ("[import_filtering_opts]\nallowed_ports = 80", ["allowed_ports = 80", "brackets"]),
        ("[import_filtering_opts]\nallowed_ports = [99999]", ["allowed_ports"]),
        ("[import_filtering_opts]\nallowed_hosts = [*.example.org]", ["allowed_hosts", "*.example.org"]),  # CFG-51
        ("[import_filtering_opts]\nallowed_hosts = [10.0.0.0/8]", ["allowed_hosts"]),
        ("[import_filtering_opts]\ndisallowed_hosts = [*.example.org]", ["disallowed_hosts", "no wildcards"]),
        ("[import_filtering_opts]\ndisallowed_hosts = [127.1]", ["disallowed_hosts", "'127.1'"]),
        ("[import_filtering_opts]\ndisallowed_ports = [0]", ["disallowed_ports"]),  # CFG-52
        # The http driver: CFA-110..112
        ("[glance_store]\nhttps_ca_certificates_file = /nowhere", ["https_ca_certificates_file", "cannot be read"]),
        ("[glance_store]\nhttps_ca_certificates_file = {base}/glance-api.conf", ["_file", "no certificate"]),
        ("[glance_store]\nhttp_proxy_information = ftp:p:1", ["http_proxy_information", "scheme:host:port"]),
        ("[glance_store]\nhttp_proxy_information = https:http://u:secret@p:1", ["without user and password"]),
        ("[import_filtering_opts]\nallowed_networks = [10.0.0.0/40]", ["allowed_networks", "10.0.0.0/40"]),
        # Web pages of other origins: SEC-102, RUL-43
        ("[cors]\nallowed_origin = https://a.example.org/", ["allowed_origin", "'https://a.example.org/'"]),
        ("[cors]\nallowed_origin = https://a.example.org, null", ["allowed_origin", "'null'"]),
        ("[cors]\nallowed_origin = *", ["allowed_origin = *", "auth_strategy is none"]),
        ("[cors]\nmax_age = soon", ["max_age = soon"]),
        ("[cors]\nallow_headers = X-A, X B", ["allow_headers"]),
        # What is not here yet
        ("[paste_deploy]\nflavor = keystone+caching", ["auth_type", "usually: password"]),  # CFG-62
        ("[paste_deploy]\nflavor = mine", ["flavor", "auth_strategy"]),
        ("[DEFAULT]\nauth_strategy = noauth", ["auth_strategy = noauth", "none, keystone or http_basic"]),
        ("[DEFAULT]\nuse_keystone_limits = true\n[oslo_limit]\nauth_type = token",
         ["endpoint_id", "endpoint_service_type"]),  # CFA-140, CFG-70
        ("[DEFAULT]\nproperty_protection_file = p.conf", ["property_protection_file"]),  # CFG-24
        # The database
        ("[database]\nconnection = mysql+pymysql://u:hunter2@h/g", ["connection", "MariaDB", "does not support"]),
        ("[database]\nconnection = oracle://u:hunter2@h/g", ["connection", "postgresql://"]),
        ("[database]\nconnection = hunter2", ["connection", "sqlite:///"]),
        ("[database]\nconnection = sqlite://", ["connection", "file"]),
        ("[database]\nconnection = sqlite:///:memory:", ["connection", "file"]),
        ("[database]\nconnection = postgresql://u:$hunter2@h/g", ["connection", "$$"]),
        # One store
        ("[glance_store]\ndefault_store = rbd\nstores = rbd", ["default_store", "rbd", "does not support"]),
        (f"[glance_store]\ndefault_store = swift+https\nstores = swift\n{MANDATORY['swift']}",
         ["default_store", "swift"]),
        ("[glance_store]\nstores = rbd", ["default_store", "stores (rbd)"]),
        ("[glance_store]\nstores = file,tape", ["stores", "'tape'"]),
        ("[DEFAULT]\nstaging_store = file", ["staging_store", "enabled_backends"]),
        ("[DEFAULT]\nnode_staging_uri = file:///i/staging\n[glance_store]\nfilesystem_store_datadir = /i",
         ["node_staging_uri", "/i/staging"]),  # CFA-185
        # Several stores
        ("[DEFAULT]\nenabled_backends = a:file", ["default_backend", "a"]),  # STOR-04
        ("[DEFAULT]\nenabled_backends = a:file\n[glance_store]\ndefault_backend = b", ["default_backend = b"]),
        ("[DEFAULT]\nenabled_backends = a:file\nstaging_store = b\n" + STORES, ["staging_store = b"]),
        ("[DEFAULT]\nenabled_backends = ,\n", ["enabled_backends", "no store"]),
        ("[DEFAULT]\nenabled_backends = a\n" + STORES, ["enabled_backends", "id:type"]),
        ("[DEFAULT]\nenabled_backends = a:file,x:y:z\n" + STORES, ["'x:y:z'"]),
        ("[DEFAULT]\nenabled_backends = a:file, a:file\n" + STORES, ["'a' twice"]),
        ("[DEFAULT]\nenabled_backends = a:file,os_glance_x:file\n[os_glance_x]\nfilesystem_store_datadir=/o\n"
         + STORES, ["os_glance_"]),  # STOR-05, DISC-37
        ("[DEFAULT]\nenabled_backends = a:file,database:file\n" + STORES, ["'database'"]),
        ("[DEFAULT]\nenabled_backends = a:file,log_file:file\n" + STORES, ["'log_file'"]),
        ("[DEFAULT]\nenabled_backends = a:file,A:file\n" + STORES, ["'a' and 'A'"]),
        ("[DEFAULT]\nenabled_backends = a:file,ä:file\n[ä]\nfilesystem_store_datadir=/o\n" + STORES, ["ASCII"]),
        (f"[DEFAULT]\nenabled_backends = a:file,{256 * 's'}:file\n" + STORES, ["at most 255"]),
        ("[DEFAULT]\nenabled_backends = a:file,b:tape\n" + STORES, ["'b'", "'tape'"]),  # STOR-12, DISC-39
        *(
            (f"[DEFAULT]\nenabled_backends = a:file,b:{later}\n[b]\n{MANDATORY.get(later, '')}" + STORES,
             ["'b'", later, "does not support"])  # RUL-89
            for later in ("rbd", "swift", "cinder", "vmware")
        ),
        ("[DEFAULT]\nenabled_backends = a:file,b:file\n[b]\nfilesystem_store_datadir = {base}/a/x/..\n" + STORES,
         ["store a", "store b"]),  # STOR-10
        ("[DEFAULT]\nenabled_backends = a:file,b:file\n[b]\nfilesystem_store_datadir = {base}/a/b\n" + STORES,
         ["contains", "store b"]),
        ("[DEFAULT]\nenabled_backends = a:file,b:file\n[b]\nfilesystem_store_datadirs = {base}:1\n" + STORES,
         ["lies inside", "store b"]),
        ("[DEFAULT]\nenabled_backends = a:file\nimage_cache_dir = {base}/a/cache\n" + STORES, ["image_cache_dir"]),
        ("[DEFAULT]\nenabled_backends = a:file\n[os_glance_staging_store]\nfilesystem_store_datadir = {base}/a\n"
         + STORES, ["os_glance_staging_store"]),
        # The file driver: STOR-101..103
        ("[glance_store]\nfilesystem_store_datadir = /a\nfilesystem_store_datadirs = /b", ["datadirs", "both"]),
        ("[glance_store]\nfilesystem_store_datadir =", ["filesystem_store_datadir", "empty"]),
        ("[glance_store]\nfilesystem_store_datadirs = /b:high", ["'/b:high'", "priority"]),
        ("[glance_store]\nfilesystem_store_datadirs = /b:1\nfilesystem_store_datadirs = /b:2", ["two priorities"]),
        ("[glance_store]\nfilesystem_store_datadirs = /b\nfilesystem_store_datadirs = /b/c", ["contains"]),
        ("[glance_store]\nfilesystem_store_file_perm = 240", ["file_perm = 240", "owner"]),
        ("[glance_store]\nfilesystem_store_file_perm = 680", ["file_perm = 680", "octal"]),
        ("[glance_store]\nfilesystem_store_chunk_size = 0", ["chunk_size = 0"]),
        ("[glance_store]\nfilesystem_store_datadir = {base}/glance-api.conf", ["not a directory"]),
        ("[oslo_middleware]\ntrusted_proxies = 10.1.0.1/24", ["trusted_proxies", "networks", "host bits"]),
        # The files themselves
        ("bind_port = 1", ["glance-api.conf:1", "section"]),
        ("[DEFAULT]\nbind_port\n", ["glance-api.conf:2"]),
    ],
)  # fmt: skip
def test_an_invalid_value_prevents_the_start_with_one_sentence(tmp_path, text, named):
    found = problems(tmp_path, text.replace("{base}", str(tmp_path)))
    assert len(found) == 1, found  # CFA-205
    assert all(word in found[0] for word in named), found
    assert found[0].endswith(".") and "\n" not in found[0]
    assert "hunter2" not in "".join(found)  # CFA-07


def test_all_problems_are_reported_at_once(tmp_path):
    text = "[DEFAULT]\nworkers = x\nhashing_algorithm = y\n[paste_deploy]\nflavor = keystone\n"
    assert len(problems(tmp_path, text)) == 3


def test_two_stores_may_not_share_a_directory_through_a_link(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    text = "[DEFAULT]\nenabled_backends = a:file,b:file\n[b]\nfilesystem_store_datadir = {base}/link\n" + STORES
    (problem,) = problems(tmp_path, text.replace("{base}", str(tmp_path)))  # STOR-10
    assert "also used by" in problem


def test_directories_with_a_common_beginning_are_not_nested(tmp_path):
    text = "[DEFAULT]\nenabled_backends = a:file,b:file\n[b]\nfilesystem_store_datadir = {base}/a2\n" + STORES
    assert len(config(tmp_path, text.replace("{base}", str(tmp_path))).stores.entries) == 2  # STOR-73


def test_missing_files_and_directories_are_named(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read([tmp_path / "no.conf"], [tmp_path / "no.d"], {})
    assert len(caught.value.problems) == 2
    assert "no.conf" in str(caught.value) and "no.d" in str(caught.value)


def test_no_import_method_runs_whatever_the_configuration_enables(tmp_path):
    found = config(tmp_path, "[DEFAULT]\nenabled_import_methods = ['copy-image', web-download]\n")
    assert found.api.import_methods == ()  # DISC-24, DISC-21
    assert any("enabled_import_methods" in warning for warning in found.warnings)
    quiet = config(tmp_path, "[DEFAULT]\nenabled_import_methods = []\n")  # DISC-23
    assert not any("enabled_import_methods" in warning for warning in quiet.warnings)


def test_unknown_and_removed_options_are_warnings_and_stop_nothing(tmp_path):
    text = "[DEFAULT]\nbind_prot = 1\nregistry_host = 0.0.0.0\nmine = /srv\nlog_dir = $mine/log\n"
    found = config(tmp_path, text)  # CFA-05
    where = tmp_path / "glance-api.conf"
    assert f"{where}:2: [DEFAULT] bind_prot is unknown and has no effect." in found.warnings
    assert any(r.startswith(f"{where}:3: [DEFAULT] registry_host was removed") for r in found.warnings)
    assert not any("mine is unknown" in warning for warning in found.warnings)
    assert found.logging.file == Path("/srv/log/ferrotype.log")


def test_values_may_continue_on_the_next_line(tmp_path):
    text = "[DEFAULT]\nenabled_backends = a:file,\n  b:file\nbogus = 1\n[b]\nfilesystem_store_datadir = /b\n" + STORES
    found = config(tmp_path, text.replace("{base}", str(tmp_path)))
    assert [store.id for store in found.stores.entries] == ["a", "b"]
    assert any(":4: [DEFAULT] bogus" in warning for warning in found.warnings)


def test_a_keystone_section_without_keystone_is_a_warning(tmp_path):
    found = config(tmp_path, "[keystone_authtoken]\nauth_url = https://k\npassword = hunter2\n")
    assert any("authentication is disabled" in warning for warning in found.warnings)
    assert not any("hunter2" in warning for warning in found.warnings)


def test_an_old_name_writes_no_warning_of_its_own(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        config(tmp_path, "[DEFAULT]\nlogfile = /x\n[keystone_authtoken]\nmemcache_servers = a\n")
    assert caplog.records == []


def test_policy_files_are_looked_for_beside_the_configuration(tmp_path):
    found = config(tmp_path, "").policy  # CFG-61
    assert (found.file, found.dirs) == (tmp_path / "policy.yaml", (tmp_path / "policy.d",))
    (tmp_path / "policy.json").write_text("{}")
    assert config(tmp_path, "").policy.file == tmp_path / "policy.json"
    (tmp_path / "p.yaml").touch()
    named = config(tmp_path, "[oslo_policy]\npolicy_file = p.yaml\npolicy_dirs = a\npolicy_dirs = b\n").policy
    assert (named.file, named.dirs) == (tmp_path / "p.yaml", (tmp_path / "a", tmp_path / "b"))


def test_of_a_policy_directory_only_the_first_place_counts_where_it_is(tmp_path):
    for name in ("one", "two", "two/policy.d"):
        (tmp_path / name).mkdir()
    files = [tmp_path / name / "api.conf" for name in ("one", "two")]
    for file in files:
        file.write_text("")
    assert read(files, [], {}).policy.dirs == (tmp_path / "two" / "policy.d",)  # POL-26
    (tmp_path / "one" / "policy.d").mkdir()
    assert read(files, [], {}).policy.dirs == (tmp_path / "one" / "policy.d",)


@pytest.mark.parametrize(
    ("document", "properties", "required"),
    [
        ('{"colour": {"type": "string"}}', {"colour": {"type": "string"}}, ()),
        ('{"properties": {"n": {"type": "integer"}}, "required": ["n"]}', {"n": {"type": "integer"}}, ("n",)),
        ("{}", {}, ()),
    ],
)
def test_the_schema_file_beside_the_configuration_is_used(tmp_path, document, properties, required):
    (tmp_path / "schema-image.json").write_text(document)
    found = config(tmp_path, "")
    assert (found.api.schema_properties, found.api.schema_required) == (properties, required)  # SCH-20, SCH-23


def test_without_a_schema_file_glances_default_is_used(tmp_path):
    found = config(tmp_path, "").api.schema_properties
    assert found is SHIPPED_SCHEMA  # SCH-21
    assert list(found) == [
        "kernel_id",
        "ramdisk_id",
        "instance_uuid",
        "architecture",
        "os_distro",
        "os_version",
        "description",
        "cinder_encryption_key_id",
        "cinder_encryption_key_deletion_policy",
    ]


@pytest.mark.parametrize(
    "document", ["[]", "{", '{"a": 1}', '{"properties": [], "required": []}', '{"properties": {}, "required": "a"}',
                 '{"min_disk": {"type": "string"}}', '{"properties": {"owner": {}}}', '{"a": {"pattern": "("}}',
                 '{"a": {"pattern": 5}}', '{"a": {"type": "words"}}', '{"a": {"type": "array", "items": 7}}'],
)  # fmt: skip
def test_an_invalid_schema_file_stops_the_start(tmp_path, document):
    (tmp_path / "schema-image.json").write_text(document)
    (problem,) = problems(tmp_path, "")  # SCH-20
    assert "schema-image.json" in problem


def test_an_environment_variable_can_name_the_files(tmp_path):
    (tmp_path / "d").mkdir()
    named = {"FERROTYPE_CONFIG_FILE": f"{tmp_path}/a.conf:{tmp_path}/d"}
    assert sources([], [], named) == ((tmp_path / "a.conf",), (tmp_path / "d",))
    assert sources([tmp_path / "b.conf"], [], named) == ((tmp_path / "b.conf",), ())
    assert sources([], [], {}) == ((), ())


CHANGED = {
    "limit_param_default": "3", "api_limit_max": "4", "image_size_cap": "5", "user_storage_quota": "6",
    "image_property_quota": "7", "image_tag_quota": "8", "image_member_quota": "9", "image_count_quota": "10",
    "image_location_quota": "11",
    "hashing_algorithm": "sha256", "verify_downloads": "never", "disk_formats": "raw", "container_formats": "bare",
    "enforce_new_defaults": "false", "enforce_scope": "false",
    "require_image_format_match": "false", "gpt_safety_checks_nonfatal": "mbr",
    "allowed_origin": "https://dashboard.example.org", "allow_credentials": "false", "max_age": "9",
    "scrub_time": "9", "policy_file": "rules.yaml",
}  # fmt: skip


@pytest.mark.parametrize("option", [o for o in TABLE.options if o.reloadable], ids=lambda o: o.name)
def test_a_reloadable_option_takes_effect_after_sighup(tmp_path, option):
    (tmp_path / "rules.yaml").touch()
    old = config(tmp_path, LOCAL)
    new = config(tmp_path, f"{LOCAL}[{option.section}]\n{option.name} = {CHANGED.get(option.name, 'true')}\n")
    assert new != old
    assert reloadable_changes(old, new) == (new, ())  # CFA-04


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[DEFAULT]\nbind_port = 1\n", "[DEFAULT] bind_port"),
        ("[DEFAULT]\nworkers = 2\n", "[DEFAULT] workers"),
        ("[DEFAULT]\nbind_host = ::1\n", "[DEFAULT] bind_host"),
        ("[DEFAULT]\nlog_file = /x\n", "[DEFAULT] log_file"),
        ("[DEFAULT]\ndelayed_delete = true\n", "[DEFAULT] delayed_delete"),
        ("[DEFAULT]\nallow_unauthenticated_listen = true\n", "[DEFAULT] allow_unauthenticated_listen"),
        ("[database]\nconnection = sqlite:////srv/other\n", "[database] connection"),
        ("[glance_store]\nfilesystem_store_datadir = /other\n", "list of stores"),
    ],
)
def test_a_change_that_needs_a_restart_is_reported_and_not_applied(tmp_path, text, named):
    old = config(tmp_path, LOCAL)
    after, needs_restart = reloadable_changes(old, config(tmp_path, LOCAL + text + "[DEFAULT]\napi_limit_max = 5\n"))
    assert len(needs_restart) == 1 and named in needs_restart[0] and "restart" in needs_restart[0]
    assert after.server == old.server and after.database == old.database and after.stores == old.stores
    assert after.api.limit_max == 5


def test_an_invalid_configuration_is_a_ferrotype_error(tmp_path):
    with pytest.raises(FerrotypeError, match="workers"):
        config(tmp_path, "[DEFAULT]\nworkers = 0\n")
