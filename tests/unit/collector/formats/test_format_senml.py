"""Format senml: the examples of RFC 8428 with their expected content, and the rest of the RFC."""

import pytest
from fix_formats import ARRIVED, holds, messages, names_of, read, sample, sent, values
from hypothesis import given
from hypothesis import strategies as st

from collector import units
from collector.formats.measurement import Topic
from collector.formats.senml import UCUM, SenmlFormat
from collector.message import Message, NoReadingError, Reason, UndecodableError

PLAIN = SenmlFormat()
SECOND = 1_000_000
OW = "urn:dev:ow:10e2073a01080063"

UNITS = [
    "m", "kg", "g", "s", "A", "K", "cd", "mol", "Hz", "rad", "sr", "N", "Pa", "J", "W", "C", "V", "F", "Ohm", "S",
    "Wb", "T", "H", "Cel", "lm", "lx", "Bq", "Gy", "Sv", "kat", "m2", "m3", "l", "m/s", "m/s2", "m3/s", "l/s", "W/m2",
    "cd/m2", "bit", "bit/s", "lat", "lon", "pH", "dB", "dBW", "Bspl", "count", "/", "%", "%RH", "%EL", "EL", "1/s",
    "1/min", "beat/min", "beats", "S/m", "B", "VA", "VAs", "var", "vars", "J/m", "kg/m3", "deg", "ms", "min", "h",
    "MHz", "kW", "kVA", "kvar", "Ah", "Wh", "kWh", "varh", "kvarh", "kVAh", "Wh/km", "KiB", "GB", "Mbit/s", "B/s",
    "MB/s", "mV", "mA", "ug/m3", "mm/h", "m/h", "ppm", "ppb", "/100", "/1000", "hPa", "mm", "cm", "km", "km/h",
]  # fmt: skip
"""The registry's units and secondary units but for dBm and NTU, which UCUM has no code for."""


def records(*entries: dict) -> list:
    """Return the measurements in a pack of these records."""
    return read(PLAIN, "a", list(entries))


def test_single_datapoint():
    """A device URN is the device; a quantity without a name is named by its unit."""
    measurements = PLAIN.reader().read(sample("senml_rfc8428_ex1", "a"), Topic())
    assert sent(measurements) == [(OW, "Cel", 23.1, "Cel")]
    assert measurements[0].time is None


def test_base_name_time_and_unit():
    """Names, units and times combine record and base; a record's unit overrides the base unit."""
    measurements = PLAIN.reader().read(sample("senml_rfc8428_ex3", "a"), Topic())
    device = "urn:dev:ow:10e2073a0108006"
    assert sent(measurements) == [
        (device, "voltage", 120.1, "V"),
        (device, "current", 1.2, "A"),
        (device, "current", 1.3, "A"),
        (device, "current", 1.4, "A"),
        (device, "current", 1.5, "A"),
        (device, "current", 1.6, "A"),
        (device, "current", 1.7, "A"),
    ]
    assert [measurement.time for measurement in measurements] == [
        1276020076_001000, 1276020071_001000, 1276020072_001000, 1276020073_001000, 1276020074_001000,
        1276020075_001000, 1276020076_001000,
    ]  # fmt: skip


def test_several_quantities_of_one_name():
    """Records without names are named by their units: humidity, longitude, latitude, battery."""
    measurements = PLAIN.reader().read(sample("senml_rfc8428_ex5", "a"), Topic())
    begun = 1320067464
    seconds = [measurement.time // SECOND - begun for measurement in measurements]
    assert [(*row[1:], second) for row, second in zip(sent(measurements), seconds, strict=True)] == [
        ("%RH", 20.0, "%", 0), ("lon", 24.30621, "deg", 0), ("lat", 60.07965, "deg", 0),
        ("%RH", 20.3, "%", 60), ("lon", 24.30622, "deg", 60), ("lat", 60.07965, "deg", 60),
        ("%RH", 20.7, "%", 120), ("lon", 24.30623, "deg", 120), ("lat", 60.07966, "deg", 120),
        ("%EL", 98.0, "%", 150),
        ("%RH", 21.2, "%", 180), ("lon", 24.30628, "deg", 180), ("lat", 60.07967, "deg", 180),
    ]  # fmt: skip
    assert {measurement.device for measurement in measurements} == {OW}


def test_data_types():
    """Numbers, texts and booleans are values; base64 data is not."""
    measurements = PLAIN.reader().read(sample("senml_rfc8428_ex7", "a"), Topic())
    assert sent(measurements) == [
        (OW, "temp", 23.1, "Cel"),
        (OW, "label", "Machine Room", None),
        (OW, "open", False, None),
    ]


@pytest.mark.parametrize(
    ("base", "name", "device", "quantity"),
    [
        ("urn:dev:mac:0024befffe804ff1/", "temp", "urn:dev:mac:0024befffe804ff1", "temp"),
        ("urn:dev:mac:0024befffe804ff1_", "temp/inside", "urn:dev:mac:0024befffe804ff1", "temp/inside"),
        ("2001:db8::2", "/temperature", "2001:db8::2", "temperature"),
        (None, "urn:dev:ow:10e2073a01080063:voltage", OW, "voltage"),
        (None, "urn:dev:ops:32473-5002_inlet", "urn:dev:ops:32473-5002", "inlet"),
        ("urn:dev:ow:10e2073a01080063:", None, OW, "V"),
        (None, "hall/boiler/flow", "hall/boiler", "flow"),
        (None, "temperature", "", "temperature"),
        ("temperature", None, "", "temperature"),
    ],
)
def test_names(base, name, device, quantity):
    """Base name and name are device and quantity; the last part of a single name is the quantity."""
    record = {"v": 1, "u": "V"} | ({} if base is None else {"bn": base}) | ({} if name is None else {"n": name})
    assert sent(records(record)) == [(device, quantity, 1, "V")]


def test_separator():
    """The option separator splits whole names."""
    form = SenmlFormat(separator="_")
    assert sent(read(form, "a", [{"bn": "hall:b1", "n": "_temp_2", "v": 1}])) == [("hall:b1_temp", "2", 1, None)]


def test_base_value_and_sum():
    """Base value and base sum are added; a sum is a separate quantity, in the unit times seconds."""
    measurements = records(
        {"bn": "d:", "n": "p", "bu": "W", "bv": 20, "v": 3, "bs": 100, "s": 7.5},
        {"n": "q", "s": 1},
        {"n": "p", "v": -1},
    )
    assert sent(measurements) == [
        ("d", "p", 23, "W"), ("d", "p/sum", 107.5, "W.s"), ("d", "q/sum", 101, "W.s"), ("d", "p", 19, "W"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("base", "time", "expected"),
    [
        (0, 0, None),
        (0, -5, ARRIVED - 5 * SECOND),
        (0, 2.5, ARRIVED + 2_500_000),
        (0, 2**28 - 1, ARRIVED + (2**28 - 1) * SECOND),
        (0, 2**28, 2**28 * SECOND),
        (1276020076.001, 0.0005, 1276020076_001500),
        (100, -100, None),
    ],
)
def test_times(base, time, expected):
    """Times below 2^28 seconds, after adding the base, are relative to now; 0 is now."""
    assert records({"n": "x", "v": 1, "bt": base, "t": time})[0].time == expected


def test_retained():
    """A relative time is unknown in a retained message."""
    message = Message("a", b'[{"n":"x","v":1,"t":-5},{"n":"y","v":1,"t":1276020076}]', ARRIVED, retained=True)
    assert [measurement.time for measurement in PLAIN.reader().read(message, Topic())] == [None, 1276020076 * SECOND]


def test_later_bases_replace_earlier_ones():
    """A base applies until another one replaces it."""
    measurements = records(
        {"bn": "a:", "bu": "V", "n": "x", "v": 1}, {"bn": "b:", "n": "x", "v": 2}, {"bu": "A", "n": "x", "v": 3}
    )
    assert sent(measurements) == [("a", "x", 1, "V"), ("b", "x", 2, "V"), ("b", "x", 3, "A")]


def test_a_record_without_its_list():
    """A single object is read as the only record."""
    assert values(read(PLAIN, "a", {"n": "x", "v": 1})) == {"x": 1}


@pytest.mark.parametrize(
    "pack",
    [
        [{"n": "x", "v": 1, "secret_": 1}],
        [{"n": "x", "v": 1}, {"n": "y", "v": 1, "bver": 11}],
        [{"n": "x", "v": 1, "bver": 0}],
        [{"n": "x", "v": 1, "bver": "10"}],
        [1],
        3,
        b"[",
        b'[{"n":"x","v":1',
    ],
)
def test_not_to_be_read(pack):
    """Labels that must be understood, later versions and other documents than packs are refused as a whole."""
    with pytest.raises(UndecodableError) as caught:
        read(PLAIN, "a", pack)
    assert caught.value.rejection.reason is Reason.MALFORMED


def test_unknown_labels():
    """Unknown labels are ignored."""
    assert values(records({"n": "x", "v": 1, "foo": 3, "ut": 60, "bver": 5})) == {"x": 1}


@pytest.mark.parametrize("pack", [[], [{}], [{"bn": "d:", "bt": 1276020076}], [{"n": "x", "vd": "aGk"}], b""])
def test_no_reading(pack):
    """Base fields or data alone have no reading."""
    with pytest.raises(NoReadingError):
        read(PLAIN, "a", pack)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"v": 1}, Reason.MALFORMED),
        ({"n": "", "v": 1}, Reason.MALFORMED),
        ({"n": "-x", "v": 1}, Reason.MALFORMED),
        ({"n": "a b", "v": 1}, Reason.MALFORMED),
        ({"n": "ä", "v": 1}, Reason.MALFORMED),
        ({"n": 3, "v": 1}, Reason.MALFORMED),
        ({"n": "x" * 600, "v": 1}, Reason.MALFORMED),
        ({"n": "x", "v": "one"}, Reason.WRONG_TYPE),
        ({"n": "x", "v": True}, Reason.WRONG_TYPE),
        ({"n": "x", "v": None}, Reason.WRONG_TYPE),
        ({"n": "x", "vb": 1}, Reason.WRONG_TYPE),
        ({"n": "x", "vs": 1}, Reason.WRONG_TYPE),
        ({"n": "x", "s": "one"}, Reason.WRONG_TYPE),
        ({"n": "x", "v": 1, "bv": "1"}, Reason.WRONG_TYPE),
        ({"n": "x", "v": 1, "vs": "a"}, Reason.MALFORMED),
        ({"n": "x", "v": 1, "u": 3}, Reason.MALFORMED),
        ({"n": "x", "v": 1, "t": "now"}, Reason.UNREADABLE_TIME),
        ({"n": "x", "v": 1, "bt": [1]}, Reason.UNREADABLE_TIME),
    ],
)
def test_one_bad_record(record, reason):
    """An invalid record affects itself only, not the pack."""
    bad, good = read(PLAIN, "a", [record, {"bn": "d:", "bt": 0, "bv": 0, "n": "y", "v": 2}])
    assert bad.problem.reason is reason
    assert (good.quantity, good.value, good.problem) == ("y", 2, None)


@pytest.mark.parametrize("unit", UNITS)
def test_units(unit):
    """Each unit of the registry of SenML has a UCUM code."""
    assert units.check(UCUM.get(unit, unit))


MEMBERS = ["bn", "bt", "bu", "bv", "bs", "bver", "n", "u", "v", "vs", "vb", "vd", "s", "t", "ut", "x_"]
SAMPLES = [f"senml_rfc8428_ex{number}" for number in (1, 3, 5, 7)]


@given(message=messages(MEMBERS, ["a", "senml"], SAMPLES), names=names_of("a"), data=st.data())
def test_anything(message, names, data):
    """For any message the reader returns measurements or raises one of the two errors of its contract."""
    holds(SenmlFormat(separator=data.draw(st.sampled_from([None, ":", "_"]))), message, names)
