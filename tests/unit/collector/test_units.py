"""Units: the spellings of devices, and conversions of the form a·x + b."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import units


@pytest.mark.parametrize(
    ("spelling", "code"),
    [
        ("°C", "Cel"), ("C°", "Cel"), ("C", "Cel"), ("℃", "Cel"), ("degC", "Cel"), ("deg C", "Cel"), ("CELSIUS", "Cel"),
        ("°F", "[degF]"), ("F", "[degF]"), ("%RH", "%"), ("% RH", "%"), ("%", "%"), ("µg/m³", "ug/m3"),
        ("\u03bcg/m³", "ug/m3"), ("m³", "m3"), ("kWh", "kW.h"), ("kwh", "kW.h"), ("KWH", "kW.h"), ("Wh", "W.h"),
        ("lx", "lx"), ("lux", "lx"), ("ppm", "[ppm]"), ("hPa", "hPa"), ("mbar", "mbar"), ("mmHg", "mm[Hg]"),
        ("inHg", "[in_i'Hg]"), ("km/h", "km/h"), ("m/s", "m/s"), ("mph", "[mi_i]/h"), ("W", "W"), ("VA", "V.A"),
        ("var", "V.A"), ("dBm", "dB"), ("MW", "MW"), ("mW", "mW"), ("MV", None), ("furlong", None), ("", None),
        ("°", "deg"), ("Volts", "V"), ("PERCENT", "%"),
    ],
)  # fmt: skip
def test_spellings(spelling, code):
    """Spellings of devices are mapped to UCUM codes; where case distinguishes units, it matters."""
    assert units.code(spelling) == code


def test_codes_are_ucum():
    """Every code of a spelling is a UCUM code and is accepted in the registry."""
    for code in units._SPELLINGS:
        assert units._parses(code)
        assert units.check(code) == code


@pytest.mark.parametrize(
    ("source", "wanted", "number", "expected"),
    [
        ("°F", "Cel", 212.0, 100.0),
        ("[degF]", "Cel", 70.7, 21.5),
        ("Cel", "[degF]", 21.5, 70.7),
        ("Cel", "K", 0.0, 273.15),
        ("W", "kW", 1005.0, 1.005),
        ("kWh", "J", 1.0, 3_600_000.0),
        ("kPa", "hPa", 101.325, 1013.25),
        ("Pa", "hPa", 101_325.0, 1013.25),
        ("mm[Hg]", "hPa", 760.0, 1013.25),
        ("inHg", "hPa", 29.92126, 1013.25),
        ("km/h", "m/s", 36.0, 10.0),
        ("mph", "m/s", 1.0, 0.44704),
        ("%", "1", 45.0, 0.45),
        ("ppm", "%", 10_000.0, 1.0),
        ("mg/m3", "ug/m3", 1.5, 1500.0),
    ],
)
def test_conversion(source, wanted, number, expected):
    """Numbers are converted between units, exactly where the factor is simple."""
    convert = units.conversion(source, wanted)
    assert convert is not None
    assert convert(number) == pytest.approx(expected, rel=1e-6)
    if "Hg" not in source:
        assert convert(number) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(("source", "wanted"), [("Cel", "Cel"), ("°C", "Cel"), ("[pH]", "[pH]"), ("dBm", "dB")])
def test_same_unit(source, wanted):
    """There is no conversion where both are one unit, in any spelling."""
    assert units.conversion(source, wanted) is None


@pytest.mark.parametrize(
    ("source", "wanted"),
    [("dB", "1"), ("Np", "1"), ("B[W]", "W"), ("W", "V"), ("Cel", "%"), ("[pH]", "1"), ("furlong", "m"), ("", "W"),
     ("x" * 1000, "W"), ("Cel/h", "K/s"), ("((", "m"), ("\0", "m")],
)  # fmt: skip
def test_no_conversion(source, wanted):
    """Logarithms, other dimensions and unknown spellings are refused."""
    with pytest.raises(ValueError, match="no conversion from"):
        units.conversion(source, wanted)


@given(st.text(max_size=60), st.sampled_from(["Cel", "1", "W"]))
def test_any_spelling(source, wanted):
    """For any text as a unit there is a conversion or the one error."""
    try:
        convert = units.conversion(source, wanted)
    except ValueError:
        return
    assert convert is None or convert(1.0) == convert(1.0)


def test_missing_conversions_are_cached(monkeypatch):
    """A missing conversion is computed once, not with every message that needs it."""
    with pytest.raises(ValueError, match="no conversion from"):
        units.conversion("hPa", "Cel")
    monkeypatch.setattr(units, "_registry", lambda: pytest.fail("worked out again"))
    with pytest.raises(ValueError, match="no conversion from"):
        units.conversion("hPa", "Cel")


@pytest.mark.parametrize(
    ("unit", "quantity"),
    [("C", "temperature"), ("F", "t"), ("m", "uptime"), ("B", "heap"), ("h", "humidity"), ("P", "pressure")],
)
def test_doubtful_units(unit: str, quantity: str) -> None:
    """Legal codes that are almost certainly not meant are accepted, and named with their meaning."""
    assert units.check(unit) == unit
    assert str(units.doubt(unit, quantity)).startswith(f"{unit} is ")


@pytest.mark.parametrize(
    ("unit", "quantity"),
    [
        ("C", "charge"),
        ("F", "capacitance"),
        ("m", "distance"),
        ("B", "sound_level"),
        ("Cel", "temperature"),
        ("h", "t"),
    ],
)
def test_units_without_doubt(unit: str, quantity: str) -> None:
    """Codes that fit their quantity are no reason for a warning."""
    assert units.doubt(unit, quantity) is None
