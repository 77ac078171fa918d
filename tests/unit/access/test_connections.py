"""Connections that wait for a request: too many, and too long."""

import asyncio
from typing import Self

import pytest
import uvicorn

from access.connections import ConnectionLimit


async def answer(_scope, _receive, send) -> None:
    """Answer every request with ok."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Server:
    """A server with a connection limit, on a free port."""

    def __init__(self, limit: ConnectionLimit) -> None:
        self.limit = limit
        self._clients: list[asyncio.StreamWriter] = []
        self._server = uvicorn.Server(
            uvicorn.Config(answer, http=limit.protocol, ws="none", lifespan="off", log_config=None, port=0)
        )

    async def __aenter__(self) -> Self:
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        await self._server.startup()
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._clients:
            writer.close()
        self._server.force_exit = True
        await self._server.shutdown()

    async def connect(self, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection and send ``data``."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._clients.append(writer)
        writer.write(data)
        return reader, writer


REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("beginning", [b"", b"GET / HTTP/1.1\r\nX-Slow: 1\r\n"], ids=["silent", "slow"])
def test_too_many_waiting_connections(beginning):
    """Connections beyond the limit replace those that wait, and a request is answered."""

    async def run() -> None:
        async with Server(ConnectionLimit(20)) as server:
            waiting = [await server.connect(beginning) for _ in range(60)]
            reader, _ = await server.connect(REQUEST)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            assert await waiting[0][0].read() == b""
            assert server.limit.closed >= 40

    asyncio.run(run())


@pytest.mark.parametrize("beginning", [b"", b"GET / HTTP/1.1\r\nX-Slow: 1\r\n", REQUEST + b"GET /"])
def test_request_that_is_not_complete_in_time(beginning):
    """The connection is closed: at once after it was opened, within a request, and after an answered one."""

    async def run() -> None:
        async with Server(ConnectionLimit(20, header_seconds=0.01)) as server:
            reader, _ = await server.connect(beginning)
            answered = await asyncio.wait_for(reader.read(), 30)
            assert answered.startswith(b"HTTP/1.1 200") == (beginning[:16] == REQUEST[:16] and b"\r\n\r\n" in beginning)

    asyncio.run(run())


def test_answered_connections_stay_open():
    """Several requests on one connection are answered while others are evicted."""

    async def run() -> None:
        async with Server(ConnectionLimit(5)) as server:
            reader, writer = await server.connect()
            for _ in range(3):
                writer.write(REQUEST)
                assert b"ok" in await reader.readuntil(b"ok")

    asyncio.run(run())
