"""Format ``senml``: Sensor Measurement Lists in JSON (RFC 8428, units of RFC 8798 and the IANA registry)."""

import re
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from collector.formats import json_tree, numeric_text
from collector.formats.measurement import FormatOptions, Measurement, Reader, Topic
from collector.formats.times import epoch
from collector.message import IgnoredReason, Message, NoReadingError, Reason, UndecodableError, UnusableError, quoted

VERSION = 10
"""The version of RFC 8428 (section 4.4); a pack of a later version must not be read."""

_RELATIVE = 2**28 * 1_000_000
"""Microseconds; smaller times are relative to now (section 4.5.3)."""

_LONGEST_NAME = 500

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*", re.ASCII)
_SEPARATORS = "-:./_"
"""Characters that section 4.5.1 allows in a name besides letters and digits."""
_DEVICE = re.compile(r"(urn:(?:dev:[a-z0-9]+|uuid):[^:/_;]+)[:/_;]?", re.IGNORECASE)
"""A device's URN: RFC 9039, which a component may follow; RFC 9562, section 4."""

_BASES = frozenset(("bn", "bt", "bu", "bv", "bs", "bver"))
_SINGLE = frozenset(("v", "vb", "vs"))
_VALUES = _SINGLE | {"s"}
_NUMBERS = (int, float)
_LABELS = _BASES | _VALUES | {"n", "u", "vd", "t", "ut"}

UCUM = {
    # SenML Units (https://www.iana.org/assignments/senml/senml.xhtml) whose UCUM code differs
    "l": "L", "l/s": "L/s", "rad": "rad", "pH": "[pH]", "dBW": "dB[W]", "Bspl": "B[SPL]", "lat": "deg", "lon": "deg",
    "count": "1", "/": "1", "//": "1", "%RH": "%", "%EL": "%", "EL": "s", "1/s": "/s", "1/min": "/min",
    "beat/min": "/min", "beats": "1", "B": "By", "VA": "V.A", "VAs": "V.A.s", "var": "V.A", "vars": "V.A.s",
    # Secondary Units of the same registry
    "kVA": "kV.A", "kvar": "kV.A", "Ah": "A.h", "Wh": "W.h", "kWh": "kW.h", "varh": "V.A.h", "kvarh": "kV.A.h",
    "kVAh": "kV.A.h", "Wh/km": "W.h/km", "KiB": "KiBy", "GB": "GBy", "B/s": "By/s", "MB/s": "MBy/s", "ppm": "[ppm]",
    "ppb": "[ppb]", "/100": "%", "/1000": "10*-3",
}  # fmt: skip
"""SenML unit → UCUM code. UCUM has no var: reactive power is written as a product of volt and ampere."""


class SenmlFormat(FormatOptions):
    """Sensor Measurement Lists in JSON, RFC 8428."""

    name: Literal["senml"] = "senml"
    separator: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="Character at whose last occurrence a record's whole name is split into device and quantity. "
        "Default: the base name is the device and the name is the quantity.",
    )

    def reader(self) -> Reader:
        """Return a reader for packs."""
        return SenmlReader(self)


class SenmlReader:
    """Reads packs.

    A record's full name is its base name followed by its name; it is globally unique and has no structure. Device and
    quantity are separated as follows. With both names, the base name is the device and the name the quantity. With
    one, a device URN is the device and the rest the quantity; any other name is split at its last colon or slash. A
    quantity without a name is named by its unit as SenML writes it (``%RH``, ``lon``), or ``value`` without a unit.
    """

    def __init__(self, options: SenmlFormat) -> None:
        self._separator = options.separator

    def read(self, message: Message, topic: Topic) -> list[Measurement]:  # noqa: ARG002 - the contract
        """Return the measurements; raises :class:`UndecodableError` or :class:`NoReadingError`."""
        pack = json_tree.load(message.payload)
        measurements: list[Measurement] = []
        base: dict[str, Any] = {}
        for record in pack if type(pack) is list else [pack]:  # many devices send one record without a list
            if type(record) is not dict:
                raise UndecodableError(Reason.MALFORMED, f"expected a SenML record, got {quoted(record)}")
            if not _LABELS.issuperset(record):
                _must_understand(record)
            if not _BASES.isdisjoint(record):
                base = _base(base, record)
            if not _VALUES.isdisjoint(record):
                self._read(record, base, message, measurements)
        if not measurements:
            raise NoReadingError(IgnoredReason.NO_VALUE, "no record with a value")
        return measurements

    def _read(
        self, record: dict[str, Any], base: dict[str, Any], message: Message, measurements: list[Measurement]
    ) -> None:
        device, quantity, unit, time, problem = "", "", None, None, None
        try:
            unit = _unit(record.get("u", base.get("bu")))
            device, quantity = self._named(base.get("bn", ""), record.get("n", ""))
            quantity = quantity or unit or "value"
            time = _time(record.get("t", 0), base.get("bt", 0), message)
        except UnusableError as error:
            problem = error.with_traceback(None)  # the traceback refers to this frame, and the frame to the error
        code = None if unit is None else UCUM.get(unit, unit)
        if not _SINGLE.isdisjoint(record):
            value, wrong = _value(record, base)
            measurements.append(Measurement(quantity, value, time, code, device, problem or wrong))
        if "s" in record:
            value, wrong = _sum(record["s"], base.get("bs", 0), "s")
            # The integral over time, in the unit times seconds (section 4.2).
            code = None if code is None else f"{code}.s"
            measurements.append(Measurement(f"{quantity}/sum", value, time, code, device, problem or wrong))

    def _named(self, base: Any, name: Any) -> tuple[str, str]:
        """Return (device, quantity); raises :class:`UnusableError` for an invalid name (section 4.5.1)."""
        for part in (base, name):
            if type(part) is not str or len(part) > _LONGEST_NAME:
                raise UnusableError(Reason.MALFORMED, f"{quoted(part)} is not a SenML name")
        return _split(base, name, self._separator)


@lru_cache(maxsize=8192)  # the packs of a device have the same names
def _split(base: str, name: str, separator: str | None) -> tuple[str, str]:
    whole = base + name
    if not _NAME.fullmatch(whole):
        raise UnusableError(Reason.MALFORMED, f"{quoted(whole)} is not a SenML name")
    if separator is not None:
        device, _, quantity = whole.rpartition(separator)
        return device, quantity
    if base and name:
        return base.rstrip(_SEPARATORS), name.lstrip(_SEPARATORS)
    if (urn := _DEVICE.match(whole)) is not None:
        return urn[1], whole[urn.end() :]
    device, _, quantity = whole.replace("/", ":").rpartition(":")
    return whole[: len(device)], quantity


def _base(base: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` updated with the base fields of ``record``, which apply from this record on (section 4.1)."""
    version = record.get("bver", VERSION)
    if type(version) not in (int, float) or not 1 <= version <= VERSION:
        raise UndecodableError(Reason.MALFORMED, f"SenML version {quoted(version)}; supported are 1 to {VERSION}")
    return {**base, **{label: record[label] for label in _BASES.intersection(record)}}


def _must_understand(record: dict[str, Any]) -> None:
    """Raise an error for a label that ends in an underscore: a reader must understand it (section 4.4)."""
    for label in record:
        if label.endswith("_"):
            raise UndecodableError(Reason.MALFORMED, f"label {quoted(label)} must be understood, but is unknown")


def _unit(raw: Any) -> str | None:
    if raw is None or type(raw) is str:
        return raw or None
    raise UnusableError(Reason.MALFORMED, f"expected a unit, got {quoted(raw)}")


def _value(record: dict[str, Any], base: dict[str, Any]) -> tuple[float | bool | str, UnusableError | None]:
    """Return the value of a record that has one, and its problem; the value is empty where there is one."""
    if ("v" in record) + ("vb" in record) + ("vs" in record) > 1:
        return "", UnusableError(Reason.MALFORMED, "a SenML record with more than one value")
    if "v" in record:
        return _sum(record["v"], base.get("bv", 0), "v")
    label, kind = ("vb", bool) if "vb" in record else ("vs", str)
    value = record[label]
    if type(value) is not kind:
        return "", UnusableError(Reason.WRONG_TYPE, f"{label}: {quoted(value)}")
    return value, None


def _sum(raw: Any, base: Any, label: str) -> tuple[float | str, UnusableError | None]:
    """Return the sum of a number and its base (section 4.1), and its problem.

    A text that begins like a number and has no base is left to the rule for readings.
    """
    if type(raw) is str:
        plain = numeric_text.number(raw)
        if plain is None and base == 0 and numeric_text.problem(raw, None, unit_suffix=False) is not None:
            return raw, None
        raw = raw if plain is None else plain
    if type(raw) not in _NUMBERS or type(base) not in _NUMBERS:
        operand, name = (raw, label) if type(raw) not in _NUMBERS else (base, f"b{label}")
        return 0, UnusableError(Reason.WRONG_TYPE, f"{name}: expected a number, got {quoted(operand)}")
    try:
        return raw + base, None
    except OverflowError:
        return 0, UnusableError(Reason.NOT_FINITE, f"{label}: an integer too large for a double")


def _time(raw: Any, base: Any, message: Message) -> int | None:
    """Return microseconds since 1970; None: the time of arrival (sections 4.5.3 and 4.5.4)."""
    # Converted separately: the sum of two floats would lose microseconds.
    time = (epoch(base, "s") if base != 0 else 0) + (epoch(raw, "s") if raw != 0 else 0)
    if time >= _RELATIVE:
        return time
    # A message that waited was sent at an unknown time, so that "five seconds ago" is unknown too.
    return None if time == 0 or message.measured is None else message.measured + time
