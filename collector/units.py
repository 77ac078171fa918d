"""Units are UCUM codes (https://ucum.org/ucum): case-sensitive, one spelling per unit.

Devices spell units in many ways: :func:`code` maps spellings to codes. :func:`conversion` converts between units.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

_COMMON = frozenset(
    [
        "1",
        "%",
        "Cel",
        "[degF]",
        "K",
        "hPa",
        "Pa",
        "kPa",
        "mbar",
        "bar",
        "m[Hg]",
        "mm[Hg]",
        "V",
        "mV",
        "kV",
        "A",
        "mA",
        "W",
        "kW",
        "kW.h",
        "W.h",
        "VA",
        "Hz",
        "kHz",
        "/min",
        "/s",
        "m/s",
        "km/h",
        "m",
        "mm",
        "cm",
        "km",
        "m3",
        "L",
        "L/min",
        "lx",
        "cd",
        "lm",
        "g",
        "kg",
        "dB",
        "[ppm]",
        "[ppb]",
        "ug/m3",
        "mg/m3",
        "g/m3",
        "W/m2",
        "deg",
        "s",
        "min",
        "h",
        "d",
        "Ohm",
        "C",
        "F",
        "N",
        "J",
        "mol",
        "l",
        "mL",
        "ml",
        "l/min",
        "l/h",
        "mg/l",
    ]
)
"""Codes that are accepted without loading the grammar, which takes a second."""

_SPELLINGS = {
    "Cel": "°C ℃ C C° celsius degC deg_C deg.C degreeC degreesC degreesCelsius degrees_celsius ºC ˚C",
    "[degF]": "°F ℉ F F° fahrenheit degF deg_F degreesFahrenheit ºF ˚F",
    "K": "kelvin degK",
    "%": "percent percentage pct %rH %RH %rh RH %r.H. %r.F. %rF r.H. percentRH prc",
    "[ppth]": "‰",
    "[ppm]": "ppm PPM ppmv",
    "[ppb]": "ppb PPB ppbv",
    "hPa": "hectopascal hpa hPA HPA",
    "Pa": "pascal pa",
    "kPa": "kilopascal kpa",
    "MPa": "",
    "mbar": "millibar millibars mb mBar MBAR",
    "bar": "Bar bars",
    "mm[Hg]": "mmHg mmhg torr Torr",
    "[in_i'Hg]": "inHg in.Hg",
    "[psi]": "psi PSI",
    "V": "volt volts Vac Vdc VAC VDC",
    "mV": "millivolt millivolts",
    "kV": "",
    "uV": "µV",
    "A": "amp amps ampere amperes Amp",
    "mA": "milliamp milliamps milliampere",
    "uA": "µA",
    "W": "watt watts Watt",
    "mW": "",
    "kW": "kilowatt kilowatts KW",
    "MW": "",
    "V.A": "VA var VAr VAR volt-ampere",
    "kV.A": "kVA kvar kVAr kVAR",
    "W.h": "Wh wh WH watt-hour watthour Watt-hour watthours watt-hours watt_hours VAh varh",
    "kW.h": "kWh KWh KWH kwh kilowatt-hour kilowatthour kilowatthours kilowatt-hours kilowatt_hours kVAh kvarh",
    "MW.h": "MWh",
    "W.min": "Wmin watt-minute Watt-minute",
    "J": "joule joules Ws",
    "kJ": "",
    "MJ": "",
    "GJ": "",
    "A.h": "Ah",
    "mA.h": "mAh",
    "Hz": "hertz",
    "kHz": "",
    "MHz": "",
    "/min": "bpm BPM rpm RPM 1/min min⁻¹ min-1",
    "/s": "1/s s⁻¹",
    "m/s": "m/sec mps meterspersecond m·s⁻¹",
    "km/h": "kph kmh kmph km/hr kmperh",
    "[mi_i]/h": "mph mi/h mile/h",
    "[kn_i]": "kn knot knots kt kts",
    "m": "meter meters metre metres",
    "mm": "millimeter millimeters",
    "um": "µm",
    "cm": "centimeter centimeters",
    "km": "kilometer kilometers",
    "[in_i]": 'in inch inches "',
    "[ft_i]": "ft feet foot",
    "[mi_i]": "mi mile miles",
    "mm/h": "mm/hr",
    "mm/d": "",
    "[in_i]/h": "in/h in/hr",
    "m3": "m³ m^3 cbm cubicmeter",
    "L": "l liter liters litre litres",
    "mL": "ml",
    "m3/h": "m³/h m^3/h",
    "L/min": "l/min lpm",
    "L/h": "l/h",
    "[gal_us]": "gal gallon gallons",
    "[cft_i]": "ft³ ft^3 cf",
    "lx": "lux Lux LUX Lx luxes",
    "lm": "lumen",
    "cd": "candela",
    "g": "gram grams",
    "mg": "",
    "kg": "kilogram kilograms",
    "[lb_av]": "lb lbs pound pounds",
    "dB": "decibel dBA dB(A) dBm dBi dBmV",
    "ug/m3": "µg/m³ ug/m³ µg/m3 ug/m^3 µg/m^3",
    "mg/m3": "mg/m³ mg/m^3",
    "g/m3": "g/m³ g/m^3",
    "mg/L": "mg/l",
    "uS/cm": "µS/cm",
    "mS/cm": "",
    "S/m": "",
    "Bq/m3": "Bq/m³",
    "uSv/h": "µSv/h",
    "W/m2": "W/m² W/m^2",
    "umol/m2/s": "µmol/m²/s",
    "[pH]": "pH",
    "deg": "° degree degrees",
    "deg/s": "°/s",
    "s": "sec second seconds secs",
    "ms": "msec millisecond milliseconds",
    "us": "µs",
    "min": "minute minutes mins",
    "h": "hr hour hours",
    "d": "day days",
    "By": "B byte bytes",
    "kBy": "kB KB",
    "MBy": "MB",
    "GBy": "GB",
    "Ohm": "ohm Ω ohms",
    "kOhm": "kΩ",
    "C": "coulomb",
    "N": "newton",
    "m/s2": "m/s² m/s^2",
    "G": "gauss",
    "uT": "µT",
    "mol": "",
    "1": "count counts ratio",
}
"""UCUM code → spellings of devices; empty where they use the code itself. C is degree Celsius, not coulomb; F is
Fahrenheit, not farad. UCUM has no unit of reactive power and no level relative to a milliwatt: var is mapped to V.A,
and dBm to dB."""

_CODES = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in (unit, *spellings.split())}
_CODES |= {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings.split()}
# Words may be in capitals; in shorter spellings the case matters, as in mW and MW.
_SHORTEST_WORD = 4
_WORDS = {word.lower(): unit for word, unit in _CODES.items() if word.isalpha() and len(word) >= _SHORTEST_WORD}


_PRODUCTS = str.maketrans({"\u00b7": ".", "\u22c5": ".", "*": ".", "\u00d7": ".", "\u00c2": None})
"""Marks of products to that of UCUM; and the first half of a degree sign in UTF-8 that was read as Latin-1."""


def code(spelling: str) -> str | None:
    """Return the UCUM code for a device's ``spelling`` of a unit; None where it is unknown.

    >>> code("°C"), code("µg/m³"), code("furlong")
    ('Cel', 'ug/m3', None)
    """
    # Two characters look like the micro sign, and "deg C" is written with several kinds of spaces.
    plain = "".join(spelling.replace("\u03bc", "µ").split())
    return _CODES.get(plain) or _WORDS.get(plain.lower()) or _CODES.get(plain.translate(_PRODUCTS))


def is_known(spelling: str) -> bool:
    """Return whether ``spelling`` is plainly a unit, or a product or quotient of units, without loading the grammar.

    >>> is_known("°C"), is_known("mol/L"), is_known("h 5m"), is_known("of 10")
    (True, True, False, False)
    """
    if len(spelling) > _LONGEST:
        return False
    if code(spelling) is not None or spelling in _COMMON:
        return True
    parts = _OPERATORS.split(spelling)
    return len(parts) > 1 and all(code(part.rstrip(_EXPONENTS)) is not None for part in parts)


_OPERATORS = re.compile("[/.*\u00b7\u22c5]")
_EXPONENTS = "0123456789\u00b2\u00b3"


def exists(spelling: str) -> bool:
    """Return whether ``spelling`` is a UCUM code or a known spelling of one."""
    return is_known(spelling) or (len(spelling) <= _LONGEST and _parses(spelling))


def check(unit: str) -> str:
    """Return ``unit`` if it is a UCUM code; raises ``ValueError`` that names the correct code where it is known."""
    if unit in _COMMON or unit in _SPELLINGS or unit in _DOUBTFUL:
        return unit
    correct = code(unit) if unit.strip() else "1"
    if correct is None and _parses(unit):
        return unit
    hint = f"write {correct!r}" if correct else "see https://ucum.org/ucum; a count or ratio is '1'"
    raise ValueError(f"not a UCUM code: {hint}")


_DOUBTFUL = {
    "C": "coulomb; degree Celsius is Cel",
    "F": "farad; degree Fahrenheit is [degF]",
    "m": "metre; a minute is min",
    "B": "bel; a byte is By",
    "h": "hour; humidity is %",
    "K": "kelvin; degree Celsius is Cel",
    "a": "year; ampere is A",
    "S": "siemens; a second is s",
    "b": "barn; a bit is bit, a bar is bar",
    "g%": "gram per decilitre",
    "P": "poise; pascal is Pa",
    "T": "tesla; degree Celsius is Cel, a tonne is t",
}
"""UCUM code to its meaning, where devices and their owners often mean another unit."""
_RIGHT = {"C": ("char",), "F": ("capac",), "B": ("level", "noise", "loud", "sound", "gain")}
"""The same codes to parts of the names of the only quantities that are measured in them."""
_MEANT = {
    "m": ("temp", "time", "duration", "uptime", "minute", "interval"),
    "h": ("humid",),
    "K": ("celsius",),
    "a": ("current", "amp"),
    "S": ("time", "duration", "uptime"),
    "b": ("bit", "byte", "pressure"),
    "g%": ("humid",),
    "P": ("pressure",),
    "T": ("temp",),
}
"""The same codes to parts of the names of quantities that are hardly ever measured in them."""


def doubt(unit: str, quantity: str) -> str | None:
    """Return why ``unit``, a legal UCUM code, is hardly the unit of ``quantity``; None: there is no doubt.

    >>> doubt("C", "temperature")
    'C is coulomb; degree Celsius is Cel'
    """
    name = quantity.lower()
    right = _RIGHT.get(unit, ())
    is_doubtful = bool(right) and not any(part in name for part in right)
    if is_doubtful or any(part in name for part in _MEANT.get(unit, ())):
        return f"{unit} is {_DOUBTFUL[unit]}"
    return None


_SMALLEST = 1e-30
Conversion = Callable[[float], float]
_LONGEST = 40
"""Characters; no unit is longer, and longer texts of devices are not parsed."""


def conversion(sent: str, wanted: str) -> Conversion | None:
    """Return the function that converts numbers from ``sent``, a UCUM code or a device's spelling, to code ``wanted``.

    None where both are the same unit. Raises ``ValueError`` where there is no conversion of the form a·x + b: another
    dimension, a logarithm, an unknown spelling.
    """
    # Before the cache: devices send texts of any length.
    if len(sent) > _LONGEST:
        raise ValueError(f"no conversion from {sent[:_LONGEST]!a} to {wanted!r}")
    return _conversion(sent, wanted)


@lru_cache(maxsize=1024)
def _conversion(sent: str, wanted: str) -> Conversion | None:
    sent = code(sent) or sent
    if sent == wanted:
        return None
    line = _line(sent, wanted)
    if line is None:
        raise ValueError(f"no conversion from {sent!a} to {wanted!r}")
    factor, offset = line
    if factor == 1 and offset == 0:
        return None
    # Numerator and denominator are whole numbers, so that 1005 W are 1.005 kW and not 1.0049999999999999.
    above, below, shift = float(factor.numerator), float(factor.denominator), float(offset)
    return lambda number: number * above / below + shift


@lru_cache(maxsize=4096)  # to find that there is no conversion takes milliseconds, and every message needs the result
def _line(sent: str, wanted: str) -> tuple[Fraction, Fraction] | None:
    """Return a and b of a·x + b; None: there is no such conversion."""
    first, more = _AMENDED.get(sent, (sent, 1.0))
    last, less = _AMENDED.get(wanted, (wanted, 1.0))
    registry = _registry()
    try:
        start, end = registry.from_ucum(first).units, registry.from_ucum(last).units
        at_0, at_1, at_2 = (float(registry.Quantity(number, start).to(end).magnitude) for number in (0.0, 1.0, 2.0))
    except Exception:  # noqa: BLE001 - parser and converter raise a dozen different ones, and each means no
        return None
    step = at_1 - at_0
    # NaN fails this comparison too; beyond such factors no double is exact.
    if not (abs((at_2 - at_1) - step) <= abs(step) * 1e-9 and _SMALLEST < abs(step) < 1 / _SMALLEST):
        return None
    return _exact(step * more / less), _exact(at_0 / less)


_AMENDED = {"[in_i'Hg]": ("mm[Hg]", 25.4), "[in_i'H2O]": ("mm[H2O]", 25.4)}
"""Codes that pint maps to another unit (mercury at 60 °F is 0.3 % lighter than UCUM's) → a code that it maps correctly,
and the factor."""


def _exact(number: float) -> Fraction:
    """Return the simple fraction that was rounded to ``number``: 0.5555555555555556 is 5/9."""
    simple = Fraction(number).limit_denominator(10_000)
    # Offsets are differences of numbers around 460, which limits their precision.
    return simple if abs(float(simple) - number) <= 1e-12 * max(1.0, abs(number)) and simple else Fraction(number)


def ready() -> None:
    """Load the unit library now, which takes seconds, rather than with the first message that needs it."""
    _registry()


@cache
def _registry() -> Any:
    # Imported when needed: it takes two seconds, and most registries have nothing to convert.
    from ucumvert import PintUcumRegistry  # noqa: PLC0415

    return PintUcumRegistry()


@lru_cache(maxsize=4096)  # devices may send any text
def _parses(unit: str) -> bool:
    # Imported when needed: it imports pint, which takes a second, and registries of common units do not need it.
    from lark.exceptions import LarkError  # noqa: PLC0415
    from ucumvert.parser import get_ucum_parser  # noqa: PLC0415

    try:
        get_ucum_parser().parse(unit)
    except LarkError:
        return False
    return True
