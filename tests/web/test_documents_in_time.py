"""Documents in bodies: refused at once when they are too long, and in the end when they do not come."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ferrotype.testing.client import Client
from ferrotype.web import http


async def never() -> AsyncIterator[bytes]:
    raise AssertionError("the body was asked for")
    yield b""


async def trickle(piece: bytes = b" ") -> AsyncIterator[bytes]:
    for _ in range(500):
        yield piece
        await asyncio.sleep(0.01)
    raise AssertionError("the body was read for seconds")


# SEC-90
@pytest.mark.parametrize("length", [8 * 1024 * 1024 + 1, 10**9, 10**60])
def test_a_document_that_is_announced_too_long_is_refused_unread(api: Client, length: int) -> None:
    reply = api.post("/v2/images", body=never(), headers={"content-length": str(length)})
    assert reply.status == 413


# SEC-90
def test_a_document_that_does_not_arrive_is_refused(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "DOCUMENT_SECONDS", 0.2)
    assert api.post("/v2/images", body=trickle()).status == 408


# SEC-90
def test_a_body_that_is_not_expected_is_not_waited_for(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "DOCUMENT_SECONDS", 0.2)
    assert api.get("/v2/schemas/image", body=trickle(b"")).status == 408
