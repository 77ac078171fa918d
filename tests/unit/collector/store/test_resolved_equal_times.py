"""Readings with the series and time of others: what stands, for every source and format."""

import json

import pytest
from fix_bad_input import NOW, TIME, TOPIC, probes, wide

from collector.decode.decoder import Decoder
from collector.message import Message, Reason
from collector.store.batch import Batch
from collector.store.equal_times import Publish, Resolution, Stored, publish_of, resolve

IDS = {(name, quantity): 1 for name in ("p0", "p1") for quantity in ("temperature", "humidity", "open")}
DECODE = Decoder(probes(), IDS).decode
AT = NOW - 30_000_000
KEY = 1, AT
"""Series and time of all readings here."""
SECOND = 1_000_000


def publish(*temperatures: float, received: int = NOW, **flags: bool) -> Message:
    """Return a message with a list of temperatures of p0, all for one time."""
    records = [{"timestamp": TIME, "temperature": value} for value in temperatures]
    return Message(TOPIC, json.dumps(records).encode(), received, **flags)


def resolved(
    messages: list[Message], stored: Stored, source: str = "mqtt", *, replaces: bool = True, begun: int = 0
) -> Resolution:
    """Return what becomes of ``messages`` where the database has ``stored`` for their series and time."""
    batch = Batch.of(messages, lambda message: DECODE(message)._replace(replaces=replaces))
    return resolve(batch, {KEY: stored}, source, begun)


def outcome(value: float, stored: Stored, source: str, **more: object) -> str:
    """Return the outcome of one publish in one word."""
    received = more.pop("received", NOW)
    flags = {name: more.pop(name) for name in ("redelivered", "retained") if name in more}
    resolution = resolved([publish(value, received=received, **flags)], stored, source, **more)
    if resolution.conflicts:
        return "conflict"
    if not resolution.replaced:
        return "duplicate" if resolution.same or value == stored.value else "?"
    return "replaced" if resolution.changes[KEY].value == value else "recorded"


def state(received: int = NOW, publish: Publish | None = None) -> Stored:
    """Return a stored 20, which has replaced 19."""
    return Stored(20.0, received, publish, {19.0})


def test_event_formats_keep_the_first_value():
    """Where a format publishes events, the value of a second message is a conflict and changes nothing."""
    resolution = resolved([publish(21)], Stored(20.0, NOW), replaces=False)
    assert (resolution.replaced, resolution.changes) == (0, {})
    assert [row.rejection.reason for row in resolution.conflicts] == [Reason.CONFLICTING_VALUE]


def test_conflicts_name_their_message():
    """A conflict is assigned to its message, also among messages without rows and equal messages."""
    empty = Message(TOPIC, b"", NOW)
    messages = [empty, publish(20), empty, publish(21), publish(20, 22, 23), empty, publish(20), publish()]
    held = resolved(messages, Stored(20.0, NOW), replaces=False).conflicts
    assert all(row.message is message for row, message in zip(held, (messages[3], messages[4]), strict=True))
    assert [row.rejection.readings for row in held] == [1, 2]
    assert held[0].rejection.detail == "series 1 at 2026-03-01T11:59:30+00:00 has 20.0, this says 21.0"


def test_equal_messages_have_a_conflict_each():
    """Each of two equal messages gets a quarantine row for its conflict."""
    message = publish(21)
    held = resolved([message, message], Stored(20.0, NOW), replaces=False).conflicts
    assert [row.rejection.readings for row in held] == [1, 1]


def test_a_stored_value_of_another_time_or_series_is_no_conflict():
    """Readings whose series and time are not among the stored ones are left alone."""
    batch = Batch.of([publish(21)], DECODE)
    others = {(1, AT + 1): Stored(20.0, NOW), (2, AT): Stored(20.0, NOW)}
    assert resolve(batch, others, "mqtt", 0) == Resolution({}, [], 0, 0)


def test_the_last_publish_of_a_batch_stands():
    """Of several live publishes the last one stands, and all others are recorded as replaced."""
    resolution = resolved([publish(21), publish(22), publish(21)], Stored(20.0, NOW))
    change = resolution.changes[KEY]
    assert (change.before, change.value, change.superseded, resolution.replaced) == (20.0, 21.0, {22.0}, 3)


def test_a_value_that_comes_back_stands():
    """Live publishes of A, B, A end with A, although A is among the replaced values."""
    resolution = resolved([publish(20), publish(21), publish(20)], Stored(20.0, NOW))
    assert (resolution.changes[KEY].value, resolution.replaced, resolution.same) == (20.0, 2, -1)


@pytest.mark.parametrize("flag", ["redelivered", "retained"])
def test_a_second_delivery_puts_no_replaced_value_back(flag):
    """A replaced value that a broker sends again, or has retained, is a duplicate."""
    assert outcome(19, state(), "mqtt", **{flag: True}) == "duplicate"


def test_a_redelivery_whose_first_delivery_was_not_committed_counts():
    """A value that was never stored replaces the older one, although the broker sent it before."""
    assert outcome(21, state(), "mqtt", redelivered=True) == "replaced"


@pytest.mark.parametrize("source", ["file", "archive", "kafka", "replay"])
@pytest.mark.parametrize("replaces", [True, False])
def test_no_load_puts_a_replaced_value_back(source, replaces):
    """A replaced value from a file, an archive, Kafka or the quarantine is a duplicate."""
    assert outcome(19, state(publish=Publish("mqtt", NOW - 1)), source, replaces=replaces) == "duplicate"


@pytest.mark.parametrize(("source", "then"), [("archive", "replaced"), ("kafka", "replaced"), ("replay", "duplicate")])
def test_the_archive_repeats_its_own_order(source, then):
    """A value that comes back later in the same source than the one that replaced it stands again."""
    assert outcome(19, state(publish=Publish(source, NOW - 1)), source) == then


@pytest.mark.parametrize(
    ("source", "received", "then"),
    [
        ("archive", NOW - SECOND, "recorded"),
        ("archive", NOW, "replaced"),
        ("replay", NOW - SECOND, "recorded"),
        ("replay", NOW + SECOND - 1, "recorded"),
        ("replay", NOW + SECOND, "replaced"),
    ],
)
def test_arrival_decides_about_a_new_value(source, received, then):
    """A value that was never stored stands if it arrived later than the stored one, else it is recorded as replaced."""
    assert outcome(21, Stored(20.0, NOW), source, received=received) == then


@pytest.mark.parametrize("source", ["archive", "kafka", "replay"])
@pytest.mark.parametrize(("received", "then"), [(NOW - 5, "recorded"), (NOW - 4, "recorded"), (NOW - 3, "replaced")])
def test_the_exact_arrival_decides_where_it_is_known(source, received, then):
    """The arrival of a value that has replaced another is known to the microsecond."""
    assert outcome(21, state(publish=Publish("mqtt", NOW - 4)), source, received=received) == then


@pytest.mark.parametrize(("begun", "then"), [(NOW, "replaced"), (NOW + SECOND, "conflict")])
def test_the_order_of_a_file_decides_within_it(begun, then):
    """A later row of a file replaces an earlier one of the same load, and contradicts what was there before."""
    assert outcome(21, Stored(20.0, NOW), "file", begun=begun) == then


def test_the_publish_that_stands():
    """The message of the stored value is that of the latest replacement by this value."""
    rows = [(20.0, "mqtt", 5), (20.0, "kafka", 7), (21.0, "mqtt", 9), (20.0, None, 11)]
    assert publish_of(20.0, rows) == Publish("kafka", 7)
    assert publish_of(22.0, rows) is None


def test_a_column_file_does_not_replace():
    """Rows that were decoded by columns have no format that publishes state."""
    batch = Batch.of([Message(TOPIC, wide(temperature=21), NOW)], DECODE)
    prepared = Batch.prepared(batch.messages, batch.rows, [0], [], batch.accounts)
    assert not prepared.replaces(0)
