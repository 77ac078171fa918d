"""The simulator's tally of faults agrees with the collector's accounts."""

import os
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

from collector.registry import sensors_file
from core.settings import MqttSettings
from simulator import faults, schedule
from simulator.faults import Faults
from simulator.publisher import Publisher

ROOT = Path(__file__).parents[3]
COLLECTOR = Path(sysconfig.get_path("scripts")) / "collector"
START = 1_700_000_040.0


@pytest.fixture
def sensors(tmp_path, unique):
    """Write a registry whose topics no other test uses; return its path."""
    path = tmp_path / "sensors.json"
    path.write_text((ROOT / "sensors.json").read_text().replace('"sensors/', f'"{unique}/'))
    return path


def test_tally_equals_accounts(database, broker, sensors, unique):
    """Lost, duplicate, late, unordered, implausible and malformed messages have the expected counts."""
    devices = schedule.make_devices(schedule.default_sensors(sensors_file.load(sensors)), 1, None)
    samples = list(schedule.history(devices, START, START + 2 * 3600, 60.0))

    def with_faults(rates):
        injected = Faults(faults.FaultSpec(rates=rates), 1, START)
        return list(injected.messages(schedule.messages(injected.samples(samples), "wide", 1))), injected.tally

    messages, tally = with_faults(dict.fromkeys(faults.RATES, 0.05))
    whole, _ = with_faults({"out-of-range": 0.05})
    broken = {malform(message.payload) for message in whole for malform in faults.MALFORMERS.values()}
    malformed = sum(message.payload in broken for message in messages)
    good = {(message.sensor_id, message.payload) for message in messages if message.payload not in broken}
    environment = {
        **os.environ, **database.environment, **broker.environment(),
        "COLLECTOR_REGISTRY": str(sensors), "COLLECTOR_CLIENT_ID": unique,
    }  # fmt: skip
    collector = subprocess.Popen([COLLECTOR, "run"], env=environment, cwd=sensors.parent, stderr=subprocess.PIPE)
    try:
        with database.connect() as connection:
            settings = MqttSettings(**{name[5:].lower(): value for name, value in broker.environment().items()})
            with Publisher(settings) as publisher:
                publisher.connect()
                probes = _wait_for_collector(connection, publisher, messages[0].topic)
                for message in messages:
                    publisher.publish(message.topic, message.payload)
                assert publisher.drain()
            account = _until(connection, lambda row: row["messages"] >= len(messages) + probes)
            assert account["balanced"]
            assert account["messages"] == len(messages) + probes
            # An undecodable message counts as a message, a wrong value in a valid document as a reading.
            assert account["quarantined_messages"] + account["quarantined_readings"] == malformed + probes
            assert account["stored"] == len(good)
            assert account["duplicate"] == len(messages) - malformed - len(good)
            assert connection.execute("select count(*) from telemetry.reading").fetchone()[0] == len(good)
            outside = connection.execute(
                "select count(*) from telemetry.readings join telemetry.series using (series_id) "
                "where value not between minimum and maximum"
            ).fetchone()[0]
            assert 0 < outside <= tally["out-of-range"]
    finally:
        collector.terminate()
        _, log = collector.communicate(timeout=60)
    assert collector.returncode == 0, log.decode()


def _wait_for_collector(connection, publisher, topic):
    """Publish invalid messages until the collector is connected; return the number it has received."""
    deadline = time.monotonic() + 60
    while not _accounts(connection)["messages"]:
        assert time.monotonic() < deadline, "the collector does not connect"
        publisher.publish(topic, b"probe")
        publisher.drain()
        publisher.process_network(0.1)
    # Messages before the subscription are lost, later ones arrive in order: another one makes the count final.
    publisher.publish(topic, b"last probe")
    publisher.drain()
    _until_last(connection, deadline)
    return _accounts(connection)["messages"]


def _until_last(connection, deadline):
    while not connection.execute("select 1 from telemetry.quarantine where payload = 'last probe'").fetchone():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _until(connection, condition):
    deadline = time.monotonic() + 60
    while not condition(row := _accounts(connection)):
        assert time.monotonic() < deadline, row
        time.sleep(0.02)
    return row


def _accounts(connection):
    cursor = connection.execute("select * from telemetry.accounting")
    return dict(zip([column.name for column in cursor.description], cursor.fetchone(), strict=True))
