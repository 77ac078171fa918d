"""Units are UCUM codes (https://ucum.org/ucum): case-sensitive, one spelling per unit."""

from functools import cache

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
    ]
)
"""Codes accepted without loading the grammar, which costs a second."""

_MENDS = {
    "°c": "Cel",
    "celsius": "Cel",
    "degc": "Cel",
    "°f": "[degF]",
    "fahrenheit": "[degF]",
    "degf": "[degF]",
    "kelvin": "K",
    "percent": "%",
    "%rh": "%",
    "bpm": "/min",
    "rpm": "/min",
    "ppm": "[ppm]",
    "ppb": "[ppb]",
    "µg/m³": "ug/m3",
    "ug/m³": "ug/m3",
    "m³": "m3",
    "volt": "V",
    "volts": "V",
    "mmhg": "mm[Hg]",
    "kwh": "kW.h",
    "wh": "W.h",
    "lux": "lx",
    "°": "deg",
    "": "1",
}


def check(code: str) -> str:
    """Return ``code`` if it is a UCUM code; raises ``ValueError`` that names the right one where it is known."""
    if code in _COMMON:
        return code
    mend = _MENDS.get(code.lower().strip())
    if mend is None and _parses(code):
        return code
    hint = f"write {mend!r}" if mend else "see https://ucum.org/ucum; a count or ratio is '1'"
    raise ValueError(f"not a UCUM code: {hint}")


@cache
def _parses(code: str) -> bool:
    # Imported when needed: it brings pint, a second of start-up that a registry of common units never pays.
    from lark.exceptions import LarkError  # noqa: PLC0415
    from ucumvert.parser import get_ucum_parser  # noqa: PLC0415

    try:
        get_ucum_parser().parse(code)
    except LarkError:
        return False
    return True
