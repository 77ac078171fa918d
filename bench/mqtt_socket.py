"""MQTT 3.1.1 over a plain socket, for benchmarks that need each byte a broker has sent."""

import select
import socket
import time
from collections.abc import Iterator

from local_services.broker import LocalBroker
from local_services.ports import HOST


class Connection:
    """An MQTT 3.1.1 connection over a plain socket, which can read everything that a killed broker had sent."""

    def __init__(self, broker: LocalBroker, client_id: str, *, clean: bool) -> None:
        assert broker.port is not None
        self._socket = socket.create_connection((HOST, broker.port), timeout=10)
        self._buffer = b""
        body = text("MQTT") + bytes([4, 0xC0 | (2 if clean else 0)]) + (0).to_bytes(2)
        self.send(packet(0x10, body + text(client_id) + text(broker.username) + text(broker.password)))
        command, _ = next(iter(self.packets(10)))
        assert command == 0x20, command
        self._socket.settimeout(None)

    def fileno(self) -> int:
        """Return the file descriptor of the socket."""
        return self._socket.fileno()

    def send(self, data: bytes) -> bool:
        """Send all of ``data``; return False if the connection is closed."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def subscribe(self, topic: str) -> None:
        """Subscribe at QoS 1 and wait for the SUBACK."""
        self.send(packet(0x82, b"\0\1" + text(topic) + b"\1"))
        end = time.monotonic() + 30
        while not any(command == 0x90 for command, _ in self.packets(1)):
            assert time.monotonic() < end, "no SUBACK"

    def packets(self, seconds: float) -> Iterator[tuple[int, bytes]]:
        """Yield (command, body) of the available packets; wait up to ``seconds`` for the first byte."""
        if select.select([self._socket], [], [], seconds)[0]:
            try:
                self._buffer += self._socket.recv(1 << 20)
            except OSError:
                return
        position = 0
        while len(self._buffer) - position >= 2:
            length, shift, body = 0, 0, position + 1
            while body < len(self._buffer):
                byte = self._buffer[body]
                length |= (byte & 127) << shift
                shift, body = shift + 7, body + 1
                if byte < 128:
                    break
            else:
                break
            if body + length > len(self._buffer):
                break
            yield self._buffer[position], self._buffer[body : body + length]
            position = body + length
        self._buffer = self._buffer[position:]

    def ended(self) -> bool:
        """Return whether the other side has closed the connection and all data is read."""
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Disconnect without ending the session."""
        self.send(b"\xe0\0")
        self._socket.close()


def text(value: str) -> bytes:
    """Return ``value`` as MQTT encodes text: two bytes of length, then UTF-8."""
    data = value.encode()
    return len(data).to_bytes(2) + data


def packet(command: int, body: bytes) -> bytes:
    """Return an MQTT packet: the first byte, the length of ``body``, and ``body``."""
    length, rest = b"", len(body)
    while True:
        rest, low = divmod(rest, 128)
        length += bytes([low | (128 if rest else 0)])
        if not rest:
            return bytes([command]) + length + body
