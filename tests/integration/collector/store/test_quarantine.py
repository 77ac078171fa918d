"""Quarantine: rejected messages are kept, and become readings, once, when the registry was corrected."""

import json
import subprocess
from datetime import UTC, datetime

import pytest
from fix_collector import PROGRAM, registry_text
from fix_sparkplug import encode

from collector.commands.decoder_builder import DecoderBuilder
from collector.decode.decoder import Decoder
from collector.message import Decoded, Message, Reason, Rejection
from collector.registry import sensors_file, sync
from collector.settings import CollectorSettings
from collector.store import quarantine
from collector.store.batch import Batch
from collector.store.birth_store import BirthStore
from collector.store.writer import Writer

RECEIVED = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1e6)
TIME = "2026-03-01T11:00:00Z"


class Warehouse:
    """A database with a registry that can be changed, and a way to write messages."""

    def __init__(self, database) -> None:
        self.database = database
        self.document = json.loads(registry_text("q"))
        self.writer = Writer("mqtt", "test")
        self.replayer = Writer("replay", "test")

    def decoder(self) -> Decoder:
        """Return a decoder for the current registry."""
        registry = sensors_file.parse(json.dumps(self.document).encode())
        with self.database.connect() as connection:
            return Decoder(registry, sync.synchronise(connection, registry).series_ids)

    def write(self, *messages: tuple[str, object]) -> None:
        """Write (topic, payload) as they would arrive."""
        decode = self.decoder().decode
        self.writer.write(
            Batch.of((Message(topic, json.dumps(body).encode(), RECEIVED) for topic, body in messages), decode), decode
        )

    def replay(self, reason: Reason | None = None) -> tuple[int, int, int]:
        """Return (messages, readings, unchanged) of a replay."""
        results = list(quarantine.replay(self.replayer, self.decoder().decode, reason))
        return tuple(sum(getattr(result, name) for result in results) for name in ("messages", "readings", "unchanged"))

    def row(self, query: str) -> tuple:
        """Return the first row of ``query``."""
        with self.database.connect() as connection:
            return connection.execute(query).fetchone()

    def close(self) -> None:
        """Close the connections."""
        self.writer.close()
        self.replayer.close()


@pytest.fixture
def warehouse(database):
    """Start with thermometers t0 to t3 under ``q/``."""
    warehouse = Warehouse(database)
    yield warehouse
    warehouse.close()


def test_replay_after_the_registry_was_corrected(warehouse):
    """A message of an unknown sensor becomes a reading once the sensor is known; a second replay changes nothing."""
    warehouse.write(("q/new", {"timestamp": TIME, "temperature": 21.5}))
    assert warehouse.replay() == (0, 0, 1)
    warehouse.document["sensors"].append({**warehouse.document["sensors"][0], "sensor_id": "new", "topic": "q/new"})
    assert warehouse.replay() == (1, 1, 0)
    assert warehouse.replay() == (0, 0, 0)
    assert warehouse.row("select value from telemetry.reading") == (21.5,)
    assert warehouse.row("select balanced, messages, stored from telemetry.accounting") == (True, 2, 1)


def test_part_of_a_message(warehouse):
    """If one of a message's two unknown quantities becomes known, it is stored and the other stays open."""
    body = [
        {"timestamp": TIME, "temperature": 20},
        {"timestamp": TIME, "sensor": "light", "value": 300},
        {"timestamp": TIME, "sensor": "sound", "value": 40},
    ]
    warehouse.write(("q/t0", body))
    kinds = warehouse.document["types"]["thermometer"]["quantities"]
    kinds["light"] = {"unit": "lx", "interval_seconds": 1}
    assert warehouse.replay() == (1, 1, 0)
    assert warehouse.row("select count(*), min(detail) from telemetry.quarantine where replayed_at is null") == (
        1,
        "quantity 'sound'",
    )
    assert warehouse.replay() == (0, 0, 1)
    assert warehouse.row("select balanced, stored, duplicate from telemetry.accounting") == (True, 2, 1)


def test_replay_of_a_reason_takes_whole_messages(warehouse):
    """Replaying one reason also resolves the message's rows with other reasons, so that no row is duplicated."""
    body = [{"timestamp": TIME, "sensor": "light", "value": 300}, {"timestamp": TIME, "temperature": "warm"}]
    warehouse.write(("q/t0", body))
    warehouse.document["types"]["thermometer"]["quantities"]["light"] = {"unit": "lx", "interval_seconds": 1}
    assert warehouse.replay(Reason.UNKNOWN_QUANTITY) == (1, 1, 0)
    open_rows = "select count(*), min(reason) from telemetry.quarantine where replayed_at is null"
    assert warehouse.row(open_rows) == (1, "wrong_type")
    assert warehouse.row("select balanced from telemetry.accounting") == (True,)


def test_conflict_stays_while_it_exists(warehouse):
    """A replay stores a conflicting value only after the first value was deleted."""
    warehouse.write(("q/t0", {"timestamp": TIME, "temperature": 1}), ("q/t0", {"timestamp": TIME, "temperature": 2}))
    assert warehouse.replay() == (0, 0, 1)
    assert warehouse.row("select balanced, messages from telemetry.accounting") == (True, 2)
    with warehouse.database.connect() as connection:
        connection.execute("delete from telemetry.reading")
    assert warehouse.replay() == (1, 1, 0)
    assert warehouse.row("select value from telemetry.reading") == (2.0,)


def test_several_conflicts_at_once(warehouse):
    """Conflicts that are replayed in one transaction are decided independently."""
    times = [f"2026-03-01T11:00:0{n}Z" for n in range(4)]
    for value in (1, 2):
        warehouse.write(*(("q/t0", {"timestamp": time, "temperature": value}) for time in times))
    with warehouse.database.connect() as connection:
        connection.execute("delete from telemetry.reading where time < %s", (times[2],))
    assert warehouse.replay() == (2, 2, 2)
    assert warehouse.row("select sum(value) from telemetry.reading") == (2 + 2 + 1 + 1,)
    assert warehouse.row("select balanced from telemetry.accounting") == (True,)


def test_arrival_decides_the_time_bounds(warehouse):
    """Time bounds of a replayed message depend on its arrival, not on the time of the replay."""
    warehouse.write(("q/t0", {"timestamp": "2026-03-01T13:00:00Z", "temperature": 1}))
    assert warehouse.replay() == (0, 0, 1)
    assert warehouse.row("select reason from telemetry.quarantine") == ("time_in_future",)


def test_undecodable_row_keeps_its_reason(warehouse):
    """A row of a file, whose position is no topic, stays in quarantine with its reason."""
    decode = warehouse.decoder().decode

    def refuse(_message):
        return Decoded([], [Rejection(Reason.WRONG_TYPE, "text", 1)])

    warehouse.writer.write(Batch.of([Message("x.csv:17", b"{}", RECEIVED)], refuse), decode)
    assert warehouse.replay() == (0, 0, 1)
    assert warehouse.row("select reason, replayed_at from telemetry.quarantine") == ("wrong_type", None)


def test_births_of_replayed_messages_are_stored(warehouse):
    """A Sparkplug birth in a replayed message is stored like one that arrives live."""
    topic = "spBv1.0/g/NBIRTH/n"
    metrics = [{"name": "Flow", "alias": 1, "dataType": "Double", "value": 2.5}]
    body = encode({"timestamp": RECEIVED // 1000, "metrics": metrics})
    unknown = warehouse.decoder().decode
    warehouse.writer.write(Batch.of([Message(topic, body, RECEIVED)], unknown), unknown)
    warehouse.document["types"]["pump"] = {
        "format": "sparkplug",
        "quantities": {"flow": {"unit": "m3/h", "source": "Flow", "interval_seconds": 1}},
    }
    warehouse.document["subscribe"].append("spBv1.0/#")
    warehouse.document["sensors"].append(
        {"type": "pump", "topic": "spBv1.0/#", "discover": True, "site": "here", "area": "lab"}
    )
    births = BirthStore()
    registry = sensors_file.parse(json.dumps(warehouse.document).encode())
    replayer = Writer("replay", "test", births=births)
    decode = DecoderBuilder(CollectorSettings(), births).build(replayer.connection(), registry).decode
    results = list(quarantine.replay(replayer, decode))
    replayer.close()
    assert [(result.messages, result.readings) for result in results] == [(1, 1)]
    assert warehouse.row("select topic, payload from telemetry.birth") == (topic, body)
    assert warehouse.row("select balanced from telemetry.accounting") == (True,)


def test_discard_a_reason(warehouse):
    """All open rows with one reason can be discarded together."""
    warehouse.write(("q/x", {}), ("q/y", {}), ("q/t0", {}))
    with warehouse.database.connect() as connection:
        assert quarantine.discard_reason(connection, Reason.UNKNOWN_SENSOR) == 2
    assert warehouse.row("select count(*) from telemetry.quarantine where discarded_at is null") == (1,)


def test_many_messages(warehouse):
    """More messages than fit in one transaction are all replayed."""
    warehouse.write(*(("q/new", {"timestamp": f"2026-03-01T10:{n // 60:02}:{n % 60:02}Z", "temperature": n})
                      for n in range(2500)))  # fmt: skip
    warehouse.document["sensors"].append({**warehouse.document["sensors"][0], "sensor_id": "new", "topic": "q/new"})
    assert warehouse.replay() == (2500, 2500, 0)
    assert warehouse.row("select balanced, stored from telemetry.accounting") == (True, 2500)


def test_discard(warehouse):
    """A discarded row is never replayed; discarding a row that is not open discards nothing."""
    warehouse.write(("q/x", {}), ("q/y", {}))
    with warehouse.database.connect() as connection:
        quarantine.discard(connection, [1])
        with pytest.raises(quarantine.NotInQuarantineError, match="not open in quarantine: 1, 77; nothing"):
            quarantine.discard(connection, [2, 1, 77])
    assert warehouse.replay() == (0, 0, 1)


def test_commands(warehouse, tmp_path):
    """The commands list, show, replay and discard rows, and report a missing row clearly."""
    path = tmp_path / "sensors.json"
    path.write_text(json.dumps(warehouse.document))
    warehouse.write(("q/x'%s", {"timestamp": TIME, "é": "\0"}))

    def run(*words: str) -> tuple[int, str]:
        import os

        process = subprocess.run(
            [PROGRAM, "quarantine", *words], capture_output=True, text=True, check=False,
            env={**os.environ, "COLLECTOR_REGISTRY": str(path), "COLUMNS": "200"},
        )  # fmt: skip
        return process.returncode, process.stdout + process.stderr

    status, text = run("list")
    assert (status, "unknown_sensor" in text, "q/x'%s" in text) == (0, True, True)
    status, text = run("show", "1")
    assert (status, "unknown_sensor" in text, '"timestamp"' in text) == (0, True, True)
    assert run("show", "2") == (1, "collector: no quarantine row 2; `collector quarantine list` shows the open rows\n")
    assert run("replay") == (0, "0 messages replayed, 0 readings stored, 1 messages unchanged\n")
    assert run("discard", "1") == (0, "1 discarded\n")
    assert run("list") == (0, "the quarantine is empty\n")
