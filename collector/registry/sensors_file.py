"""The registry: ``sensors.json`` as values, or all mistakes in it.

A *type* lists the quantities its sensors measure and the format of their payloads; a *sensor* is of a type and has a
place and a topic; a *sensor pattern* is an entry that covers many sensors, one per device on the topics it matches.
:func:`parse` turns the file's bytes into a :class:`Registry` or raises :class:`RegistryError` with every
:class:`Mistake`. This module opens no connection.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from collector.formats.fields import FieldsFormat
from collector.formats.supported import FORMATS
from collector.registry.mistakes import Mistake, doubts_about, mistakes_between, step
from collector.registry.schema import NAME, NAME_RULE, Filter, Quantity, RegistryFile, SensorEntry, SensorType
from collector.registry.sensors import Route, Routes, Sensor, SensorPattern
from collector.topics import Pattern
from core.errors import SettingError

__all__ = ["FieldsFormat", "Quantity", "Registry", "Sensor", "SensorPattern", "load", "parse"]

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""Earliest accepted reading time where the sensor has no ``since``."""

SCHEMA_FILE = Path(__file__).parent / "sensors.schema.json"


@dataclass(frozen=True)
class Registry:
    """All sensors, and the topic filters to subscribe to."""

    subscribe: tuple[str, ...]
    sensors: tuple[Sensor, ...]
    """Sensors with their own entry."""
    patterns: tuple[SensorPattern, ...] = ()
    oldest: datetime | None = None
    """Earliest time that the database accepts, whatever a sensor's ``since`` says; None: no limit."""

    ignore: tuple[str, ...] = ()
    """Topic filters whose messages are counted as ignored."""
    doubts: tuple[Mistake, ...] = ()
    """Valid entries that are almost certainly not intended."""

    def ignoring_filter(self, topic: str) -> str | None:
        """Return the first filter of ``ignore`` that matches ``topic``; None: its messages are not ignored."""
        return next((pattern.text for pattern in self._ignored if pattern.match(topic) is not None), None)

    @cached_property
    def _ignored(self) -> tuple[Pattern, ...]:
        return tuple(map(Pattern.compile, self.ignore))

    def not_before(self, oldest: datetime | None) -> "Registry":
        """Return this registry with no sensor's ``since`` before ``oldest``, the earliest time the database accepts.

        The ``since`` of patterns' sensors does not change, because it is stored when they are registered; see
        :attr:`oldest`.
        """
        if oldest is None:
            return self
        return replace(
            self,
            sensors=tuple(replace(sensor, since=max(sensor.since, oldest)) for sensor in self.sensors),
            oldest=oldest,
        )

    @cached_property
    def routes(self) -> Routes:
        """The sensors or the pattern behind each topic."""
        groups: dict[str, list[Sensor]] = {}
        for sensor in self.sensors:
            groups.setdefault(sensor.topic, []).append(sensor)
        routes = [Route(Pattern.compile(topic), tuple(group), None) for topic, group in groups.items()]
        routes += [Route(pattern.topic_pattern, (), pattern) for pattern in self.patterns]
        return Routes(sorted(routes, key=lambda route: route.position))

    @property
    def entries(self) -> tuple[Sensor, ...]:
        """The entries of the registry: sensors, and the prototypes of patterns."""
        return (*self.sensors, *(pattern.prototype for pattern in self.patterns))

    def named(self, name: str) -> Sensor | None:
        """Return the sensor whose sensor_id or device is ``name``, also of a pattern, for readings without a topic.

        None: there is none, or several patterns could have it.
        """
        own = next((sensor for sensor in (*self.sensors, *self.members) if sensor.sensor_id == name), None)
        if own is not None:
            return own
        sensors = [sensor for pattern in self.patterns if (sensor := pattern.named(name)) is not None]
        return sensors[0] if len(sensors) == 1 else None

    @cached_property
    def members(self) -> tuple[Sensor, ...]:
        """The sensors of patterns that list all their members."""
        return tuple(sensor for pattern in self.patterns for sensor in pattern.listed_members())

    def sensor_of_pattern(self, topic: str, device: str) -> Sensor | None:
        """Return the sensor that a pattern makes of ``device`` on ``topic``, or None where no pattern matches."""
        match = self.routes.find(topic)
        pattern = match[0].sensor_pattern if match else None
        return pattern.find_sensor(topic, match[1], device) if match and pattern else None


class RegistryError(SettingError):
    """The registry has mistakes; ``mistakes`` holds all of them."""

    def __init__(self, source: str, mistakes: list[Mistake]) -> None:
        self.mistakes = mistakes
        count = f"{len(mistakes)} mistake" + "s" * (len(mistakes) != 1)
        super().__init__(f"{source}: {count}\n" + "\n".join(f"  {mistake}" for mistake in mistakes))


def load(path: Path) -> Registry:
    """Read and parse the registry file at ``path``; raises :class:`SettingError` or :class:`RegistryError`."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SettingError(
            f"can't read the registry {path}: {error.strerror}. Set COLLECTOR_REGISTRY to your sensors.json."
        ) from error
    return parse(text, source=str(path))


def parse(text: bytes, source: str = "sensors.json") -> Registry:
    """Parse the registry; raises :class:`RegistryError` with every independent mistake."""
    mistakes: list[Mistake] = []

    def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for key, value in pairs:
            if key in members:
                mistakes.append(Mistake("", repr(key), "the member appears twice in one object; keep one of them"))
            members[key] = value
        return members

    try:
        document = json.loads(text.decode("utf-8-sig"), object_pairs_hook=unique_members)
    except UnicodeDecodeError as error:
        raise RegistryError(
            source, [Mistake("", f"byte {error.start}", "not UTF-8; save the file as UTF-8")]
        ) from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise RegistryError(source, [Mistake("", place, f"not JSON: {error.msg}")]) from error
    except ValueError as error:  # an integer of more than 4,300 digits
        raise RegistryError(source, [Mistake("", "", f"not JSON that can be read: {error}")]) from error
    except RecursionError as error:
        raise RegistryError(source, [Mistake("", "", "nested too deeply to be a registry")]) from error

    # Each type and sensor is validated separately, so that one invalid entry does not hide mistakes in the others.
    shell, types, entries = _parts(document, mistakes)
    sensors, patterns = _resolve(entries, types, document, mistakes)
    mistakes.extend(mistakes_between(types, entries, _filters(document), sensors, patterns))
    if mistakes or shell is None:
        raise RegistryError(source, mistakes)
    return Registry(
        tuple(shell.subscribe),
        tuple(sensors),
        tuple(patterns),
        ignore=tuple(shell.ignore),
        doubts=tuple(doubts_about(types, entries)),
    )


def _parts(
    document: Any, mistakes: list[Mistake]
) -> tuple[RegistryFile | None, dict[str, SensorType], list[tuple[int, SensorEntry]]]:
    """Validate the file's parts one by one; return the valid ones, add the mistakes of the others to ``mistakes``."""
    types: dict[str, SensorType] = {}
    entries: list[tuple[int, SensorEntry]] = []
    rest = dict(document) if isinstance(document, dict) else document
    if isinstance(rest, dict):
        if isinstance(rest.get("types"), dict):
            for name, raw in rest["types"].items():
                where = f"/types/{step(name)}"
                if not re.fullmatch(NAME, name):
                    mistakes.append(Mistake(where, repr(name), NAME_RULE))
                if (part := _validated(SensorType, raw, where, mistakes)) is not None:
                    types[name] = part
            rest["types"] = {}
        if isinstance(rest.get("sensors"), list):
            for index, raw in enumerate(rest["sensors"]):
                if (entry := _validated(SensorEntry, raw, f"/sensors/{index}", mistakes)) is not None:
                    entries.append((index, entry))
            rest["sensors"] = []
    return _validated(RegistryFile, rest, "", mistakes), types, entries


def _resolve(
    entries: list[tuple[int, SensorEntry]], types: dict[str, SensorType], document: Any, mistakes: list[Mistake]
) -> tuple[list[Sensor], list[SensorPattern]]:
    """Return the sensors and sensor patterns of those entries whose type is known and valid."""
    known_types = document.get("types") if isinstance(document, dict) else None
    sensors: list[Sensor] = []
    patterns: list[SensorPattern] = []
    for index, entry in entries:
        sensor_type = types.get(entry.type)
        if sensor_type is None:
            if isinstance(known_types, dict) and entry.type not in known_types:
                known = ", ".join(sorted(known_types)) or "none"
                mistakes.append(
                    Mistake(f"/sensors/{index}/type", repr(entry.type), f"no such type; known under /types: {known}")
                )
            continue
        sensor_id = entry.sensor_id or "{device}"
        sensor = Sensor(
            sensor_id=sensor_id,
            type=entry.type,
            site=entry.site,
            area=entry.area,
            latitude=entry.latitude,
            longitude=entry.longitude,
            topic=entry.topic,
            device=entry.device or sensor_id,
            zone=ZoneInfo(entry.timezone) if entry.timezone else None,
            since=entry.since or EARLIEST,
            description=entry.description,
            format=entry.format or sensor_type.format,
            quantities=sensor_type.completed({**sensor_type.quantities, **(entry.quantities or {})}),
            position=index,
            replaces=sensor_type.replaces(entry.format or sensor_type.format),
        )
        if entry.is_pattern:
            patterns.append(SensorPattern(Pattern.compile(entry.topic), sensor, entry.discover, entry.members or {}))
        else:
            sensors.append(sensor)
    return sensors, patterns


def _filters(document: Any) -> list[str] | None:
    """Return the topic filters, or None where they have mistakes: then topics can't be checked against them."""
    try:
        return _FILTERS.validate_python(document["subscribe"]) or None
    except (ValidationError, TypeError, KeyError):
        return None


Part = TypeVar("Part", bound=BaseModel)
_FILTERS = TypeAdapter(list[Filter], config=ConfigDict(strict=True))
_FIXES = {
    "missing": "is missing; add it",
    "extra_forbidden": "unknown member; remove it or correct its spelling",
    "string_pattern_mismatch": NAME_RULE,
}


def _validated(model: type[Part], raw: Any, path: str, mistakes: list[Mistake]) -> Part | None:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            kind = detail["type"]
            where = "".join(f"/{step(name)}" for name in _without_tags(detail["loc"]))
            value = "" if kind == "missing" else _short(detail["input"])
            message = detail["msg"].removeprefix("Value error, ")
            mistakes.append(Mistake(path + where, value, _FIXES.get(kind, message)))
        return None


def _without_tags(steps: tuple[int | str, ...]) -> Iterator[int | str]:
    """Yield the steps to a mistake without the name of the format, which pydantic adds after ``format``."""
    for before, name in zip((None, *steps), steps, strict=False):
        if before != "format" or name not in FORMATS:
            yield name


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 60 else text[:57] + "…"  # noqa: PLR2004 - one line on a terminal


def schema() -> str:
    """Return the JSON Schema of the registry (for editors), as the text of :data:`SCHEMA_FILE`."""
    return json.dumps(RegistryFile.model_json_schema(by_alias=True), indent=2, ensure_ascii=False) + "\n"
