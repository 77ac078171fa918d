"""Formats that publish state: the later publish of an instant stands, in readings, means, accounts and late hours."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from fix_bad_input import probes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.decode.decoder import Decoder
from collector.message import Message
from collector.registry import sensors_file, sync
from collector.store.batch import Accounts, Batch, Decode
from collector.store.writer import Writer

DAY = datetime(2026, 3, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = DAY + timedelta(hours=12)


def at(seconds: float) -> int:
    """Return the microseconds from 1970 to ``seconds`` after noon."""
    return (NOON + timedelta(seconds=seconds) - EPOCH) // timedelta(microseconds=1)


def publish(value: float, second: int = 0, *, received: float = 7200, **flags: bool) -> Message:
    """Return a publish of p0's temperature ``second`` seconds after noon."""
    body = {"timestamp": (NOON + timedelta(seconds=second)).isoformat(), "temperature": value}
    return Message("plant/p0", json.dumps(body).encode(), at(received), **flags)


@dataclass
class Warehouse:
    """A database, and a decoder whose formats publish state."""

    database: object
    connection: psycopg.Connection
    decode: Decode

    def write(self, *messages: Message, source: str = "mqtt") -> Accounts:
        """Commit ``messages`` in one batch."""
        writer = Writer(source, "test")
        accounts = writer.write(Batch.of(messages, self.decode), self.decode)
        writer.close()
        return accounts

    def values(self) -> list[float]:
        """Return all stored values in order of time."""
        return [value for (value,) in self.connection.execute("select value from telemetry.reading order by time")]

    def means(self, level: str) -> list[tuple]:
        """Return (first, last, minimum, maximum, sum, count) of each bucket of a level."""
        self.database.refresh()
        return self.connection.execute(
            "select first_value, last_value, minimum, maximum, sum_value, sample_count "
            f"from telemetry.reading_{level} order by bucket"
        ).fetchall()

    def balanced(self) -> bool:
        """Return whether the accounts balance."""
        return self.connection.execute("select balanced from telemetry.accounting").fetchone() == (True,)


@pytest.fixture
def warehouse(database) -> Iterator[Warehouse]:
    """A database that knows p0, whose format publishes state."""
    with database.connect() as connection:
        decoder = Decoder(probes(), sync.synchronise(connection, probes()).series_ids)
        yield Warehouse(database, connection, lambda message: decoder.decode(message)._replace(replaces=True))


def test_the_later_publish_stands(warehouse):
    """A second publish of an instant replaces the value, and the accounts count it as replaced."""
    warehouse.write(publish(20))
    accounts = warehouse.write(publish(21))
    assert accounts == Accounts(messages=1, decoded=1, readings=1, replaced=1)
    assert warehouse.values() == [21.0]
    assert warehouse.balanced()


def test_the_order_within_a_batch_decides(warehouse):
    """Of several publishes of an instant in one transaction the last one stands."""
    accounts = warehouse.write(publish(20), publish(21), publish(21), publish(20), publish(22, 1))
    assert (accounts.stored, accounts.duplicate, accounts.replaced) == (2, 1, 2)
    assert warehouse.values() == [20.0, 22.0]


def test_a_value_that_comes_back_stands(warehouse):
    """Live publishes of A, B, A in three transactions end with A."""
    for value in (20, 21, 20):
        warehouse.write(publish(value))
    assert warehouse.values() == [20.0]


@pytest.mark.parametrize("source", ["archive", "file", "replay", "kafka"])
def test_what_is_loaded_again_changes_nothing(warehouse, source):
    """After live publishes of A, B, C the same messages from elsewhere are duplicates."""
    messages = [publish(20 + n, received=60 + n) for n in range(3)]
    for message in messages:
        warehouse.write(message)
    accounts = warehouse.write(*messages, source=source)
    assert (accounts.duplicate, accounts.replaced, accounts.quarantined_readings) == (3, 0, 0)
    assert warehouse.values() == [22.0]


def test_an_archive_gives_what_was_live(warehouse):
    """A load of A, B, A into an empty database ends with A, and a second load changes nothing."""
    messages = [publish(value, received=60 + n / 10) for n, value in enumerate((20, 21, 20))]
    for message in messages:
        warehouse.write(message, source="archive")
    assert warehouse.values() == [20.0]
    assert warehouse.write(*messages, source="archive").duplicate == 3
    assert warehouse.values() == [20.0]


def test_an_older_message_from_the_archive_does_not_replace(warehouse):
    """A value that arrived before the stored one, and never became a reading, is recorded as replaced."""
    warehouse.write(publish(21, received=70))
    accounts = warehouse.write(publish(20, received=60), source="archive")
    assert accounts.replaced == 1
    assert warehouse.values() == [21.0]
    row = warehouse.connection.execute("select value, replaced_by, source from telemetry.superseded").fetchone()
    assert row == (20.0, 21.0, None)


def test_means_follow(warehouse):
    """Minutes, hours and days have the extremes, ends and sums of the values that stand."""
    warehouse.write(publish(20), publish(90, 10), publish(25, 20), publish(10, 61), publish(30, 3601))
    warehouse.means("1d")  # the aggregates of TimescaleDB are up to date before the replacement
    warehouse.write(publish(21), publish(22, 10), publish(24, 20), publish(11, 61))
    assert warehouse.means("1m") == [(21, 24, 21, 24, 67, 3), (11, 11, 11, 11, 11, 1), (30, 30, 30, 30, 30, 1)]
    assert warehouse.means("1h") == [(21, 11, 11, 24, 78, 4), (30, 30, 30, 30, 30, 1)]
    assert warehouse.means("1d") == [(21, 30, 11, 30, 108, 5)]


def test_late_hours_follow(warehouse):
    """A replaced value of a past hour is recorded, so that incremental marts compute the hour again."""
    warehouse.write(publish(20))
    warehouse.connection.execute("update telemetry.late_hour set noted_at = '2026-03-02'")
    warehouse.write(publish(21))
    rows = warehouse.connection.execute(
        "select bucket, noted_at > now() - interval '1 minute' from telemetry.late_hour"
    )
    assert rows.fetchall() == [(NOON, True)]


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_values_in_the_columnstore_are_replaced(warehouse):
    """A chunk that was moved to the columnstore takes replacements, and its means follow."""
    warehouse.write(*(publish(20, second) for second in range(0, 7200, 10)))
    warehouse.means("1d")
    warehouse.connection.execute("select public.compress_chunk(c) from public.show_chunks('telemetry.reading') as c")
    accounts = warehouse.write(*(publish(30, second) for second in range(0, 7200, 100)))
    assert (accounts.replaced, accounts.stored) == (72, 0)
    assert warehouse.values().count(30.0) == 72
    assert warehouse.means("1d") == [(30, 20, 20, 30, 20 * 648 + 30 * 72, 720)]


def test_two_writers_do_not_overwrite_each_other(warehouse):
    """A value that another transaction has changed meanwhile is not replaced: the batch is to be tried again."""
    warehouse.write(publish(20))
    series_id, time = warehouse.connection.execute("select series_id, time from telemetry.reading").fetchone()
    with pytest.raises(psycopg.errors.SerializationFailure):
        warehouse.connection.execute(
            "select telemetry.replace_readings(%s, %s, '{19}', '{21}', %s, 'mqtt', %s)",
            ([series_id], [time], [time], [time]),
        )
    assert warehouse.values() == [20.0]


def test_a_later_message_from_quarantine_replaces(warehouse):
    """A message that arrived after the stored one, and waited in quarantine, replaces it when it is replayed."""
    warehouse.write(publish(21, received=70))
    warehouse.write(publish(22, received=80), source="replay")
    assert warehouse.values() == [22.0]


def test_zigbee_device_with_a_clock_of_seconds(warehouse):
    """Three publishes of Zigbee2MQTT with one last_seen: the last one stands, also after a second delivery of all."""
    quantities = {
        "temperature": {"unit": "Cel", "interval_seconds": 60},
        "humidity": {"unit": "%", "interval_seconds": 60},
    }
    entry = {"type": "zigbee", "topic": "zigbee2mqtt/{sensor:path}", "discover": True, "site": "home", "area": "house"}
    document = {
        "subscribe": ["zigbee2mqtt/#"],
        "types": {"zigbee": {"format": "zigbee2mqtt", "quantities": quantities}},
        "sensors": [entry],
    }
    registry = sensors_file.parse(json.dumps(document).encode())
    synchronised = sync.synchronise(warehouse.connection, registry)
    warehouse.decode = Decoder(registry, synchronised.series_ids, synchronised.discovered).decode
    states = [(23.15, 62.33), (23.15, 62.77), (23.2, 62.77)]
    bodies = [
        {"temperature": temperature, "humidity": humidity, "last_seen": "2024-09-05T08:26:30+02:00"}
        for temperature, humidity in states
    ]
    messages = [Message("zigbee2mqtt/aqara_06", json.dumps(body).encode(), at(0)) for body in bodies]
    warehouse.write(*messages)
    warehouse.write(*(message._replace(redelivered=True) for message in messages))
    assert sorted(warehouse.values()) == [23.2, 62.77]
    assert warehouse.connection.execute("select count(*) from telemetry.quarantine").fetchone() == (0,)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    # A publish: second, and whether its transaction ends with it, and with a lost connection after some publishes.
    st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 4)), max_size=14),
    st.lists(st.integers(0, 13), max_size=6),
)
def test_interleavings_and_redelivery_end_alike(warehouse, publishes, loaded_again):
    """The last publish of each instant stands, whatever transactions, second deliveries and loads come in between."""
    warehouse.connection.execute("delete from telemetry.reading")
    warehouse.connection.execute("truncate telemetry.intake, telemetry.quarantine, telemetry.superseded")
    if warehouse.database.edition == "postgresql":
        warehouse.connection.execute("truncate telemetry.rollup_1m, telemetry.rollup_1h, telemetry.rollup_1d")
    messages = [publish(float(n), 45 * second, received=200 + n / 4) for n, (second, _, _) in enumerate(publishes)]
    begin = 0
    for end, (_, ends, again) in enumerate(publishes, start=1):
        if ends or end == len(publishes):
            # The broker sends unacknowledged messages again, in their order, together with the next ones.
            resent = [message._replace(redelivered=True) for message in messages[max(0, begin - again) : begin]]
            warehouse.write(*resent, *messages[begin:end])
            begin = end
    for number in loaded_again:
        if messages:
            warehouse.write(messages[number % len(messages)], source=("archive", "replay", "file")[number % 3])
    model = {second: float(n) for n, (second, _, _) in enumerate(publishes)}
    assert warehouse.values() == [value for _, value in sorted(model.items())]
    assert warehouse.balanced()
    minutes: dict[int, list[float]] = {}
    for second, value in sorted(model.items()):
        minutes.setdefault(45 * second // 60, []).append(value)
    expected = [
        (values[0], values[-1], min(values), max(values), math.fsum(values), len(values))
        for _, values in sorted(minutes.items())
    ]
    assert warehouse.means("1m") == expected
