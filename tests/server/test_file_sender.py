"""Sending a file to a socket itself."""

import asyncio
import os
import random
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop

from ferrotype.model.errors import BlobDamaged, StoreUnavailable
from ferrotype.server.file_sender import SENDFILE_BYTES, FileSender
from ferrotype.streams.pace import Pace

SIZE = SENDFILE_BYTES + 1_000_003


@dataclass
class File:
    fd: int
    threads: Executor
    sent: int = 0


@pytest.fixture(scope="module")
def data() -> bytes:
    return random.Random(1).randbytes(SIZE)


@pytest.fixture
def file(tmp_path: Path, data: bytes) -> Iterator[File]:
    (tmp_path / "data").write_bytes(data)
    fd = os.open(tmp_path / "data", os.O_RDONLY)
    with ThreadPoolExecutor(1) as threads:
        yield File(fd, threads)
    os.close(fd)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's end and the server's."""
    client, server = socket.socketpair()
    client.setblocking(False)
    server.setblocking(False)
    with client, server:
        yield client, server


def run(server: socket.socket, scenario: Callable[[FileSender], Awaitable[object]], idle: float = 60.0) -> object:
    """Return what the scenario returns for a sender."""

    async def main() -> object:
        sender = FileSender(server, idle)
        try:
            return await scenario(sender)
        finally:
            sender.close()

    return uvloop.run(main())


async def receive(client: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        received += await asyncio.get_running_loop().sock_recv(client, 1 << 20)
    return received


@pytest.mark.parametrize(("offset", "count"), [(0, SIZE), (0, 1), (SIZE - 1, 1), (12_345, SENDFILE_BYTES + 1)])
def test_a_part_of_a_file_arrives_byte_for_byte(
    pair: tuple[socket.socket, socket.socket], file: File, data: bytes, offset: int, count: int
) -> None:
    client, server = pair

    async def send(sender: FileSender) -> bytes:
        sending = asyncio.create_task(sender.send(file, offset, count))
        received = await receive(client, count)
        await sending
        return received

    assert run(server, send) == data[offset : offset + count]
    assert file.sent == count


# IMG-DL-07
def test_a_file_that_is_too_short_is_an_error(pair: tuple[socket.socket, socket.socket], file: File) -> None:
    client, server = pair

    async def send(sender: FileSender) -> None:
        sending = asyncio.create_task(sender.send(file, SIZE - 10, 11))
        assert len(await receive(client, 10)) == 10
        with pytest.raises(BlobDamaged, match=f"ended at byte {SIZE}"):
            await sending

    run(server, send)
    assert file.sent == 10


def test_a_client_that_goes_is_an_error(pair: tuple[socket.socket, socket.socket], file: File) -> None:
    client, server = pair

    async def send(sender: FileSender) -> None:
        sending = asyncio.create_task(sender.send(file, 0, SIZE))
        await receive(client, 1000)
        client.close()
        with pytest.raises(ConnectionResetError):
            await sending

    run(server, send)
    assert 0 < file.sent < SIZE


def test_a_client_that_takes_nothing_is_an_error_and_holds_no_thread(
    pair: tuple[socket.socket, socket.socket], file: File
) -> None:
    _, server = pair

    async def send(sender: FileSender) -> None:
        sending = asyncio.create_task(sender.send(file, 0, SIZE))
        await asyncio.sleep(0.1)
        await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(file.threads, int), 30)
        with pytest.raises(ConnectionAbortedError):
            await sending

    run(server, send, idle=0.3)


def test_a_slow_client_gets_the_file_however_long_it_takes(
    pair: tuple[socket.socket, socket.socket], file: File, data: bytes
) -> None:
    client, server = pair

    async def send(sender: FileSender) -> bytes:
        sending = asyncio.create_task(sender.send(file, 0, SIZE))
        received = b""
        for _ in range(8):  # altogether more than the idle time
            received += await asyncio.get_running_loop().sock_recv(client, 60_000)
            await asyncio.sleep(0.1)
        received += await receive(client, SIZE - len(received))
        await sending
        return received

    assert run(server, send, idle=0.6) == data


def test_cancel_ends_a_send_and_every_later_one(pair: tuple[socket.socket, socket.socket], file: File) -> None:
    _, server = pair

    async def send(sender: FileSender) -> None:
        sending = asyncio.create_task(sender.send(file, 0, SIZE))
        await asyncio.sleep(0.05)
        sender.cancel()
        for one in (sending, sender.send(file, 0, SIZE)):
            with pytest.raises(ConnectionResetError):
                await one

    run(server, send)


def test_a_file_that_cannot_be_read_is_an_error_of_its_store(
    pair: tuple[socket.socket, socket.socket], file: File, tmp_path: Path
) -> None:
    _, server = pair
    directory = os.open(tmp_path, os.O_RDONLY)

    async def send(sender: FileSender) -> None:
        for pace in (None, Pace(is_last=False)):
            with pytest.raises(StoreUnavailable, match=r"cannot read the file: (Invalid argument|Is a directory)"):
                await sender.send(File(directory, file.threads), 0, 10, pace)

    try:
        run(server, send)
    finally:
        os.close(directory)


@pytest.mark.parametrize("cut", [0, 1, SENDFILE_BYTES - 1, SIZE - 1])
def test_through_a_pipe_it_is_known_how_much_was_sent(
    pair: tuple[socket.socket, socket.socket], file: File, data: bytes, cut: int, tmp_path: Path
) -> None:
    client, server = pair
    os.truncate(tmp_path / "data", cut)

    async def send(sender: FileSender) -> bytes:
        sending = asyncio.create_task(sender.send(file, 0, SIZE, Pace(is_last=False)))
        received = await receive(client, cut)
        with pytest.raises(BlobDamaged, match=f"ended at byte {cut}"):
            await sending
        return received

    assert run(server, send) == data[:cut]
    assert file.sent == cut


def test_without_pipes_files_are_sent_with_sendfile(
    pair: tuple[socket.socket, socket.socket], file: File, data: bytes
) -> None:
    client, server = pair
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def send(sender: FileSender) -> bytes:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            sending = asyncio.create_task(sender.send(file, 0, SIZE, Pace(is_last=False)))
            received = await receive(client, SIZE)
            await sending
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return received

    assert run(server, send) == data
