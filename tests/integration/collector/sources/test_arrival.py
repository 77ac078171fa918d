"""Readings without their own time after an outage: quarantined, and stored at the right time from the archive."""

import json
import os
import subprocess
import time
from datetime import datetime

import pytest
from fix_collector import PROGRAM, until
from fix_publish import Publisher

from local_services.broker import BrokerSettings, LocalBroker, executable
from timescale.migrate import migrate

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(executable("mosquitto") is None, reason="mosquitto is not installed"),
]

LIMIT = 2.0
SETTINGS = {"COLLECTOR_ARRIVAL_LIMIT_SECONDS": str(LIMIT)}
KNOWN = "arrival times are known from now on"
OPEN = "select count(*) from telemetry.quarantine where reason = 'arrival_unknown' and replayed_at is null"
READINGS = "select time, value from telemetry.reading order by value, time"


class Esphome:
    """A node as ESPHome publishes it, one number per message and no time, and the truth about them."""

    def __init__(self, broker, name: str) -> None:
        self.sent: dict[float, tuple[float, float]] = {}
        self._topic = f"{name}/node/sensor/temperature/state"
        self._publisher = Publisher(broker.environment(), f"{name}-node")

    def publish(self, *values: float) -> None:
        """Publish ``values`` and wait until the broker has them."""
        for value in values:
            before = time.time()
            self._publisher.send([(0, self._topic, str(value).encode())])
            until(lambda: not self._publisher.waiting)
            self.sent[value] = before, time.time()

    def close(self) -> None:
        """Disconnect."""
        self._publisher.close()

    def is_right(self, when: datetime, value: float, tolerance: float = 1.0) -> bool:
        """Return whether a reading is at the time at which it was published."""
        before, after = self.sent[value]
        return before - tolerance <= when.timestamp() <= after + tolerance


def registry(name: str) -> bytes:
    """Return the registry of the node."""
    sensor = {"sensor_id": "node", "type": "esphome", "site": "here", "area": "lab"}
    kind = {
        "format": "value",
        "quantities": {"temperature": {"unit": "Cel", "interval_seconds": 10}},
    }
    return json.dumps(
        {
            "subscribe": [f"{name}/#"],
            "types": {"esphome": kind},
            "sensors": [{**sensor, "topic": f"{name}/node/sensor/{{quantity}}/state"}],
        }
    ).encode()


@pytest.fixture
def node(broker, collectors, unique):
    """Return a node whose registry is in place."""
    collectors.registry.write_bytes(registry(unique))
    node = Esphome(broker, unique)
    yield node
    node.close()


def collector_command(collectors, *arguments: str) -> str:
    """Run a command that ends; return what it prints."""
    environment = {**os.environ, "COLLECTOR_REGISTRY": str(collectors.registry)}
    return subprocess.run([PROGRAM, *arguments], env=environment, check=True, capture_output=True, text=True).stdout


def count(database, query: str) -> int:
    """Return the number that ``query`` gives."""
    with database.connect() as connection:
        return connection.execute(query).fetchone()[0]


def readings(database) -> list[tuple[datetime, float]]:
    """Return (time, value) of all readings."""
    with database.connect() as connection:
        return connection.execute(READINGS).fetchall()


def balanced(database) -> bool:
    """Return whether the accounts balance."""
    return count(database, "select balanced from telemetry.accounting")


def wait_past_limit() -> None:
    """Wait until what was published before is older than the limit."""
    end = time.monotonic() + LIMIT + 0.5
    until(lambda: time.monotonic() > end)


@pytest.fixture
def away(database, broker, collectors, node, tmp_path):
    """Publish 1 live, 2 to 5 while the collector is stopped and the archiver runs, 6 live; return the archive."""
    archive = tmp_path / "archive"
    archiver = collectors.start({**broker.environment(), "ARCHIVE_DIRECTORY": str(archive)}, "archive")
    running = collectors.start(broker.environment(), **SETTINGS)
    archiver.wait_for(KNOWN)
    running.wait_for(KNOWN)
    node.publish(1)
    until(lambda: len(readings(database)) == 1)
    running.stop()
    node.publish(2, 3, 4, 5)
    wait_past_limit()
    running = collectors.start(broker.environment(), **SETTINGS)
    until(lambda: count(database, OPEN) == 4, what="the four messages that waited are in quarantine")
    node.publish(6)
    until(lambda: len(readings(database)) == 2)
    running.stop()
    archiver.stop()
    return archive


def test_messages_that_waited_are_quarantined(database, away, node):
    """After an outage only what arrived in time is stored, at its time, and the accounts balance."""
    stored = readings(database)
    assert ([value for _, value in stored], balanced(database)) == ([1, 6], True)
    assert all(node.is_right(*reading) for reading in stored)


def test_the_archive_has_the_right_times(database, away, node, collectors):
    """Loading the archive stores what waited at the time at which it was published, and settles its rows."""
    collector_command(collectors, "load", str(away))
    stored = readings(database)
    assert {value for _, value in stored} == {1, 2, 3, 4, 5, 6}
    assert all(node.is_right(*reading) for reading in stored)
    assert (count(database, OPEN), balanced(database)) == (0, True)


def test_only_what_is_in_quarantine(database, away, node, collectors):
    """With --arrival-unknown nothing that was stored at once is stored a second time from the archive."""
    collector_command(collectors, "load", "--arrival-unknown", str(away))
    stored = readings(database)
    assert [value for _, value in stored] == [1, 2, 3, 4, 5, 6]
    assert all(node.is_right(*reading) for reading in stored)
    assert (count(database, OPEN), balanced(database)) == (0, True)


def test_a_second_load_changes_nothing(database, away, collectors):
    """The archive may be loaded again."""
    collector_command(collectors, "load", str(away))
    before = readings(database)
    collector_command(collectors, "load", str(away))
    assert (readings(database), count(database, OPEN), balanced(database)) == (before, 0, True)


def test_a_replay_names_the_archive(database, away, collectors):
    """Without the archive a replay stores nothing and tells how to get the readings."""
    output = collector_command(collectors, "quarantine", "replay")
    assert "collector load" in output
    assert count(database, OPEN) == 4


def test_a_replay_at_arrival(database, away, collectors):
    """With --at-arrival the readings are stored with the time at which they were collected."""
    collector_command(collectors, "quarantine", "replay", "--reason", "arrival_unknown", "--at-arrival")
    assert {value for _, value in readings(database)} == {1, 2, 3, 4, 5, 6}
    assert (count(database, OPEN), balanced(database)) == (0, True)


def test_a_short_stop_loses_nothing(database, broker, collectors, node):
    """What waits no longer than the limit, as during a restart, is stored."""
    running = collectors.start(broker.environment(), COLLECTOR_ARRIVAL_LIMIT_SECONDS="60")
    running.wait_for(KNOWN)
    running.stop()
    node.publish(1, 2)
    collectors.start(broker.environment(), COLLECTOR_ARRIVAL_LIMIT_SECONDS="60")
    until(lambda: len(readings(database)) == 2)
    assert all(node.is_right(*reading, tolerance=60) for reading in readings(database))


def test_a_killed_collector(database, broker, collectors, node):
    """The session itself tells the next process how long its messages may have waited."""
    running = collectors.start(broker.environment(), **SETTINGS)
    running.wait_for(KNOWN)
    running.kill()
    node.publish(1, 2)
    wait_past_limit()
    collectors.start(broker.environment(), **SETTINGS)
    until(lambda: count(database, OPEN) == 2)
    assert readings(database) == []


def test_off(database, broker, collectors, node):
    """With the limit 0 everything is stored with the time of its arrival."""
    off = {"COLLECTOR_ARRIVAL_LIMIT_SECONDS": "0"}
    collectors.start(broker.environment(), **off).stop()
    node.publish(1, 2)
    wait_past_limit()
    collectors.start(broker.environment(), **off)
    until(lambda: len(readings(database)) == 2)


def test_probes_are_no_messages(database, broker, collectors, node, unique):
    """With the filter # the collector gets all probes, and none of them is counted or quarantined."""
    collectors.registry.write_bytes(registry(unique).replace(f'"{unique}/#"'.encode(), b'"#"'))
    running = collectors.start(broker.environment(), **SETTINGS)
    running.wait_for(KNOWN)
    node.publish(1)
    until(lambda: len(readings(database)) == 1)
    wait_past_limit()
    assert (
        count(database, "select count(*) from telemetry.quarantine where topic like 'sensor-warehouse/arrival/%'") == 0
    )


@pytest.mark.usefixtures("edition")
def test_database_away(durable_server, collectors, tmp_path, unique):
    """Messages that waited behind a full window while the database was away are not stored at their late arrival."""
    migrate()
    collectors.registry.write_bytes(registry(unique))
    with LocalBroker(tmp_path / "broker", "mosquitto", settings=BrokerSettings(max_inflight=10)) as broker:
        node = Esphome(broker, unique)
        running = collectors.start(broker.environment(), **SETTINGS)
        running.wait_for(KNOWN)
        durable_server.kill()
        node.publish(*range(40))
        wait_past_limit()
        durable_server.start()
        until(lambda: count(Durable(durable_server), "select readings from telemetry.accounting") == 40, 60)
        node.close()
        stored = readings(Durable(durable_server))
    assert 0 < len(stored) < 20
    assert all(node.is_right(*reading) for reading in stored)


class Durable:
    """A server whose database the functions above read."""

    def __init__(self, server) -> None:
        self._server = server

    def connect(self):
        """Open a connection."""
        import psycopg

        e = self._server.environment()
        return psycopg.connect(
            host=e["PGHOST"], port=e["PGPORT"], user=e["PGUSER"], password=e["PGPASSWORD"], dbname=e["PGDATABASE"],
            autocommit=True,
        )  # fmt: skip


class RestrictedBroker(LocalBroker):
    """A broker that lets clients publish and read only the topics of one name."""

    allowed = ""

    def _write_mosquitto(self):
        path = super()._write_mosquitto()
        acl = self.directory / "mosquitto" / "acl"
        acl.write_text(f"user {self.username}\ntopic readwrite {self.allowed}/#\n")
        acl.chmod(0o644)
        path.write_text(f"{path.read_text()}acl_file {acl}\n")
        return path


def test_forbidden_probes(database, collectors, tmp_path, unique):
    """Where the broker forbids the probes, one warning names the rule, and readings are stored as without them."""
    collectors.registry.write_bytes(registry(unique))
    broker = RestrictedBroker(tmp_path / "broker", "mosquitto")
    broker.allowed = unique
    with broker:
        node = Esphome(broker, unique)
        running = collectors.start(broker.environment(), **SETTINGS)
        warning = "the broker does not return the collector's messages about arrival"
        until(lambda: any(line["event"].startswith(warning) for line in running.lines))
        running.stop()
        node.publish(1, 2)
        wait_past_limit()
        again = collectors.start(broker.environment(), **SETTINGS)
        again.wait_for("subscribed", count=3)  # mosquitto 2.0.11 disconnects twice
        node.publish(3)
        until(lambda: {value for _, value in readings(database)} == {1, 2, 3})
        assert count(database, OPEN) == 0
        node.close()
