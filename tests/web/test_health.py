"""/healthcheck: for load balancers, in three formats."""

import pytest

from ferrotype.config.auth import Auth
from ferrotype.config.server import Server
from ferrotype.testing.client import client

UNKNOWN_TOKEN = {"x-auth-token": "unknown"}


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    directory = tmp_path_factory.mktemp("health")
    server = Server(healthcheck_disable_file=directory / "out-of-service")
    with client(directory, server=server, auth=Auth(strategy="keystone")) as api:
        yield api


@pytest.fixture(params=[False, True], ids=["in service", "out of service"])
def down(api, request):
    file = api.application.ctx.config.server.healthcheck_disable_file
    if request.param:
        file.touch()
    yield request.param
    file.unlink(missing_ok=True)


@pytest.mark.parametrize("path", ["/healthcheck", "/healthcheck/", "/healthcheck/a/b"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "FOO"])
def test_health_needs_no_authentication(api, down, method, path):
    answer = api.request(method, path, headers=UNKNOWN_TOKEN)
    assert answer.status == (503 if down else 200)  # HC-01, HC-03, CFG-68, MTH-03
    assert answer.body == (b"DISABLED BY FILE" if down else b"OK")
    assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
    head = api.request("HEAD", path, headers=UNKNOWN_TOKEN)
    assert (head.status, head.body) == (503 if down else 204, b"")


@pytest.mark.parametrize("accept", ["application/json", "application/json, */*"])
def test_json_is_indented(api, down, accept):
    answer = api.get("/healthcheck", headers={"accept": accept})
    reason = "DISABLED BY FILE" if down else "OK"
    assert answer.headers["content-type"] == "application/json"
    assert (
        answer.json == {"detailed": False, "reasons": [reason]} and b'\n    "detailed"' in answer.body
    )  # HC-02, HC-03


def test_a_page_has_a_table(api, down):
    answer = api.get("/healthcheck", headers={"accept": "text/html"})
    assert answer.headers["content-type"] == "text/html; charset=UTF-8"
    assert "<table>" in answer.text and ("DISABLED BY FILE" if down else "OK") in answer.text  # HC-02, HC-03


def test_another_path_is_no_health_check(api):
    assert api.get("/healthchecks").status == 300
    assert api.get("/v2/healthcheck", headers=UNKNOWN_TOKEN).status == 401


def test_a_disable_file_that_cannot_be_reached_does_not_exist(tmp_path):
    with client(tmp_path, server=Server(healthcheck_disable_file=tmp_path / (300 * "x"))) as api:
        assert api.get("/healthcheck").text == "OK"


def test_without_a_disable_file_the_service_is_healthy(tmp_path):
    with client(tmp_path) as api:
        assert api.get("/healthcheck").text == "OK"
