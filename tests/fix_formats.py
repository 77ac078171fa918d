"""Payload formats in tests: samples of tests/payloads as messages, helpers that read them, and fuzzing."""

import json
from collections.abc import Sequence
from pathlib import Path

import orjson
from hypothesis import strategies as st

from collector.formats.measurement import FormatOptions, Measured, Measurement, Topic
from collector.message import Message, NoReadingError, UndecodableError

PAYLOADS = Path(__file__).parent / "payloads"
ARRIVED = 1_900_000_000_000_000
"""Time of arrival of the messages: 2030-03-17, in microseconds since 1970; after the time of every sample."""


def sample(name: str, topic: str | None = None) -> Message:
    """Return the sample ``name`` as a message; ``topic`` where the sample has none."""
    content = json.loads((PAYLOADS / f"{name}.json").read_text())
    return Message(content["topic"] or topic or "", content["payload_raw"].encode(), ARRIVED)


def read(form: FormatOptions, topic: str, payload: object, names: dict | None = None) -> list[Measurement]:
    """Read a payload, given as bytes or as a JSON value."""
    raw = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    return named(form.reader().read(Message(topic, raw, ARRIVED), Topic(names or {})))


def named(measured: Sequence[Measured]) -> list[Measurement]:
    """Return the measurements of a reader with named fields: some readers return bare tuples."""
    return [Measurement(*fields) for fields in measured]


def values(measurements: list[Measurement]) -> dict:
    """Return quantity → value."""
    return {measurement.quantity: measurement.value for measurement in measurements}


def sent(measurements: list[Measurement]) -> list[tuple]:
    """Return device, quantity, value and unit of each measurement."""
    return [
        (measurement.device, measurement.quantity, measurement.value, measurement.unit) for measurement in measurements
    ]


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["ON", "2026-03-01T12:00:00", "2026-03-01T12:00:00.1234567Z", "0001-01-01T00:00:00Z", "NaN", "12"]
    )
    | st.sampled_from([0, 2**31, 2**63, 2**64, 10**30, 1_700_000_000_000])
)


def documents(members: list[str]) -> st.SearchStrategy[object]:
    """Return a strategy for JSON documents whose objects have ``members``, and others, with any values."""
    keys = st.sampled_from(members) | st.text(max_size=4)
    return st.recursive(
        _SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
        max_leaves=12,
    )


def messages(members: list[str], levels: list[str], samples: list[str]) -> st.SearchStrategy[Message]:
    """Return a strategy for messages: any bytes, any JSON of the format's shape, mutated samples, on any topic."""
    topics = st.lists(st.sampled_from(levels) | st.text(max_size=5), max_size=5).map("/".join)
    whole = [sample(name, "a/b").payload for name in samples]
    mutated = st.builds(
        lambda payload, at, put, cut: payload[: at % len(payload)] + put + payload[at % len(payload) + cut :],
        st.sampled_from(whole),
        st.integers(0, 4000),
        st.binary(max_size=3)
        | st.sampled_from([b"null", b"{}", b"[]", b'""', b"1e999", b"NaN", b"\\ud800", b'{"":1}']),
        st.integers(0, 6),
    )
    payloads = st.binary(max_size=40) | mutated | documents(members).map(lambda document: json.dumps(document).encode())
    return st.builds(Message, topics, payloads, st.just(ARRIVED), st.booleans())


def names_of(topic: str) -> st.SearchStrategy[dict[str, str]]:
    """Return a strategy for the placeholder values of patterns that match ``topic``."""
    levels = topic.split("/")
    return st.sampled_from(
        [
            {},
            {"#": topic},
            {"sensor": levels[0]},
            {"sensor": levels[0], "#": "/".join(levels[1:])},
            {"sensor": levels[0], "quantity": levels[-1]},
        ]
    )


def holds(form: FormatOptions, message: Message, names: dict[str, str]) -> None:
    """Assert that reading ``message`` returns valid measurements or raises one of the two errors of the contract."""
    try:
        measurements = named(form.reader().read(message, Topic(names)))
    except (NoReadingError, UndecodableError):
        return
    assert measurements
    for measurement in measurements:
        assert type(measurement.quantity) is str
        assert type(measurement.value) in (int, float, bool, str)
        assert measurement.time is None or type(measurement.time) is int
        assert measurement.unit is None or type(measurement.unit) is str
        assert type(measurement.device) is str
