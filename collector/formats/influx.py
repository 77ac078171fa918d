"""Format ``influx``: InfluxDB line protocol, as Telegraf and many devices send it.

Syntax: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/.
"""

import re
from functools import lru_cache
from typing import Literal

from pydantic import Field

from collector.formats import numeric_text
from collector.formats.json_payload import PADDING
from collector.formats.measurement import FormatOptions, Measurement, Reader, Topic
from collector.formats.times import epoch
from collector.message import IgnoredReason, Message, NoReadingError, Reason, UndecodableError, UnusableError, quoted

# All repeats are possessive: no line is read more than once.
_SERIES = re.compile(r"((?:[^ \\\n]++|\\.|\\(?=\n|\Z))++) ++")
"""Measurement and tags, up to the first space that is not escaped by a backslash."""
_FIELD = re.compile(
    r"((?:[^ =,\\\n]++|\\.)++)=(?:"
    r"([-+]?(?:[0-9]++\.?+[0-9]*+|\.[0-9]++)(?:[eE][-+]?[0-9]++)?)(?=[ ,\"\n]|\Z)"
    r'|("(?:[^"\\]++|\\.|\\\n)*+"|[^ ,"\n]++))(,?+)'
)
"""Key, value if it is a float, value otherwise, and the comma after it; a text may contain line breaks."""
_TIME = re.compile(r"(?: ++(?:(-?[0-9]{1,25})(?=[ \n]|\Z)|([^ \n]++)))?+ *+(?:\n|\Z)")
"""The time where it is an integer, else the text in its place."""
_PART = re.compile(r"((?:[^,=\\]++|\\.|\\\Z)++)(?:=((?:[^,=\\]++|\\.|\\\Z)++))?+(?:,(?!\Z)|\Z)")
"""The measurement, or a tag with its value."""
_ESCAPED = re.compile(r"\\([,= \\])")
_ESCAPED_TEXT = re.compile(r'\\(["\\])')
_INTEGER = re.compile(r"[-+]?[0-9]{1,20}[iu]", re.ASCII)
_NOT_FINITE = re.compile(numeric_text.NOT_FINITE, re.IGNORECASE)
_BOOLEANS = dict.fromkeys(("t", "T", "true", "True", "TRUE"), True)
_BOOLEANS |= dict.fromkeys(("f", "F", "false", "False", "FALSE"), False)
_LONGEST_CACHED = 500
"""Characters; longer series are not cached."""

_new = tuple.__new__  # takes half the time of Measurement's constructor


class InfluxFormat(FormatOptions):
    """InfluxDB line protocol; a field is a quantity."""

    name: Literal["influx"] = "influx"
    precision: Literal["ns", "us", "ms", "s"] = Field("ns", description="Unit of the times.")
    device_tag: str | None = Field(
        None, min_length=1, description="Tag that names the device; default: only the topic names it."
    )
    quantity: Literal["field", "measurement/field"] = Field(
        "field", description="Name of a quantity: the field, or measurement and field with a slash between them."
    )

    def reader(self) -> Reader:
        """Return a reader for messages of this format."""
        return InfluxReader(self)


class InfluxReader:
    """Reads lines; an unreadable line is one problem and does not affect the others."""

    def __init__(self, options: InfluxFormat) -> None:
        self._precision = options.precision
        self._device_tag = options.device_tag
        self._with_measurement = options.quantity == "measurement/field"

    def read(self, message: Message, topic: Topic) -> list[Measurement]:  # noqa: ARG002 - the contract
        """Return the measurements; raises :class:`UndecodableError` or :class:`NoReadingError`."""
        try:
            text = message.payload.rstrip(PADDING).decode()
        except UnicodeDecodeError as error:
            raise UndecodableError(Reason.MALFORMED, f"not UTF-8 at byte {error.start}") from error
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        measurements: list[Measurement] = []
        position, end = 0, len(text)
        while position < end:
            first = text[position]
            if first in " \t\n":
                position += 1
            elif first == "#":
                position = _next_line(text, position)
            else:
                position = self._line(text, position, measurements)
        if not measurements:
            raise NoReadingError(IgnoredReason.NO_VALUE, "only comments")
        return measurements

    def _line(self, text: str, position: int, measurements: list[Measurement]) -> int:
        """Read the line at ``position``; return the position of the next one."""
        begun = position
        series = _SERIES.match(text, position)
        if series is None:
            return _unread(text, begun, position, "no space after measurement and tags", measurements)
        raw = series[1]
        try:
            measurement, device = (_parse_series if len(raw) <= _LONGEST_CACHED else _series)(raw, self._device_tag)
        except UnusableError as error:
            return _unread(text, begun, position, error.detail, measurements)
        prefix = f"{measurement}/" if self._with_measurement else ""
        position = series.end()
        fields: list[tuple[str, float | bool | str, UnusableError | None]] = []
        comma = ","
        while comma:
            field = _FIELD.match(text, position)
            if field is None:
                return _unread(text, begun, position, "no field key=value", measurements)
            key, plain, raw, comma = field.groups()
            if "\\" in key:
                key = _ESCAPED.sub(r"\1", key)
            fields.append((prefix + key, float(plain), None) if plain is not None else (prefix + key, *_value(raw)))
            position = field.end()
        rest = _TIME.match(text, position)
        if rest is None:
            return _unread(text, begun, position, "text after the time", measurements)
        instant, other = rest.groups()
        time = None if instant is None else epoch(int(instant), self._precision)
        no_time = None if other is None else self._no_time(other)
        measurements += [
            _new(Measurement, (key, value, time, None, device, problem or no_time)) for key, value, problem in fields
        ]
        return rest.end()

    def _no_time(self, raw: str) -> UnusableError:
        return UnusableError(Reason.UNREADABLE_TIME, f"expected a number of {self._precision}, got {quoted(raw)}")


def _unread(text: str, begun: int, position: int, why: str, measurements: list[Measurement]) -> int:
    """Reject the line at ``begun``, read as far as ``position``; return the position of the next one."""
    line = text[begun : _next_line(text, begun)].rstrip("\n")
    measurements.append(Measurement("", "", problem=UnusableError(Reason.MALFORMED, f"{why}: {quoted(line)}")))
    return _next_line(text, position)


def _next_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def _series(series: str, device_tag: str | None) -> tuple[str, str]:
    """Return the measurement and the value of ``device_tag``; raises :class:`UnusableError`."""
    first = _PART.match(series)
    if first is None or first[2] is not None:
        raise UnusableError(Reason.MALFORMED, "no measurement")
    device, position = "", first.end()
    while position < len(series):
        tag = _PART.match(series, position)
        if tag is None or tag[2] is None:
            raise UnusableError(Reason.MALFORMED, "no tag key=value")
        if device_tag is not None and _ESCAPED.sub(r"\1", tag[1]) == device_tag:
            device = _ESCAPED.sub(r"\1", tag[2])
        position = tag.end()
    return _ESCAPED.sub(r"\1", first[1]), device


_parse_series = lru_cache(maxsize=8192)(_series)  # the lines of a device begin alike


def _value(raw: str) -> tuple[float | bool | str, UnusableError | None]:
    """Return the value of a field that is not a float, and its problem."""
    if raw[0] == '"':
        return _ESCAPED_TEXT.sub(r"\1", raw[1:-1]), None
    if raw in _BOOLEANS:
        return _BOOLEANS[raw], None
    if _INTEGER.fullmatch(raw):
        return int(raw[:-1]), None
    if _NOT_FINITE.fullmatch(raw):
        return 0, UnusableError(Reason.NOT_FINITE, f"{quoted(raw)} is not a finite number")
    return 0, UnusableError(Reason.MALFORMED, f"{quoted(raw)} is not a value of line protocol")
