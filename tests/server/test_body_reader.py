"""Reading a body from a socket itself."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
import uvloop

from ferrotype.server.body_reader import READ_BYTES, READ_DELAY, BodyReader

Scenario = Callable[[BodyReader], Awaitable[object]]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's end and the server's."""
    client, server = socket.socketpair()
    client.setblocking(False)
    server.setblocking(False)
    with client, server:
        yield client, server


def run(server: socket.socket, missing: int, scenario: Scenario, idle: float = 60.0) -> object:
    """Return what the scenario returns for a reader of ``missing`` bytes."""

    async def main() -> object:
        reader = BodyReader(server, missing, idle)
        try:
            return await scenario(reader)
        finally:
            reader.close()

    return uvloop.run(main())


def test_a_body_is_read_to_its_end_and_no_further(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    client.send(b"body" + b"next request")
    kept = server.dup()

    async def read(reader: BodyReader) -> bytes:
        return await reader.read()

    with kept:
        assert run(server, 4, read) == b"body"
        assert kept.recv(100) == b"next request"


def test_a_body_larger_than_a_read_arrives_byte_for_byte(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    body = bytes(range(256)) * (3 * READ_BYTES // 256) + b"end"

    async def read(reader: BodyReader) -> bytes:
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(client, body))
        data = b""
        while reader.missing:
            data += await reader.read()
        await sending
        return data

    assert run(server, len(body), read) == body


def test_a_few_bytes_are_read_after_a_short_delay(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair

    async def read(reader: BodyReader) -> tuple[bytes, bytes]:
        client.send(b"first")
        first = await reader.read()
        asyncio.get_running_loop().call_later(0.05, client.send, b"then")
        began = asyncio.get_running_loop().time()
        then = await reader.read()
        assert asyncio.get_running_loop().time() - began < READ_DELAY + 5
        return first, then

    assert run(server, 1 << 20, read) == (b"first", b"then")


def end(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("ending", [end, socket.socket.close])
@pytest.mark.parametrize("sent", [b"", b"some"])
def test_an_end_before_the_last_byte_is_an_error(
    pair: tuple[socket.socket, socket.socket], ending: Callable[[socket.socket], None], sent: bytes
) -> None:
    client, server = pair
    client.send(sent)
    ending(client)

    async def read(reader: BodyReader) -> None:
        if sent:
            assert await reader.read() == sent
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await reader.read()

    run(server, 10, read)


def test_an_idle_client_is_an_error_after_the_idle_time(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair

    async def read(reader: BodyReader) -> None:
        client.send(b"some")
        assert await reader.read() == b"some"
        began = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionAbortedError):
            await reader.read()
        assert asyncio.get_running_loop().time() - began > 0.19

    run(server, 10, read, idle=0.2)


def test_cancel_ends_a_read_and_every_later_one(pair: tuple[socket.socket, socket.socket]) -> None:
    _, server = pair

    async def read(reader: BodyReader) -> None:
        reading = asyncio.create_task(reader.read())
        await asyncio.sleep(0.01)
        reader.cancel()
        for one in (reading, reader.read()):
            with pytest.raises(ConnectionResetError):
                await one

    run(server, 10, read)


def test_a_cancelled_task_leaves_nothing_waiting(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair

    async def read(reader: BodyReader) -> bytes:
        reading = asyncio.create_task(reader.read())
        await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
        client.send(b"body")
        return await reader.read()  # add_reader on a socket that was still watched would replace its callback

    assert run(server, 4, read) == b"body"


def test_the_low_water_mark_is_reset_for_the_transport(pair: tuple[socket.socket, socket.socket]) -> None:
    _, server = pair
    with server.dup() as kept:

        async def read(reader: BodyReader) -> None:
            reading = asyncio.create_task(reader.read())
            await asyncio.sleep(0.01)
            assert kept.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1000
            reader.cancel()
            await asyncio.wait([reading])
            assert isinstance(reading.exception(), ConnectionResetError)

        run(server, 1000, read)
        assert kept.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
