"""Units in messages of format ``fields``: read by a pointer, or quarantined where the registry does not read them."""

import json

import pytest

from collector.decode.decoder import Decoder
from collector.message import Decoded, Message, Reason
from collector.registry import sensors_file

NOW = 1_772_366_400_000_000


def decode(payload: object, quantities: dict, **form: object) -> Decoded:
    """Return what a message of one sensor in format ``fields`` holds; quantities are numbered from 1."""
    listed = {name: {"interval_seconds": 1, **quantity} for name, quantity in quantities.items()}
    kind = {"format": {"name": "fields", "time": None, **form}, "quantities": listed}
    entry = {"sensor_id": "a", "type": "k", "site": "s", "area": "a", "topic": "x/a"}
    document = {"subscribe": ["#"], "types": {"k": kind}, "sensors": [entry]}
    ids = {("a", name): number for number, name in enumerate(quantities, 1)}
    return Decoder(sensors_file.parse(json.dumps(document).encode()), ids).decode(
        Message("x/a", json.dumps(payload).encode(), NOW)
    )


def values(decoded: Decoded) -> list[float]:
    """Return the values of the readings."""
    return [pytest.approx(value) for _, _, value in decoded.readings]


CEL = {"t": {"unit": "Cel"}}


def test_narrow() -> None:
    """The unit of a narrow object is at /unit, and is converted."""
    assert values(decode({"sensor": "t", "value": 70.7, "unit": "°F"}, CEL)) == [21.5]


def test_pointer_of_the_format() -> None:
    """The format's pointer to the unit serves lists of narrow objects."""
    items = [{"n": "t", "v": 70.7, "u": "°F"}, {"n": "e", "v": 1500, "u": "Wh"}]
    form = {"quantity": "/n", "value": "/v", "unit": "/u"}
    assert values(decode(items, {**CEL, "e": {"unit": "kW.h"}}, **form)) == [21.5, 1.5]


def test_pointer_of_a_quantity() -> None:
    """A quantity's unit_pointer leads to the unit of its value."""
    quantities = {"t": {"unit": "Cel", "pointer": "/v", "unit_pointer": "/u"}}
    assert values(decode([{"v": 70.7, "u": "°F"}, {"v": 21.5, "u": "°C"}, {"v": 1}], quantities)) == [21.5, 21.5, 1]


@pytest.mark.parametrize(
    "member", ["unit", "units", "u", "uom", "Unit", "unit_of_measurement", "engUnit", "t_unit", "tUnit"]
)
def test_unread_unit(member) -> None:
    """A member that is named like a unit and differs from the registry quarantines the value, with the line to add."""
    (rejection,) = decode({"t": 70.7, member: "°F"}, CEL).rejections
    assert rejection.reason is Reason.WRONG_UNIT
    assert f'"unit_pointer": "/{member}"' in rejection.detail


@pytest.mark.parametrize("unit", ["°C", "C", "degC", "Cel", "", None, 5])
def test_agreeing_unit(unit) -> None:
    """A unit that is the registry's, or none, is no obstacle."""
    assert values(decode({"t": 21.5, "unit": unit}, CEL)) == [21.5]


def test_unit_of_the_device() -> None:
    """Of the registry's two units the message says which."""
    quantities = {"t": {"unit": "kW", "sent_unit": "W"}}
    assert values(decode([{"t": 5, "unit": "kW"}, {"t": 5000, "unit": "W"}, {"t": 5000}], quantities)) == [5, 5, 5]


def test_unit_of_another_member() -> None:
    """A unit of another dimension beside several quantities is that of one of them, and no obstacle for the others."""
    quantities = {"t": {"unit": "Cel"}, "h": {"unit": "%"}}
    assert values(decode({"t": 21.5, "h": 40, "unit": "°C"}, quantities)) == [21.5, 40]
    decoded = decode({"t": 70.7, "h": 40, "unit": "°F"}, quantities)
    assert (values(decoded), [rejection.reason for rejection in decoded.rejections]) == ([40], [Reason.WRONG_UNIT])


def test_no_unit() -> None:
    """With a null pointer in the format no member is a unit, whatever its name."""
    assert values(decode({"t": 21.5, "unit": "A-17"}, CEL, unit=None)) == [21.5]


def test_fast_path() -> None:
    """Messages of one quantity with a time take a fast path, which leaves units to the general one."""
    items = [{"t": 70.7, "u": "°F", "timestamp": "2026-03-01T12:00:00Z"}] * 3
    assert [rejection.readings for rejection in decode(items, CEL, time="/timestamp").rejections] == [3]
    items = [{"t": 21.5, "uptime": 5, "timestamp": f"2026-03-01T12:00:0{second}Z"} for second in range(3)]
    assert values(decode(items, CEL, time="/timestamp")) == [21.5] * 3
