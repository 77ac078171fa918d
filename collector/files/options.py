"""Options of the user for files, checked before any file is opened."""

import codecs
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from collector.decode.reading_rule import conversion_problem
from collector.registry.sensors_file import Registry, Sensor
from core.errors import SettingError, WarehouseError


class FileError(WarehouseError):
    """A file can't be loaded, or only in part; the text names the file, the reason and the fix."""


class Form(StrEnum):
    """Formats of files."""

    CSV = "csv"
    PARQUET = "parquet"
    NDJSON = "ndjson"


class TimeUnit(StrEnum):
    """Form of times: ISO 8601 text, or numbers since 1970-01-01 UTC."""

    ISO8601 = "iso8601"
    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


MISSING = ("NA", "N/A", "n/a", "#N/A", "null", "NULL", "--", "unavailable", "\\N", "NaN")
"""Cells without a value, besides empty ones, as spreadsheets, databases and home automation write them."""

ROLES = ("time", "sensor_id", "quantity", "value")
"""Roles of columns, besides the values of one quantity."""

_FORMS = {
    ".csv": Form.CSV,
    ".tsv": Form.CSV,
    ".parquet": Form.PARQUET,
    ".pq": Form.PARQUET,
    ".ndjson": Form.NDJSON,
    ".jsonl": Form.NDJSON,
}


@dataclass(frozen=True)
class TextOptions:
    """How the file writes texts, numbers and times, as given on the command line."""

    decimal: str | None = None
    """Decimal mark; None: a point, or the mark that ``thousands`` leaves."""
    thousands: str | None = None
    """Mark between groups of three digits."""
    time_formats: Sequence[str] = ()
    """Formats of times with the codes of ``strptime``; empty: ISO 8601."""
    skip_lines: int = 0
    """CSV: lines before the rows; the header is the next line unless ``header_line`` names it."""
    header_line: int | None = None
    """CSV: line of the header, from 1."""
    comment: str | None = None
    """CSV: beginning of lines that are no rows."""
    encoding: str | None = None
    """CSV and NDJSON: None: UTF-8, or UTF-16 where the file has a byte order mark."""
    missing: Sequence[str] = ()
    """Further texts of cells without a value."""
    units: Sequence[str] = ()
    """QUANTITY=UNIT."""

    @property
    def decimal_mark(self) -> str | None:
        """Decimal mark of numbers; None: a point, without groups of thousands."""
        if self.thousands in (",", "."):
            return "." if self.thousands == "," else ","
        return self.decimal or ("." if self.thousands else None)


@dataclass(frozen=True)
class Options:
    """Options that apply to all files of a command."""

    sensor: Sensor | None = None
    """The sensor of all rows; None: the rows name it."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Role or quantity → name of its column."""
    zone: ZoneInfo | None = None
    """Zone of times without one; replaces the sensor's zone."""
    time_unit: TimeUnit | None = None
    delimiter: str | None = None
    text: TextOptions = TextOptions()
    units: Mapping[str, str] = field(default_factory=dict)
    """Quantity → unit of its numbers in the files, instead of its ``sent_unit``."""
    message: str | None = None
    """Pointer to the message in a line; None: the line is the message."""
    topic: str | None = None
    """Topic of the messages in the lines, or pointer to it; None: lines are no messages."""

    @property
    def reads_messages(self) -> bool:
        """Whether the lines of the files hold messages with a topic."""
        return self.topic is not None

    def as_text(self, unit: str | None) -> str:
        """Return what is needed to read a row of a file again, as JSON; :meth:`from_text` is the inverse.

        ``unit`` is that of its times; None: it is a line of NDJSON without ``--column``.
        """
        text = self.text
        values = {
            "time_unit": unit,
            "given_unit": self.time_unit,
            "sensor": self.sensor and self.sensor.sensor_id,
            "columns": [f"{name}={column}" for name, column in self.columns.items()],
            "timezone": self.zone and self.zone.key,
            "decimal": text.decimal,
            "thousands": text.thousands,
            "time_formats": list(text.time_formats),
            "missing": list(text.missing),
            "units": list(text.units),
        }
        return json.dumps({name: value for name, value in values.items() if value}, ensure_ascii=False)

    def in_files(self, sensor: Sensor) -> Sensor:
        """Return ``sensor`` with the units that its quantities have in the files."""
        quantities = {
            name: quantity.model_copy(update={"sent_unit": self.units[name]}) if name in self.units else quantity
            for name, quantity in sensor.quantities.items()
        }
        return replace(sensor, quantities=quantities) if self.units else sensor


def from_text(registry: Registry, text: str) -> tuple[Options, str | None]:
    """Return the options in a text of :meth:`Options.as_text`, and the unit of times.

    Raises :class:`SettingError` where the registry no longer has what they name.
    """
    given = json.loads(text)
    unit = given.get("given_unit")
    written = TextOptions(
        decimal=given.get("decimal"),
        thousands=given.get("thousands"),
        time_formats=given.get("time_formats", ()),
        missing=given.get("missing", ()),
        units=given.get("units", ()),
    )
    chosen = parse(
        registry,
        given.get("sensor"),
        given.get("columns", ()),
        given.get("timezone"),
        None if unit is None else TimeUnit(unit),
        text=written,
    )
    return chosen, given.get("time_unit")


def parse(
    registry: Registry,
    sensor: str | None = None,
    columns: Sequence[str] = (),
    timezone: str | None = None,
    time_unit: TimeUnit | None = None,
    delimiter: str | None = None,
    text: TextOptions | None = None,
    message: str | None = None,
    topic: str | None = None,
) -> Options:
    """Return the options; raises :class:`SettingError` that lists every mistake."""
    mistakes = []
    chosen = None if sensor is None else registry.named(sensor)
    if sensor is not None and chosen is None:
        known = ", ".join(sorted(candidate.sensor_id for candidate in registry.sensors)) or "none"
        mistakes.append(f"--sensor {sensor}: not in the registry; it has: {known}")
    mapping = _mapping(columns, [chosen] if chosen else registry.entries, mistakes)
    if chosen is not None and "sensor_id" in mapping:
        mistakes.append(f"--column sensor_id={mapping['sensor_id']}: --sensor names the sensor already; remove one")
    zone = _zone(timezone, mistakes)
    separator = {"tab": "\t", "\\t": "\t"}.get(delimiter or "", delimiter)
    if separator is not None and (len(separator) != 1 or not separator.isascii() or separator in '"\r\n'):
        mistakes.append(f"--delimiter {delimiter}: give one character, or tab")
    text = text or TextOptions()
    mistakes += _text_mistakes(text, time_unit)
    file_units = _units(text.units, [chosen] if chosen else registry.entries, mistakes)
    if message is not None and topic is None and chosen is not None and not set("+#{") & set(chosen.topic):
        topic = chosen.topic
    mistakes += _envelope_mistakes(message, topic, mapping)
    if mistakes:
        raise SettingError("\n".join(["wrong options", *(f"  {mistake}" for mistake in mistakes)]))
    return Options(chosen, mapping, zone, time_unit, separator, text, file_units, message, topic)


def _envelope_mistakes(message: str | None, topic: str | None, columns: Mapping[str, str]) -> Iterator[str]:
    """Yield the mistakes of the options for messages inside lines."""
    if message and not message.startswith("/"):
        yield f"--message {message}: a JSON Pointer starts with a slash; write /{message}"
    if message is not None and topic is None:
        yield (
            f"--message {message}: give the topic of the messages too, with --topic TOPIC or, where lines have it, the "
            "pointer to it, as in --topic /topic"
        )
    if topic is not None and columns:
        yield f"--topic {topic}: messages are read by the registry's formats; remove --column"
    if topic is not None and (not topic or {"+", "#"} & set(topic.split("/"))):
        yield f"--topic {topic}: give a topic as a device publishes on, without wildcards, or a pointer to it"


def _zone(timezone: str | None, mistakes: list[str]) -> ZoneInfo | None:
    """Return the zone: an IANA zone, or the whole hours of an offset such as -07:00."""
    if timezone is None:
        return None
    offset = re.fullmatch(r"(?:UTC|GMT)?([+-])(0?[0-9]|1[0-4])(?::?00)?", timezone)
    if offset is not None:
        hours = int(offset[2])
        # POSIX counts west of Greenwich, so that these names have the opposite sign.
        return ZoneInfo(f"Etc/GMT{'-' if offset[1] == '+' else '+'}{hours}" if hours else "UTC")
    if timezone not in available_timezones():
        mistakes.append(
            f"--timezone {timezone}: not a zone of the IANA database; write one like UTC, Europe/Athens or -07:00"
        )
        return None
    return ZoneInfo(timezone)


def _text_mistakes(text: TextOptions, time_unit: TimeUnit | None) -> Iterator[str]:
    """Yield the mistakes of options for texts."""
    if text.decimal not in (None, ".", ","):
        yield f"--decimal {text.decimal}: give . or ,"
    if text.thousands not in (None, ".", ",", " ", "'"):
        yield f"--thousands {text.thousands}: give one of . , ' or a blank"
    elif text.thousands is not None and text.thousands == text.decimal:
        yield f"--thousands {text.thousands}: --decimal is the same; they must differ"
    for form in text.time_formats:
        if problem := _time_format_problem(form):
            yield f"--time-format {form}: {problem}"
    if text.time_formats and time_unit not in (None, TimeUnit.ISO8601):
        yield f"--time-unit {time_unit}: --time-format is for texts; remove one of them"
    if text.encoding is not None:
        try:
            codecs.lookup(text.encoding)
            "".encode(text.encoding)
        except LookupError:
            yield f"--encoding {text.encoding}: unknown; write one like utf-8, utf-16 or windows-1252"
    if text.comment == "" or (text.comment and len(text.comment.splitlines()) > 1):
        yield "--comment: give the characters that comment lines begin with, for example --comment '#'"


def _time_format_problem(form: str) -> str | None:
    if not re.search(r"%[YyGcxs]", form):
        return "has no year; use codes such as %d.%m.%Y %H:%M:%S"
    try:
        example = datetime(2024, 3, 27, 14, 5, 9, tzinfo=UTC).strftime(form)
        datetime.strptime(example, form)  # noqa: DTZ007 - only whether Python knows the codes
    except ValueError as error:
        return f"{error}; use codes such as %d.%m.%Y %H:%M:%S"
    return None


def _units(items: Sequence[str], sensors: Sequence[Sensor], mistakes: list[str]) -> dict[str, str]:
    """Return quantity → UCUM code of its unit in the files."""
    units: dict[str, str] = {}
    for item in items:
        name, _, unit = item.partition("=")
        quantities = [sensor.quantities[name] for sensor in sensors if name in sensor.quantities]
        if not unit or not quantities:
            known = ", ".join(sorted({known for sensor in sensors for known in sensor.quantities}))
            mistakes.append(f"--unit {item}: write it as QUANTITY=UNIT, for example {_EXAMPLE_UNIT}; it has: {known}")
            continue
        for quantity in quantities:
            if problem := conversion_problem(unit, quantity.unit):
                mistakes.append(f"--unit {item}: {problem}")
                break
        else:
            units[name] = unit
    return units


_EXAMPLE_UNIT = "temperature=[degF]"


def _mapping(columns: Sequence[str], sensors: Sequence[Sensor], mistakes: list[str]) -> dict[str, str]:
    quantities = {name for sensor in sensors for name in sensor.quantities}
    mapping: dict[str, str] = {}
    for item in columns:
        name, _, column = item.partition("=")
        if not name or not column:
            mistakes.append(f"--column {item}: write it as NAME=column, for example --column temperature=value")
        elif name not in ROLES and name not in quantities:
            known = ", ".join([*ROLES, *sorted(quantities)])
            mistakes.append(f"--column {item}: {name} is no role and no quantity of the registry; use one of {known}")
        elif name in mapping:
            mistakes.append(f"--column {item}: {name} is given twice; give it once")
        else:
            mapping[name] = column
    return mapping


def form_of(path: Path) -> Form:
    """Return the format by the suffix of ``path``; raises :class:`FileError`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    form = _FORMS.get(suffixes[-1]) if suffixes else None
    if form is None:
        raise FileError(f"{path}: unknown suffix; name the format with --format csv, parquet or ndjson")
    return form
