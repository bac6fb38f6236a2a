"""Connections of openstacksdk as its users configure them, from words alone: no file and no environment is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openstack
from openstack.connection import Connection


@contextmanager
def connected(endpoint: str, auth_type: str = "none", **auth: Any) -> Iterator[Connection]:
    """Yield a connection to the Image service at ``endpoint``."""
    connection = openstack.connect(
        load_yaml_config=False, load_envvars=False, auth_type=auth_type, auth={"endpoint": endpoint, **auth}
    )
    try:
        yield connection
    finally:
        connection.close()
