"""Discovery: sensors of a pattern are registered with their first message; no reading is lost or invented."""

import json
import threading
import time
from datetime import UTC, datetime

import pytest
from fix_collector import until
from fix_publish import Publisher

from collector.commands.database_target import DatabaseTarget
from collector.decode.decoder import Decoder
from collector.message import Message
from collector.registry import sensors_file, sync
from collector.store import quarantine
from collector.store.batch import Batch
from collector.store.group_commit import GroupCommit
from collector.store.writer import Writer

RECEIVED = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1e6)
TIME = "2026-03-01T11:00:00Z"
SENSORS = "select sensor_id, site, area, device, discovered, retired_at is null from telemetry.sensor order by 1"
SERIES = "select sensor_id, quantity from telemetry.series where retired_at is null order by 1, 2"


def document(topic: str = "f/{area}/{sensor}", **more) -> dict:
    """Return a registry of one sensor pattern of thermometers, in format fields."""
    entry = {"type": "probe", "topic": topic, "discover": True, "site": "home", "area": "attic", **more}
    kind = {
        "quantities": {
            "temperature": {"unit": "Cel", "interval_seconds": 1},
            "humidity": {"unit": "%", "interval_seconds": 1},
        }
    }
    return {"subscribe": ["f/#"], "types": {"probe": kind}, "sensors": [entry]}


def parse(raw: dict) -> sensors_file.Registry:
    """Return ``raw`` as a registry."""
    return sensors_file.parse(json.dumps(raw).encode())


def message(topic: str, second: int = 0, **values) -> Message:
    """Return a message with ``values``."""
    body = {"timestamp": f"2026-03-01T11:00:{second:02}Z", **(values or {"temperature": 20})}
    return Message(topic, json.dumps(body).encode(), RECEIVED, delivery=second + 1)


class Warehouse:
    """A database and a registry that tests change."""

    def __init__(self, database) -> None:
        self.database = database
        self.document = document()
        self.writer = Writer("mqtt", "test")

    def decoder(self, **more) -> Decoder:
        """Return the decoder of a collector that starts now."""
        registry = parse(self.document)
        with self.database.connect() as connection:
            synced = sync.synchronise(connection, registry)
        return Decoder(registry.not_before(synced.oldest), synced.series_ids, synced.discovered, **more)

    def write(self, decoder: Decoder, *messages: Message) -> None:
        """Write ``messages`` as one batch."""
        self.writer.write(Batch.of(messages, decoder.decode), decoder.decode)

    def all(self, query: str) -> list[tuple]:
        """Return the rows of ``query``."""
        with self.database.connect() as connection:
            return connection.execute(query).fetchall()

    def quarantined(self) -> list[tuple]:
        """Return (reason, detail) of the open quarantine."""
        return self.all("select reason, detail from telemetry.quarantine where replayed_at is null order by id")

    def stored(self) -> int:
        """Return how many readings there are, after checking the accounts."""
        ((balanced, stored),) = self.all("select balanced, stored from telemetry.accounting")
        assert balanced
        assert self.all("select count(*) from telemetry.reading join telemetry.series using (series_id)") == [(stored,)]
        return stored


@pytest.fixture
def warehouse(database):
    """Start with a sensor pattern under ``f/``."""
    started = Warehouse(database)
    yield started
    started.writer.close()


def test_first_message_is_stored(warehouse):
    """The first message of a new sensor registers it, with the quantities it has and no others, and is stored."""
    warehouse.document["sensors"][0]["area"] = "{area}"
    decoder = warehouse.decoder()
    warehouse.write(decoder, message("f/cellar/one"), message("f/attic/two", humidity=40), message("f/cellar/one", 1))
    assert warehouse.all(SENSORS) == [
        ("one", "home", "cellar", "one", True, True),
        ("two", "home", "attic", "two", True, True),
    ]
    assert warehouse.all(SERIES) == [("one", "temperature"), ("two", "humidity")]
    assert warehouse.stored() == 3
    warehouse.write(decoder, message("f/cellar/one", 2, temperature=1, humidity=2))
    assert warehouse.all(SERIES) == [("one", "humidity"), ("one", "temperature"), ("two", "humidity")]
    assert warehouse.stored() == 5


def test_restart_keeps_discovered_sensors(warehouse):
    """A collector that starts later has the same series and leaves them unchanged."""
    warehouse.write(warehouse.decoder(), message("f/a/one"))
    before = warehouse.all("select s.*, r.* from telemetry.sensor s join telemetry.series r using (sensor_id)")
    warehouse.write(warehouse.decoder(), message("f/a/one"), message("f/a/one", 1))
    assert warehouse.all("select s.*, r.* from telemetry.sensor s join telemetry.series r using (sensor_id)") == before
    assert warehouse.stored() == 2


def test_entry_that_changes(warehouse):
    """A changed entry changes its sensors' place and ranges; removing it retires them; restoring it restores them."""
    warehouse.write(warehouse.decoder(), message("f/a/one"), message("f/a/two"))
    entry = warehouse.document["sensors"][0]
    entry["members"] = {"one": {"area": "kitchen", "latitude": 1.5}}
    warehouse.document["types"]["probe"]["quantities"]["temperature"]["maximum"] = 50
    warehouse.decoder()
    assert [row[2] for row in warehouse.all(SENSORS)] == ["kitchen", "attic"]
    assert warehouse.all("select distinct maximum from telemetry.series") == [(50,)]
    warehouse.document["sensors"] = []
    warehouse.decoder()
    assert [row[-1] for row in warehouse.all(SENSORS)] == [False, False]
    assert warehouse.all(SERIES) == []
    warehouse.document["sensors"] = [entry]
    decoder = warehouse.decoder()
    assert [row[-1] for row in warehouse.all(SENSORS)] == [True, True]
    warehouse.write(decoder, message("f/a/one"), message("f/a/one", 1))
    assert warehouse.stored() == 3
    assert warehouse.all("select count(*) from telemetry.series") == [(2,)]


def test_members_alone(warehouse):
    """Without discover the listed devices are registered from the start, and others are quarantined."""
    entry = warehouse.document["sensors"][0]
    del entry["discover"]
    entry["members"] = {"one": {"area": "kitchen"}, "silent": {}}
    decoder = warehouse.decoder()
    warehouse.write(decoder, message("f/x/one"), message("f/x/stranger"))
    assert warehouse.all(SENSORS) == [
        ("one", "home", "kitchen", "one", False, True),
        ("silent", "home", "attic", "silent", False, True),
    ]
    assert warehouse.all(SERIES) == [("one", "temperature")]
    assert warehouse.quarantined() == [("unknown_sensor", "device 'stranger' is not among the members")]
    warehouse.write(warehouse.decoder(), message("f/x/one", 1))
    assert warehouse.stored() == 2


def test_two_devices_of_one_id(warehouse):
    """If two device names lead to the same id, every collector quarantines the second device."""
    warehouse.document["sensors"][0]["topic"] = "f/{sensor:path}"
    first, second = warehouse.decoder(), warehouse.decoder()
    warehouse.write(first, message("f/a/b"), message("f/a-b", 1), message("f/a-b", 2))
    warehouse.write(second, message("f/a-b", 3), message("f/a/b", 4))
    warehouse.write(warehouse.decoder(), message("f/a-b", 5))
    assert [row[0] for row in warehouse.all(SENSORS)] == ["a-b"]
    quarantined = warehouse.quarantined()
    assert len(quarantined) == 4
    assert {reason for reason, _ in quarantined} == {"unknown_sensor"}
    assert "would be sensor a-b, which another device or entry is" in quarantined[0][1]
    assert warehouse.stored() == 2


def test_sensors_with_an_entry_are_never_discovered(warehouse):
    """A device with the name of a sensor that has its own entry does not become that sensor."""
    entry = {"sensor_id": "one", "type": "probe", "topic": "f/own", "site": "here", "area": "hall"}
    warehouse.document["sensors"].append(entry)
    warehouse.write(warehouse.decoder(), message("f/a/one"), message("f/own"))
    assert len(warehouse.quarantined()) == 1
    assert warehouse.all(SENSORS) == [("one", "here", "hall", "one", False, True)]


def test_limit_of_discovered_sensors(warehouse):
    """Beyond the limit new sensors are quarantined; registered ones are stored, also new quantities of them."""
    decoder = warehouse.decoder(max_discovered=2)
    warehouse.write(decoder, *(message(f"f/a/{name}") for name in "abcd"))
    warehouse.write(decoder, message("f/a/a", 1, humidity=1), message("f/a/e"))
    assert [row[0] for row in warehouse.all(SENSORS)] == ["a", "b"]
    assert [reason for reason, _ in warehouse.quarantined()] == ["unknown_sensor"] * 3
    assert "COLLECTOR_MAX_DISCOVERED" in warehouse.quarantined()[0][1]
    assert warehouse.stored() == 3


def test_registered_sensors_do_not_count_again(warehouse):
    """A sensor retired by another collector returns with its next new quantity, also at the limit."""
    decoder = warehouse.decoder(max_discovered=1)
    warehouse.write(decoder, message("f/a/a"))
    with warehouse.database.connect() as connection:
        connection.execute("update telemetry.sensor set retired_at = now()")
        connection.execute(
            "insert into telemetry.sensor (sensor_id, type, site, area, topic, since, discovered) "
            "values ('b', 'probe', 'home', 'attic', 'f/a/b', '2000-01-01', true)"
        )
    connections = []

    def connect():
        connections.append(1)
        assert len(connections) < 10, "retried without end"
        return warehouse.database.connect()

    writer = Writer("mqtt", "test", connect)
    batch = Batch.of([message("f/a/a", 1, humidity=1)], decoder.decode)
    writer.write(batch, decoder.decode)
    writer.close()
    assert [row[0] for row in warehouse.all(SENSORS) if row[-1]] == ["a", "b"]
    assert warehouse.stored() == 2


def test_several_collectors(warehouse):
    """Collectors that discover the same sensors concurrently register each series once and lose no reading."""
    decoders = [warehouse.decoder() for _ in range(3)]
    writers = [Writer("mqtt", f"test-{number}") for number in range(3)]
    messages = [[message(f"f/a/{n}", second) for n in range(20)] for second in range(3)]
    batches = [Batch.of(part, decoder.decode) for part, decoder in zip(messages, decoders, strict=True)]
    threads = [
        threading.Thread(target=writer.write, args=(batch, decoder.decode))
        for writer, batch, decoder in zip(writers, batches, decoders, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread, writer in zip(threads, writers, strict=True):
        thread.join(60)
        writer.close()
    assert warehouse.all("select count(*) from telemetry.series") == [(20,)]
    assert warehouse.stored() == 60


def test_replay(warehouse):
    """A replay discovers the sensors of messages that arrived before `discover` was set."""
    entry = warehouse.document["sensors"].pop()
    warehouse.write(warehouse.decoder(), message("f/a/one"), message("f/a/one", 1), message("f/a/two"))
    warehouse.document["sensors"].append(entry)
    replayer = Writer("replay", "test")
    parts = list(quarantine.replay(replayer, warehouse.decoder().decode))
    replayer.close()
    assert sum(part.readings for part in parts) == 3
    assert warehouse.quarantined() == []
    assert [row[0] for row in warehouse.all(SENSORS)] == ["one", "two"]
    assert warehouse.stored() == 3


def test_database_outage(warehouse):
    """During a database outage new sensors wait with their messages; then all are stored and acknowledged in order."""
    away = threading.Event()
    away.set()

    def connect():
        from core import database
        from core.errors import DatabaseError

        if away.is_set():
            raise DatabaseError("away")
        return database.connect()

    committed = []
    decoder = warehouse.decoder()
    sink = GroupCommit(
        DatabaseTarget(Writer("mqtt", "test", connect), decoder.decode),
        committed=committed.extend,
        max_messages=1000,
        max_bytes=1_000_000,
    )
    for second in range(30):
        sink.add(message(f"f/a/s{second % 7}", second))
        sink.notify()
    time.sleep(0)
    assert committed == []
    away.clear()
    until(lambda: len(committed) == 30)
    assert [message.delivery for message in committed] == list(range(1, 31))
    assert sink.stop(30)
    assert warehouse.stored() == 30
    assert warehouse.all("select count(*) from telemetry.sensor where discovered") == [(7,)]


def test_through_a_broker(database, broker, collectors, unique):
    """A running collector registers new sensors and still has them after a restart."""
    raw = document(f"{unique}/{{area}}/{{sensor}}")
    raw["subscribe"] = [f"{unique}/#"]
    collectors.registry.write_text(json.dumps(raw))
    publisher = Publisher(broker.environment())
    running = collectors.start(broker.environment())
    publisher.send((n, f"{unique}/a/s{n % 5}", message("", n % 60).payload) for n in range(50))
    stored = "select stored, balanced from telemetry.accounting"
    with database.connect() as connection:
        until(lambda: connection.execute(stored).fetchone()[0] == 50)
        assert running.stop() == 0
        collectors.start(broker.environment())
        publisher.send([(50, f"{unique}/a/s0", message("", 59).payload), (51, f"{unique}/a/s9", message("").payload)])
        until(lambda: connection.execute(stored).fetchone() == (52, True))
        assert connection.execute("select count(*) from telemetry.sensor").fetchone() == (6,)
    publisher.close()
