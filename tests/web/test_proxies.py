"""URLs in responses behind a proxy, and forged proxy headers."""

import pytest

from ferrotype.config.server import Server
from ferrotype.testing.client import client

TOLD = {"x-forwarded-proto": "https", "x-forwarded-host": "images.example.org", "x-forwarded-prefix": "/image"}


@pytest.fixture(scope="module", params=[False, True], ids=["direct", "behind a proxy"])
def api(request, tmp_path_factory):
    with client(tmp_path_factory.mktemp("proxy"), server=Server(proxy_headers=request.param)) as api:
        yield api


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    with client(tmp_path_factory.mktemp("behind"), server=Server(proxy_headers=True)) as api:
        yield api


def link(api, headers):
    return api.get("/versions", headers=headers).json["versions"][0]["links"][0]["href"]


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        (TOLD, "https://images.example.org/image"),
        ({"forwarded": 'for=1.2.3.4;proto=https;host="images.example.org:8443"'}, "https://images.example.org:8443"),
        ({"forwarded": "Proto=https; Host=a.example.org, host=b.example.org"}, "https://a.example.org"),
        (TOLD | {"forwarded": "host=b.example.org;proto=http"}, "http://b.example.org/image"),
        ({"x-forwarded-proto": "https"}, "https://127.0.0.1:9292"),
        ({"x-forwarded-host": "a.example.org, proxy.internal"}, "http://a.example.org"),
        ({"x-forwarded-prefix": "image/"}, "http://127.0.0.1:9292/image"),
        ({"x-forwarded-prefix": "/a/b"}, "http://127.0.0.1:9292/a/b"),
    ],
)
def test_proxy_headers_count_if_enabled(api, headers, base):
    believed = api.application.ctx.config.server.proxy_headers
    base = base if believed else "http://127.0.0.1:9292"
    assert link(api, headers) == f"{base}/v2/"  # VER-05, PRX-01, PRX-02, CFG-66, SEC-101
    made = api.post("/v2/images", json={}, headers=headers)
    assert made.headers["location"] == f"{base}/v2/images/{made.json['id']}"  # HDR-05
    assert made.json["self"] == f"/v2/images/{made.json['id']}"  # PRX-02, NEG-06
    page = api.get("/v2/images?limit=1", headers=headers).json
    assert page["first"] == "/v2/images?limit=1" and page["schema"] == "/v2/schemas/images"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-host": "evil/path"}, {"x-forwarded-host": "user@evil"},
        {"x-forwarded-host": "a\r\nset-cookie: b"},
        {"x-forwarded-host": '"><script>'}, {"x-forwarded-host": "\u00e9"}, {"x-forwarded-host": ""},
        {"x-forwarded-proto": "javascript"}, {"x-forwarded-proto": ""}, {"forwarded": "host="},
        {"forwarded": ";;=;,"}, {"x-forwarded-prefix": "//evil.example.org/?"}, {"x-forwarded-prefix": "/a b"},
        {"x-forwarded-prefix": "/a\r\nx: y"}, {"x-forwarded-prefix": "/"}, {"x-forwarded_host": "evil"},
        {"x_forwarded_host": "evil"},
    ],
)  # fmt: skip
def test_malformed_proxy_headers_are_ignored(behind, headers):
    assert link(behind, headers) == "http://127.0.0.1:9292/v2/"  # SEC-99, SEC-101
    assert (
        behind.post("/v2/images", json={}, headers=headers).headers["location"].startswith("http://127.0.0.1:9292/v2")
    )


def test_public_endpoint_overrides_proxy_headers(tmp_path):
    with client(tmp_path, server=Server(proxy_headers=True, public_endpoint="https://p.example.org/")) as api:
        assert link(api, TOLD) == "https://p.example.org/v2/"  # VER-05, SEC-101
