"""``collector forward`` with real MQTT brokers, librdkafka's mock cluster and a real database."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from fix_collector import until
from fix_publish import Publisher

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PRODUCE = 0
MESSAGE_TOO_LARGE = 10


def reading(number: int) -> bytes:
    """Return a message of one temperature, ``number`` seconds after NOW."""
    return json.dumps({"timestamp": (NOW + timedelta(seconds=number)).isoformat(), "temperature": number}).encode()


@pytest.fixture
def publisher(broker):
    """Return a publisher to the broker of this session."""
    publisher = Publisher(broker.environment())
    yield publisher
    publisher.close()


@pytest.fixture
def forward(collectors, broker):
    """Start ``collector forward`` to a topic; return when it has subscribed."""

    def run(topic, **settings: str):
        return collectors.start({**broker.environment(), **topic.environment()}, "forward", **settings)

    return run


def contents(topic, count: int) -> list[tuple]:
    """Return (key, value) of the first ``count`` records, sorted."""
    return sorted((record.key(), record.value()) for record in topic.records(count))


def test_forwards_unchanged(kafka, broker, forward, publisher, unique):
    """A record has topic, payload, QoS, retained flag and arrival; the records of a topic are in order."""
    odd = [(f"{unique}/σήμα", b"\0\xff\xfe"), (f"{unique}/t0", b""), (f"{unique}/t1", b"not json")]
    publisher.send([(0, f"{unique}/kept", b"old")], retain=True)
    until(lambda: not publisher.waiting)
    begun = datetime.now(tz=UTC) - timedelta(seconds=1)
    running = forward(kafka)
    publisher.send((1 + n, topic, payload) for n, (topic, payload) in enumerate(odd))
    publisher.send((10 + n, f"{unique}/t2", b"%d" % n) for n in range(500))
    records = kafka.records(504)
    assert sorted(
        (record.key(), record.value()) for record in records if record.key() != f"{unique}/t2".encode()
    ) == sorted([(topic.encode(), payload) for topic, payload in odd] + [(f"{unique}/kept".encode(), b"old")])
    assert [record.value() for record in records if record.key() == f"{unique}/t2".encode()] == [
        b"%d" % n for n in range(500)
    ]
    for record in records:
        headers = dict(record.headers())
        assert headers["qos"] == b"1"
        assert headers["retained"] == (b"1" if record.value() == b"old" else b"0")
        arrived = datetime.fromtimestamp(int(headers["received"]) / 1e6, tz=UTC)
        assert begun < arrived < datetime.now(tz=UTC) + timedelta(seconds=1)
        assert record.timestamp()[1] == int(headers["received"]) // 1000
    assert running.stop() == 0
    assert running.wait_for("forwarded")["waiting"] == 0


def test_separate_session(kafka, broker, forward, publisher, unique):
    """Messages published while it is stopped are forwarded later, and none is forwarded twice."""
    forward(kafka).stop()
    publisher.send((n, f"{unique}/t0", reading(n)) for n in range(50))
    until(lambda: not publisher.waiting)
    assert forward(kafka).stop() == 0
    running = forward(kafka)
    publisher.send([(50, f"{unique}/t0", reading(50))])
    assert len(kafka.records(51)) == 51
    assert running.stop() == 0


def test_killed(kafka, broker, forward, publisher, unique):
    """After a kill in the middle of a load every message is on the topic."""
    running = forward(kafka)
    publisher.send((n, f"{unique}/t{n % 4}", reading(n)) for n in range(5000))
    kafka.records(100)
    running.kill()
    running = forward(kafka)
    until(lambda: not publisher.waiting)
    # Messages that were not acknowledged at the kill are there twice.
    until(lambda: {value for _, value in contents(kafka, kafka.size())} == {reading(n) for n in range(5000)})
    assert running.stop() == 0


def test_kafka_away(own_kafka, broker, forward, publisher, unique):
    """While Kafka is away nothing is acknowledged and reading stops at the limit; afterwards all is forwarded."""
    running = forward(own_kafka, COLLECTOR_MAX_BATCH_MESSAGES="100")
    publisher.send([(0, f"{unique}/t0", reading(0))])
    assert len(own_kafka.records(1)) == 1
    own_kafka.cluster.go_away()
    publisher.send((n, f"{unique}/t0", reading(n)) for n in range(1, 3000))
    running.wait_for("broker away")
    until(lambda: any(line.get("waiting", 0) >= 100 for line in running.lines))
    own_kafka.cluster.come_back()
    records = own_kafka.records(3000)
    assert [record.value() for record in records] == [reading(n) for n in range(3000)]
    assert running.stop() == 0


def test_stops_while_kafka_is_away(own_kafka, broker, forward, publisher, unique):
    """SIGTERM while Kafka is away ends with status 1; the next start forwards the unacknowledged messages."""
    running = forward(own_kafka, COLLECTOR_DRAIN_SECONDS="1")
    own_kafka.cluster.go_away()
    publisher.send((n, f"{unique}/t0", reading(n)) for n in range(100))
    until(lambda: any(line.get("waiting") for line in running.lines))
    assert running.stop() == 1
    running.wait_for("stopped while Kafka was away; messages that it does not have stay with the MQTT broker")
    own_kafka.cluster.come_back()
    running = forward(own_kafka)
    assert {record.value() for record in own_kafka.records(100)} == {reading(n) for n in range(100)}
    assert running.stop() == 0


def test_too_large(kafka, broker, forward, publisher, unique):
    """A message too large for a record is logged and stays with the MQTT broker; later ones are forwarded."""
    running = forward(kafka, KAFKA_MAX_MESSAGE_BYTES="1000")
    publisher.send([(0, f"{unique}/t0", b"x" * 2000), (1, f"{unique}/t0", b"y")])
    assert contents(kafka, 1) == [(f"{unique}/t0".encode(), b"y")]
    assert running.stop() == 0
    event = "message too large for Kafka; it stays with the MQTT broker. Raise KAFKA_MAX_MESSAGE_BYTES and the "
    running.wait_for(event + "topic's max.message.bytes")
    running = forward(kafka)
    assert (f"{unique}/t0".encode(), b"x" * 2000) in contents(kafka, 2)
    assert running.stop() == 0


def test_kafka_refuses_a_record(kafka, broker, forward, publisher, unique):
    """A record that Kafka refuses ends forwarding with status 1 and one line; its message is not acknowledged."""
    running = forward(kafka)
    kafka.cluster.fail(PRODUCE, MESSAGE_TOO_LARGE)
    publisher.send([(0, f"{unique}/t0", b"x")])
    assert running.process.wait(60) == 1
    running._reader.join(5)
    errors = [line["event"] for line in running.lines if line["event"].startswith("collector: ")]
    assert len(errors) == 1
    assert "refuses a record" in errors[0]
    running = forward(kafka)
    assert contents(kafka, 1) == [(f"{unique}/t0".encode(), b"x")]
    assert running.stop() == 0


@pytest.mark.parametrize("edition", ["postgresql"])
def test_equals_the_direct_path(servers, database, kafka, broker, collectors, forward, publisher, unique):
    """Rows, quarantine and accounts are the same through Kafka as directly from MQTT."""
    other = servers.create(database.edition, template="template")
    direct = collectors.start(broker.environment())
    through = forward(kafka)
    behind = collectors.start(
        {**kafka.environment(), **other.environment}, "run", "--source", "kafka", subscribed=False
    )
    messages = [(f"{unique}/t{n % 4}", reading(n)) for n in range(500)]
    messages += [(f"{unique}/t0", reading(0)), (f"{unique}/t0", reading(0).replace(b": 0}", b": 1}"))]
    messages += [(f"{unique}/t0", b""), (f"{unique}/unknown", b"{}"), (f"{unique}/t1", b"\xff"), (f"{unique}/t1", b"{")]
    publisher.send((n, topic, payload) for n, (topic, payload) in enumerate(messages))

    def outcome(database) -> tuple:
        with database.connect() as connection:
            accounts = connection.execute(
                "select messages, decoded, ignored, quarantined_messages, readings, stored, duplicate, "
                "quarantined_readings, balanced from telemetry.accounting"
            ).fetchone()
            readings = connection.execute("select sensor_id, quantity, time, value from telemetry.readings").fetchall()
            held = connection.execute(
                "select topic, payload, retained, reason, detail, readings from telemetry.quarantine"
            )
            return accounts, sorted(readings), sorted(held.fetchall())

    for each in (database, other):
        until(lambda each=each: outcome(each)[0][0] >= len(messages))
    assert outcome(database) == outcome(other)
    assert outcome(other)[0] == (506, 502, 1, 3, 502, 500, 1, 1, True)
    assert [running.stop() for running in (direct, through, behind)] == [0, 0, 0]
    servers.drop(other)
