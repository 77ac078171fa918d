"""Kafka without a cluster: records and messages, errors, and who commits what when partitions move."""

import threading
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from collector.settings import CollectorSettings, KafkaSettings
from collector.sources.kafka import KafkaRefusedError, KafkaSource, KafkaTroubles, message_of

HEADER = "mqtt-topic"
CREATE_TIME = 1


def record(offset: int = 0, partition: int = 0, **more) -> Message:
    """Return a record as a consumer would."""
    given = {"key": b"a/b", "value": b"1", "headers": [], "timestamp": (CREATE_TIME, 1_700_000_000_123), **more}
    return Message(topic="t", partition=partition, offset=offset, **given)


def test_message_of_a_record():
    """Key, value and time of a record make a message; its place is the handle for committing it."""
    found = message_of(record(5, 3), HEADER)
    assert found == ("a/b", b"1", 1_700_000_000_123_005, False, 3 << 48 | 5, 1)


def test_message_of_a_forwarded_record():
    """What forward wrote into headers is what the message says."""
    headers = [("qos", b"0"), ("retained", b"1"), ("received", b"1700000000123456"), (HEADER, b"c/d")]
    found = message_of(record(headers=headers), HEADER)
    assert found == ("c/d", b"1", 1_700_000_000_123_456, True, 0, 0)


def test_another_header_for_the_topic():
    """The header that holds the topic can be another; then the default one means nothing."""
    headers = [(HEADER, b"no"), ("source", b"yes")]
    assert message_of(record(headers=headers), "source").topic == "yes"


@pytest.mark.parametrize(
    "received", [b"", b"-1", b"1e3", b" 1", b"0", b"90000000000000000", b"1" * 40, b"1" * 5000, "²".encode(), None]
)
def test_unusable_arrival(received):
    """An arrival that is no time in the header gives way to the record's."""
    assert message_of(record(headers=[("received", received)]), HEADER).received == 1_700_000_000_123_000


@pytest.mark.parametrize("milliseconds", [-1, 0, 1, 90_000_000_000_000, 2**62])
def test_unusable_timestamp(milliseconds):
    """A record without a usable time arrives now: its message can be stored all the same."""
    found = message_of(record(timestamp=(CREATE_TIME, milliseconds)), HEADER)
    assert 1_700_000_000_000_000 < found.received < 10_000_000_000_000_000


def test_records_of_one_millisecond():
    """Records that Kafka gives the same time do not collide where that is the time of a reading."""
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
    """A record without a usable key or value is a message all the same."""
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
def test_what_ends_a_client(error, connected, refused):
    """Refusals end a client with a message that says what to check; everything else may pass."""
    troubles = KafkaTroubles(KafkaSettings(topic="t", group="g"))
    troubles.connected = connected
    troubles(error)
    assert (troubles.refused is not None) == refused
    if refused:
        assert "Check KAFKA_TOPIC" in str(troubles.refused)


class _FakeConsumer:
    """A consumer whose rebalances happen when the test says so, one step each time it is polled."""

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
        found = self.steps.pop(0)(self)
        return found if isinstance(found, Message) else None

    def consume(self, count, timeout):
        return []

    def commit(self, *, offsets, asynchronous):
        if self.refuse_commits:
            raise KafkaException(self.refuse_commits.pop(0))
        self.calls.append(("commit", {one.partition: one.offset for one in offsets}, asynchronous))
        return offsets

    def close(self) -> None:
        mine = sorted(self.source._mine)
        if mine:
            self.revoke(*mine)

    def __getattr__(self, name):
        """Take note of a call: pause, resume, incremental_assign, incremental_unassign."""
        return lambda partitions: self.calls.append((name, [one.partition for one in partitions]))


class _FakeSink:
    """A sink that makes safe what it has when it is told to."""

    failure = None

    def __init__(self) -> None:
        self.full = False
        self.waiting: list = []

    def add(self, message) -> None:
        self.waiting.append(message)

    def notify(self) -> None:
        """Nothing."""

    def write(self, source: KafkaSource) -> None:
        waiting, self.waiting = self.waiting, []
        source.committed(waiting)

    def stop(self, seconds) -> bool:
        return not self.waiting


def drive(*steps, drain_seconds: float = 5, sink: _FakeSink | None = None) -> tuple[_FakeConsumer, _FakeSink, bool]:
    """Run a source through ``steps``; return its consumer, its sink and whether all was safe."""
    consumer = _FakeConsumer(*steps)
    sink = sink or _FakeSink()
    source = KafkaSource(
        KafkaSettings(topic="t"), CollectorSettings(client_id="c", drain_seconds=drain_seconds), consumer
    )
    consumer.source, consumer.sink = source, sink
    return consumer, sink, source.run(sink)


def test_nothing_is_committed_before_it_is_safe():
    """Offsets are committed for what the sink made safe, and for nothing that it still holds."""
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


def test_revoked_partitions_are_waited_for():
    """Partitions are given up only when what was read of them is safe and its offsets are committed."""

    def revoke(consumer: _FakeConsumer) -> None:
        writer = threading.Timer(0.2, consumer.sink.write, (consumer.source,))
        writer.start()
        consumer.revoke(0)
        writer.join()

    consumer, sink, _ = drive(lambda c: c.assign(0, 1), lambda _: record(7, 0), lambda _: record(3, 1), revoke)
    assert sink.waiting == []
    assert consumer.calls[1:3] == [("commit", {0: 8, 1: 4}, False), ("incremental_unassign", [0])]


def test_revoking_does_not_wait_for_ever():
    """With the database away, partitions are given up after some patience, and nothing is committed."""
    consumer, sink, clean = drive(
        lambda c: c.assign(0), lambda _: record(7, 0), lambda c: c.revoke(0), drain_seconds=0.1
    )
    assert not clean
    assert len(sink.waiting) == 1
    assert consumer.calls == [("incremental_assign", [0]), ("incremental_unassign", [0])]


def test_last_commit_is_tried_again():
    """A commit that is refused because another member is joining is tried again before partitions are given up."""

    def revoke(consumer: _FakeConsumer) -> None:
        consumer.sink.write(consumer.source)
        consumer.refuse_commits = [KafkaError(KafkaError.REBALANCE_IN_PROGRESS)] * 2
        consumer.revoke(0)

    consumer, _, _ = drive(lambda c: c.assign(0), lambda _: record(7, 0), revoke)
    assert consumer.calls[1:] == [("commit", {0: 8}, False), ("incremental_unassign", [0])]


def test_lost_partitions_are_not_committed():
    """Of partitions that others have already, what was read is kept and written, and nothing is committed."""
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
    """While the sink is full, a partition that comes is paused too, and all are resumed together."""
    monkeypatch.setattr("collector.sources.kafka._PATIENCE_SECONDS", 0)
    monkeypatch.setattr("collector.sources.kafka._POLL_SECONDS", 0)
    sink = _FakeSink()
    consumer, _, _ = drive(
        lambda c: c.assign(0),
        lambda _: setattr(sink, "full", True),
        lambda c: c.assign(1),
        lambda _: setattr(sink, "full", False),
        lambda _: None,
        sink=sink,
    )
    assert [call for call in consumer.calls if call[0] in {"pause", "resume"}] == [
        ("pause", [0]),
        ("pause", [1]),
        ("resume", [0, 1]),
    ]


def test_a_failed_sink_ends_the_source():
    """What ended the sink is raised by run, after the group was left."""
    sink = _FakeSink()
    with pytest.raises(ZeroDivisionError):
        drive(lambda _: setattr(sink, "failure", ZeroDivisionError()), lambda _: None, sink=sink)


def test_a_refusal_ends_the_source():
    """A refusal among the records is raised by run."""
    with pytest.raises(KafkaRefusedError):
        drive(lambda _: Message(topic="t", error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
