"""Repeated not_finite values: one quarantine row per hour with a count, and accounts that balance."""

import json
from collections.abc import Iterator
from contextlib import closing

import pytest
from fix_bad_input import NOW, OTHER, TOPIC, probes, probes_text, wide

from collector.decode.decoder import Decoder
from collector.message import Message
from collector.registry import sensors_file, sync
from collector.store import quarantine
from collector.store.batch import Batch
from collector.store.writer import Writer

HOUR = 3_600_000_000
BEGIN = NOW // HOUR * HOUR
ROWS = "select readings, repeats, last_received_at is null, payload from telemetry.quarantine order by id"


class Warehouse:
    """A database that knows two sensors, and a writer."""

    def __init__(self, connection) -> None:
        self.connection = connection
        self.writer = Writer("mqtt", "test")
        self.decode = Decoder(probes(), sync.synchronise(connection, probes()).series_ids).decode

    def write(self, *messages: Message) -> None:
        """Commit ``messages`` in one batch; the accounts balance."""
        self.writer.write(Batch.of(messages, self.decode), self.decode)
        assert self.connection.execute("select balanced from telemetry.accounting").fetchone() == (True,)

    def rows(self) -> list[tuple]:
        """Return (readings, repeats, whether nothing was repeated, payload) of the quarantine."""
        return self.connection.execute(ROWS).fetchall()


@pytest.fixture
def warehouse(database) -> Iterator[Warehouse]:
    """An empty database."""
    with database.connect() as connection:
        warehouse = Warehouse(connection)
        yield warehouse
        warehouse.writer.close()


def nan(second: int, topic: str = TOPIC, literal: bytes = b"NaN") -> Message:
    """Return a message with a temperature that is not finite, ``second`` seconds after the hour."""
    payload = wide(f"2026-03-01T11:59:{second % 60:02}Z", temperature=literal, humidity=50)
    return Message(topic, payload, BEGIN + second * 1_000_000)


def test_repeats_of_an_hour_share_a_row(warehouse):
    """Messages of several transactions are counted in the row of the first, whose payload is kept."""
    warehouse.write(nan(1))
    warehouse.write(nan(2), nan(3))
    warehouse.write(nan(4))
    assert warehouse.rows() == [(4, 3, False, nan(1).payload)]


def test_repeats_within_a_transaction_share_a_row(warehouse):
    """Messages of one transaction are counted in one row."""
    warehouse.write(nan(1), nan(2), nan(3))
    assert warehouse.rows() == [(3, 2, False, nan(1).payload)]


@pytest.mark.parametrize(
    "other",
    [nan(2, topic=OTHER), nan(3600), nan(2, literal=b"Infinity"), Message(TOPIC, b"{", BEGIN + 2_000_000)],
    ids=["another sensor", "another hour", "another value", "another reason"],
)
def test_others_have_rows_of_their_own(warehouse, other):
    """Another sensor, hour, value or reason is not counted with the first."""
    warehouse.write(nan(1), other)
    assert [(repeats, is_single) for _, repeats, is_single, _ in warehouse.rows()] == [(0, True), (0, True)]


def test_devices_of_one_topic_have_rows_of_their_own(database):
    """The values of each device of a gateway are counted in the row with a payload of that device."""
    text = json.loads(probes_text())
    for entry in text["sensors"]:
        entry["topic"] = "plant/gateway"
    registry = sensors_file.parse(json.dumps(text).encode())
    with database.connect() as connection, closing(Writer("mqtt", "test")) as writer:
        decode = Decoder(registry, sync.synchronise(connection, registry).series_ids).decode
        messages = [
            Message(
                "plant/gateway",
                b'{"device_id": "%s", "timestamp": "2026-03-01T11:59:00Z", "temperature": NaN}' % device,
                BEGIN,
            )
            for device in (b"p0", b"p1", b"p0")
        ]
        writer.write(Batch.of(messages, decode), decode)
        rows = connection.execute("select detail, repeats from telemetry.quarantine order by detail").fetchall()
    assert rows == [
        ("p0/temperature: nan is not a finite number", 1),
        ("p1/temperature: nan is not a finite number", 0),
    ]


def test_a_settled_row_counts_no_more(warehouse):
    """After a row was discarded, the next value begins a row."""
    warehouse.write(nan(1))
    quarantine.discard(warehouse.connection, [1])
    warehouse.write(nan(2))
    assert [repeats for _, repeats, *_ in warehouse.rows()] == [0, 0]


def test_a_replay_leaves_repeated_values_open(warehouse):
    """The count of a row is no sign that its message became better."""
    warehouse.write(nan(1), nan(2), nan(3))
    with closing(Writer("replay", "test")) as writer:
        results = list(quarantine.replay(writer, warehouse.decode))
    assert [(result.messages, result.unchanged) for result in results] == [(0, 1)]
    assert warehouse.connection.execute(
        "select count(*) from telemetry.quarantine where replayed_at is null"
    ).fetchone() == (1,)


def test_the_longest_topic_is_stored(warehouse):
    """A topic longer than an index takes is quarantined like any other."""

    def decode(message: Message):
        return warehouse.decode(message._replace(topic=TOPIC))

    warehouse.writer.write(Batch.of([nan(1, topic="x" * 65_535), nan(2, topic="x" * 65_535)], decode), decode)
    warehouse.writer.write(Batch.of([nan(3, topic="x" * 65_535)], decode), decode)
    assert [repeats for _, repeats, *_ in warehouse.rows()] == [2]
