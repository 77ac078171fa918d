"""Messages that waited at the broker: readings with the time of their arrival are rejected, in every format."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from collector.decode.decoder import Decoder
from collector.message import Message, NoReadingError, Reason
from collector.registry import sensors_file
from collector.store.batch import content

NOW = 1_772_366_400_000_000
SECOND = 1_000_000


def decoder(form, **kind) -> Decoder:
    """Return a decoder of one sensor with a temperature and a level."""
    quantities = {name: {"unit": "1", "interval_seconds": 1} for name in ("temperature", "level")}
    document = {
        "subscribe": ["#"],
        "types": {"k": {"format": form, "quantities": quantities}},
        "sensors": [{"sensor_id": "x", "type": "k", "site": "s", "area": "a", "topic": "x", **kind}],
    }
    registry = sensors_file.parse(json.dumps(document).encode())
    return Decoder(registry, {("x", "temperature"): 1, ("x", "level"): 2})


def decode(decoder: Decoder, message: Message):
    """Return the content of a message as a batch takes it."""
    return content(message, decoder.decode)


def message(document, waited=60 * SECOND, received=NOW) -> Message:
    """Return a message that waited."""
    return Message("x", json.dumps(document).encode(), received, waited=waited)


@pytest.mark.parametrize(
    ("form", "document"),
    [
        ({"name": "fields", "time": None}, {"temperature": 1}),
        ({"name": "fields", "time": None}, {"temperature": 1, "level": 2}),
        ("zigbee2mqtt", {"temperature": 1}),
        ("thingsboard", {"temperature": 1}),
        ("senml", [{"n": "temperature", "v": 1}]),
        ("senml", [{"n": "temperature", "v": 1, "t": -5}]),
    ],
)
def test_readings_at_their_arrival_are_rejected(form, document):
    """A reading without a time is quarantined, with the time that it may have waited."""
    decoded = decode(decoder(form), message(document))
    assert ([rejection.reason for rejection in decoded.rejections], decoded.readings) == ([Reason.ARRIVAL_UNKNOWN], [])
    assert "may have waited 60 s" in decoded.rejections[0].detail


def test_all_readings_are_counted():
    """The rejection counts every reading of the message."""
    (rejection,) = decode(decoder("zigbee2mqtt"), message({"temperature": 1, "level": 2})).rejections
    assert rejection.readings == 2


def test_readings_with_their_own_time_are_kept():
    """In one message the records with a time are stored and the others rejected."""
    records = [{"n": "temperature", "v": 1}, {"n": "level", "v": 2, "t": NOW // SECOND - 90}]
    decoded = decode(decoder("senml"), message(records))
    assert decoded.readings == [(2, NOW - 90 * SECOND, 2.0)]
    assert [rejection.readings for rejection in decoded.rejections] == [1]


def test_what_is_no_reading_stays_ignored():
    """Null in a message that waited is ignored as ever."""
    with pytest.raises(NoReadingError):
        decode(decoder("zigbee2mqtt"), message({"temperature": None}))


def test_a_known_arrival_is_the_time():
    """A message that did not wait is stored at its arrival."""
    assert decode(decoder("zigbee2mqtt"), message({"temperature": 1}, waited=0)).readings == [(1, NOW, 1.0)]


@pytest.mark.parametrize(
    ("minutes", "rejected"), [(10, []), (54, []), (70, [Reason.AMBIGUOUS_TIME])], ids=["short", "long", "too long"]
)
def test_local_time_in_the_hour_that_occurs_twice(minutes, rejected):
    """The arrival tells which hour it is as long as the message cannot have waited for the other one."""
    second_pass = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # 02:30 CET
    received = round((second_pass + timedelta(minutes=1)).timestamp() * SECOND)
    document = {"timestamp": "2026-10-25T02:30:00", "temperature": 1}
    decoded = decode(decoder("fields", timezone="Europe/Berlin"), message(document, minutes * 60 * SECOND, received))
    assert [rejection.reason for rejection in decoded.rejections] == rejected
    assert len(decoded.readings) == (not rejected)
