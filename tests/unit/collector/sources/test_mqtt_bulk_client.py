"""The bulk MQTT client: packets cut anywhere, packets with a wrong length, acknowledgements."""

import itertools
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import MQTT_LOG_ERR
from paho.mqtt.enums import MQTTErrorCode

from collector.sources.mqtt_bulk_client import RECEIVE_BYTES, BulkClient

PINGRESP = b"\xd0\x00"


class FakeSocket:
    """Returns the given chunks, one per ``recv``, and records what is sent."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.writes: list[bytes] = []
        self.closed = False

    def recv(self, size: int) -> bytes:
        """Return the next chunk, or at most ``size`` bytes of it."""
        if not self.chunks:
            raise BlockingIOError
        chunk = self.chunks.pop(0)
        if len(chunk) > size:
            self.chunks.insert(0, chunk[size:])
        return chunk[:size]

    def send(self, data: bytes) -> int:
        """Record ``data``."""
        self.writes.append(bytes(data))
        return len(data)

    def close(self) -> None:
        """Record the call."""
        self.closed = True

    def fileno(self) -> int:
        """Return an invalid descriptor."""
        return -1

    def setblocking(self, _) -> None:
        """Do nothing."""


class Connected(BulkClient):
    """A client whose connections are fake sockets."""

    def __init__(self) -> None:
        self.received: list = []
        super().__init__("test", self.received.append)
        self.connect_async("nowhere")
        self.reconnect()
        self.errors: list[str] = []
        self.on_log = lambda _c, _u, level, text: self.errors.append(text) if level == MQTT_LOG_ERR else None

    def _create_socket(self):
        self.fake = FakeSocket()
        return self.fake

    def feed(self, *chunks: bytes) -> MQTTErrorCode:
        """Receive ``chunks``; return the first result that is not success."""
        self.fake.chunks = list(chunks)
        while self.fake.chunks:
            result = self.loop_read()
            if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return result
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    @property
    def messages(self) -> list:
        """The delivered messages, without arrival and connection number."""
        return [
            (message.topic, message.payload, message.retained, message.delivery & 0xFFFF) for message in self.received
        ]


@pytest.fixture
def client() -> Connected:
    """Return a connected client."""
    return Connected()


def packet(command: int, body: bytes) -> bytes:
    """Return a packet (MQTT 3.1.1, section 2.2)."""
    length, size = len(body), bytearray()
    while True:
        length, byte = divmod(length, 128)
        size.append(byte | (128 if length else 0))
        if not length:
            return bytes([command]) + bytes(size) + body


def publish(topic: str, payload: bytes, mid: int = 0, *, retain: bool = False) -> bytes:
    """Return a PUBLISH packet; QoS 1 with an identifier, QoS 0 without."""
    name = topic.encode("utf-8", "surrogateescape")
    body = struct.pack(">H", len(name)) + name + (struct.pack(">H", mid) if mid else b"") + payload
    return packet(0x30 | (2 if mid else 0) | retain, body)


def cut(stream: bytes, positions: list[int]) -> list[bytes]:
    """Cut ``stream`` at ``positions``."""
    edges = [0, *sorted({position % (len(stream) + 1) for position in positions}), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges) if end > start]


SENT = st.tuples(
    st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.one_of(st.binary(max_size=40), st.integers(100, 40_000).map(bytes)),
    st.booleans(),
    st.integers(0, 65_535),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(SENT, st.just(PINGRESP), st.just(packet(0x90, b"\0\1\1"))), max_size=12),
    st.lists(st.integers(0, 2**32), max_size=30),
)
def test_any_stream_in_any_chunks(sent, positions):
    """Published messages are delivered once, complete and in order, among other packets and however they are cut."""
    client = Connected()
    stream = b"".join(
        packet if isinstance(packet, bytes) else publish(packet[0], packet[1], packet[3], retain=packet[2])
        for packet in sent
    )
    assert client.feed(*cut(stream, positions)) == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert client.messages == [message for message in sent if not isinstance(message, bytes)]
    assert not client.fake.closed


@pytest.mark.parametrize("again", [False, True])
def test_second_delivery(client, again):
    """The DUP flag of a packet says that the broker has sent the message before; topic and payload are the same."""
    first = publish("a", b"1", 1)
    client.feed(bytes([first[0] | (8 if again else 0)]) + first[1:])
    assert [message.redelivered for message in client.received] == [again]
    assert client.messages == [("a", b"1", False, 1)]


def test_byte_by_byte(client):
    """A stream that arrives byte by byte gives the same messages."""
    stream = publish("a", b"1", 1) + PINGRESP + publish("b" * 300, b"2" * 20_000, 2) + publish("c", b"")
    assert client.feed(*(stream[start : start + 1] for start in range(len(stream)))) == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert client.messages == [("a", b"1", False, 1), ("b" * 300, b"2" * 20_000, False, 2), ("c", b"", False, 0)]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 16_383, 16_384, 2_097_151, 2_097_152])
def test_lengths_at_the_edges_of_their_encoding(client, size):
    """Packets at the limits of the length encoding are read completely."""
    payload = b"x" * max(size - 5, 0)
    assert client.feed(*cut(publish("abc", payload) + publish("d", b"e", 9), [1, 2, 3, 4, 5])) == 0
    assert client.messages == [("abc", payload, False, 0), ("d", b"e", False, 9)]


def test_huge_packet_in_small_pieces(client):
    """A packet of 5 MB that arrives in pieces of 1 kB is joined once, not once per piece."""
    stream = publish("a", b"x" * 5_000_000, 1)
    pieces = [stream[start : start + 1_000] for start in range(0, len(stream), 1_000)]
    begun = time.process_time()
    assert client.feed(*pieces) == 0
    assert time.process_time() - begun < 3  # linear: 0.02 s; joined at each piece: 12.5 GB to copy
    assert len(client.messages[0][1]) == 5_000_000


def test_no_more_than_one_receive_a_call(client):
    """One call reads at most RECEIVE_BYTES, so that acknowledgements and signals are not delayed."""
    client.fake.chunks = [publish("a", b"x", 1) * RECEIVE_BYTES]
    client.loop_read()
    assert len(client.received) == RECEIVE_BYTES // len(publish("a", b"x", 1))


@pytest.mark.parametrize(
    "bad",
    [
        packet(0x32, b""),
        packet(0x32, b"\0"),
        packet(0x32, b"\0\1a"),
        packet(0x32, b"\0\1a\0"),
        packet(0x30, b"\0\5abcd"),
        packet(0x30, b"\xff\xffabcd"),
        b"\x30\xff\xff\xff\xff\x01",
        b"\xd0\xff\xff\xff\xff\xff",
        packet(0x20, b""),
        packet(0x20, b"\0\0\0"),
        packet(0x90, b""),
        packet(0x90, b"\0"),
        packet(0xB0, b""),
        packet(0xB0, b"\0\1\0\0\0"),
        packet(0x40, b"\0"),
        packet(0x00, b"x"),
        packet(0xF0, b"x"),
        packet(0xD0, b"x"),
    ],
    ids=bytes.hex,
)
@pytest.mark.parametrize("following", [b"", publish("t", b"good", 5) * 3], ids=["alone", "before good ones"])
def test_malformed_packets(client, bad, following):
    """A packet with a wrong length ends the connection and delivers nothing, whatever follows."""
    assert client.feed(publish("t", b"good", 4) + bad + following) == MQTTErrorCode.MQTT_ERR_PROTOCOL
    assert client.messages == [("t", b"good", False, 4)]
    assert client.fake.closed
    assert client.socket() is None


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_any_bytes(stream, positions):
    """No bytes from the network raise an error: they are packets, or end the connection."""
    client = Connected()
    result = client.feed(*cut(stream, positions))
    assert (result == MQTTErrorCode.MQTT_ERR_SUCCESS) is not client.fake.closed


def test_end_of_the_connection(client):
    """When the broker closes the connection, the client reports it and drops a partly read packet."""
    client.feed(publish("a", b"1", 1)[:-1])
    assert client.feed(b"") == MQTTErrorCode.MQTT_ERR_CONN_LOST
    client.reconnect()
    assert client.feed(publish("b", b"2", 2)) == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert client.messages == [("b", b"2", False, 2)]


def test_acknowledgements_are_one_write(client):
    """Acknowledgements of one call are sent in one write, each a PUBACK with its identifier."""
    client.feed(*(publish("a", b"1", mid) for mid in (1, 258, 65_535)))
    client.fake.writes.clear()
    client.acknowledge(message.delivery for message in client.received)
    assert client.fake.writes == [b"\x40\x02\x00\x01\x40\x02\x01\x02\x40\x02\xff\xff"]


def test_quality_0_needs_no_acknowledgement(client):
    """Messages of QoS 0 are not acknowledged, also among others that are."""
    client.feed(publish("a", b"1") + publish("a", b"2", 7))
    client.fake.writes.clear()
    client.acknowledge([client.received[0].delivery])
    assert client.fake.writes == []
    client.acknowledge(message.delivery for message in client.received)
    assert client.fake.writes == [b"\x40\x02\x00\x07"]


def test_acknowledgements_of_an_older_connection_are_not_sent(client):
    """An identifier of one connection is not acknowledged on the next, where another message may have it."""
    client.feed(publish("a", b"1", 1))
    client.reconnect()
    client.feed(publish("b", b"2", 1))
    client.fake.writes.clear()
    first, second = client.received
    client.acknowledge([first.delivery])
    assert client.fake.writes == []
    client.acknowledge([first.delivery, second.delivery])
    assert client.fake.writes == [b"\x40\x02\x00\x01"]


def test_topic_cache_is_bounded(client):
    """The cache of topics stays small, however many and long they are."""
    client.feed(*(publish("x" * 60_000 + str(n), b"", 1) for n in range(300)))
    assert len({message.topic for message in client.received}) == 300
    assert sum(len(raw) for raw in client._topics) < 1_000_000


def test_topics_that_are_no_utf8(client):
    """A topic that is not UTF-8 is decoded so that its bytes can be recovered."""
    topic = b"a/\xff\xfe".decode("utf-8", "surrogateescape")
    client.feed(publish(topic, b"1", 1))
    assert client.messages == [(topic, b"1", False, 1)]


def test_arrivals_are_unique(client, monkeypatch):
    """Arrivals increase strictly, within one read and after the clock was set back."""
    client.feed(publish("a", b"1") + publish("a", b"2"))
    monkeypatch.setattr("time.time_ns", lambda: 0)
    client.feed(publish("a", b"3"))
    arrivals = [message.received for message in client.received]
    assert arrivals == sorted(set(arrivals))
