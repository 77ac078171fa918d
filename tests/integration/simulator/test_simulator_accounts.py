"""What the simulator did wrong on purpose is what the collector's accounts say."""

import os
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

from collector.registry import sensors_file
from collector.settings import MqttSettings
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
    """Lost, duplicated, late, disordered, implausible and malformed messages each end up where they must, by count."""
    players = schedule.players(schedule.played(sensors_file.load(sensors)), 1, None)
    samples = list(schedule.history(players, START, START + 2 * 3600, 60.0))

    def damaged(rates):
        damage = Faults(faults.Spec(rates=rates), 1, START)
        return list(damage.messages(schedule.messages(damage.samples(samples), "wide", 1))), damage.tally

    messages, tally = damaged(dict.fromkeys(faults.RATES, 0.05))
    whole, _ = damaged({"out-of-range": 0.05})
    broken = {make(message.payload) for message in whole for make in faults.BREAK.values()}
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
            # What can't be decoded at all counts as a message, a wrong value in a good document as a reading.
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
        _, said = collector.communicate(timeout=60)
    assert collector.returncode == 0, said.decode()


def _wait_for_collector(connection, publisher, topic):
    """Publish what is no reading until the collector has it; return how many of them were taken in."""
    deadline = time.monotonic() + 60
    while not _accounts(connection)["messages"]:
        assert time.monotonic() < deadline, "the collector does not come"
        publisher.publish(topic, b"are you there?")
        publisher.drain()
        publisher.idle(0.1)
    # Those published before it subscribed never come; the ones after do, and in order: one more settles the count.
    publisher.publish(topic, b"the last one")
    publisher.drain()
    _until_last(connection, deadline)
    return _accounts(connection)["messages"]


def _until_last(connection, deadline):
    while not connection.execute("select 1 from telemetry.quarantine where payload = 'the last one'").fetchone():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _until(connection, condition):
    deadline = time.monotonic() + 60
    while not condition(row := _accounts(connection)):
        assert time.monotonic() < deadline, row
        time.sleep(0.02)
    return row


def _accounts(connection):
    found = connection.execute("select * from telemetry.accounting")
    return dict(zip([column.name for column in found.description], found.fetchone(), strict=True))
