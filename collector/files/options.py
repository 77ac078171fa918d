"""Options of the user for files, checked before any file is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

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


def parse(
    registry: Registry,
    sensor: str | None = None,
    columns: Sequence[str] = (),
    timezone: str | None = None,
    time_unit: TimeUnit | None = None,
    delimiter: str | None = None,
) -> Options:
    """Return the options; raises :class:`SettingError` that lists every mistake."""
    mistakes = []
    chosen = next((candidate for candidate in registry.sensors if candidate.sensor_id == sensor), None)
    if sensor is not None and chosen is None:
        known = ", ".join(sorted(candidate.sensor_id for candidate in registry.sensors)) or "none"
        mistakes.append(f"--sensor {sensor}: not in the registry; it has: {known}")
    mapping = _mapping(columns, [chosen] if chosen else registry.sensors, mistakes)
    if chosen is not None and "sensor_id" in mapping:
        mistakes.append(f"--column sensor_id={mapping['sensor_id']}: --sensor names the sensor already; remove one")
    if timezone is not None and timezone not in available_timezones():
        mistakes.append(f"--timezone {timezone}: not a zone of the IANA database; write one like UTC or Europe/Athens")
    separator = {"tab": "\t", "\\t": "\t"}.get(delimiter or "", delimiter)
    if separator is not None and (len(separator) != 1 or not separator.isascii() or separator in '"\r\n'):
        mistakes.append(f"--delimiter {delimiter}: give one character, or tab")
    if mistakes:
        raise SettingError("\n".join(["wrong options", *(f"  {mistake}" for mistake in mistakes)]))
    return Options(chosen, mapping, ZoneInfo(timezone) if timezone else None, time_unit, separator)


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
