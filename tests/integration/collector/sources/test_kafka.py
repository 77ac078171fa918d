"""``collector run --source kafka`` against librdkafka's mock cluster and a real database."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fix_collector import until
from fix_kafka import PARTITIONS, KafkaTopic

from collector.settings import CollectorSettings, KafkaSettings
from collector.sources.kafka import KafkaSource

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FETCH, OFFSET_COMMIT = 1, 8
TOPIC_AUTHORIZATION_FAILED = 29

# The database behaves the same on both editions here, as other tests check.
ONE_EDITION = pytest.mark.parametrize("edition", ["postgresql"])


def reading(number: int) -> bytes:
    """Return a message of one temperature, ``number`` seconds after NOW."""
    return json.dumps({"timestamp": (NOW + timedelta(seconds=number)).isoformat(), "temperature": number}).encode()


def records(prefix: str, begin: int, end: int) -> list[tuple[str, bytes]]:
    """Return records with the readings ``begin`` to before ``end`` of four sensors."""
    return [(f"{prefix}/t{number % 4}", reading(number)) for number in range(begin, end)]


def counts(connection) -> dict:
    """Return the row of the accounts."""
    cursor = connection.execute("select * from telemetry.accounting")
    return dict(zip([column.name for column in cursor.description], cursor.fetchone(), strict=True))


def stored_once(connection, count: int, timeout: float = 60) -> None:
    """Wait for readings 0 to ``count``; check that each is stored once and the accounts balance."""
    until(lambda: counts(connection)["stored"] >= count, timeout, f"{counts(connection)}")
    total = connection.execute("select count(*), sum(value) from telemetry.reading").fetchone()
    assert total == (count, count * (count - 1) / 2)
    assert counts(connection)["balanced"]


@pytest.fixture
def start(collectors):
    """Start ``collector run --source kafka`` on a topic; return when it has partitions."""

    def run(topic: KafkaTopic, *, assigned: bool = True, **settings: str):
        running = collectors.start(topic.environment(), "run", "--source", "kafka", subscribed=False, **settings)
        if assigned:
            running.wait_for("partitions assigned")
        return running

    return run


def test_records_arrive(database, kafka, start, unique):
    """Records become readings with balanced accounts of source kafka; SIGTERM leaves all offsets committed."""
    kafka.send(records(unique, 0, 1000))
    running = start(kafka)
    with database.connect() as connection:
        stored_once(connection, 1000)
        kafka.send(records(unique, 1000, 1100))
        stored_once(connection, 1100)
        assert connection.execute("select distinct source from telemetry.intake").fetchall() == [("kafka",)]
        assert running.stop() == 0
        assert sum(kafka.committed().values()) == 1100
        start(kafka)
        kafka.send(records(unique, 1100, 1101))
        stored_once(connection, 1101)
        assert counts(connection)["duplicate"] == 0


@ONE_EDITION
def test_records_of_every_kind(database, kafka, start, unique):
    """The header or the key is the topic; records without a valid topic are quarantined, tombstones ignored."""
    far = 9_999_999_999_999  # year 2286, in milliseconds: Kafka takes any timestamp from a producer
    kafka.send([("elsewhere", reading(0))], headers=[("mqtt-topic", f"{unique}/t0".encode())])
    kafka.send([(f"{unique}/t1", reading(1))], headers=[("received", b"9" * 30), ("qos", b"x"), ("retained", None)])
    kafka.send([(f"{unique}/t2", reading(2))], timestamp=far)
    kafka.send([(f"{unique}/t3", reading(3))], headers={"received": "1772366405000123", "retained": "1", "qos": "0"})
    kafka.send([(None, b"a"), (b"\xff\xfe", b"b"), ("other", b"c"), (f"{unique}/t0", b"\xff")])
    kafka.send([(f"{unique}/t0", None), (f"{unique}/t0", b"")])
    start(kafka)
    with database.connect() as connection:
        until(lambda: counts(connection)["messages"] == 10)
        account = counts(connection)
        assert (account["stored"], account["ignored"], account["quarantined_messages"]) == (4, 2, 4)
        assert account["balanced"]
        arrived = connection.execute("select received_at from telemetry.reading where value = 3").fetchone()[0]
        assert arrived == datetime.fromtimestamp(1772366405, tz=UTC)
        rows = connection.execute("select topic, payload, reason from telemetry.quarantine").fetchall()
        assert sorted(rows) == [
            ("", b"a", "unknown_sensor"),
            ("\\udcff\\udcfe", b"b", "unknown_sensor"),
            ("other", b"c", "unknown_sensor"),
            (f"{unique}/t0", b"\xff", "malformed"),
        ]
    until(lambda: sum(kafka.committed().values()) == 10)


@ONE_EDITION
def test_killed(database, kafka, start, unique):
    """After three kills in the middle of a load every reading is stored once."""
    load = 20_000
    with database.connect() as connection:
        for turn in range(3):
            kafka.send(records(unique, turn * load, (turn + 1) * load))
            running = start(kafka, COLLECTOR_MAX_BATCH_MESSAGES="500")
            until(lambda turn=turn: counts(connection)["stored"] > turn * load)
            running.kill()
            assert counts(connection)["stored"] < (turn + 1) * load, "the load was over before the kill"
        start(kafka)
        stored_once(connection, 3 * load)


@ONE_EDITION
def test_rebalancing(database, own_kafka, start, unique):
    """Collectors start, stop and are killed under load: each reading is stored once, only kills repeat records."""
    sent, kafka = 0, own_kafka
    # The mock considers a group stable when its leader has sent the assignment. It refuses later members (a broker
    # answers them), makes a new generation for them, and accepts no offsets meanwhile (a broker does). The leader
    # requests metadata before: with this delay of every answer, the others are first.
    kafka.cluster.answer_after(250)
    # The mock drops members that rejoin later than a second less than this; machines may be busy.
    patient = {"KAFKA_SESSION_SECONDS": "4"}
    first = start(kafka, **patient, COLLECTOR_CLIENT_ID=f"{unique}-1")
    with database.connect() as connection:

        def flow(runner, event: str) -> None:
            """Send records, which the collectors read, until ``runner`` has logged ``event`` with partitions."""
            nonlocal sent
            begun, deadline = sent, time.monotonic() + 60

            def close_behind() -> bool:
                return counts(connection)["stored"] > sent - 1000

            while sent < begun + 500 or not any(line["event"] == event and line["partitions"] for line in runner.lines):
                assert time.monotonic() < deadline, f"no {event!r}: {runner.lines[-5:]}"
                kafka.send(records(unique, sent, sent + 50))
                sent += 50
                until(close_behind)

        flow(first, "partitions assigned")
        second = start(kafka, **patient, COLLECTOR_CLIENT_ID=f"{unique}-2", assigned=False)
        flow(second, "partitions assigned")
        given_up = first.wait_for("partitions given up")
        assert len(given_up["partitions"]) == PARTITIONS // 2
        assert given_up["uncommitted"] == 0, [line for line in first.lines if "reason" in line]
        assert second.stop() == 0
        until(lambda: [line.get("partitions") for line in first.lines].count([0, 1, 2, 3]) == 2)
        flow(second, "partitions given up")
        stored_once(connection, sent)
        assert counts(connection)["duplicate"] == 0
        third = start(kafka, **patient, COLLECTOR_CLIENT_ID=f"{unique}-3", assigned=False)
        flow(third, "partitions assigned")
        first.kill()
        flow(third, "partitions assigned")
        stored_once(connection, sent)
        assert third.stop() == 0
    assert sum(kafka.committed().values()) == sent


@ONE_EDITION
def test_database_away(database, kafka, start, unique):
    """While the database is away partitions are paused at the limit; afterwards all records are stored once."""
    limit = 300
    running = start(kafka, COLLECTOR_MAX_BATCH_MESSAGES=str(limit))
    name = database.environment["PGDATABASE"]
    with replace(database, environment={**database.environment, "PGDATABASE": "postgres"}).connect() as admin:
        admin.execute(f"alter database {name} allow_connections false")
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        kafka.send(records(unique, 0, 30_000))
        running.wait_for("paused: the database is behind")
        before = len(running.lines)
        running.wait_for("nothing arrived", count=sum(line["event"] == "nothing arrived" for line in running.lines) + 2)
        waiting = [line["waiting"] for line in running.lines[before:] if "waiting" in line]
        # The gathering batch may exceed its limit by the records of one consume call.
        assert waiting
        assert all(limit <= count <= limit + 2_001 for count in waiting)
        assert kafka.committed() == {}
        admin.execute(f"alter database {name} allow_connections true")
    running.wait_for("resumed")
    with database.connect() as connection:
        stored_once(connection, 30_000)
        assert counts(connection)["duplicate"] == 0
    assert running.stop() == 0
    assert sum(kafka.committed().values()) == 30_000


def test_pausing_reads_each_record_once(kafka, unique, monkeypatch):
    """Partitions that are paused and resumed repeatedly deliver each record once."""
    monkeypatch.setattr("collector.sources.kafka._PAUSE_AFTER_SECONDS", 0.0)
    monkeypatch.setattr("collector.sources.kafka._MOST_RECORDS", 100)

    class Slow:
        """A sink that is full after 500 records, until ``is_full`` was read a few times."""

        failure = None

        def __init__(self) -> None:
            self.offsets: list[int] = []
            self.capacity = 500
            self.reads = 0

        @property
        def is_full(self) -> bool:
            self.reads += self.capacity <= 0
            if self.reads == 5:
                self.reads, self.capacity = 0, 500
            return self.capacity <= 0

        def add(self, message) -> None:
            self.offsets.append(message.delivery)
            self.capacity -= 1

        def notify(self) -> None:
            if len(self.offsets) >= 6_000:
                source.stop()

        def stop(self, seconds) -> bool:
            return True

    kafka.send(records(unique, 0, 6_000))
    for name, value in kafka.environment().items():
        monkeypatch.setenv(name, value)
    sink = Slow()
    source = KafkaSource(KafkaSettings(), CollectorSettings(drain_seconds=0))
    assert source.run(sink)
    assert len(sink.offsets) == len(set(sink.offsets)) == 6_000


@ONE_EDITION
def test_kafka_away(database, own_kafka, start, unique):
    """The collector waits for unreachable brokers, at the start and later, and then continues."""
    running = start(own_kafka)
    own_kafka.send(records(unique, 0, 100))
    with database.connect() as connection:
        stored_once(connection, 100)
        own_kafka.cluster.go_away()
        running.wait_for("broker away")
        late = start(own_kafka, assigned=False, COLLECTOR_CLIENT_ID="late")
        late.wait_for("broker away")
        assert late.stop() == 0
        own_kafka.cluster.come_back()
        own_kafka.send(records(unique, 100, 200))
        stored_once(connection, 200)
    assert running.stop() == 0


@ONE_EDITION
def test_stops_while_kafka_is_away(database, own_kafka, start, unique):
    """SIGTERM stops a collector whose brokers are unreachable."""
    running = start(own_kafka)
    own_kafka.send(records(unique, 0, 100))
    with database.connect() as connection:
        stored_once(connection, 100)
    own_kafka.cluster.go_away()
    running.wait_for("broker away")
    assert running.stop() == 0


@ONE_EDITION
def test_failed_commits(database, kafka, start, unique):
    """Offsets whose commit failed are committed with a later request."""
    running = start(kafka)
    kafka.cluster.fail(OFFSET_COMMIT, *[16] * 3)  # NOT_COORDINATOR
    kafka.send(records(unique, 0, 100))
    with database.connect() as connection:
        stored_once(connection, 100)
    until(lambda: sum(kafka.committed().values()) == 100)
    assert running.stop() == 0


@ONE_EDITION
def test_missing_topic(database, kafka_cluster, start, unique):
    """The collector waits for a missing topic, with a warning, and then reads it."""
    topic = KafkaTopic(kafka_cluster, create=False)
    kafka_cluster.refuse(topic.name, 3)  # UNKNOWN_TOPIC_OR_PART: the mock would create it at the first request
    running = start(topic, assigned=False)
    running.wait_for("the topic does not exist yet; waiting for it")
    kafka_cluster.refuse(topic.name, 0)
    topic.send(records(unique, 0, 10))
    with database.connect() as connection:
        stored_once(connection, 10)
    assert running.stop() == 0


@ONE_EDITION
@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
def test_refused(database, kafka, start, late):
    """A cluster that refuses the topic ends the collector with status 1 and one line with the settings to check."""
    if not late:
        kafka.cluster.refuse(kafka.name, TOPIC_AUTHORIZATION_FAILED)
    running = start(kafka, assigned=late)
    kafka.cluster.refuse(kafka.name, TOPIC_AUTHORIZATION_FAILED)
    kafka.cluster.fail(FETCH, *[TOPIC_AUTHORIZATION_FAILED] * 3)
    assert running.process.wait(60) == 1
    running._reader.join(5)
    errors = [line["event"] for line in running.lines if line["event"].startswith("collector: ")]
    assert len(errors) == 1
    assert "refuses this client" in errors[0]
    assert "Check KAFKA_TOPIC" in errors[0]
    assert not any("Traceback" in line["event"] for line in running.lines)


@pytest.mark.parametrize("command", [["run", "--source", "kafka"], ["forward"]], ids=lambda command: command[0])
def test_without_the_package(tmp_path, command):
    """Without confluent-kafka everything else works, and commands that need it name the package to install."""
    code = (
        "import sys; sys.modules['confluent_kafka'] = None; from collector.cli import main; "
        f"sys.argv[1:] = {command!r}; main()"
    )
    (tmp_path / "sensors.json").write_text('{"subscribe": ["a/#"], "types": {}, "sensors": []}')
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == "collector: Kafka needs one more package: pip install 'sensor-warehouse[kafka]'\n"
