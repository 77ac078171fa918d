"""Connections of clients that send nothing, or too slowly: bounded in number and time.

uvicorn has a time limit only between two requests. A connection on which a request is not complete in time is closed,
and where there are too many connections the one that has waited longest for a request makes room for a new one.
"""

import asyncio
import resource
from typing import Any, cast

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

log = structlog.get_logger()

HEADER_SECONDS = 10.0
"""Time for the line and the header fields of a request."""
_RESERVED_FILES = 100
"""Open files for everything else: database, broker, listener, tokens."""
_FEWEST = 20


def allowed(wanted: int) -> int:
    """Return the number of connections that the limit of open files allows, at most ``wanted``; raises that limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + _RESERVED_FILES:
        soft = wanted + _RESERVED_FILES if hard == resource.RLIM_INFINITY else min(hard, wanted + _RESERVED_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(_FEWEST, min(wanted, soft - _RESERVED_FILES))


class ConnectionLimit:
    """The connections of one server, at most ``most``; ``header_seconds`` is the time for a request's header."""

    def __init__(self, most: int, header_seconds: float = HEADER_SECONDS) -> None:
        self.most = most
        self.header_seconds = header_seconds
        self.closed = 0
        """Connections that were closed because they were too slow or too many."""
        self._open = 0
        self._waiting: dict[BoundedProtocol, None] = {}
        """Those without a request in progress, the one that has waited longest first."""

    def protocol(self, *arguments: Any, **options: Any) -> "BoundedProtocol":
        """Return the protocol of a new connection, as uvicorn makes them."""
        return BoundedProtocol(self, *arguments, **options)

    def opened(self) -> None:
        """Make room for a new connection."""
        self._open += 1
        if self._open > self.most and self._waiting:
            next(iter(self._waiting)).give_up()

    def lost(self, protocol: "BoundedProtocol") -> None:
        """Note that a connection has ended."""
        self._open -= 1
        self._waiting.pop(protocol, None)

    def waits(self, protocol: "BoundedProtocol") -> None:
        """Note that a connection waits for a request."""
        self._waiting[protocol] = None

    def works(self, protocol: "BoundedProtocol") -> None:
        """Note that a request is in progress."""
        self._waiting.pop(protocol, None)


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 of uvicorn, with a time limit for the header of each request."""

    def __init__(self, limit: ConnectionLimit, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limit = limit
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._limit.opened()
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Handle ``data``; the time limit ends with the header of a request."""
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()
        elif self._timer is None:
            self._wait()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if not self._is_answering():  # another request may have come before the answer to this one
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        self._limit.lost(self)
        super().connection_lost(exc)

    def give_up(self) -> None:
        """Close the connection, on which no request is in progress."""
        self._stop_waiting()
        self._limit.closed += 1
        self.transport.abort()

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn declares it without None
        return cycle is not None and not cycle.response_complete

    def _wait(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(self._limit.header_seconds, self.give_up)
        self._limit.waits(self)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._limit.works(self)
