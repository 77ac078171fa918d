"""Numbers sent as text: wholly a number, with a decimal comma, with a unit behind, not finite, or none."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.decode.decoder import Decoder
from collector.formats import json_payload, numeric_text
from collector.message import Decoded, IgnoredReason, Message, NoReadingError, Reason, UndecodableError
from collector.registry import sensors_file

NOW = 1_772_366_400_000_000


def decoder(form: object = "shelly", *, type_settings: dict | None = None, **quantity: object) -> Decoder:
    """Return the decoder of one sensor ``a`` with quantities ``t`` and ``u`` in format ``form``."""
    quantities = {
        "t": {"unit": "Cel", "interval_seconds": 1, **quantity},
        "u": {"unit": "1", "interval_seconds": 1},
    }
    kind = {"format": form, "quantities": quantities, **(type_settings or {})}
    entry = {"sensor_id": "a", "type": "k", "site": "s", "area": "a", "topic": "x/a"}
    document = {"subscribe": ["#"], "types": {"k": kind}, "sensors": [entry]}
    return Decoder(sensors_file.parse(json.dumps(document).encode()), {("a", "t"): 1, ("a", "u"): 2})


def decode(text: object, **settings: object) -> Decoded:
    """Return what a message with the value ``text`` holds."""
    return decoder(**settings).decode(Message("x/a", json.dumps({"t": text, "u": 1}).encode(), NOW))


def value(text: object, **settings: object) -> float | None:
    """Return the number that ``text`` is stored as, None where it is not stored."""
    return {series_id: number for series_id, _, number in decode(text, **settings).readings}.get(1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("-1.6", -1.6), (" 7.2 ", 7.2), ("+3", 3), (".5", 0.5), ("1e3", 1000), ("21.5\0\0", 21.5), ("0.0", 0)],
)
def test_whole_number(text, expected) -> None:
    """Text that is wholly a number is that number."""
    assert value(text) == expected


@pytest.mark.parametrize("text", ["21,5", "20.6 \u2103", "1.234,5", "12:30", "2024-01-01", "0x1F", "1_000"])
def test_begins_like_a_number(text) -> None:
    """Text that begins like a number and is none is quarantined, never ignored."""
    decoded = decode(text)
    assert [(rejection.reason, rejection.readings) for rejection in decoded.rejections] == [(Reason.WRONG_TYPE, 1)]
    assert decoded.readings == [(2, NOW, 1.0)]


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("21,5", '"decimal": ","'),
        ("1.234,5", '"decimal": ","'),
        ("1,234.5", '"decimal": "."'),
        ("20.6 \u2103", '"unit_suffix": true'),
        ("20,6 C", '"unit_suffix": true and "decimal": ","'),
    ],
)
def test_detail_names_the_setting(text, setting) -> None:
    """The detail of the rejection names the setting that helps."""
    (rejection,) = decode(text).rejections
    assert setting in rejection.detail


@pytest.mark.parametrize(
    ("text", "mark", "expected"),
    [
        ("21,5", ",", 21.5),
        ("500,20", ",", 500.2),
        ("1.234,5", ",", 1234.5),
        ("1 234,5", ",", 1234.5),
        ("-3", ",", -3),
        ("1.234.567", ",", 1_234_567),
        ("1,234.5", ".", 1234.5),
        ("21.5", ".", 21.5),
        ("21.5", ",", None),
        ("1.23,5", ",", None),
    ],
)
def test_decimal(text, mark, expected) -> None:
    """``decimal`` sets the decimal mark; the other mark groups thousands, and must do so."""
    assert value(text, decimal=mark) == expected


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        ("20.6 \u2103", {}, 20.6),
        ("20.6", {}, 20.6),
        ("70.7\u00b0F", {}, 21.5),
        ("20,6 C", {"decimal": ","}, 20.6),
        ("20,6 C", {}, None),
        ("5 V", {}, None),
    ],
)
def test_unit_suffix(text, settings, expected) -> None:
    """``unit_suffix`` reads the unit behind a number, and converts from it."""
    stored = value(text, unit_suffix=True, **settings)
    assert stored == (None if expected is None else pytest.approx(expected))


def test_setting_of_a_type() -> None:
    """A type's settings are those of its quantities, unless a quantity has its own."""
    assert value("21,5", type_settings={"decimal": ","}) == 21.5
    assert value("1,234.5", type_settings={"decimal": ","}, decimal=".") == 1234.5


@pytest.mark.parametrize("text", ["nan", "-nan", "NAN", "inf", "-Infinity", "1.#INF", "1.#QNAN", "-1.#IND00"])
def test_not_finite(text) -> None:
    """What C's printf writes for a number that is not finite is quarantined as such."""
    assert [rejection.reason for rejection in decode(text).rejections] == [Reason.NOT_FINITE]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("warm", IgnoredReason.UNMAPPED_TEXT),
        ("unavailable", IgnoredReason.AVAILABILITY_TEXT),
        (None, IgnoredReason.NULL),
        ([], IgnoredReason.NULL),
        ({"v": 1}, IgnoredReason.NOT_A_VALUE),
    ],
)
def test_ignored(text, reason) -> None:
    """Values that are no readings are counted by reason."""
    sensor_decoder = decoder()
    sensor_decoder.decode(Message("x/a", b'{"t": 1}', NOW))  # the first message of a sensor takes another path
    message = Message("x/a", json.dumps({"t": text, "u": 1}).encode(), NOW)
    assert sensor_decoder.decode(message).ignored == {reason: 1}


def test_nothing_but_ignored() -> None:
    """A message with ignored values alone has the reason of most of them, and their counts."""
    with pytest.raises(NoReadingError) as caught:
        decoder().decode(Message("x/a", b'{"t": "warm"}', NOW))
    assert (caught.value.reason, caught.value.ignored) == (
        IgnoredReason.UNMAPPED_TEXT,
        {IgnoredReason.UNMAPPED_TEXT: 1},
    )


def test_states_come_first() -> None:
    """A text that the registry maps is a state, whatever number it looks like."""
    assert value("1", states={"1": 5}) == 5


def test_boolean() -> None:
    """Text that is 0 or 1 is a value of a quantity of kind boolean, as the number is."""
    assert (value("1", kind="boolean"), value("0", kind="boolean"), value("2", kind="boolean")) == (1, 0, None)


def test_large_integer() -> None:
    """An integer as text that no double holds is refused as the number is."""
    assert [rejection.reason for rejection in decode(str(2**53 + 1)).rejections] == [Reason.NOT_EXACT]


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30))
def test_every_number(number) -> None:
    """The text of every number is that number."""
    assert numeric_text.number(json.dumps(number)) == number


@given(st.text(max_size=20), st.sampled_from([None, ",", "."]))
def test_any_text(text, mark) -> None:
    """Any text has an outcome: a number, or none."""
    number = numeric_text.number(text, mark)
    assert number is None or isinstance(number, int | float)
    parts = numeric_text.number_and_unit(text, mark)
    assert parts is None or (math.isfinite(parts[0]) and parts[1])


@pytest.mark.parametrize(
    "literal",
    ["nan", "-nan", "NAN", "+inf", "-INF", "Infinity", "infinity", "1.#INF", "-1.#INF00", "1.#QNAN", "nan(0x8)"],
)
def test_literal_of_printf(literal) -> None:
    """A literal of C's printf costs its own reading, and texts that look like one are left alone."""
    text = f'{{"t": {literal}, "u": 7, "s": "a: nan, \\" inf"}}'
    decoded = decoder().decode(Message("x/a", text.encode(), NOW))
    assert decoded.readings == [(2, NOW, 7.0)]
    assert [(rejection.reason, rejection.readings) for rejection in decoded.rejections] == [(Reason.NOT_FINITE, 1)]
    assert json_payload.load(text.encode())["s"] == 'a: nan, " inf'


@pytest.mark.parametrize("form", ["shelly", "thingsboard", "zigbee2mqtt", {"name": "fields", "time": None}])
def test_literal_in_every_format(form) -> None:
    """Every JSON format reads the rest of a document with a literal that is not finite."""
    decoded = decoder(form).decode(Message("x/a", b'{"t": -nan, "u": 7}', NOW))
    assert decoded.readings == [(2, NOW, 7.0)]


@pytest.mark.parametrize("payload", [b'{"t": nano}', b'{"t": nan', b'{"t": informed}', b"{nan: 1}"])
def test_not_json(payload) -> None:
    """A document that is no JSON for other reasons stays malformed."""
    with pytest.raises(UndecodableError, match="not JSON"):
        decoder("thingsboard").decode(Message("x/a", payload, NOW))


@pytest.mark.parametrize(
    ("form", "payload"),
    [
        ("shelly", b'{"t": 21.5}'),
        ("thingsboard", b'{"t": 21.5}'),
        ({"name": "fields", "time": None}, b'{"t": 21.5}'),
        ({"name": "value", "quantity": "t"}, b"21.5"),
        ("influx", b"m t=21.5"),
        ("senml", b'[{"n": "t", "v": 21.5, "bn": "a"}]'),
    ],
)
@pytest.mark.parametrize("padding", [b"\0", b"\0\0 \r\n", b"\n\0"])
def test_padding(form, payload, padding) -> None:
    """NUL characters and white space behind a payload are no part of it."""
    assert decoder(form).decode(Message("x/a", payload + padding, NOW)).readings == [(1, NOW, 21.5)]
