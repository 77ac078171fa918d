"""Publishes prepared messages at QoS 1 as fast as the broker accepts them, with minimal CPU time.

The packets (MQTT 3.1.1, sections 3.1, 3.3 and 3.4) are built before the measurement starts, so that on a small machine
the publisher does not compete with the measured process.
"""

import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator

WINDOW = 5_000
"""Maximum number of unacknowledged messages."""


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">H", len(raw)) + raw


def _packet(command: int, body: bytes) -> bytes:
    length, header = len(body), bytearray([command])
    while True:
        length, byte = divmod(length, 128)
        header.append(byte | (128 if length else 0))
        if not length:
            return bytes(header) + body


def publish_packets(messages: Iterable[tuple[str, bytes]]) -> list[bytes]:
    """Return a PUBLISH packet (QoS 1) for every (topic, payload)."""
    return [
        _packet(0x32, _text(topic) + struct.pack(">H", index % 65_535 + 1) + payload)
        for index, (topic, payload) in enumerate(messages)
    ]


class FastPublisher:
    """A connection that only publishes."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._socket = socket.create_connection((environment["MQTT_HOST"], int(environment["MQTT_PORT"])))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = _text("MQTT") + bytes([4, 0xC2]) + struct.pack(">H", 0) + _text(f"fast-publisher-{time.time_ns()}")
        body += _text(environment["MQTT_USERNAME"]) + _text(environment["MQTT_PASSWORD"])
        self._socket.sendall(_packet(0x10, body))
        connack = self._socket.recv(4)
        if connack[3] != 0:
            raise ConnectionError(f"the broker refused the connection: {connack!r}")
        self._socket.setblocking(False)

    def send(self, packets: list[bytes], rate: float | None = None) -> None:
        """Publish ``packets`` (at ``rate`` per second, if given) and return when the broker has acknowledged all."""
        acknowledged = sent = 0
        started = time.perf_counter()
        chunks = self._chunks(packets)
        unsent = b""
        while acknowledged < len(packets) * 4:
            if not unsent and sent < len(packets) and sent - acknowledged // 4 < WINDOW:
                allowed = len(packets) if rate is None else int((time.perf_counter() - started) * rate)
                if sent < allowed:
                    unsent, sent = next(chunks) if rate is None else self._slice(packets, sent, allowed)
            readable, writable, _ = select.select(
                [self._socket], [self._socket] if unsent else [], [], 0.002 if rate else 1.0
            )
            if readable:
                received = self._socket.recv(65_536)
                if not received:
                    raise ConnectionError("the broker closed the connection")
                acknowledged += len(received)
            if writable:
                unsent = unsent[self._socket.send(unsent) :]

    @staticmethod
    def _slice(packets: list[bytes], start: int, stop: int) -> tuple[bytes, int]:
        stop = min(stop, start + 1_000, len(packets))
        return b"".join(packets[start:stop]), stop

    @staticmethod
    def _chunks(packets: list[bytes]) -> Iterator[tuple[bytes, int]]:
        for start in range(0, len(packets), 250):
            chunk = packets[start : start + 250]
            yield b"".join(chunk), start + len(chunk)

    def close(self) -> None:
        """Disconnect."""
        self._socket.sendall(b"\xe0\x00")
        self._socket.close()
