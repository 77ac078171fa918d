"""The registry: ``sensors.json`` as values, and every mistake in it at once.

A *type* says what its sensors measure and how they write it down; a *sensor* is one of a type at a place
with a topic. :func:`parse` turns the file's bytes into a :class:`Registry` or raises :class:`RegistryError`
holding every :class:`Mistake`. Nothing here connects to anything.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from collector import topics, units
from timescale.errors import SettingError

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""No reading is older than this unless its sensor's ``since`` says so."""

SCHEMA_FILE = Path(__file__).parent / "sensors.schema.json"

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$"


def _pointer(text: str) -> str:
    if text and not text.startswith("/"):
        raise ValueError(f"a JSON Pointer starts with a slash: write {'/' + text!r}")
    return text


def _zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError("not a time zone of the IANA database: write one like 'UTC' or 'Europe/Athens'")
    return text


def _instant(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("has no zone: end it with Z or an offset such as +02:00")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of the calendar; leave it out for 2000-01-01") from None


def _text(text: str) -> str:
    if _UNSTORABLE.search(text):
        raise ValueError("holds a NUL character or half a surrogate pair, which no database text can hold; remove it")
    return text


Text = Annotated[str, AfterValidator(_text)]
Name = Annotated[str, Field(pattern=_NAME)]
Pointer = Annotated[str, AfterValidator(_pointer)]
"""A JSON Pointer (RFC 6901): ``/a/b`` names member b of member a, the empty string the whole document."""
Unit = Annotated[str, AfterValidator(units.check)]
Topic = Annotated[str, AfterValidator(topics.check_name)]
Filter = Annotated[str, AfterValidator(topics.check_filter)]
TimeZone = Annotated[str, AfterValidator(_zone)]
Instant = Annotated[datetime, AfterValidator(_instant)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FieldsFormat(_Strict):
    """Any JSON object, or array of objects, whose members are found by JSON Pointers.

    A *wide* object holds its quantities as members (``{"temperature": 25.2}``); a *narrow* one names one
    quantity (``{"sensor": "temperature", "value": 25.2}``). Both are understood; narrow wins where the
    ``quantity`` pointer finds a text.
    """

    name: Literal["fields"] = "fields"
    time: Pointer | None = Field("/timestamp", description="Where the time stands; null: the time of arrival.")
    time_unit: Literal["iso8601", "s", "ms", "us", "ns"] = Field(
        "iso8601", description="How the time is written: ISO 8601 text, or a number of these since 1970-01-01 UTC."
    )
    device: Pointer | None = Field(
        "/device_id", description="Where the device names itself; looked at only where several sensors share a topic."
    )
    quantity: Pointer | None = Field("/sensor", description="Narrow form: where the quantity's name stands.")
    value: Pointer = Field("/value", description="Narrow form: where the value stands.")
    readings: Pointer = Field("", description="Where the object or array of objects stands; empty: the whole payload.")


class Quantity(_Strict):
    """One thing a sensor measures."""

    unit: Unit = Field(description="UCUM code, case-sensitive: Cel, [degF], %, hPa, /min, V (https://ucum.org/ucum).")
    minimum: float | None = Field(None, description="Least plausible value; readings below are stored and reported.")
    maximum: float | None = Field(None, description="Greatest plausible value; readings above are stored and reported.")
    interval_seconds: float = Field(gt=0, le=31_622_400, description="Expected time between readings, in seconds.")
    kind: Literal["number", "boolean"] = Field("number", description="boolean: true and false, stored as 1 and 0.")
    pointer: Pointer | None = Field(None, description="Wide form: where the value stands; default /<quantity name>.")
    signal: str | None = Field(None, description="The signal the simulator makes for it; default by its name.")
    description: str = ""


class SensorType(_Strict):
    """What sensors of one kind measure and how they write it down."""

    description: str = ""
    format: FieldsFormat = FieldsFormat()
    quantities: dict[Name, Quantity] = Field(min_length=1)


class SensorEntry(_Strict):
    """One sensor, as the file has it."""

    sensor_id: Name
    type: Name
    site: Text = Field(min_length=1)
    area: Text = Field(min_length=1)
    latitude: float | None = Field(None, ge=-90, le=90, description="Degrees north, WGS 84.")
    longitude: float | None = Field(None, ge=-180, le=180, description="Degrees east, WGS 84.")
    topic: Topic = Field(description="The MQTT topic it publishes on.")
    device: Text | None = Field(None, description="What it calls itself in its payloads; default its sensor_id.")
    timezone: TimeZone | None = Field(None, description="Zone of times it writes without one; default: none, refused.")
    since: Annotated[Instant, Field(strict=False)] | None = Field(
        None, description="No reading is older; default 2000-01-01."
    )
    description: Text = ""
    format: FieldsFormat | None = Field(None, description="Instead of its type's format.")
    quantities: dict[Name, Quantity] | None = Field(None, description="Instead of, or beside, its type's quantities.")


class RegistryFile(_Strict):
    """sensors.json"""  # noqa: D400 - the title of the schema

    schema_: str | None = Field(None, alias="$schema")
    subscribe: list[Filter] = Field(
        min_length=1,
        description="MQTT topic filters the collector subscribes to; what no sensor claims is quarantined.",
    )
    types: dict[Name, SensorType] = Field(description="Kinds of sensors by name.")
    sensors: list[SensorEntry] = Field(description="The sensors.")


@dataclass(frozen=True)
class Sensor:
    """One sensor with its type's definitions filled in."""

    sensor_id: str
    type: str
    site: str
    area: str
    latitude: float | None
    longitude: float | None
    topic: str
    device: str
    zone: ZoneInfo | None
    since: datetime
    description: str
    format: FieldsFormat
    quantities: dict[str, Quantity]


@dataclass(frozen=True)
class Registry:
    """All sensors, and the topic filters that bring their messages."""

    subscribe: tuple[str, ...]
    sensors: tuple[Sensor, ...]

    def not_before(self, oldest: datetime | None) -> "Registry":
        """Return this registry with no sensor's ``since`` before ``oldest``, what the database still accepts."""
        if oldest is None:
            return self
        return replace(self, sensors=tuple(replace(one, since=max(one.since, oldest)) for one in self.sensors))


@dataclass(frozen=True)
class Mistake:
    """One thing wrong in the file: where (a JSON Pointer), the value found there, and the mend."""

    path: str
    value: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path or '/'}: {self.problem}" + (f" (found {self.value})" if self.value else "")


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
    sensors = list(_resolve(entries, types, document, mistakes))
    mistakes.extend(_empty_ranges(types, entries))
    mistakes.extend(_cross_check(_filters(document), entries, sensors))
    if mistakes or shell is None:
        raise RegistryError(source, mistakes)
    return Registry(subscribe=tuple(shell.subscribe), sensors=tuple(sensor for _, sensor in sensors))


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
                where = f"/types/{_step(name)}"
                if not re.fullmatch(_NAME, name):
                    mistakes.append(Mistake(where, repr(name), _NAME_MEND))
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
) -> Iterator[tuple[int, Sensor]]:
    named = document.get("types") if isinstance(document, dict) else None
    for index, entry in entries:
        kind = types.get(entry.type)
        if kind is None:
            if isinstance(named, dict) and entry.type not in named:
                known = ", ".join(sorted(named)) or "none"
                mistakes.append(
                    Mistake(f"/sensors/{index}/type", repr(entry.type), f"no such type; known under /types: {known}")
                )
            continue
        yield (
            index,
            Sensor(
                sensor_id=entry.sensor_id,
                type=entry.type,
                site=entry.site,
                area=entry.area,
                latitude=entry.latitude,
                longitude=entry.longitude,
                topic=entry.topic,
                device=entry.device or entry.sensor_id,
                zone=ZoneInfo(entry.timezone) if entry.timezone else None,
                since=entry.since or EARLIEST,
                description=entry.description,
                format=entry.format or kind.format,
                quantities={**kind.quantities, **(entry.quantities or {})},
            ),
        )


def _filters(document: Any) -> list[str] | None:
    """Return the topic filters, or None where they have mistakes: then nothing can be said about what they cover."""
    try:
        return _FILTERS.validate_python(document["subscribe"]) or None
    except (ValidationError, TypeError, KeyError):
        return None


def _empty_ranges(types: dict[str, SensorType], entries: list[tuple[int, SensorEntry]]) -> Iterator[Mistake]:
    places = [(f"/types/{_step(name)}", kind.quantities) for name, kind in types.items()]
    places += [(f"/sensors/{index}", entry.quantities or {}) for index, entry in entries]
    for place, quantities in places:
        for name, quantity in quantities.items():
            if quantity.minimum is not None and quantity.maximum is not None and quantity.minimum >= quantity.maximum:
                yield Mistake(
                    f"{place}/quantities/{name}",
                    f"{quantity.minimum} … {quantity.maximum}",
                    "minimum is not below maximum; swap or widen them",
                )


def _cross_check(
    filters: list[str] | None, entries: list[tuple[int, SensorEntry]], sensors: list[tuple[int, Sensor]]
) -> Iterator[Mistake]:
    seen: dict[str, int] = {}
    for index, entry in entries:
        first = seen.setdefault(entry.sensor_id, index)
        if first != index:
            yield Mistake(f"/sensors/{index}/sensor_id", repr(entry.sensor_id), f"also /sensors/{first}; rename one")
        if filters is not None and not any(topics.matches(pattern, entry.topic) for pattern in filters):
            yield Mistake(
                f"/sensors/{index}/topic", repr(entry.topic), "no filter under /subscribe covers it; add one that does"
            )
    shared: dict[str, list[tuple[int, Sensor]]] = {}
    for index, sensor in sensors:
        shared.setdefault(sensor.topic, []).append((index, sensor))
    for group in shared.values():
        if len(group) > 1:
            yield from _shared_topic(group)


def _shared_topic(group: list[tuple[int, Sensor]]) -> Iterator[Mistake]:
    (first, head) = group[0]
    devices: dict[str, int] = {}
    for index, sensor in group:
        if sensor.format != head.format:
            yield Mistake(
                f"/sensors/{index}/format", "", f"shares its topic with /sensors/{first}; give both the same format"
            )
        elif index != first and sensor.format.device is None:
            yield Mistake(
                f"/sensors/{index}/topic",
                repr(sensor.topic),
                f"also the topic of /sensors/{first}, and the format has no device pointer to tell them apart; "
                "set format.device or use another topic",
            )
        other = devices.setdefault(sensor.device, index)
        if other != index:
            yield Mistake(
                f"/sensors/{index}/device",
                repr(sensor.device),
                f"/sensors/{other} has the same topic and device; change one",
            )


Part = TypeVar("Part", bound=BaseModel)
_FILTERS = TypeAdapter(list[Filter], config=ConfigDict(strict=True))
_NAME_MEND = "names are letters, digits and _ . : - (100 at most), and start with a letter or digit"
_MENDS = {
    "missing": "is missing; add it",
    "extra_forbidden": "unknown member; remove it or mend its spelling",
    "string_pattern_mismatch": _NAME_MEND,
}


def _validated(model: type[Part], raw: Any, path: str, mistakes: list[Mistake]) -> Part | None:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            kind = detail["type"]
            where = "".join(f"/{_step(step)}" for step in detail["loc"])
            value = "" if kind == "missing" else _short(detail["input"])
            message = detail["msg"].removeprefix("Value error, ")
            mistakes.append(Mistake(path + where, value, _MENDS.get(kind, message)))
        return None


def _step(name: object) -> str:
    """Return ``name`` as a step of a JSON Pointer (RFC 6901)."""
    return str(name).replace("~", "~0").replace("/", "~1")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 60 else text[:57] + "…"  # noqa: PLR2004 - one line on a terminal


def schema() -> str:
    """Return the JSON Schema of the registry (for editors), as the text of :data:`SCHEMA_FILE`."""
    return json.dumps(RegistryFile.model_json_schema(by_alias=True), indent=2, ensure_ascii=False) + "\n"
