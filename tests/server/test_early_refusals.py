"""The answer to an upload that is refused at once reaches the client, whatever is between the two."""

import contextlib
import grp
import os
import pwd
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from needs import need
from sample_app import eventually

from ferrotype.testing.callers_process import KeepAliveClient, served_to_callers
from ferrotype.testing.process import Served, free_port

TOKEN = "ann.p1.member-reader"
OCTETS = "application/octet-stream"
#: Enough that no socket buffer takes all of it.
SIZE = 32 << 20

NGINX = """
daemon off; user {user} {group}; worker_processes 1; pid {home}/pid; error_log {home}/errors;
events {{ worker_connections 64; }}
http {{
    access_log off; client_max_body_size 0; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{service}; proxy_http_version 1.1; proxy_request_buffering {buffering};
        }}
    }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 60s
    timeout client 60s
    timeout server 60s
listen images
    bind 127.0.0.1:{port}
    server one 127.0.0.1:{service}
"""
FETCH = """
const [, url, file, token, rounds] = process.argv, headers = {"content-type": "application/octet-stream"};
if (token) headers["x-auth-token"] = token;
const body = require("fs").readFileSync(file);
(async () => {
  for (let i = 0; i < rounds; i++)
    await fetch(url, {method: "PUT", body, headers})
      .then(async answer => { await answer.text(); return answer.status })
      .catch(error => error.cause?.code ?? error.message).then(console.log);
})();
"""
REQUEST = """
const [, url, file, token, rounds] = process.argv, headers = {"content-type": "application/octet-stream"};
if (token) headers["x-auth-token"] = token;
const body = require("fs").readFileSync(file), http = require("http");
headers["content-length"] = body.length;
(async () => {
  for (let i = 0; i < rounds; i++)
    console.log(await new Promise(end => {
      const request = http.request(url, {method: "PUT", headers}, answer => {
        answer.resume(); answer.on("end", () => end(answer.statusCode));
      });
      request.on("error", error => end(error.code));
      request.end(body);
    }));
})();
"""
GO = """
package main

import (
    "bytes"
    "fmt"
    "io"
    "net/http"
    "os"
    "strconv"
)

func main() {
    data, _ := os.ReadFile(os.Args[2])
    rounds, _ := strconv.Atoi(os.Args[4])
    for i := 0; i < rounds; i++ {
        request, _ := http.NewRequest("PUT", os.Args[1], bytes.NewReader(data))
        request.Header.Set("Content-Type", "application/octet-stream")
        if os.Args[3] != "" {
            request.Header.Set("X-Auth-Token", os.Args[3])
        }
        answer, err := http.DefaultClient.Do(request)
        if err != nil {
            fmt.Printf("%q\\n", err.Error())
            continue
        }
        io.Copy(io.Discard, answer.Body)
        answer.Body.Close()
        fmt.Println(answer.StatusCode)
    }
}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "disk.raw"
    file.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    return file


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_to_callers(tmp_path_factory.mktemp("service"), options=f"image_size_cap = {SIZE - 1}") as service:
        yield service


@pytest.fixture(scope="module", params=["direct", "nginx", "nginx without buffering", "haproxy"])
def port(request: pytest.FixtureRequest, service: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port to ask: the service's own, or that of a proxy in front of it."""
    if request.param == "direct":
        yield service.port
        return
    home, port = tmp_path_factory.mktemp("proxy"), free_port()
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    program = str(request.param).partition(" ")[0]
    text = (NGINX if program == "nginx" else HAPROXY).format(
        home=home, port=port, service=service.port, buffering="off" if "without" in request.param else "on",
        user=user, group=group,
    )  # fmt: skip
    (home / "settings").write_text(text)
    words = ["-c", "settings", "-p", str(home)] if program == "nginx" else ["-db", "-f", "settings"]
    process = subprocess.Popen([need(program), *words], cwd=home)
    try:
        eventually(lambda: answers(port))
        yield port
    finally:
        process.terminate()
        process.wait(60)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60):
        return True
    return False


@pytest.fixture(scope="module")
def refusals(service: Served) -> dict[int, tuple[str, str]]:
    """Path and token of uploads that are refused before their data are read, by the status."""
    document = {"disk_format": "raw", "container_format": "bare"}
    with KeepAliveClient(service.port) as ask:
        queued, active = (ask("POST", "/v2/images", TOKEN, json=document).json["file"] for _ in range(2))
        assert ask("PUT", active, TOKEN, body=b"data", headers={"Content-Type": OCTETS}).status == 204
    unknown = "/v2/images/00000000-0000-4000-8000-000000000000/file"
    return {401: (queued, ""), 404: (unknown, TOKEN), 409: (active, TOKEN), 413: (queued, TOKEN)}


def curl(url: str, file: Path, token: str, rounds: int) -> list[str]:
    words = ["--silent", "--output", os.devnull, "--write-out", "%{http_code}", "--upload-file", str(file)]
    words += ["--header", f"Content-Type: {OCTETS}", "--header", "Expect:", url]
    words += ["--header", f"X-Auth-Token: {token}"] if token else []
    return [
        subprocess.run([need("curl"), *words], capture_output=True, text=True, check=False).stdout
        for _ in range(rounds)
    ]


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program that uploads as Go's net/http does."""
    home = tmp_path_factory.mktemp("go")
    (home / "upload.go").write_text(GO)
    environment = {**os.environ, "GOCACHE": str(home / "cache"), "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    subprocess.run([need("go"), "build", "upload.go"], cwd=home, env=environment, check=True)
    return str(home / "upload")


def lines(words: Sequence[str | Path]) -> list[str]:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


# RUL-72
@pytest.mark.slow
@pytest.mark.parametrize("client", ["curl", "fetch of Node", "http of Node", "Go"])
@pytest.mark.parametrize("status", [401, 404, 409, 413])
def test_an_early_refusal_reaches_the_client(
    request: pytest.FixtureRequest,
    port: int,
    refusals: dict[int, tuple[str, str]],
    status: int,
    client: str,
    file: Path,
) -> None:
    rounds = request.config.getoption("--refusal-rounds")
    path, token = refusals[status]
    url = f"http://127.0.0.1:{port}{path}"
    if client == "curl":
        seen = curl(url, file, token, rounds)
    elif client == "Go":
        seen = lines([request.getfixturevalue("go"), url, str(file), token, str(rounds)])
    else:
        script = FETCH if client.startswith("fetch") else REQUEST
        seen = lines([need("node"), "--eval", script, "--", url, str(file), token, str(rounds)])
    # Go stops reading when it cannot send, and nginx without buffering closes then: about one answer in 200 is lost.
    lost = max(1, rounds // 100) if client == "Go" else 0
    assert len(seen) == rounds and Counter(seen)[str(status)] >= rounds - lost, seen
