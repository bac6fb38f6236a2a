"""The access log: one line per request, no log injection, no secrets."""

import http.client
import logging
import re
import socket
import time

import pytest

from ferrotype.logs import OneLine
from ferrotype.testing.callers_process import KeepAliveClient
from ferrotype.testing.client import OCTETS, OWNER, STRANGER
from ferrotype.testing.process import served

CANARY = "canary-5f3a"
LINE = re.compile(r"(\S+) (\S+) (\S+) (\S+) (\S+) (\d+) (\d+) (\d+\.\d)")


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "ferrotype.access")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "ferrotype.access"]


def test_a_line_has_caller_request_and_outcome(api, lines):
    image = api.image(b"0123456789", caller=OWNER)
    path = image["file"]
    asked = [
        ("GET", path, OWNER, {}, 200, 10), ("HEAD", path, OWNER, {}, 200, 0), ("GET", path, STRANGER, {}, 404, None),
        ("GET", path, OWNER, {"range": "bytes=1-3"}, 206, 3), ("GET", "/", OWNER, {}, 300, None),
        ("OPTIONS", path, OWNER, {}, 200, 0), ("PUT", path, OWNER, {}, 415, None),
        ("DELETE", image["self"], OWNER, {}, 204, 0),
    ]  # fmt: skip
    for method, path, caller, headers, status, sent in asked:
        before = len(lines())
        answer = api.request(method, path, caller=caller, headers={"x-openstack-request-id": "mine"} | headers)
        assert answer.status == status
        (line,) = lines()[before:]
        request_id, user, project, *rest = LINE.fullmatch(line).groups()
        assert request_id == "req-mine"
        known = (caller.user, caller.project) if path.startswith("/v2") and method != "OPTIONS" else ("-", "-")
        assert (user, project) == known
        assert rest[:3] == [method, path, str(status)]
        assert int(rest[3]) == (len(answer.body) if sent is None else sent)


def test_a_client_that_disconnects_is_logged(api, lines):
    path = f"/v2/images/{api.image(caller=OWNER)['id']}/file"
    before = len(lines())
    api.put(path, body=[b"half"], headers={"content-type": OCTETS}, disconnect=True, caller=OWNER)
    assert [LINE.fullmatch(line)[6] for line in lines()[before:]] == ["400"]


ODD = ["\n2026-01-01 CRITICAL fake", "\r\n", "\x1b[31mred", "\x00", "\u2028", "\x85", "\u202e", "\udcff", "\x7f"]


@pytest.mark.parametrize("odd", ODD)
def test_a_message_stays_on_one_line(odd):
    formatter = OneLine("%(levelname)s %(message)s")
    record = logging.makeLogRecord({"levelname": "INFO", "msg": "image %s", "args": (f"a{odd}b",)})
    line = formatter.format(record)
    assert line.isprintable() and line.startswith("INFO image a") and line.endswith("b")  # SEC-116
    assert formatter.format(logging.makeLogRecord({"msg": "x" * (1 << 20)})).count("x") < 10_000
    try:
        raise ValueError(f"about a{odd}b")
    except ValueError as error:
        trace = logging.makeLogRecord({"msg": "failed", "exc_info": (type(error), error, None)})
    _, *others = formatter.format(trace).split("\n")
    assert others and all(line.startswith("    ") and line.isprintable() for line in others)


@pytest.mark.parametrize("odd", ODD[:-2])
def test_log_injection_is_escaped(api, lines, odd):
    quoted = "".join(f"%{byte:02x}" for byte in odd.encode())
    before = len(lines())
    api.get(f"/v2/images/a{quoted}b")
    api.get("/v2/images", headers={"x-openstack-request-id": "a\nb"})
    api.post("/v2/images", json={"name": odd})
    api.get("/" + "x" * 10_000)
    new = lines()[before:]
    assert len(new) == 4 and all(line.isprintable() and len(line) < 700 for line in new)  # SEC-116


def test_no_secret_is_logged_and_no_line_is_forged(tmp_path):
    (tmp_path / "t.conf").write_text(
        f"[DEFAULT]\ndebug = true\n[database]\nconnection = sqlite:///{tmp_path}/t.sqlite\n"
        f"[glance_store]\nfilesystem_store_datadir = {tmp_path}/images\n"
    )
    with served(tmp_path, "--config-file", str(tmp_path / "t.conf")) as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)

        def ask(method, path, body=None, **headers):
            sent = {"X-Auth-Token": CANARY, "X-Service-Token": CANARY, "Authorization": CANARY, "Cookie": CANARY}
            connection.request(method, path, body, sent | headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

        forged = f"%0a2026-01-01 00:00:00,000 1 CRITICAL root forged {CANARY}"
        _, made = ask("POST", "/v2/images", b'{"name": "\\n2026 CRITICAL forged", "disk_format": "raw",'
                      b' "container_format": "bare"}')  # fmt: skip
        path = re.search(rb'"self":"([^"]+)"', made)[1].decode()
        ask("PUT", f"{path}/file", b"data", **{"Content-Type": OCTETS})
        ask("GET", f"{path}/file?temp_url_sig={CANARY}")
        ask("GET", f"/v2/images?name={CANARY}&x={forged.replace(' ', '%20')}")
        ask("GET", forged.replace(" ", "%20").replace(CANARY, "x").join(("/v2/images/", "")))
        url = f'{{"url": "http://user:{CANARY}@example.org/x?sig={CANARY}"}}'.encode()
        assert ask("POST", f"{path}/locations", url)[0] in (400, 403, 409)
        ask(
            "POST",
            f"{path}/import",
            f'{{"method": {{"name": "web-download", "uri": "http://u:{CANARY}@h/"}}}}'.encode(),
        )
        patch = (
            f'[{{"op": "add", "path": "/locations/-", "value": {{"url": "http://u:{CANARY}@h/", "metadata": {{}}}}}}]'
        )
        ask("PATCH", path, patch.encode(), **{"Content-Type": "application/openstack-images-v2.1-json-patch"})
        for file in (tmp_path / "images").glob("[!.]*"):
            file.unlink()
        assert ask("GET", f"{path}/file")[0] == 503
        connection.close()
    log = service.log.read_text()
    assert log.count(" ferrotype.access ") >= 9
    assert CANARY not in log  # SEC-115
    assert not [line for line in log.splitlines() if line.startswith("2026-01-01") or " CRITICAL " in line]  # SEC-116


def test_an_aborted_download_is_logged_with_the_bytes_sent(tmp_path):
    size = 64 << 20
    with served(tmp_path) as service:
        with KeepAliveClient(service.port) as ask:
            image = ask("POST", "/v2/images", json={"disk_format": "raw", "container_format": "bare"}).json
            assert (
                ask("PUT", f"{image['self']}/file", headers={"content-type": OCTETS}, body=bytes(size)).status == 204
            )
        with socket.create_connection(("127.0.0.1", service.port)) as reader:
            reader.sendall(f"GET {image['self']}/file HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert reader.recv(4096)
        end = time.monotonic() + 60
        while not (found := re.findall(r" GET \S+/file 200 (\d+) \d+\.\d aborted\n", service.log.read_text())):
            assert time.monotonic() < end
            time.sleep(0.02)
    assert 0 < int(found[0]) < size
