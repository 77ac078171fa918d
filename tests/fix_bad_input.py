"""Bad messages with their expected outcome: one table for the tests of the decoder and of the database."""

import json
from dataclasses import dataclass

from collector.message import Message, Reason
from collector.registry import sensors_file
from collector.registry.sensors_file import Registry

NOW = 1_772_366_400_000_000
"""Time of arrival: 2026-03-01 12:00 UTC, in microseconds since 1970."""
TIME = "2026-03-01T11:59:30Z"
TOPIC = "plant/p0"
OTHER = "plant/p1"


@dataclass(frozen=True)
class Bad:
    """One message and its expected outcome."""

    name: str
    payload: bytes
    reason: Reason | None
    """None: nothing is quarantined."""
    held: int = 1
    """Quarantined readings; 0 with a reason: the whole message."""
    good: int = 0
    """Good readings of the same message."""
    topic: str = TOPIC
    words: str = ""
    """Part of the detail."""

    @property
    def message(self) -> Message:
        """The message as it arrives."""
        return Message(self.topic, self.payload, NOW, delivery=7)


def probes(prefix: str = "plant") -> Registry:
    """Return the registry of :func:`probes_text`."""
    return sensors_file.parse(probes_text(prefix))


def probes_text(prefix: str = "plant") -> bytes:
    """Return a registry of two sensors, p0 and p1, with temperature and humidity in numbers and open in true/false."""
    return json.dumps(
        {
            "subscribe": [f"{prefix}/#"],
            "types": {
                "probe": {
                    "quantities": {
                        "temperature": {"unit": "Cel", "interval_seconds": 1},
                        "humidity": {"unit": "%", "interval_seconds": 1},
                        "open": {"unit": "1", "interval_seconds": 1, "kind": "boolean"},
                    }
                }
            },
            "sensors": [
                {"sensor_id": name, "type": "probe", "site": "here", "area": "hall", "topic": f"{prefix}/{name}"}
                for name in ("p0", "p1")
            ],
        }
    ).encode()


def wide(time: str = TIME, **values: object) -> bytes:
    """Return a payload; values given as bytes are inserted as they are."""
    members = [b'"timestamp": ' + json.dumps(time).encode()]
    for name, value in values.items():
        members.append(f'"{name}": '.encode() + (value if isinstance(value, bytes) else json.dumps(value).encode()))
    return b"{" + b", ".join(members) + b"}"


def _value(name: str, literal: bytes, reason: Reason, words: str = "") -> Bad:
    """Return a message whose temperature is ``literal``, with a good humidity."""
    return Bad(name, wide(temperature=literal, humidity=50), reason, 1, 1, words=words)


def _time(name: str, literal: bytes, reason: Reason, words: str = "") -> Bad:
    """Return a message of two readings whose time is ``literal``."""
    return Bad(name, b'{"timestamp": ' + literal + b', "temperature": 1, "humidity": 2}', reason, 2, words=words)


def _topic(name: str, topic: str) -> Bad:
    return Bad(f"topic with {name}", wide(temperature=1), Reason.UNKNOWN_SENSOR, 0, topic=topic, words="this topic")


_MALFORMED, _TYPE, _FINITE, _EXACT = Reason.MALFORMED, Reason.WRONG_TYPE, Reason.NOT_FINITE, Reason.NOT_EXACT

CASES = [
    Bad("not JSON", b"temperature=21.5", _MALFORMED, 0, words="not JSON"),
    Bad("truncated", wide(temperature=21.5)[:-3], _MALFORMED, 0, words="not JSON"),
    Bad("two documents", wide(temperature=1) * 2, _MALFORMED, 0, words="not JSON"),
    Bad("not UTF-8", wide(temperature=b'"\xff\xfe"'), _MALFORMED, 0, words="not UTF-8 at byte"),
    Bad("UTF-16", wide(temperature=1).decode().encode("utf-16"), _MALFORMED, 0, words="not UTF-8"),
    Bad("empty", b"", None, 0),
    Bad("blank", b" \n", None, 0),
    Bad("empty list", b"[]", None, 0),
    Bad("a number", b"21.5", _MALFORMED, 1, words="expected an object, got 21.5"),
    Bad("a text", b'"21.5"', _MALFORMED, 1, words="expected an object, got '21.5'"),
    Bad("null", b"null", None, 0),
    Bad("list with a number", b"[1, " + wide(temperature=1) + b"]", _MALFORMED, 1, 1),
    Bad("1 MB of garbage", b"\x00\x01\xfe\xff" * 250_000, _MALFORMED, 0, words="not"),
    Bad("1 MB of brackets", b"[" * 1_000_000, _MALFORMED, 0, words="nested too deeply"),
    Bad("expected a number, got 1 MB text", wide(temperature="x" * 1_000_000, humidity=1), _TYPE, 1, 1),
    Bad("1 MB of readings in a list", b"[" + b",".join([b"0"] * 500_000) + b"]", _MALFORMED, 500_000),
    Bad("unknown sensor", wide(temperature=1), Reason.UNKNOWN_SENSOR, 0, topic="plant/p9"),
    Bad("unknown quantity", wide(pressure=1013), Reason.UNKNOWN_QUANTITY, 1, words="'pressure'"),
    Bad("no quantity", wide(), Reason.UNKNOWN_QUANTITY, 1, words="none of the sensor's quantities"),
    Bad("unknown quantity, narrow", wide(sensor="pressure", value=1), Reason.UNKNOWN_QUANTITY, 1, words="'pressure'"),
    Bad("NUL in a quantity", wide(sensor="a\0b", value=1), Reason.UNKNOWN_QUANTITY, 1, words=r"a\x00b"),
    Bad("half a surrogate pair", wide(sensor="\ud800", value=1), Reason.UNKNOWN_QUANTITY, 1, words=r"\ud800"),
    Bad("NUL in the payload", b"\0" + wide(temperature=1), _MALFORMED, 0, words="not JSON"),
    Bad("no value, narrow", wide(sensor="temperature"), _TYPE, 1, words="temperature: no value"),
    _value("expected a number, got text", b'"warm"', _TYPE, "temperature: expected a number, got 'warm'"),
    _value("a decimal comma", b'"21,5"', _TYPE, "got '21,5'; set \"decimal\": \",\""),
    _value("a unit behind the number", '"20.6 ℃"'.encode(), _TYPE, 'set "unit_suffix": true'),
    _value("expected a number, got list", b"[21.5]", _TYPE, "temperature: expected a number, got a list"),
    _value("expected a number, got object", b'{"v": 1}', _TYPE, "temperature: expected a number, got an object"),
    _value("expected a number, got deep nesting", b"[" * 900 + b"]" * 900, _TYPE),
    _value("expected a number, got deepest nesting", b"[" * 1010 + b"]" * 1010, _TYPE),
    _value("expected a number, got true", b"true", _TYPE, "temperature: expected a number, got True"),
    Bad("a number for a boolean", wide(open=1, humidity=1), _TYPE, 1, 1, words="expected true or false, got 1"),
    Bad("a text for a boolean", wide(open="on", humidity=1), _TYPE, 1, 1, words="expected true or false, got 'on'"),
    _value("NaN", b"NaN", _FINITE, "temperature: nan is not a finite number"),
    _value("Infinity", b"Infinity", _FINITE, "temperature: inf"),
    _value("-Infinity", b"-Infinity", _FINITE, "temperature: -inf"),
    _value("1e999", b"1e999", _FINITE, "temperature: inf"),
    _value("-1e999", b"-1e999", _FINITE, "temperature: -inf"),
    _value("2^53 + 1", b"9007199254740993", _EXACT, "9007199254740993 has no exact double"),
    _value("-(2^53 + 1)", b"-9007199254740993", _EXACT, "-9007199254740993 has no exact double"),
    _value("2^63 + 1", b"9223372036854775809", _EXACT),
    _value("-(2^63 + 1)", b"-9223372036854775809", _EXACT),
    _value("2^64 + 1", b"18446744073709551617", _EXACT, "18446744073709551617 has no exact double"),
    _value("30 digits", b"1" * 30, _EXACT),
    _value("400 digits", b"1" * 400, _FINITE),
    _value("5000 digits", b"1" * 5_000, _FINITE),
    _time("null time", b"null", Reason.MISSING_TIME),
    _time("unparsable time", b'"yesterday"', Reason.UNREADABLE_TIME, "'yesterday' is not an ISO 8601 time"),
    _time("empty time", b'""', Reason.UNREADABLE_TIME),
    _time("impossible date", b'"2026-02-30T00:00:00Z"', Reason.UNREADABLE_TIME),
    _time("number as a time", b"1772366400", Reason.UNREADABLE_TIME, "expected an ISO 8601 text"),
    _time("list as a time", b"[1]", Reason.UNREADABLE_TIME),
    _time("endless fraction of a second", b'"2026-03-01T11:59:30.' + b"0" * 500_000 + b'Z"', Reason.UNREADABLE_TIME),
    _time("time without zone", b'"2026-03-01T11:59:30"', Reason.TIME_WITHOUT_ZONE, "has no zone"),
    _time("ancient time", b'"1999-12-31T23:59:59Z"', Reason.TIME_TOO_OLD, "before 2000-01-01"),
    _time("first year", b'"0001-01-01T00:00:00+01:00"', Reason.TIME_TOO_OLD),
    _time("far future", b'"2150-01-01T00:00:00Z"', Reason.TIME_IN_FUTURE, "2150-01-01"),
    _time("last year", b'"9999-12-31T23:59:59.999999-23:59"', Reason.TIME_IN_FUTURE),
    Bad("missing time", b'{"temperature": 1, "humidity": 2}', Reason.MISSING_TIME, 2),
    _topic("quotes", "plant/\"p0'`"),
    _topic("percent signs", "plant/%s%(topic)s%%"),
    _topic("Unicode", "plant/θερμοκρασία/🌡/٣"),
    _topic("65,535 bytes", "plant/" + "x" * 65_529),
    _topic("NUL", "plant/a\0b"),
    _topic("bytes that are no UTF-8", b"plant/\xff".decode("utf-8", "surrogateescape")),
]  # fmt: skip
