"""A paho-mqtt client that reads many packets at a time and acknowledges many at a time.

paho-mqtt 2.2 spends a subscriber's time on three ``recv`` calls, one ``select`` and several locks a packet. Here one
``recv`` brings all that has arrived, PUBLISH packets are read in place, and paho handles every other packet as
before, with connection, session, keep-alive, TLS and subscriptions. The packet layout is that of MQTT 3.1.1, sections
2.2 and 3.3. See docs/decisions/0003-reading-mqtt-in-bulk.md for figures and the parts of paho this depends on.
"""

import itertools
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from paho.mqtt.client import PUBACK, Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.exception import MalformedPacket

from collector.message import Message
from collector.sources.arrival import PREFIX, Arrival
from collector.sources.arrival_clock import ArrivalClock

RECEIVE_BYTES = 256 * 1024
_PUBLISH = 0x30
_PUBACK = 0x4002_0000
"""PUBACK (4 << 4), remaining length 2, then the packet identifier: four bytes, so an array of integers is a packet."""
_MOST_CACHED_TOPICS = 100_000
_LONGEST_CACHED_TOPIC = 200
"""Bytes; longer topics are decoded each time: 100,000 topics of 65,535 bytes would fill the memory."""
_LONGEST_HEADER = 5
_CONNECTIONS = itertools.count(1)


def _long_length(buffer: bytes, position: int) -> tuple[int, int]:
    """Return where the body of the packet at ``position`` begins, and its length; (0, 0) while bytes are missing."""
    length = shift = 0
    for body in range(position + 1, min(position + _LONGEST_HEADER, len(buffer))):
        byte = buffer[body]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:  # noqa: PLR2004 - the high bit is clear in the last byte
            return body + 1, length
    if len(buffer) >= position + _LONGEST_HEADER:
        raise ValueError("remaining length has more than four bytes")
    return 0, 0


class BulkClient(Client):
    """An MQTT 3.1.1 client with a persistent session; messages go to ``deliver`` and wait for :meth:`acknowledge`.

    A message's ``delivery`` is its packet identifier together with a connection number that is unique in this process:
    on the next connection, a broker may use the identifier for another message. ``arrival`` tells how long messages may
    have waited, and takes the probes.
    """

    def __init__(
        self,
        client_id: str,
        deliver: Callable[[Message], None],
        arrival: Arrival | None = None,
        clock: ArrivalClock | None = None,
    ) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2, client_id, clean_session=False, protocol=MQTTv311, manual_ack=True
        )
        self._deliver = deliver
        self._arrival = arrival or Arrival(client_id, 0)
        self._last_delivery = 0
        self._last_acknowledged = 0
        self._chunks: list[bytes] = []
        self._received_bytes = 0
        self._needed_bytes = 2
        self._topics: dict[bytes, str] = {}
        self._connection_bits = 0
        self._clock = clock or ArrivalClock()

    def reconnect(self) -> MQTTErrorCode:
        """Connect, or connect again; a partly read packet of the old connection is dropped."""
        self._chunks, self._received_bytes, self._needed_bytes = [], 0, 2
        self._connection_bits = next(_CONNECTIONS) << 16
        self._last_delivery = self._last_acknowledged = 0
        return super().reconnect()

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:  # noqa: ARG002 - paho's signature
        """Read once from the socket and handle all packets that are complete."""
        try:
            data = self._sock_recv(RECEIVE_BYTES)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError:
            data = b""
        if not data:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        self._last_bytes_received = time.monotonic()
        self._chunks.append(data)
        self._received_bytes += len(data)
        if self._received_bytes < self._needed_bytes:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        buffer = data if len(self._chunks) == 1 else b"".join(self._chunks)
        try:
            handled, result = self._handle(buffer)
        except (IndexError, ValueError, MalformedPacket):
            result = MQTTErrorCode.MQTT_ERR_PROTOCOL
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return self._loop_rc_handle(result)
        rest = buffer[handled:]
        self._chunks, self._received_bytes = ([rest] if rest else []), len(rest)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _handle(self, buffer: bytes) -> tuple[int, MQTTErrorCode]:  # noqa: C901 - one loop: it runs for every packet
        """Handle the complete packets in ``buffer``; return their number of bytes, and paho's result."""
        received = self._clock.next()
        deliver, topics, connection_bits = self._deliver, self._topics, self._connection_bits
        waited = self._arrival.waited()
        position, end = 0, len(buffer)
        self._needed_bytes = 2
        while end - position >= 2:  # noqa: PLR2004 - command and the first byte of the length
            command = buffer[position]
            body, length = position + 2, buffer[position + 1]
            if length > 127:  # noqa: PLR2004 - the high bit is set: another byte of the length follows
                body, length = _long_length(buffer, position)
                if not body:
                    self._needed_bytes = end - position + 1
                    break
            stop = body + length
            if stop > end:
                self._needed_bytes = stop - position
                break
            if command & 0xF0 == _PUBLISH:
                topic_end = body + 2 + (buffer[body] << 8 | buffer[body + 1])
                raw = buffer[body + 2 : topic_end]
                mid = 0
                payload = topic_end
                if command & 0x06:
                    mid = connection_bits | buffer[topic_end] << 8 | buffer[topic_end + 1]
                    payload = topic_end + 2
                if payload > stop:
                    raise ValueError("topic is longer than its packet")
                topic = topics.get(raw)
                if topic is None:
                    if raw.startswith(PREFIX):
                        self._take_probe(raw, buffer[payload:stop], mid)
                        waited = self._arrival.waited()
                        position = stop
                        continue
                    topic = self._topic(raw)
                if mid:
                    self._last_delivery = mid
                self._clock.used(received)
                again = command & 8 == 8  # noqa: PLR2004 - the DUP flag
                retained, qos = command & 1 == 1, command >> 1 & 3
                deliver(Message(topic, buffer[payload:stop], received, retained, mid, qos, again, waited))
                received += 1
            else:
                result = self._control(command, buffer[body:stop])
                if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    return stop, result
            position = stop
        return position, MQTTErrorCode.MQTT_ERR_SUCCESS

    def _topic(self, raw: bytes) -> str:
        # Cached: decoding a topic costs as much as the rest of a packet. Bounded: a broker may send any number of them.
        if len(raw) > _LONGEST_CACHED_TOPIC:
            return raw.decode("utf-8", "surrogateescape")
        if len(self._topics) >= _MOST_CACHED_TOPICS:
            self._topics.clear()
        topic = self._topics[raw] = raw.decode("utf-8", "surrogateescape")
        return topic

    def _control(self, command: int, body: bytes) -> MQTTErrorCode:
        packet: Any = {
            "command": command,
            "have_remaining": 1,
            "remaining_count": [],
            "remaining_mult": 1,
            "remaining_length": len(body),
            "packet": bytearray(body),
            "to_process": 0,
            "pos": 0,
        }
        self._in_packet = packet
        return self._packet_handle()

    def _take_probe(self, topic: bytes, payload: bytes, delivery: int) -> None:
        is_pending = self._last_delivery != self._last_acknowledged
        last = self._last_delivery if is_pending else None
        self._send_acknowledgements(self._arrival.returned(topic, payload, delivery, last))

    def acknowledge(self, deliveries: Iterable[int]) -> int:
        """Send a PUBACK for each of ``deliveries``, in one write; return their number. Only from the loop's thread.

        Those of another connection are skipped: the broker sends the messages again, or they are another client's.
        """
        current = self._connection_bits
        own = [delivery for delivery in deliveries if delivery & ~0xFFFF == current]
        if own:
            self._last_acknowledged = own[-1]
            self._send_acknowledgements([*own, *self._arrival.acknowledged(own)])
        return len(own)

    def check_probes(self, *, paused: bool) -> None:
        """Acknowledge probes that may keep the broker from sending; see :meth:`Arrival.overdue`."""
        is_idle = not paused and self._last_delivery == self._last_acknowledged
        self._send_acknowledgements(self._arrival.overdue(is_idle=is_idle))

    def _send_acknowledgements(self, deliveries: Sequence[int]) -> None:
        if deliveries:
            acks = [_PUBACK | delivery & 0xFFFF for delivery in deliveries]
            self._packet_queue(PUBACK, struct.pack(f">{len(acks)}I", *acks), 0, 1)

    def keep_alive_while_paused(self) -> None:
        """Keep the connection although reading is paused: call before ``loop_misc``."""
        # PINGRESPs wait unread in the socket; paho must keep sending PINGREQs instead of closing the connection.
        self._ping_t = 0.0
