"""nginx and HAProxy with TLS, as ``contrib`` configures them, in front of a real service."""

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from distributions import run
from needs import need
from samples import adapted

from ferrotype.testing.process import Served, free_port, served

pytestmark = pytest.mark.slow

NAME = "images.example.org"
OPTIONS = """
[DEFAULT]
bind_host = 127.0.0.1
allow_unauthenticated_listen = true
[oslo_middleware]
enable_proxy_headers_parsing = true
"""
BINARY = ("--header", "Content-Type: application/octet-stream")
MIB = 1 << 20


class Proxy(NamedTuple):
    """A proxy in front of a service. ``url`` is where clients find it."""

    url: str
    service: Served
    certificate: Path

    def command(self, *words: object) -> list[object]:
        """Return a curl command that knows the proxy by its public name."""
        address = self.url.removeprefix("https://")
        known = ["--cacert", self.certificate, "--resolve", f"{address}:127.0.0.1"]
        return ["curl", "--silent", "--show-error", "--fail", *known, *words]

    def curl(self, *words: object) -> str:
        return run(self.command(*words))

    def create(self) -> str:
        """Create an image and return its URL."""
        body = '{"disk_format": "raw", "container_format": "bare"}'
        made = json.loads(self.curl("--json", body, f"{self.url}/v2/images"))
        return f"{self.url}/v2/images/{made['id']}"


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    program, openssl = need(request.param), need("openssl")
    need("curl")
    home = tmp_path_factory.mktemp("proxy")
    subject = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-days", "2"]
    pair = ["-keyout", home / "key", "-out", home / "certificate"]
    run([openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *subject, *pair])
    (home / "both").write_text((home / "certificate").read_text() + (home / "key").read_text())
    (home / "ferrotype.conf").write_text(OPTIONS)
    with served(home / "service", "--config-file", str(home / "ferrotype.conf")) as service:
        port = free_port()
        command = [program, *{"nginx": nginx, "haproxy": haproxy}[request.param](home, port, service.port)]
        with (home / "proxy.log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            found = Proxy(f"https://{NAME}:{port}", service, home / "certificate")
            wait_until_it_answers(found, process, home / "proxy.log")
            yield found
        finally:
            process.terminate()
            process.wait(30)


def wait_until_it_answers(proxy: Proxy, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 60
    while subprocess.run(list(map(str, proxy.command(f"{proxy.url}/healthcheck"))), check=False).returncode:
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def nginx(home: Path, port: int, upstream: int) -> list[object]:
    """Write the configuration and return the arguments of nginx."""
    changes = {
        "listen 443": f"listen 127.0.0.1:{port}",
        "    listen [::]:443 ssl;\n": "",
        f"/etc/ssl/certs/{NAME}.pem": home / "certificate",
        f"/etc/ssl/private/{NAME}.key": home / "key",
        "127.0.0.1:9292": f"127.0.0.1:{upstream}",
    }
    (home / "sample.conf").write_text(adapted("nginx.conf", changes))
    places = "".join(
        f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.getuid() == 0 else ""
    (home / "main.conf").write_text(
        f"{user} daemon off; pid {home}/pid; error_log stderr; worker_processes 1; events {{}}"
        f"http {{ access_log off; {places} include {home}/sample.conf; }}"
    )
    return ["-c", home / "main.conf", "-p", home, "-e", "stderr"]


def haproxy(home: Path, port: int, upstream: int) -> list[object]:
    """Write the configuration and return the arguments of HAProxy."""
    changes = {
        "bind :443": f"bind 127.0.0.1:{port}",
        f"/etc/haproxy/{NAME}.pem": home / "both",
        "127.0.0.1:9292": f"127.0.0.1:{upstream}",
    }
    (home / "haproxy.cfg").write_text(adapted("haproxy.cfg", changes))
    return ["-db", "-f", home / "haproxy.cfg"]


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_large_images_pass_through_the_proxy_both_ways(proxy: Proxy, tmp_path: Path, chunked: bool) -> None:
    data = os.urandom(64 * MIB)
    (tmp_path / "disk").write_bytes(data)
    image = proxy.create()
    length = ("--header", "Transfer-Encoding: chunked") if chunked else ()
    proxy.curl("--upload-file", tmp_path / "disk", *BINARY, *length, f"{image}/file")
    shown = json.loads(proxy.curl(image))
    assert (shown["status"], shown["os_hash_value"]) == ("active", hashlib.sha512(data).hexdigest())
    proxy.curl("--output", tmp_path / "copy", f"{image}/file")
    assert (tmp_path / "copy").read_bytes() == data
    proxy.curl("--output", tmp_path / "part", "--range", f"{MIB}-{2 * MIB - 1}", f"{image}/file")
    assert (tmp_path / "part").read_bytes() == data[MIB : 2 * MIB]


def test_the_service_receives_an_upload_while_the_client_sends_it(proxy: Proxy) -> None:
    image = proxy.create()
    command = list(map(str, proxy.command("--upload-file", "-", *BINARY, f"{image}/file")))
    with subprocess.Popen(command, stdin=subprocess.PIPE) as upload:
        assert upload.stdin
        upload.stdin.write(bytes(MIB))
        upload.stdin.flush()
        end = time.monotonic() + 20
        while json.loads(proxy.curl(image))["status"] != "saving":
            assert time.monotonic() < end, "the proxy collects the upload before it passes it on"
            time.sleep(0.05)
        upload.stdin.write(bytes(MIB))
    assert upload.returncode == 0
    assert json.loads(proxy.curl(image))["size"] == 2 * MIB


def test_lists_and_their_pages_work_through_the_proxy(proxy: Proxy) -> None:
    made = {proxy.create().rpartition("/")[2] for _ in range(3)}
    found, path = set(), "/v2/images?limit=1"
    while path:
        page = json.loads(proxy.curl(f"{proxy.url}{path}"))
        found |= {each["id"] for each in page["images"]}
        path = page.get("next", "")
    assert made <= found


@pytest.mark.parametrize(
    "header",
    [
        "X-Nothing: here",
        "X-Forwarded-Host: evil.example.org",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Prefix: /evil",
        "Forwarded: host=evil.example.org;proto=http",
    ],
)
def test_version_links_have_the_public_address_whatever_a_client_claims(proxy: Proxy, header: str) -> None:
    versions = json.loads(proxy.curl("--header", header, f"{proxy.url}/"))["versions"]
    assert {link["href"] for each in versions for link in each["links"]} == {f"{proxy.url}/v2/"}
