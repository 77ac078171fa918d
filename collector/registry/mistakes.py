"""What is wrong in a registry between parts that are good by themselves: each mistake with its place and mend."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from collector import topics, units
from collector.formats.fields_options import FieldsFormat
from collector.formats.supported import Format
from collector.registry.schema import Quantity, SensorEntry, SensorType
from collector.registry.sensors import Fleet, Sensor
from collector.topics import Pattern, Template

_WHICH = (
    "which sensors are these? Set discover to true to register them as they appear, or list their names under members"
)


@dataclass(frozen=True)
class Mistake:
    """One thing wrong in the file: where (a JSON Pointer), the value found there, and the mend."""

    path: str
    value: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path or '/'}: {self.problem}" + (f" (found {self.value})" if self.value else "")


def step(name: object) -> str:
    """Return ``name`` as a step of a JSON Pointer (RFC 6901)."""
    return str(name).replace("~", "~0").replace("/", "~1")


Entries = Sequence[tuple[int, SensorEntry]]
"""Entries that are good by themselves, each with its place in the file."""


def between(
    types: Mapping[str, SensorType],
    entries: Entries,
    filters: Sequence[str] | None,
    sensors: Sequence[Sensor],
    fleets: Sequence[Fleet],
) -> Iterator[Mistake]:
    """Yield what is wrong between the parts.

    ``filters`` None: they have mistakes, so nothing can be said about what they cover. ``sensors`` and ``fleets`` are
    those of ``entries`` whose type is good.
    """
    for name, kind in types.items():
        yield from _quantities(f"/types/{step(name)}", kind.format, kind.quantities)
    for index, entry in entries:
        known = types.get(entry.type)
        form = entry.format or (known.format if known else None)
        if form is not None:
            yield from _quantities(f"/sensors/{index}", form, entry.quantities or {})
            yield from _zone(f"/sensors/{index}", form, entry)
        yield from _fleet(index, entry) if entry.is_fleet else _single(index, entry)
    yield from _topics(filters, entries)
    yield from _ids(entries, fleets)
    for one in [*sensors, *(fleet.base for fleet in fleets)]:
        yield from _format(one, is_fleet=one not in sensors)
    yield from _shared_topics(sensors, fleets)


def _quantities(place: str, form: Format, quantities: Mapping[str, Quantity]) -> Iterator[Mistake]:
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
                problem = f"can't be converted: {error}; mend one of them"
                yield Mistake(f"{path}/sent_unit", repr(quantity.sent_unit), problem)
        yield from _place(path, form, quantity)
        source = quantity.source or name
        if (other := sources.setdefault(source, name)) != name and not isinstance(form, FieldsFormat):
            yield Mistake(f"{path}/source", repr(source), f"also that of {other}; change one")


def _zone(place: str, form: Format, entry: SensorEntry) -> Iterator[Mistake]:
    """Yield a mistake where a sensor has a zone of which its format, which has its own, would know nothing."""
    if entry.timezone is not None and "timezone" in type(form).model_fields:
        mend = f'write it into the format, {{"name": "{form.name}", "timezone": "{entry.timezone}"}}'
        yield Mistake(f"{place}/timezone", repr(entry.timezone), f"format {form.name} has its own; {mend}")


def _place(path: str, form: Format, quantity: Quantity) -> Iterator[Mistake]:
    """Yield a mistake where a quantity says in the way of another format where it stands."""
    if isinstance(form, FieldsFormat) and quantity.source is not None:
        yield Mistake(f"{path}/source", repr(quantity.source), "format fields has pointers; write pointer instead")
    if not isinstance(form, FieldsFormat) and quantity.pointer is not None:
        yield Mistake(
            f"{path}/pointer",
            repr(quantity.pointer),
            f"format {form.name} has no pointers; write source, what the device calls it",
        )


def _single(index: int, entry: SensorEntry) -> Iterator[Mistake]:
    place = f"/sensors/{index}"
    if "sensor" in Pattern.compile(entry.topic).names:
        if entry.sensor_id is None or "{" in entry.sensor_id:
            yield Mistake(place, "", _WHICH)
        else:
            yield Mistake(
                f"{place}/sensor_id",
                repr(entry.sensor_id),
                "one name for all that {sensor} of the topic stands for; leave it out, or write + into the topic",
            )
    elif entry.sensor_id is None:
        yield Mistake(f"{place}/sensor_id", "", "is missing; add it")
    elif "{" in entry.sensor_id:
        yield Mistake(place, "", _WHICH)
    for name, text in (("site", entry.site), ("area", entry.area)):
        if "{" in text:
            yield Mistake(f"{place}/{name}", repr(text), "placeholders are for fleets; write it out")


def _fleet(index: int, entry: SensorEntry) -> Iterator[Mistake]:
    place = f"/sensors/{index}"
    known = {*Pattern.compile(entry.topic).names, "device"}
    if entry.sensor_id is not None and "{" not in entry.sensor_id:
        yield Mistake(
            f"{place}/sensor_id",
            repr(entry.sensor_id),
            "one name for many sensors; give it a placeholder, such as {device}, or leave it out",
        )
    if entry.device is not None:
        yield Mistake(f"{place}/device", repr(entry.device), "a fleet's devices name themselves; remove it")
    for name, text in (("sensor_id", entry.sensor_id or ""), ("site", entry.site), ("area", entry.area)):
        for placeholder in Template.compile(text).names:
            if placeholder not in known:
                problem = f"the topic has no {{{placeholder}}}; add it there or remove it here"
            elif not entry.discover and placeholder not in ("sensor", "device"):
                problem = (
                    f"members are registered before they say anything, when {{{placeholder}}} is not known; "
                    "use {device}, or set discover to true"
                )
            else:
                continue
            yield Mistake(f"{place}/{name}", repr(text), problem)


def _topics(filters: Sequence[str] | None, entries: Entries) -> Iterator[Mistake]:
    for index, entry in entries:
        wanted = Pattern.compile(entry.topic).filter
        if filters is not None and not any(topics.covers(given, wanted) for given in filters):
            yield Mistake(
                f"/sensors/{index}/topic", repr(entry.topic), "no filter under /subscribe covers it; add one that does"
            )


def _ids(entries: Entries, fleets: Sequence[Fleet]) -> Iterator[Mistake]:
    seen: dict[str, int] = {}
    for index, entry in entries:
        if entry.sensor_id is not None and not entry.is_fleet:
            first = seen.setdefault(entry.sensor_id, index)
            if first != index:
                yield Mistake(
                    f"/sensors/{index}/sensor_id", repr(entry.sensor_id), f"also /sensors/{first}; rename one"
                )
    owners = {sensor_id: f"/sensors/{index}" for sensor_id, index in seen.items()}
    for fleet in fleets:
        for device in () if fleet.discover else fleet.members:
            path = f"/sensors/{fleet.base.position}/members/{step(device)}"
            sensor = fleet.find(fleet.base.topic, {"sensor": device}, device)
            if sensor is None:
                yield Mistake(
                    path, repr(device), "no name of a device: it needs a letter or digit, 200 characters at most"
                )
            elif (owner := owners.setdefault(sensor.sensor_id, path)) != path:
                yield Mistake(path, repr(device), f"would be sensor {sensor.sensor_id}, which {owner} is; rename one")


def _format(one: Sensor, *, is_fleet: bool) -> Iterator[Mistake]:
    names = Pattern.compile(one.topic).names
    place = f"/sensors/{one.position}/topic"
    for missing in [name for name in one.format.placeholders if name not in names][:1]:
        yield Mistake(
            place,
            repr(one.topic),
            f"format {one.format.name} needs {{{missing}}} there, which says what is measured; "
            "add it, or set format.quantity",
        )
    if is_fleet and "sensor" not in names and not one.format.names_devices:
        yield Mistake(
            place,
            repr(one.topic),
            f"names no sensor, and neither do payloads of this format ({one.format.name}); "
            "put {sensor} where the topic names it",
        )


def _shared_topics(sensors: Sequence[Sensor], fleets: Sequence[Fleet]) -> Iterator[Mistake]:
    groups: dict[str, list[Sensor]] = {}
    for one in sorted([*sensors, *(fleet.base for fleet in fleets)], key=lambda one: one.position):
        groups.setdefault(one.topic, []).append(one)
    positions = {fleet.base.position for fleet in fleets}
    for group in groups.values():
        if len(group) > 1 and any(one.position in positions for one in group):
            for one in group[1:]:
                yield Mistake(
                    f"/sensors/{one.position}/topic",
                    repr(one.topic),
                    f"also the topic of /sensors/{group[0].position}; a fleet has its topic for itself: make them one",
                )
        elif len(group) > 1:
            yield from _shared_topic(group)


def _shared_topic(group: Sequence[Sensor]) -> Iterator[Mistake]:
    head = group[0]
    devices: dict[str, int] = {}
    for one in group:
        place = f"/sensors/{one.position}"
        if one.format != head.format:
            yield Mistake(
                f"{place}/format", "", f"shares its topic with /sensors/{head.position}; give both the same format"
            )
        elif one is not head and not one.format.names_devices:
            yield Mistake(
                f"{place}/topic",
                repr(one.topic),
                f"also the topic of /sensors/{head.position}, and the format has no device pointer to tell them apart; "
                "set format.device or use another topic",
            )
        other = devices.setdefault(one.device, one.position)
        if other != one.position:
            yield Mistake(
                f"{place}/device", repr(one.device), f"/sensors/{other} has the same topic and device; change one"
            )
