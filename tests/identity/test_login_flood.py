"""Log-ins that never end do not keep others from the service."""

import http.client
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from local_accounts import ALICE, served_without_keystone

from ferrotype.testing.process import Served

HEAD = b"POST /v3/auth/tokens HTTP/1.1\r\nHost: 127.0.0.1\r\n"
LONG = HEAD + b"Content-Length: 1000000000\r\n\r\n"
SHORT = HEAD + b"Content-Length: 60000\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
#: more than the worker may have descriptors
COUNT = 1200


def statuses(service: Served) -> list[int]:
    """Ask on new connections: the health check, and something with a password."""
    seen = []
    for path, headers in (("/healthcheck", {}), ("/v2/images", ALICE)):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        connection.request("GET", path, headers=headers)
        seen.append(connection.getresponse().status)
        connection.close()
    return seen


# SEC-90
@pytest.mark.parametrize("request_", [LONG, SHORT, CHUNKED], ids=["long", "short", "chunked"])
def test_logins_that_never_end_leave_the_service_to_others(tmp_path: Path, request_: bytes) -> None:
    with (
        served_without_keystone(tmp_path, wrapper=["prlimit", "--nofile=1024:1024"]) as service,
        ExitStack() as stack,
    ):
        (worker,) = service.workers()
        flood = []
        for number in range(COUNT):
            flood.append(stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=60)))
            flood[-1].sendall(request_)
            if number % 100 == 99:
                for one in flood:
                    try:
                        one.sendall(b" ")
                    except OSError:  # It was closed to make room.
                        continue
                assert statuses(service) == [200, 200]
        assert service.workers() == [worker]
        assert " ERROR " not in service.log.read_text()
