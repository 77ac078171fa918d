"""Sparkplug with a real broker and a real database: births that outlive a collector, rebirths, the host's state."""

import json
import os
import subprocess
import threading
import time

import paho.mqtt.client as mqtt
import pytest
from fix_collector import PROGRAM, Collectors, until
from fix_sparkplug import encode, requests_rebirth

from collector.decode.decoder import Decoder
from collector.message import Message
from collector.registry import sensors_file
from collector.registry.sync import synchronise
from collector.store.batch import Accounts, Batch
from collector.store.birth_store import BirthStore
from collector.store.writer import UnbalancedError, Writer

STORED = """
select sensor_id, quantity, value from telemetry.readings
where sensor_id like %s order by time, sensor_id, quantity
"""
HELD = "select reason from telemetry.quarantine where replayed_at is null"
BIRTHS = "select topic from telemetry.birth order by topic"


def document(**options) -> dict:
    """Return a registry of one pattern of Sparkplug devices with a flow and a level."""
    kind = {
        "format": {"name": "sparkplug", **options},
        "quantities": {
            "flow": {"unit": "m3/h", "source": "Flow", "interval_seconds": 1},
            "level": {"unit": "mm", "source": "Level", "interval_seconds": 1},
        },
    }
    entry = {"type": "pump", "topic": "spBv1.0/#", "discover": True, "site": "plant", "area": "hall"}
    return {"subscribe": ["spBv1.0/#"], "types": {"pump": kind}, "sensors": [entry]}


class Edge:
    """An edge node with one device, as it talks to the broker."""

    def __init__(self, environment, group: str) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self._group = group
        self._seq = -1
        self._at = round(time.time() * 1000) - 100_000
        self._subscribed = threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self._client.username_pw_set(environment["MQTT_USERNAME"], environment["MQTT_PASSWORD"])
        self._client.on_message = lambda _, __, message: self.heard.append(
            (message.topic, message.payload, message.retain)
        )
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect(environment["MQTT_HOST"], int(environment["MQTT_PORT"]))
        self._client.subscribe([(f"spBv1.0/{group}/NCMD/edge", 1), (f"spBv1.0/STATE/{group}", 1)])
        self._client.loop_start()
        assert self._subscribed.wait(10)

    def send(self, verb: str, *metrics: dict) -> None:
        """Publish a message of the node, or where the verb begins with D of its device, and wait until it is out."""
        self._at += 1000
        self._seq = 0 if verb == "NBIRTH" else (self._seq + 1) % 256
        topic = f"spBv1.0/{self._group}/{verb}/edge" + ("/pump" if verb[0] == "D" else "")
        payload = encode({"timestamp": self._at, "seq": self._seq, "metrics": metrics})
        self._client.publish(topic, payload, qos=1).wait_for_publish(10)

    def born(self) -> None:
        """Send both births."""
        self.send("NBIRTH", {"name": "bdSeq", "dataType": "Int64", "value": 0})
        self.send("DBIRTH", {"name": "Flow", "alias": 1, "dataType": "Double", "value": 1.5},
                  {"name": "Level", "alias": 2, "dataType": "Int16", "value": -3})  # fmt: skip

    def flow(self, value: float) -> None:
        """Send data by alias."""
        self.send("DDATA", {"alias": 1, "field": "double_value", "value": value})

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish anything, to be kept by the broker."""
        self._client.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)

    def states(self) -> list[dict]:
        """Return what the host has said of itself."""
        return [json.loads(payload) for topic, payload, _ in self.heard if "/STATE/" in topic]

    def close(self) -> None:
        """Say goodbye."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def edge(broker, unique):
    """Speak as an edge node, in a group of this test's own."""
    edge_node = Edge(broker.environment(), unique)
    yield edge_node
    edge_node.publish(f"spBv1.0/STATE/{unique}", b"")
    edge_node.close()


@pytest.fixture
def plants(collectors) -> Collectors:
    """Start collectors that know Sparkplug."""
    collectors.registry.write_text(json.dumps(document()))
    return collectors


def stored(connection, group: str) -> list[tuple]:
    """Return (quantity, value) of the device's readings, in the order of time."""
    return [row[1:] for row in connection.execute(STORED, (f"{group}-edge-pump",))]


def test_births_outlive_the_collector(database, broker, plants, edge, unique):
    """Data by alias is read by the birth before it, also by a collector that started since."""
    first = plants.start(broker.environment())
    edge.born()
    edge.flow(2.5)
    with database.connect() as connection:
        expected = [("flow", 1.5), ("level", -3.0), ("flow", 2.5)]
        until(lambda: stored(connection, unique) == expected)
        assert connection.execute(BIRTHS).fetchall() == [
            (f"spBv1.0/{unique}/DBIRTH/edge/pump",), (f"spBv1.0/{unique}/NBIRTH/edge",),
        ]  # fmt: skip
        assert not edge.heard
        assert first.stop() == 0
        plants.start(broker.environment())
        edge.flow(3.5)
        until(lambda: stored(connection, unique) == [*expected, ("flow", 3.5)])
        assert connection.execute(HELD).fetchall() == []
    # It can't know what it missed while it was away, so it asks.
    until(lambda: [topic for topic, _, _ in edge.heard] == [f"spBv1.0/{unique}/NCMD/edge"])


def test_rebirth(database, broker, plants, edge, unique):
    """Data without a birth waits in quarantine and a rebirth is asked for; after it a replay brings the data in."""
    running = plants.start(broker.environment())
    edge.flow(2.5)
    edge.flow(3.5)
    with database.connect() as connection:
        until(lambda: connection.execute(HELD).fetchall() == [("missing_birth",)] * 2)
        until(lambda: bool(edge.heard))
        ((topic, payload, retained),) = edge.heard
        assert (topic, retained) == (f"spBv1.0/{unique}/NCMD/edge", False)
        assert requests_rebirth(payload)
        edge.born()
        until(lambda: len(stored(connection, unique)) == 2)
        assert running.stop() == 0
        environment = {**os.environ, "COLLECTOR_REGISTRY": str(plants.registry), "COLLECTOR_CLIENT_ID": unique}
        replayed = subprocess.run(
            [PROGRAM, "quarantine", "replay", "--reason", "missing_birth"],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert replayed.stdout == "2 messages replayed, 2 readings stored, 0 messages unchanged\n"
        assert stored(connection, unique) == [("flow", 2.5), ("flow", 3.5), ("flow", 1.5), ("level", -3.0)]
        assert connection.execute(HELD).fetchall() == []
        assert connection.execute("select balanced from telemetry.accounting").fetchone() == (True,)


def test_a_changed_registry_forgets_no_birth(database, broker, plants, edge, unique):
    """When the registry changes, what births have said stays known."""
    running = plants.start(broker.environment())
    edge.born()
    with database.connect() as connection:
        until(lambda: len(stored(connection, unique)) == 2)
        changed = document()
        changed["types"]["pump"]["quantities"]["flow"]["maximum"] = 100
        changed["subscribe"].append(f"{unique}/#")
        plants.registry.write_text(json.dumps(changed))
        running.wait_for("subscribed", count=2)
        edge.flow(2.5)
        until(lambda: len(stored(connection, unique)) == 3)
        assert connection.execute(HELD).fetchall() == []
        assert not edge.heard


def test_state(database, broker, plants, edge, unique):
    """With a host id the collector says that it is there, that it leaves, and by its will that it is gone."""
    plants.start(broker.environment(), COLLECTOR_SPARKPLUG_HOST_ID=unique).stop()
    until(lambda: len(edge.states()) >= 2 and not edge.states()[-1]["online"])
    online, offline = edge.states()
    assert (online["online"], offline["online"]) == (True, False)
    assert time.time() * 1000 - 120_000 < online["timestamp"] <= offline["timestamp"] <= time.time() * 1000

    # Its own farewell comes back to it from the broker; that it is online may be said more than once then.
    running = plants.start(broker.environment(), COLLECTOR_SPARKPLUG_HOST_ID=unique)
    until(lambda: edge.states()[-1]["online"])
    online = edge.states()[-1]
    edge.publish(f"spBv1.0/STATE/{unique}", json.dumps({"online": False, "timestamp": 1}).encode())
    until(lambda: {"online": False, "timestamp": 1} in edge.states() and edge.states()[-1] == online)
    running.kill()
    until(lambda: edge.states()[-1] == {**online, "online": False})


def test_without_host_id(database, broker, plants, edge, unique):
    """Without a host id the collector says nothing of itself."""
    plants.start(broker.environment()).stop()
    edge.publish(f"spBv1.0/STATE/{unique}", b"{}")
    until(lambda: edge.states() == [{}])


def test_sharing_is_refused(plants):
    """A share group and Sparkplug are refused together, before anything is connected to."""
    environment = {**os.environ, "COLLECTOR_REGISTRY": str(plants.registry), "COLLECTOR_SHARE_GROUP": "some"}
    for command in ("check", "run"):
        done = subprocess.run(
            [PROGRAM, command], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2
        assert "COLLECTOR_SHARE_GROUP" in done.stderr
        assert "Traceback" not in done.stderr


def test_births_are_written_with_their_batch(database):
    """A birth is in the database if and only if its batch is; one that came earlier never replaces a later one."""
    parsed = sensors_file.parse(json.dumps(document()).encode())
    births = BirthStore()
    writer = Writer("mqtt", "test", births=births)
    with database.connect() as connection:
        series_ids = synchronise(connection, parsed).series_ids
        decoder = Decoder(parsed, series_ids, readers=births.load_readers(connection, parsed, {}))
        (nodes,) = births.nodes

        def birth(value: int, received: int) -> Message:
            metrics = [{"name": "x", "alias": 1, "dataType": "Int8", "value": value}]
            return Message("spBv1.0/g/NBIRTH/n", encode({"timestamp": 5, "metrics": metrics}), received)

        second, first = birth(2, 2_000_000), birth(1, 1_000_000)
        batch = Batch.of([second], decoder.decode)
        batch.accounts = Accounts(messages=7)
        with pytest.raises(UnbalancedError):
            writer.write(batch, decoder.decode)
        assert connection.execute(BIRTHS).fetchall() == []
        assert nodes.pending() == [second]
        for message in (second, first):
            writer.write(Batch.of([message], decoder.decode), decoder.decode)
            assert nodes.pending() == []
            assert connection.execute("select payload from telemetry.birth").fetchall() == [(second.payload,)]
    writer.close()


@pytest.mark.parametrize("topic", ["spBv1.0/g/NBIRTH/\udcff", "spBv1.0/g/NBIRTH/\0"])
def test_births_that_no_database_can_hold(database, topic):
    """A birth on a topic that is no text, as a record of Kafka may have, stops neither the stream nor its batch."""
    parsed = sensors_file.parse(json.dumps(document()).encode())
    births = BirthStore()
    writer = Writer("kafka", "test", births=births)
    with database.connect() as connection:
        series_ids = synchronise(connection, parsed).series_ids
        decoder = Decoder(parsed, series_ids, readers=births.load_readers(connection, parsed, {}))
        metrics = [{"name": "x", "alias": 1, "dataType": "Int8", "value": 1}]
        payload = encode({"timestamp": 5, "metrics": metrics})
        messages = [Message(where, payload, 1) for where in (topic, "spBv1.0/g/NBIRTH/n")]
        accounts = writer.write(Batch.of(messages, decoder.decode), decoder.decode)
        assert accounts.messages == 2
        assert connection.execute("select topic from telemetry.birth").fetchall() == [("spBv1.0/g/NBIRTH/n",)]
    writer.close()


def birth_message(topic: str, size: int, received: int = 1) -> Message:
    """Return a birth with one metric and a text of ``size`` bytes that no quantity is."""
    metrics = [{"name": "x", "alias": 1, "dataType": "Int8", "value": 1}]
    payload = encode({"timestamp": 5, "metrics": metrics}) + b"\x2a" + _length(size) + b"x" * size  # field 5: body
    return Message(topic, payload, received)


def _length(size: int) -> bytes:
    """Return ``size`` as Protocol Buffers encode it."""
    parts = []
    while size > 127:
        parts.append(size & 127 | 128)
        size >>= 7
    return bytes([*parts, size])


def test_births_of_invented_nodes_are_not_stored(database):
    """The births of nodes that the registry does not list are read, and not kept in the database."""
    listed = {**document()["sensors"][0], "discover": False, "members": {"g/n": {}}}
    parsed = sensors_file.parse(json.dumps({**document(), "sensors": [listed]}).encode())
    births = BirthStore()
    writer = Writer("mqtt", "test", births=births)
    with database.connect() as connection:
        series_ids = synchronise(connection, parsed).series_ids
        decoder = Decoder(parsed, series_ids, readers=births.load_readers(connection, parsed, {}))
        messages = [birth_message(f"spBv1.0/g/NBIRTH/{node}", 10) for node in ("n", "invented", "other")]
        writer.write(Batch.of(messages, decoder.decode), decoder.decode)
        assert connection.execute(BIRTHS).fetchall() == [("spBv1.0/g/NBIRTH/n",)]
    writer.close()


def test_stored_births_are_bounded(database, monkeypatch):
    """Beyond a number of bytes the oldest births are deleted; a start reads them row by row."""
    monkeypatch.setattr("collector.store.birth_store.MOST_BYTES", 2_500)
    parsed = sensors_file.parse(json.dumps(document()).encode())
    births = BirthStore()
    writer = Writer("mqtt", "test", births=births)
    with database.connect() as connection:
        series_ids = synchronise(connection, parsed).series_ids
        decoder = Decoder(parsed, series_ids, readers=births.load_readers(connection, parsed, {}))
        for number in range(5):
            message = birth_message(f"spBv1.0/g/NBIRTH/n{number}", 1_000, number * 1_000_000 + 1)
            writer.write(Batch.of([message], decoder.decode), decoder.decode)
        assert connection.execute(BIRTHS).fetchall() == [("spBv1.0/g/NBIRTH/n3",), ("spBv1.0/g/NBIRTH/n4",)]
        BirthStore().load_readers(connection, parsed, {})
    writer.close()
