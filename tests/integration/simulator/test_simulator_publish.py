"""The simulator publishes to a real broker."""

import os
import signal
import subprocess
import sysconfig
import time
from collections import Counter
from pathlib import Path

import orjson
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from collector.registry import sensors_file as registries
from core.settings import MqttSettings
from local_services.broker import BrokerError, LocalBroker
from simulator.publisher import Publisher

ROOT = Path(__file__).parents[3]
SIMULATOR = Path(sysconfig.get_path("scripts")) / "simulator"


class Reader:
    """A subscriber that records the messages it receives."""

    def __init__(self, broker, topic, client_id):
        self.messages = []
        self._granted = False
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id, clean_session=False)
        self.client.username_pw_set(broker.username, broker.password)
        self.client.on_message = lambda _c, _d, message: self.messages.append((message.topic, message.payload))
        self.client.on_subscribe = lambda *_: setattr(self, "_granted", True)
        self.client.connect("127.0.0.1", broker.port)
        self.client.subscribe(topic, 1)
        self.until(lambda: self._granted)

    def until(self, condition):
        """Run the network loop until ``condition`` holds; fail after a minute."""
        deadline = time.monotonic() + 60
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"timeout; received {len(self.messages)} messages")
            self.client.loop(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.disconnect()


@pytest.fixture
def sensors(tmp_path, unique):
    """Write a registry with unique topics; return its path."""
    text = (ROOT / "sensors.json").read_text().replace('"sensors/', f'"{unique}/')
    path = tmp_path / "sensors.json"
    path.write_text(text)
    return path


def environment(broker, sensors):
    """Return the environment of the simulator."""
    return {**os.environ, **broker.environment(), "COLLECTOR_REGISTRY": str(sensors)}


def simulate(broker, sensors, *arguments):
    """Run the simulator and wait for its end."""
    return subprocess.run(
        [SIMULATOR, "run", *arguments],
        env=environment(broker, sensors), check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_history_is_complete(any_broker, sensors, unique):
    """A subscriber receives one message per sensor and minute of the past, each once."""
    with Reader(any_broker, f"{unique}/#", unique) as reader:
        result = simulate(any_broker, sensors, "--history", "2h", "--once")
        assert result.returncode == 0, result.stderr
        assert "720 messages of 6 sensors; all acknowledged" in result.stdout
        reader.until(lambda: len(reader.messages) >= 720)
        documents = [orjson.loads(payload) for _, payload in reader.messages]
        topics = {sensor.sensor_id: sensor.topic for sensor in registries.load(sensors).sensors}
        assert Counter(topic for topic, _ in reader.messages) == {
            topic: 120 for name, topic in topics.items() if name != "office-1"
        }
        assert len({(document["device_id"], document["timestamp"]) for document in documents}) == 720
        assert all(
            topics[document["device_id"]] == topic
            for document, (topic, _) in zip(documents, reader.messages, strict=True)
        )


def test_tally_equals_received_messages(any_broker, sensors, unique):
    """With faults, the number of received messages equals the printed tally."""
    with Reader(any_broker, f"{unique}/#", unique) as reader:
        result = simulate(
            any_broker, sensors, "--history", "4h", "--once", "--faults", "lost=0.1,duplicate=0.1,malformed=0.1"
        )
        assert result.returncode == 0, result.stderr
        line = next(line for line in result.stdout.splitlines() if line.startswith("faults: "))
        tally = {name: int(count.replace(",", "")) for name, count in (
            item.rsplit(" ", 1) for item in line.removeprefix("faults: ").split(", ")
        )}  # fmt: skip
        assert tally["messages"] == 1440
        assert tally["out"] == 1440 - tally["lost"] + tally["duplicate"]
        reader.until(lambda: len(reader.messages) >= tally["out"])
        reader.client.loop(0.1)
        assert len(reader.messages) == tally["out"]


def test_live_batches_and_forms(any_broker, sensors, unique):
    """Live readings have the given rate, batch size and form."""
    with Reader(any_broker, f"{unique}/#", unique) as reader:
        result = simulate(
            any_broker, sensors, "--sensor", "motor-1", "--rate", "50", "--batch", "10", "--form", "narrow",
            "--duration", "2s",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        reader.until(lambda: len(reader.messages) >= 10)
        readings = [reading for _, payload in reader.messages for reading in orjson.loads(payload)]
        assert {tuple(reading) for reading in readings} == {("device_id", "timestamp", "sensor", "value")}
        assert len({reading["timestamp"] for reading in readings}) == len(readings)
        assert 99 <= len(readings) <= 101


def test_sigterm_stops_cleanly(broker, sensors, unique):
    """SIGTERM during live readings ends the simulator with status 0 and all messages acknowledged."""
    with Reader(broker, f"{unique}/#", unique) as reader:
        process = subprocess.Popen(
            [SIMULATOR, "run", "--rate", "20"],
            env=environment(broker, sensors), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            reader.until(lambda: len(reader.messages) > 20)
            process.send_signal(signal.SIGTERM)
            out, error = process.communicate(timeout=30)
        finally:
            process.kill()
        assert (process.returncode, error) == (0, "")
        published = int(out.split("published ")[-1].split(" ")[0].replace(",", ""))
        reader.until(lambda: len(reader.messages) >= published)
        assert len(reader.messages) == published


def test_publisher_reconnects_after_a_broker_kill(tmp_path, unique):
    """After a kill and restart of the broker the publisher delivers all messages and reports the interruption."""
    lines = []
    stopped = lambda: False  # noqa: E731
    with LocalBroker(tmp_path / "b", kind="nats") as running:
        with Reader(running, f"{unique}/#", unique) as reader:
            reader.client.disconnect()
        settings = MqttSettings(**{key[5:].lower(): value for key, value in running.environment().items()})
        with Publisher(settings, window=100, report=lines.append) as publisher:
            publisher.connect(stopped)
            for number in range(500):
                publisher.publish(f"{unique}/a", str(number).encode(), stopped)
            running.kill()
            publisher.process_network(0.2)
            running.start()
            for number in range(500, 1000):
                publisher.publish(f"{unique}/a", str(number).encode(), stopped)
            assert publisher.drain(60)
        with Reader(running, f"{unique}/#", unique) as reader:
            reader.until(lambda: len({payload for _, payload in reader.messages}) == 1000)
    assert lines[0].startswith("lost the broker")
    assert lines[-1].startswith("connected to the broker")


def test_wrong_password_is_an_error(broker, sensors):
    """A refused connection ends the simulator with one message that names the settings."""
    result = subprocess.run(
        [SIMULATOR, "run"], env={**environment(broker, sensors), "MQTT_PASSWORD": "wrong"},
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 1
    assert "Set MQTT_USERNAME and MQTT_PASSWORD" in result.stderr
    assert "Traceback" not in result.stderr


def test_refusal_is_a_broker_error(broker):
    """In Python a refused connection is a BrokerError."""
    settings = MqttSettings(host="127.0.0.1", port=broker.port, username="unknown", password="wrong")
    with Publisher(settings) as publisher, pytest.raises(BrokerError, match="refuses"):
        publisher.connect()


def test_too_many_sensors(broker, sensors):
    """Too many sensors is an error with the command for a larger registry, which works."""
    result = simulate(broker, sensors, "--sensors", "8", "--history", "10m", "--once")
    assert result.returncode == 2
    assert "simulator registry --sensors 8 > many.json" in result.stderr
    printed = subprocess.run(
        [SIMULATOR, "registry", "--sensors", "8"], env=environment(broker, sensors), check=True, capture_output=True
    ).stdout
    many = sensors.with_name("many.json")
    many.write_bytes(printed)
    result = simulate(broker, many, "--sensors", "8", "--history", "10m", "--once")
    assert result.returncode == 0, result.stderr
    assert "80 messages of 8 sensors" in result.stdout


def test_all_mistakes_are_reported(broker, sensors):
    """Mistakes in options, environment and faults are reported together before connecting."""
    result = subprocess.run(
        [SIMULATOR, "run", "--rate", "0", "--history", "x", "--form", "deep", "--faults", "lost=7"],
        env={**environment(broker, sensors), "SIMULATOR_WINDOW": "0"},
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 2
    for part in ("--rate 0", "--history: 'x'", "--form deep", "SIMULATOR_WINDOW"):
        assert part in result.stderr
