"""The rule for value, unit, time and bounds, and the fast paths, which have the same results as the rule."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.decode.reading_rule import Series, column_readings, ignored_reason, microseconds
from collector.decode.series_decoder import SeriesDecoder, sensor_by_device
from collector.files.file_sensors import FileSensors
from collector.files.layout import Layout
from collector.files.options import MISSING
from collector.files.row_decoder import RowDecoder, state_or_number
from collector.formats import json_tree
from collector.formats.measurement import Column, FormatOptions, Measured
from collector.message import Decoded, IgnoredReason, Message, NoReadingError, Reason, Rejections, UnusableError
from collector.registry import sensors_file
from collector.registry.schema import Quantity

NOW = 1_772_366_400_000_000
SECOND = 1_000_000
FUTURE = 300 * SECOND

QUANTITIES = {
    "number": {"unit": "Cel"},
    "converted": {"unit": "kW", "sent_unit": "W"},
    "state": {"unit": "1", "states": {"open": 1, "Closed": 0}},
    "boolean": {"unit": "1", "kind": "boolean"},
    "boolean_state": {"unit": "1", "kind": "boolean", "states": {"heat": 1, "off": 0}},
}
REGISTRY = sensors_file.parse(
    json.dumps(
        {
            "subscribe": ["#"],
            "types": {
                "t": {
                    "quantities": {name: {**entry, "interval_seconds": 1} for name, entry in QUANTITIES.items()},
                    "format": "thingsboard",
                }
            },
            "sensors": [{"sensor_id": "a", "type": "t", "site": "s", "area": "a", "topic": "x"}],
        }
    ).encode()
)
(SENSOR,) = REGISTRY.sensors
IDS = {("a", name): number for number, name in enumerate(QUANTITIES, 1)}
SINCE = microseconds(SENSOR.since)


class Strict(FormatOptions):
    """A format whose values of another kind are quarantined."""

    wrong_kind = "quarantine"


class Lenient(FormatOptions):
    """A format whose values of another kind are ignored."""


class FixedReader:
    """A reader that returns the measurements it was made with."""

    def __init__(self, measurements: Sequence[Measured]) -> None:
        self.measurements = measurements

    def read(self, _message, _topic):
        """Return them."""
        return self.measurements


def series(name: str, *, is_strict: bool) -> Series:
    """Return the series of a quantity of the sensor."""
    return Series.of(name, SENSOR.quantities[name], IDS["a", name], SINCE, is_strict=is_strict)


def by_rule(measurements: Sequence[Measured], *, is_strict: bool, retained: bool) -> Decoded:
    """Return the readings and rejections of measurements that are decoded by the rule alone."""
    readings, rejections = [], Rejections()
    for quantity, raw, time, unit, _, _ in measurements:
        if time is None and retained:
            rejections.ignore(IgnoredReason.RETAINED_WITHOUT_TIME)
            continue
        try:
            reading = series(quantity, is_strict=is_strict).reading(raw, unit, time, NOW, NOW + FUTURE)
        except UnusableError as error:
            rejections.add(error.reason, f"{quantity}: {error.detail}")
        else:
            if reading is None:
                rejections.ignore(ignored_reason(raw))
            else:
                readings.append(reading)
    return Decoded(readings, rejections.as_list(), rejections.ignored)


def decoder(measurements: Sequence[Measured], form: FormatOptions) -> SeriesDecoder:
    """Return a decoder whose messages have ``measurements``."""
    reader = FixedReader(measurements)
    return SeriesDecoder(form, reader, sensor_by_device([SENSOR]), IDS, FUTURE, {}, [SENSOR.quantities])


def decoded(series_decoder: SeriesDecoder, *, retained: bool = False) -> Decoded:
    """Decode a message; one without readings and rejections has an empty result."""
    try:
        return series_decoder.decode(Message("x", b"x", NOW, retained))
    except NoReadingError as error:
        return Decoded([], [], error.ignored)


NUMBERS = st.one_of(
    st.floats(), st.integers(-(2**70), 2**70), st.sampled_from([0, 1, 1.0, 2**53, 2**53 + 1, 1e290, 1e289, 10**310])
)
RAW = st.one_of(
    NUMBERS,
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.sampled_from(["open", "OPEN", "Closed", "closed", "on", "Off", "heat", "21.5", "21,5", "nan", "x" * 300]),
    st.just([1]),
    st.just({"v": 1}),
)
TIMES = st.one_of(
    st.none(),
    st.integers(NOW - SECOND, NOW),
    st.sampled_from([SINCE - 1, SINCE, NOW + FUTURE, NOW + FUTURE + 1, 0, -(10**30), 10**30]),
)
UNITS = st.sampled_from([None, None, "", "Cel", "[degF]", "°F", "W", "kW", "furlong", "1"])
MEASUREMENTS = st.builds(
    lambda name, raw, time, unit: (name, raw, time, unit, "", None),
    st.sampled_from(list(QUANTITIES)),
    RAW,
    TIMES,
    UNITS,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(MEASUREMENTS, max_size=6), st.sampled_from([Strict(), Lenient()]), st.booleans())
def test_the_loop_has_the_results_of_the_rule(measurements, form, retained):
    """A list of measurements has the readings and rejections that the rule gives for each of them."""
    expected = by_rule(measurements, is_strict=form.wrong_kind == "quarantine", retained=retained)
    series_decoder = decoder(measurements, form)
    for _ in range(2):  # the sensor is cached the second time
        assert repr(decoded(series_decoder, retained=retained)) == repr(expected)


@settings(max_examples=300, deadline=None)
@given(MEASUREMENTS, st.sampled_from([Strict(), Lenient()]), st.booleans())
def test_a_single_measurement_has_the_result_of_the_rule(measured, form, retained):
    """A message with one measurement has the reading or rejection that the rule gives."""
    expected = by_rule([measured], is_strict=form.wrong_kind == "quarantine", retained=retained)
    series_decoder = decoder((measured,), form)
    for _ in range(2):
        assert repr(decoded(series_decoder, retained=retained)) == repr(expected)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(QUANTITIES)),
    st.lists(st.tuples(st.floats(-1e18, 1e18) | st.integers(-(2**60), 2**60) | st.booleans(), TIMES), min_size=1),
    st.sampled_from([Strict(), Lenient()]),
)
def test_a_column_has_the_results_of_the_rule(quantity, cells, form):
    """A column has the readings and rejections that the rule gives for each of its measurements."""
    values, times = [value for value, _ in cells], [NOW if time is None else time for _, time in cells]
    column = Column(quantity, values, times, max(map(abs, values)))
    expected = by_rule(list(column), is_strict=form.wrong_kind == "quarantine", retained=False)
    series_decoder = decoder(column, form)
    for _ in range(2):
        assert repr(decoded(series_decoder)) == repr(expected)


def test_plain_columns_take_the_fast_path():
    """A column of plain numbers is accepted as a whole, so that the property above tests the fast path."""
    column = Column("number", [1, 2.5], [NOW, NOW - 1], 2.5)
    readings = column_readings(column, series("number", is_strict=True), NOW)
    assert readings == [(1, NOW, 1.0), (1, NOW - 1, 2.5)]


CELLS = st.one_of(
    NUMBERS,
    st.booleans(),
    st.text(max_size=4),
    st.sampled_from(["1e3", " 5 ", "true", "FALSE", "nan", "on", " Off", "open", "heat", "1"]),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(QUANTITIES)), CELLS, TIMES)
def test_rows_of_files_have_the_results_of_the_rule(quantity, cell, time):
    """A row of a file has the reading or rejection that the strict rule gives for its cell."""
    layout = Layout("time", None, wide=((quantity, "cell"),))
    at = NOW if time is None else time
    payload = json.dumps({"time": at, "cell": cell}).encode()
    try:
        row = RowDecoder(layout, FileSensors([SENSOR], IDS), "us", FUTURE).decode(Message("x", payload, NOW))
    except NoReadingError:
        assert cell != cell or not str(cell).strip() or str(cell).strip() in MISSING  # noqa: PLR0124
        return
    rule = Series.of(quantity, SENSOR.quantities[quantity], IDS["a", quantity], SINCE, is_strict=True, takes_words=True)
    readings, rejected = [], []
    try:
        read = json_tree.load(payload)["cell"]
        readings.append(rule.reading(state_or_number(rule, read), None, at, NOW, NOW + FUTURE))
    except UnusableError as error:
        rejected.append((error.reason, 1))
    assert repr(row.readings) == repr(readings)
    assert [(rejection.reason, rejection.readings) for rejection in row.rejections] == rejected


@pytest.mark.parametrize(
    ("name", "raw", "unit", "value"),
    [
        ("number", 21.5, None, 21.5),
        ("number", 70.7, "[degF]", 21.5),
        ("converted", 1005, None, 1.005),
        ("converted", 3, "kW", 3.0),
        ("state", "OPEN", None, 1.0),
        ("boolean", True, None, 1.0),
    ],
)
def test_values_of_every_format(name, raw, unit, value):
    """Numbers, units, states and booleans have one value, whether the format is strict or lenient."""
    for is_strict in (True, False):
        assert series(name, is_strict=is_strict).value(raw, unit) == value


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("number", "warm", None),
        ("number", [1], None),
        ("number", True, 1.0),
        ("state", "ajar", None),
        ("boolean", 1, 1.0),
        ("boolean", "ON", 1.0),
    ],
)
def test_values_of_another_kind(name, raw, value):
    """A value of another kind is wrong_type for a strict format; a lenient one ignores it or takes it as 1 or 0."""
    with pytest.raises(UnusableError) as caught:
        series(name, is_strict=True).value(raw, None)
    assert caught.value.reason is Reason.WRONG_TYPE
    assert series(name, is_strict=False).value(raw, None) == value


@pytest.mark.parametrize("is_strict", [True, False])
def test_text_and_null(is_strict):
    """Text that is a number is that number, and null and an empty list are no reading, whatever the format."""
    number = series("number", is_strict=is_strict)
    assert (number.value("21.5", None), number.value(None, None), number.value([], None)) == (21.5, None, None)


def test_expected_texts_are_named():
    """The detail of a rejected text names the texts that the registry lists."""
    with pytest.raises(UnusableError, match="expected one of 'open', 'Closed', got 'ajar'"):
        series("state", is_strict=True).value("ajar", None)


def test_arrival_is_not_bounded():
    """A message without a time has that of its arrival, even where the sensor's since is later."""
    quantity = Quantity(unit="1", interval_seconds=1)
    late = Series.of("x", quantity, 1, NOW + 1, is_strict=False)
    assert late.reading(1, None, None, NOW, NOW) == (1, NOW, 1.0)
    with pytest.raises(UnusableError) as caught:
        late.reading(1, None, NOW, NOW, NOW)
    assert caught.value.reason is Reason.TIME_TOO_OLD
