"""A service per module, and the clients that ask it over a socket."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from glanceclient import Client
from openstack.connection import Connection
from plain_http import Plain
from reverse_proxy import Proxy, proxied
from sdk_connection import connected
from service_settings import CAP, SETTINGS
from terminal import Terminal

from ferrotype.testing.process import Served, served


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with two stores, without authentication, for all tests of a module."""
    home = tmp_path_factory.mktemp("service")
    (home / "api.conf").write_text(SETTINGS.format(home=home, cap=CAP))
    with served(home, "--config-file", str(home / "api.conf")) as running:
        yield running


@pytest.fixture(scope="module")
def recorder(service: Served) -> Iterator[Proxy]:
    """The way to the service that remembers every request."""
    with proxied(service.url) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the clients' compiled modules are kept, for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "bytecode"


@pytest.fixture(scope="module")
def terminal(recorder: Proxy, bytecode: Path, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """Commands whose requests the recorder sees."""
    return Terminal(recorder.url, tmp_path_factory.mktemp("home"), bytecode)


@pytest.fixture(autouse=True)
def nothing_recorded(request: pytest.FixtureRequest) -> None:
    """Begin every test with an empty record."""
    if "recorder" in request.fixturenames:
        request.getfixturevalue("recorder").taken()


@pytest.fixture(scope="module")
def plain(service: Served) -> Plain:
    """Plain HTTP to the service, past the recorder."""
    return Plain(service.url)


@pytest.fixture(scope="module")
def sdk(recorder: Proxy) -> Iterator[Connection]:
    """A connection of openstacksdk whose requests the recorder sees."""
    with connected(recorder.url) as connection:
        yield connection


@pytest.fixture(scope="module")
def glance(recorder: Proxy) -> Client:
    """The library of glanceclient; the recorder sees its requests."""
    return Client("2", recorder.url)
