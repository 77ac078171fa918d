"""The registry: ``sensors.json`` as values, and every mistake in it at once.

A *type* says what its sensors measure and how they write it down; a *sensor* is one of a type at a place
with a topic; a *fleet* is as many sensors as there are devices on the topics that its pattern matches. :func:`parse`
turns the file's bytes into a :class:`Registry` or raises :class:`RegistryError` holding every :class:`Mistake`.
Nothing here connects to anything.
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

from collector.formats.fields_options import FieldsFormat
from collector.formats.supported import FORMATS
from collector.registry.mistakes import Mistake, between, step
from collector.registry.schema import NAME, NAME_MEND, Filter, Quantity, RegistryFile, SensorEntry, SensorType
from collector.registry.sensors import Fleet, Route, Routes, Sensor
from collector.topics import Pattern
from core.errors import SettingError

__all__ = ["FieldsFormat", "Fleet", "Quantity", "Registry", "Sensor", "load", "parse"]

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""No reading is older than this unless its sensor's ``since`` says so."""

SCHEMA_FILE = Path(__file__).parent / "sensors.schema.json"


@dataclass(frozen=True)
class Registry:
    """All sensors, and the topic filters that bring their messages."""

    subscribe: tuple[str, ...]
    sensors: tuple[Sensor, ...]
    """Those that have an entry of their own."""
    fleets: tuple[Fleet, ...] = ()
    oldest: datetime | None = None
    """What the database still accepts, whatever a sensor's ``since`` says; None: everything."""

    def not_before(self, oldest: datetime | None) -> "Registry":
        """Return this registry with no sensor's ``since`` before ``oldest``, what the database still accepts.

        That of fleets' sensors is left as it is, since it is written down when they show; see :attr:`oldest`.
        """
        if oldest is None:
            return self
        return replace(
            self,
            sensors=tuple(replace(one, since=max(one.since, oldest)) for one in self.sensors),
            oldest=oldest,
        )

    @cached_property
    def routes(self) -> Routes:
        """Whose messages come on which topic."""
        groups: dict[str, list[Sensor]] = {}
        for sensor in self.sensors:
            groups.setdefault(sensor.topic, []).append(sensor)
        found = [Route(Pattern.compile(topic), tuple(group), None) for topic, group in groups.items()]
        found += [Route(fleet.pattern, (), fleet) for fleet in self.fleets]
        return Routes(sorted(found, key=lambda route: route.position))

    @cached_property
    def members(self) -> tuple[Sensor, ...]:
        """The sensors of fleets that list them all."""
        return tuple(sensor for fleet in self.fleets for sensor in fleet.listed())

    def discovered(self, topic: str, device: str) -> Sensor | None:
        """Return the fleet's sensor that is called ``device`` and publishes on ``topic``; None: there is none."""
        found = self.routes.find(topic)
        return None if found is None or found[0].fleet is None else found[0].fleet.find(topic, found[1], device)


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
    """Parse the registry; raises :class:`RegistryError` with every mistake that stands on its own."""
    mistakes: list[Mistake] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                mistakes.append(Mistake("", repr(key), "a member stands twice in one object; keep one of them"))
            found[key] = value
        return found

    try:
        document = json.loads(text.decode("utf-8-sig"), object_pairs_hook=members)
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

    # Each type and sensor is checked by itself, so that one broken entry does not hide what is wrong in the others.
    shell, types, entries = _parts(document, mistakes)
    sensors, fleets = _resolve(entries, types, document, mistakes)
    mistakes.extend(between(types, entries, _filters(document), sensors, fleets))
    if mistakes or shell is None:
        raise RegistryError(source, mistakes)
    return Registry(tuple(shell.subscribe), tuple(sensors), tuple(fleets))


def _parts(
    document: Any, mistakes: list[Mistake]
) -> tuple[RegistryFile | None, dict[str, SensorType], list[tuple[int, SensorEntry]]]:
    """Validate the file's parts one by one; what is wrong goes to ``mistakes``, what is right is returned."""
    types: dict[str, SensorType] = {}
    entries: list[tuple[int, SensorEntry]] = []
    rest = dict(document) if isinstance(document, dict) else document
    if isinstance(rest, dict):
        if isinstance(rest.get("types"), dict):
            for name, raw in rest["types"].items():
                where = f"/types/{step(name)}"
                if not re.fullmatch(NAME, name):
                    mistakes.append(Mistake(where, repr(name), NAME_MEND))
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
) -> tuple[list[Sensor], list[Fleet]]:
    """Return the sensors and fleets of those entries whose type is known and good."""
    named = document.get("types") if isinstance(document, dict) else None
    sensors: list[Sensor] = []
    fleets: list[Fleet] = []
    for index, entry in entries:
        kind = types.get(entry.type)
        if kind is None:
            if isinstance(named, dict) and entry.type not in named:
                known = ", ".join(sorted(named)) or "none"
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
            format=entry.format or kind.format,
            quantities={**kind.quantities, **(entry.quantities or {})},
            position=index,
        )
        if entry.is_fleet:
            fleets.append(Fleet(Pattern.compile(entry.topic), sensor, entry.discover, entry.members or {}))
        else:
            sensors.append(sensor)
    return sensors, fleets


def _filters(document: Any) -> list[str] | None:
    """Return the topic filters, or None where they have mistakes: then nothing can be said about what they cover."""
    try:
        return _FILTERS.validate_python(document["subscribe"]) or None
    except (ValidationError, TypeError, KeyError):
        return None


Part = TypeVar("Part", bound=BaseModel)
_FILTERS = TypeAdapter(list[Filter], config=ConfigDict(strict=True))
_MENDS = {
    "missing": "is missing; add it",
    "extra_forbidden": "unknown member; remove it or mend its spelling",
    "string_pattern_mismatch": NAME_MEND,
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
            mistakes.append(Mistake(path + where, value, _MENDS.get(kind, message)))
        return None


def _without_tags(steps: tuple[int | str, ...]) -> Iterator[int | str]:
    """Yield the steps to a mistake without the name of the format, which pydantic puts behind ``format``."""
    for before, name in zip((None, *steps), steps, strict=False):
        if before != "format" or name not in FORMATS:
            yield name


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 60 else text[:57] + "…"  # noqa: PLR2004 - one line on a terminal


def schema() -> str:
    """Return the JSON Schema of the registry (for editors), as the text of :data:`SCHEMA_FILE`."""
    return json.dumps(RegistryFile.model_json_schema(by_alias=True), indent=2, ensure_ascii=False) + "\n"
