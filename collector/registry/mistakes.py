"""Mistakes in sensors.json: contradictions between parts that are valid alone, each with its place and its fix."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from collector import topics, units
from collector.formats.supported import Format
from collector.registry.schema import Quantity, SensorEntry, SensorType
from collector.registry.sensors import Sensor, SensorPattern
from collector.topics import Pattern, Template

_WHICH = (
    "which sensors are these? Set discover to true to register them as they appear, or list their names under members"
)


@dataclass(frozen=True)
class Mistake:
    """One mistake in the file: its place (a JSON Pointer), the value there, and the problem with its fix."""

    path: str
    value: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path or '/'}: {self.problem}" + (f" (found {self.value})" if self.value else "")


def step(name: object) -> str:
    """Return ``name`` escaped as a step of a JSON Pointer (RFC 6901)."""
    return str(name).replace("~", "~0").replace("/", "~1")


Entries = Sequence[tuple[int, SensorEntry]]
"""Valid entries, each with its index in the file."""


def mistakes_between(
    types: Mapping[str, SensorType],
    entries: Entries,
    filters: Sequence[str] | None,
    sensors: Sequence[Sensor],
    patterns: Sequence[SensorPattern],
) -> Iterator[Mistake]:
    """Yield the contradictions between the parts.

    ``filters`` None: they have mistakes themselves, so topics are not checked against them. ``sensors`` and
    ``patterns`` are those of ``entries`` whose type is valid.
    """
    for name, sensor_type in types.items():
        yield from _quantity_mistakes(f"/types/{step(name)}", sensor_type.format, sensor_type.quantities)
    for index, entry in entries:
        entry_type = types.get(entry.type)
        form = entry.format or (entry_type.format if entry_type else None)
        if form is not None:
            yield from _quantity_mistakes(f"/sensors/{index}", form, entry.quantities or {})
            yield from _zone_mistakes(f"/sensors/{index}", form, entry)
        yield from _pattern_mistakes(index, entry) if entry.is_pattern else _sensor_mistakes(index, entry)
    yield from _uncovered_topics(filters, entries)
    yield from _duplicate_ids(entries, patterns)
    for sensor in sensors:
        yield from _topic_mistakes(sensor, is_pattern=False)
    for pattern in patterns:
        yield from _topic_mistakes(pattern.prototype, is_pattern=True)
    yield from _shared_topics(sensors, patterns)


def _quantity_mistakes(place: str, form: Format, quantities: Mapping[str, Quantity]) -> Iterator[Mistake]:
    sources: dict[str, str] = {}
    for name, quantity in quantities.items():
        path = f"{place}/quantities/{name}"
        low, high = quantity.minimum, quantity.maximum
        if low is not None and high is not None and low >= high:
            yield Mistake(path, f"{low} … {high}", "minimum is not below maximum; swap or widen them")
        if quantity.sent_unit is not None:
            try:
                units.conversion(quantity.sent_unit, quantity.unit)
            except ValueError as error:
                problem = f"can't be converted: {error}; correct one of them"
                yield Mistake(f"{path}/sent_unit", repr(quantity.sent_unit), problem)
        yield from _locator_mistakes(path, form, quantity)
        source = quantity.source or name
        if (other := sources.setdefault(source, name)) != name and not form.has_pointers:
            yield Mistake(f"{path}/source", repr(source), f"also that of {other}; change one")


def doubts_about(types: Mapping[str, SensorType], entries: Entries) -> Iterator[Mistake]:
    """Yield units that are valid and almost certainly not meant: warnings, and no mistakes."""
    for name, sensor_type in types.items():
        yield from _unit_doubts(f"/types/{step(name)}", sensor_type.quantities)
    for index, entry in entries:
        yield from _unit_doubts(f"/sensors/{index}", entry.quantities or {})


def _unit_doubts(place: str, quantities: Mapping[str, Quantity]) -> Iterator[Mistake]:
    for name, quantity in quantities.items():
        for member, unit in (("unit", quantity.unit), ("sent_unit", quantity.sent_unit)):
            doubt = None if unit is None else units.doubt(unit, f"{name} {quantity.source or quantity.pointer or ''}")
            if doubt is not None:
                yield Mistake(f"{place}/quantities/{step(name)}/{member}", repr(unit), doubt)


def _zone_mistakes(place: str, form: Format, entry: SensorEntry) -> Iterator[Mistake]:
    """Yield a mistake where a sensor has a zone although its format has a zone option and ignores the sensor's."""
    if entry.timezone is not None and "timezone" in type(form).model_fields:
        fix = f'write it into the format, {{"name": "{form.name}", "timezone": "{entry.timezone}"}}'
        yield Mistake(f"{place}/timezone", repr(entry.timezone), f"format {form.name} has its own; {fix}")


def _locator_mistakes(path: str, form: Format, quantity: Quantity) -> Iterator[Mistake]:
    """Yield a mistake where a quantity has ``source`` or ``pointer``, and its format reads only the other."""
    if form.has_pointers and quantity.source is not None:
        yield Mistake(f"{path}/source", repr(quantity.source), "format fields has pointers; write pointer instead")
    if not form.has_pointers and quantity.unit_pointer is not None:
        yield Mistake(
            f"{path}/unit_pointer",
            repr(quantity.unit_pointer),
            f"format {form.name} has no pointers; it reads the units that its messages name. Remove it",
        )
    if not form.has_pointers and quantity.pointer is not None:
        yield Mistake(
            f"{path}/pointer",
            repr(quantity.pointer),
            f"format {form.name} has no pointers; write source, the name that the device uses",
        )


def _sensor_mistakes(index: int, entry: SensorEntry) -> Iterator[Mistake]:
    place = f"/sensors/{index}"
    if "sensor" in Pattern.compile(entry.topic).names:
        if entry.sensor_id is None or "{" in entry.sensor_id:
            yield Mistake(place, "", _WHICH)
        else:
            yield Mistake(
                f"{place}/sensor_id",
                repr(entry.sensor_id),
                "one name for all sensors that {sensor} in the topic covers; leave it out, or write + into the topic",
            )
    elif entry.sensor_id is None:
        yield Mistake(f"{place}/sensor_id", "", "is missing; add it")
    elif "{" in entry.sensor_id:
        yield Mistake(place, "", _WHICH)
    for name, text in (("site", entry.site), ("area", entry.area)):
        if "{" in text:
            yield Mistake(f"{place}/{name}", repr(text), "placeholders need discover or members; write the name out")


def _pattern_mistakes(index: int, entry: SensorEntry) -> Iterator[Mistake]:
    place = f"/sensors/{index}"
    known = {*Pattern.compile(entry.topic).names, "device"}
    if entry.sensor_id is not None and "{" not in entry.sensor_id:
        yield Mistake(
            f"{place}/sensor_id",
            repr(entry.sensor_id),
            "one name for many sensors; give it a placeholder, such as {device}, or leave it out",
        )
    if entry.device is not None:
        yield Mistake(
            f"{place}/device", repr(entry.device), "the devices of a sensor pattern name themselves; remove it"
        )
    for name, text in (("sensor_id", entry.sensor_id or ""), ("site", entry.site), ("area", entry.area)):
        for placeholder in Template.compile(text).names:
            if placeholder not in known:
                problem = f"the topic has no {{{placeholder}}}; add it there or remove it here"
            elif not entry.discover and placeholder not in ("sensor", "device"):
                problem = (
                    f"members are registered before their first message, when {{{placeholder}}} is not known; "
                    "use {device}, or set discover to true"
                )
            else:
                continue
            yield Mistake(f"{place}/{name}", repr(text), problem)


def _uncovered_topics(filters: Sequence[str] | None, entries: Entries) -> Iterator[Mistake]:
    for index, entry in entries:
        wanted = Pattern.compile(entry.topic).filter
        if filters is not None and not any(topics.covers(given, wanted) for given in filters):
            yield Mistake(
                f"/sensors/{index}/topic", repr(entry.topic), "no filter under /subscribe covers it; add one that does"
            )


def _duplicate_ids(entries: Entries, patterns: Sequence[SensorPattern]) -> Iterator[Mistake]:
    seen: dict[str, int] = {}
    for index, entry in entries:
        if entry.sensor_id is not None and not entry.is_pattern:
            first = seen.setdefault(entry.sensor_id, index)
            if first != index:
                yield Mistake(
                    f"/sensors/{index}/sensor_id", repr(entry.sensor_id), f"also /sensors/{first}; rename one"
                )
    owners = {sensor_id: f"/sensors/{index}" for sensor_id, index in seen.items()}
    for pattern in patterns:
        for device in () if pattern.discover else pattern.members:
            path = f"/sensors/{pattern.prototype.position}/members/{step(device)}"
            sensor = pattern.find_sensor(pattern.prototype.topic, {"sensor": device}, device)
            if sensor is None:
                yield Mistake(
                    path,
                    repr(device),
                    "not a valid device name: it needs a letter or digit, 200 characters at most",
                )
            elif (owner := owners.setdefault(sensor.sensor_id, path)) != path:
                yield Mistake(path, repr(device), f"would be sensor {sensor.sensor_id}, which {owner} is; rename one")


def _topic_mistakes(sensor: Sensor, *, is_pattern: bool) -> Iterator[Mistake]:
    names = Pattern.compile(sensor.topic).names
    place = f"/sensors/{sensor.position}/topic"
    for missing in [name for name in sensor.format.placeholders if name not in names][:1]:
        yield Mistake(
            place,
            repr(sensor.topic),
            f"format {sensor.format.name} needs {{{missing}}} there, which names the quantity; "
            "add it, or set format.quantity",
        )
    if is_pattern and "sensor" not in names and not sensor.format.names_devices:
        yield Mistake(
            place,
            repr(sensor.topic),
            f"names no sensor, and neither do payloads of this format ({sensor.format.name}); "
            "put {sensor} where the topic names it",
        )


def _shared_topics(sensors: Sequence[Sensor], patterns: Sequence[SensorPattern]) -> Iterator[Mistake]:
    groups: dict[str, list[Sensor]] = {}
    prototypes = [pattern.prototype for pattern in patterns]
    for sensor in sorted([*sensors, *prototypes], key=lambda sensor: sensor.position):
        groups.setdefault(sensor.topic, []).append(sensor)
    positions = {prototype.position for prototype in prototypes}
    for group in groups.values():
        if len(group) > 1 and any(sensor.position in positions for sensor in group):
            for sensor in group[1:]:
                yield Mistake(
                    f"/sensors/{sensor.position}/topic",
                    repr(sensor.topic),
                    f"also the topic of /sensors/{group[0].position}; a sensor pattern can't share its topic: "
                    "make them one entry",
                )
        elif len(group) > 1:
            yield from _shared_topic_mistakes(group)


def _shared_topic_mistakes(group: Sequence[Sensor]) -> Iterator[Mistake]:
    head = group[0]
    devices: dict[str, int] = {}
    for sensor in group:
        place = f"/sensors/{sensor.position}"
        if sensor.format != head.format:
            yield Mistake(
                f"{place}/format", "", f"shares its topic with /sensors/{head.position}; give both the same format"
            )
        elif sensor.replaces != head.replaces:
            yield Mistake(
                f"{place}/type",
                repr(sensor.type),
                f"shares its topic with /sensors/{head.position}; give both types the same equal_times",
            )
        elif sensor is not head and not sensor.format.names_devices:
            yield Mistake(
                f"{place}/topic",
                repr(sensor.topic),
                f"also the topic of /sensors/{head.position}, and the format has no device pointer to tell them apart; "
                "set format.device or use another topic",
            )
        other = devices.setdefault(sensor.device, sensor.position)
        if other != sensor.position:
            yield Mistake(
                f"{place}/device", repr(sensor.device), f"/sensors/{other} has the same topic and device; change one"
            )
