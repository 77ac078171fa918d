"""Situations from reports of other projects (tests/cases/messages.json): every reading is stored, or accounted for."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from collector.decode.decoder import Decoder
from collector.message import Decoded, IgnoredReason, Message, NoReadingError, Reason, UndecodableError
from collector.registry import sensors_file
from collector.registry.discovery import UnregisteredError

CASES = {
    case["id"]: case
    for case in json.loads((Path(__file__).parents[3] / "cases" / "messages.json").read_text())["cases"]
}
ARRIVED = 1_790_000_000_000_000
"""Where a case does not say when its messages arrive; in microseconds since 1970, a second apart."""

Row = tuple[str, str, int, float]
"""sensor_id, quantity, time in microseconds since 1970, value."""


class Collector:
    """A decoder whose sensors are registered as the writer does."""

    def __init__(self, registry: dict[str, Any]) -> None:
        parsed = sensors_file.parse(json.dumps(registry).encode())
        numbers = count(1)
        self._series = {
            (sensor.sensor_id, name): next(numbers) for sensor in parsed.sensors for name in sensor.quantities
        }
        self._numbers = numbers
        self._decoder = Decoder(parsed, self._series)
        self.rows: list[Row] = []
        self.quarantined: Counter[Reason] = Counter()
        self.details: list[str] = []
        self.ignored: Counter[IgnoredReason] = Counter()
        self.replaces: set[bool] = set()

    def add(self, message: Message) -> None:
        """Decode ``message`` and add what it holds."""
        try:
            decoded = self._decode(message)
        except NoReadingError as error:
            self.ignored[error.reason] += 1
        except UndecodableError as error:
            self.quarantined[error.rejection.reason] += 1
            self.details.append(error.rejection.detail)
        else:
            self._count(decoded)

    def _decode(self, message: Message) -> Decoded:
        try:
            return self._decoder.decode(message)
        except UnregisteredError as error:
            for registered, sensor, quantity in error.discoveries:
                number = next(self._numbers)
                self._series[sensor.sensor_id, quantity] = number
                registered.record(sensor, quantity, number)
            return self._decoder.decode(message)

    def _count(self, decoded: Decoded) -> None:
        names = {number: key for key, number in self._series.items()}
        self.rows += [(*names[number], time, value) for number, time, value in decoded.readings]
        for rejection in decoded.rejections:
            self.quarantined[rejection.reason] += rejection.readings
            self.details.append(rejection.detail)
        self.ignored.update(decoded.ignored)
        self.replaces.add(decoded.replaces)


def messages(case: dict[str, Any]) -> list[Message]:
    """Return the messages of ``case``."""
    return [
        Message(
            message["topic"],
            payload.encode() if isinstance(payload := message["payload"], str) else json.dumps(payload).encode(),
            message.get("received_us", ARRIVED + number * 1_000_000),
        )
        for number, message in enumerate(case["messages"])
    ]


def collected(name: str, **quantity_or_type: Any) -> Collector:
    """Return what the messages of case ``name`` hold; ``quantity_or_type``: changes of its registry's first type."""
    registry = json.loads(json.dumps(CASES[name]["registry"]))
    (kind,) = registry["types"].values()
    form = quantity_or_type.pop("form", {})
    if form:
        kind["format"] = {**(kind["format"] if isinstance(kind["format"], dict) else {"name": kind["format"]}), **form}
    kind["quantities"].update(quantity_or_type.pop("quantities", {}))
    kind.update(quantity_or_type)
    collector = Collector(registry)
    for message in messages(CASES[name]):
        collector.add(message)
    return collector


def expected(name: str) -> list[Row]:
    """Return the readings that case ``name`` expects."""
    arrivals = iter(message.received for message in messages(CASES[name]))
    return sorted(
        (
            row["sensor_id"],
            row["quantity"],
            next(arrivals) if row["time"] == "arrival" else _microseconds(row["time"]),
            pytest.approx(row["value"]),
        )
        for row in CASES[name]["expected"]
    )


def _microseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * 1_000_000


def check(name: str, collector: Collector, quarantined: dict[Reason, int] | None = None) -> None:
    """Fail unless ``collector`` has the readings that case ``name`` expects, and ``quarantined`` ones."""
    assert sorted(set(collector.rows)) == expected(name)
    assert collector.quarantined == (quarantined or {})


AS_THEY_ARE = (
    "text-number-below-zero",
    "text-number-fields",
    "trailing-nul",
    "unit-in-message",
    "autumn-hour-live",
    "epoch-as-text",
    "nearly-iso",
    "own-time-of-a-member",
    "null-is-no-reading",
)


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_as_it_is(name: str) -> None:
    """The case's own registry stores what it expects, and quarantines nothing."""
    case = CASES[name]
    if name == "null-is-no-reading":  # its reading is that of the third message
        collector = collected(name)
        assert [(row[:2], row[3]) for row in collector.rows] == [(("battery-512", "Soc"), 84.5)]
        assert not collector.quarantined
        return
    assert case["expected"]
    check(name, collected(name))


ADAPTED: Sequence[tuple[str, dict[str, Any]]] = (
    (
        "text-number-tofixed",
        {"quantities": {"air_temp_c": {"unit": "Cel", "interval_seconds": 60}}, "drop": "temperature"},
    ),
    ("unit-behind-number", {"unit_suffix": True}),
    ("devices-as-keys", {"form": {"device_keys": ["*"]}}),
    ("history-in-uplink", {"form": {"history": {"list": "history"}}}),
    ("nearly-iso", {"form": {"time_format": "%Y/%m/%dT%H:%M:%S%z"}}),
)


@pytest.mark.parametrize(("name", "changes"), ADAPTED, ids=[name for name, _ in ADAPTED])
def test_with_a_setting(name: str, changes: dict[str, Any]) -> None:
    """With the setting that the case's note asks for, its readings are stored."""
    changes = dict(changes)
    if changes.pop("drop", None):
        registry = json.loads(json.dumps(CASES[name]["registry"]))
        (kind,) = registry["types"].values()
        kind["quantities"] = changes["quantities"]
        collector = Collector(registry)
        for message in messages(CASES[name]):
            collector.add(message)
    else:
        collector = collected(name, **changes)
    renamed = [row if row[0] != "DA-77" else ("DA:77", *row[1:]) for row in collector.rows]
    assert sorted(renamed) == expected(name)
    assert not collector.quarantined


def test_decimal_comma() -> None:
    """Without the setting texts with a decimal comma are quarantined with its name; with it they are readings."""
    without = collected("decimal-comma-value")
    assert (without.rows, without.quarantined) == ([], {Reason.WRONG_TYPE: 4})
    assert all('"decimal": ","' in detail for detail in without.details)
    collector = collected("decimal-comma-value", decimal=",")
    values = [(quantity, value) for _, quantity, _, value in collector.rows]
    assert values == [("power", 500.2), ("temperature", 21.5), ("power", 21.5), ("power", 1234.5)]


def test_unit_behind_number() -> None:
    """Without the setting a unit behind the number is quarantined with its name."""
    collector = collected("unit-behind-number")
    assert (collector.rows, collector.quarantined) == ([], {Reason.WRONG_TYPE: 1})
    assert '"unit_suffix": true' in collector.details[0]


def test_nan_of_tasmota() -> None:
    """Printf's nan costs its own readings."""
    check("c-nan", collected("c-nan", form={"timezone": "UTC"}), {Reason.NOT_FINITE: 2})


def test_infinity() -> None:
    """Printf's inf and -nan cost their own readings."""
    check("c-inf", collected("c-inf"), {Reason.NOT_FINITE: 3})


def test_history_without_the_setting() -> None:
    """Earlier readings that are not configured are quarantined with the line to add."""
    collector = collected("history-in-uplink")
    assert (collector.rows, collector.quarantined) == ([], {Reason.UNKNOWN_QUANTITY: 2})
    assert '"history": {"list": "history"}' in collector.details[0]


def test_equal_times() -> None:
    """Messages of one time are marked as states, of which the writer keeps the last."""
    collector = collected("cached-state-same-second")
    assert collector.replaces == {True}
    last = {(sensor_id, quantity, time): value for sensor_id, quantity, time, value in collector.rows}
    assert sorted((*key, value) for key, value in last.items()) == expected("cached-state-same-second")
    assert not collector.quarantined


def test_null() -> None:
    """null, an empty list and a text about availability are no readings, and are counted."""
    assert collected("null-is-no-reading").ignored == {IgnoredReason.NULL: 2, IgnoredReason.AVAILABILITY_TEXT: 1}


def test_all_cases_are_tested() -> None:
    """Every case of the file has a test."""
    others = {"decimal-comma-value", "c-nan", "c-inf", "cached-state-same-second"}
    assert {*AS_THEY_ARE, *(name for name, _ in ADAPTED)} | others == set(CASES)
