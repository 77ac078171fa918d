"""Kafka without a cluster: records and messages, errors, and commits when partitions move."""

import threading
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from collector.settings import CollectorSettings, KafkaSettings
from collector.sources.kafka import KafkaErrorHandler, KafkaRefusedError, KafkaSource
from collector.sources.kafka_record import message_of

HEADER = "mqtt-topic"
CREATE_TIME = 1


def record(offset: int = 0, partition: int = 0, **more) -> Message:
    """Return a record as a consumer would."""
    given = {"key": b"a/b", "value": b"1", "headers": [], "timestamp": (CREATE_TIME, 1_700_000_000_123), **more}
    return Message(topic="t", partition=partition, offset=offset, **given)


def test_message_of_a_record():
    """Key, value and time of a record become a message; its position is the delivery."""
    message = message_of(record(5, 3), HEADER)
    assert message == ("a/b", b"1", 1_700_000_000_123_005, False, 3 << 48 | 5, 1, False, 0)


def test_message_of_a_forwarded_record():
    """The headers that forward writes become fields of the message."""
    headers = [("qos", b"0"), ("retained", b"1"), ("received", b"1700000000123456"), ("waited", b"5"), (HEADER, b"c/d")]
    message = message_of(record(headers=headers), HEADER)
    assert message == ("c/d", b"1", 1_700_000_000_123_456, True, 0, 0, False, 5)


def test_another_header_for_the_topic():
    """With another header for the topic, the default header is ignored."""
    headers = [(HEADER, b"no"), ("source", b"yes")]
    assert message_of(record(headers=headers), "source").topic == "yes"


@pytest.mark.parametrize(
    "received", [b"", b"-1", b"1e3", b" 1", b"0", b"90000000000000000", b"1" * 40, b"1" * 5000, "²".encode(), None]
)
def test_unusable_arrival(received):
    """An invalid arrival in the header is replaced by the record's timestamp."""
    assert message_of(record(headers=[("received", received)]), HEADER).received == 1_700_000_000_123_000


@pytest.mark.parametrize("milliseconds", [-1, 0, 1, 90_000_000_000_000, 2**62])
def test_unusable_timestamp(milliseconds):
    """A record without a valid time gets the current time, so that its message can be stored."""
    message = message_of(record(timestamp=(CREATE_TIME, milliseconds)), HEADER)
    assert 1_700_000_000_000_000 < message.received < 10_000_000_000_000_000


def test_records_of_one_millisecond():
    """Records with the same Kafka timestamp get different arrivals."""
    arrivals = {message_of(record(offset), HEADER).received for offset in range(500)}
    assert len(arrivals) == 500


@pytest.mark.parametrize(
    ("more", "topic", "payload"),
    [
        ({"key": None}, "", b"1"),
        ({"key": b"\xff"}, "\udcff", b"1"),
        ({"value": None}, "a/b", b""),
        ({"headers": None}, "a/b", b"1"),
        ({"headers": [(HEADER, None)]}, "a/b", b"1"),
        ({"headers": [(HEADER, b"")]}, "", b"1"),
    ],
)
def test_odd_records(more, topic, payload):
    """A record without a valid key or value is still a message."""
    assert message_of(record(**more), HEADER)[:2] == (topic, payload)


@pytest.mark.parametrize(
    ("error", "connected", "refused"),
    [
        (KafkaError(KafkaError._AUTHENTICATION, "wrong password"), False, True),
        (KafkaError(KafkaError._AUTHENTICATION, "wrong password"), True, False),
        (KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED), True, True),
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), True, True),
        (KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "lost", True), True, True),
        (KafkaError(KafkaError._ALL_BROKERS_DOWN), False, False),
        (KafkaError(KafkaError._TRANSPORT), True, False),
        (KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), True, False),
        (KafkaError(KafkaError._MAX_POLL_EXCEEDED), True, False),
    ],
)
def test_refusals_end_a_client(error, connected, refused):
    """Refusals end a client with a message that names the settings to check; other errors are temporary."""
    handler = KafkaErrorHandler(KafkaSettings(topic="t", group="g"))
    handler.connected = connected
    handler(error)
    assert (handler.refused is not None) == refused
    if refused:
        assert "Check KAFKA_TOPIC" in str(handler.refused)


class _FakeConsumer:
    """A consumer whose rebalances are controlled by the test: one step at each poll."""

    def __init__(self, *steps: Callable[["_FakeConsumer"], object]) -> None:
        self.steps = list(steps)
        self.calls: list[tuple] = []
        self.refuse_commits: list[KafkaError] = []
        self.source: KafkaSource

    def __call__(self, configuration, *, logger) -> "_FakeConsumer":
        self.on_commit = configuration["on_commit"]
        return self

    def list_topics(self, topic, timeout):
        metadata = type("Metadata", (), {"error": None})
        return type("Topics", (), {"topics": {topic: metadata}})

    def subscribe(self, topics, *, on_assign, on_revoke, on_lost) -> None:
        self.assign, self.revoke, self.lose = (
            lambda *numbers, call=call: call(self, [TopicPartition("t", number) for number in numbers])
            for call in (on_assign, on_revoke, on_lost)
        )

    def poll(self, timeout):
        if not self.steps:
            self.source.stop()
            return None
        result = self.steps.pop(0)(self)
        return result if isinstance(result, Message) else None

    def consume(self, count, timeout):
        return []

    def commit(self, *, offsets, asynchronous):
        if self.refuse_commits:
            raise KafkaException(self.refuse_commits.pop(0))
        self.calls.append(("commit", {offset.partition: offset.offset for offset in offsets}, asynchronous))
        return offsets

    def close(self) -> None:
        numbers = sorted(self.source._partitions)
        if numbers:
            self.revoke(*numbers)

    def __getattr__(self, name):
        """Record a call of pause, resume, incremental_assign or incremental_unassign."""
        return lambda partitions: self.calls.append((name, [partition.partition for partition in partitions]))


class _FakeSink:
    """A sink that commits its messages when :meth:`write` is called."""

    failure = None

    def __init__(self) -> None:
        self.is_full = False
        self.waiting: list = []

    def add(self, message) -> None:
        self.waiting.append(message)

    def notify(self) -> None:
        """Do nothing."""

    def write(self, source: KafkaSource) -> None:
        waiting, self.waiting = self.waiting, []
        source.committed(waiting)

    def stop(self, seconds) -> bool:
        return not self.waiting


def drive(*steps, drain_seconds: float = 5, sink: _FakeSink | None = None) -> tuple[_FakeConsumer, _FakeSink, bool]:
    """Run a source through ``steps``; return its consumer, its sink and the result of ``run``."""
    consumer = _FakeConsumer(*steps)
    sink = sink or _FakeSink()
    source = KafkaSource(
        KafkaSettings(topic="t"), CollectorSettings(client_id="c", drain_seconds=drain_seconds), consumer
    )
    consumer.source, consumer.sink = source, sink
    return consumer, sink, source.run(sink)


def test_offsets_are_committed_after_the_messages():
    """Offsets are committed for messages that the sink has committed, and for no others."""
    consumer, _, clean = drive(
        lambda c: c.assign(0, 1),
        lambda _: record(7, 0),
        lambda _: record(3, 1),
        lambda c: c.sink.write(c.source),
        lambda _: record(8, 0),
        drain_seconds=0,
    )
    assert not clean
    assert next(call for call in consumer.calls if call[0] == "commit") == ("commit", {0: 8, 1: 4}, True)
    assert all(call[1].get(0) == 8 for call in consumer.calls if call[0] == "commit")


def test_revocation_waits_for_the_sink():
    """Revoked partitions are given up after their records are durable and the offsets committed."""

    def revoke(consumer: _FakeConsumer) -> None:
        writer = threading.Timer(0.2, consumer.sink.write, (consumer.source,))
        writer.start()
        consumer.revoke(0)
        writer.join()

    consumer, sink, _ = drive(lambda c: c.assign(0, 1), lambda _: record(7, 0), lambda _: record(3, 1), revoke)
    assert sink.waiting == []
    assert consumer.calls[1:3] == [("commit", {0: 8, 1: 4}, False), ("incremental_unassign", [0])]


def test_revocation_wait_is_bounded():
    """While the database is away, partitions are given up after a bounded wait, and nothing is committed."""
    consumer, sink, clean = drive(
        lambda c: c.assign(0), lambda _: record(7, 0), lambda c: c.revoke(0), drain_seconds=0.1
    )
    assert not clean
    assert len(sink.waiting) == 1
    assert consumer.calls == [("incremental_assign", [0]), ("incremental_unassign", [0])]


def test_last_commit_is_retried():
    """A commit that fails because another member is joining is retried before partitions are given up."""

    def revoke(consumer: _FakeConsumer) -> None:
        consumer.sink.write(consumer.source)
        consumer.refuse_commits = [KafkaError(KafkaError.REBALANCE_IN_PROGRESS)] * 2
        consumer.revoke(0)

    consumer, _, _ = drive(lambda c: c.assign(0), lambda _: record(7, 0), revoke)
    assert consumer.calls[1:] == [("commit", {0: 8}, False), ("incremental_unassign", [0])]


def test_lost_partitions_are_not_committed():
    """Records of lost partitions are written, and their offsets are not committed."""
    consumer, sink, _ = drive(
        lambda c: c.assign(0),
        lambda _: record(7, 0),
        lambda c: c.lose(0),
        lambda c: c.sink.write(c.source),
        lambda _: record(8, 0),
    )
    assert sink.waiting == []
    assert consumer.calls == [("incremental_assign", [0]), ("incremental_unassign", [0])]


def test_partitions_assigned_while_paused_are_paused(monkeypatch):
    """While the sink is full, newly assigned partitions are paused too; all are resumed together."""
    monkeypatch.setattr("collector.sources.kafka._PAUSE_AFTER_SECONDS", 0)
    monkeypatch.setattr("collector.sources.kafka._POLL_SECONDS", 0)
    sink = _FakeSink()
    consumer, _, _ = drive(
        lambda c: c.assign(0),
        lambda _: setattr(sink, "is_full", True),
        lambda c: c.assign(1),
        lambda _: setattr(sink, "is_full", False),
        lambda _: None,
        sink=sink,
    )
    assert [call for call in consumer.calls if call[0] in {"pause", "resume"}] == [
        ("pause", [0]),
        ("pause", [1]),
        ("resume", [0, 1]),
    ]


def test_failed_sink_ends_the_source():
    """The failure of the sink is raised by run, after the consumer has left the group."""
    sink = _FakeSink()
    with pytest.raises(ZeroDivisionError):
        drive(lambda _: setattr(sink, "failure", ZeroDivisionError()), lambda _: None, sink=sink)


def test_refusal_ends_the_source():
    """A record with a refusal as its error makes run raise."""
    with pytest.raises(KafkaRefusedError):
        drive(lambda _: Message(topic="t", error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
