"""From measurements to readings, for all formats in one place: sensor, quantity, state, unit and time. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from collector import units
from collector.formats.json_tree import SMALL, Place, Tree, TreeReader, members, places
from collector.formats.measurement import FormatOptions, Measured, Reader
from collector.formats.scalars import EXACT, UnusableError, check_time, number, shown
from collector.message import Decoded, Held, Message, NoReadingError, Reading, Reason
from collector.registry.schema import Quantity
from collector.registry.sensors import Sensor

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_DEVICES = 20_000
"""Names that are kept of a topic's devices. Payloads may hold any number where the topic alone names the sensor."""
_WORDS = {"true": 1.0, "false": 0.0, "on": 1.0, "off": 0.0, "yes": 1.0, "no": 0.0}


@dataclass(frozen=True, slots=True)
class _Target:
    """One series, ready for values."""

    source: str
    """What the device calls the quantity."""
    series_id: int
    unit: str
    sent_unit: str
    plain_units: frozenset[str | None]
    """What may stand beside a number that is taken as it is; none where only 0 and 1 are."""
    is_boolean: bool
    states: Mapping[str, float]
    """By text as it is written and in lower case."""
    longest: int
    """Characters of what may stand for a number; most texts are no states at all."""

    @classmethod
    def of(cls, name: str, quantity: Quantity, series_id: int) -> "_Target":
        states = quantity.states or {}
        words = (*states, *_WORDS) if quantity.kind == "boolean" else states
        sent_unit = quantity.sent_unit or quantity.unit
        is_boolean = quantity.kind == "boolean"
        unsaid = (None, "") if sent_unit == quantity.unit else ()
        return cls(
            quantity.source or name,
            series_id,
            quantity.unit,
            sent_unit,
            frozenset() if is_boolean else frozenset((quantity.unit, *unsaid)),
            is_boolean,
            {**{text.lower(): value for text, value in states.items()}, **states},
            max(map(len, (*words, *map(str.lower, words))), default=-1),
        )

    def value(self, raw: Any, unit: str | None) -> float | None:  # noqa: PLR0911 - one a kind
        """Return ``raw`` in the series' unit; None: it is none by its nature. Raises :class:`UnusableError`."""
        kind = type(raw)
        if kind is float or kind is int:
            # Most values are such numbers; number() knows the others.
            if -EXACT <= raw <= EXACT and unit in self.plain_units:
                return float(raw)
        elif kind is str:
            return self._word(raw) if len(raw) <= self.longest else None
        elif kind is bool:
            return 1.0 if raw else 0.0
        elif raw is None or kind is dict or kind is list:  # not a leaf of its tree
            return None
        if self.is_boolean:
            if raw in (0, 1):
                return float(raw)
            raise UnusableError(Reason.WRONG_TYPE, f"{shown(raw)} where true or false is due")
        value = number(raw)
        unit = unit or self.sent_unit
        if unit == self.unit:
            return value
        try:
            convert = units.conversion(unit, self.unit)
        except ValueError as error:
            raise UnusableError(Reason.WRONG_UNIT, str(error)) from None
        return value if convert is None else number(convert(value))

    def _word(self, text: str) -> float | None:
        value = self.states.get(text)
        if value is None:
            lower = text.lower()
            value = self.states.get(lower)
            if value is None and self.is_boolean:
                return _WORDS.get(lower)
        return value


@dataclass(frozen=True, slots=True)
class _Source:
    """One sensor, ready for measurements."""

    since: int
    targets: Mapping[str, _Target]
    """By what the device calls the quantity."""
    places: Mapping[str, Mapping[str, Place[_Target]]]
    """The same, by where it stands in a tree: by prefix, then by step."""


_NO_TARGETS: Mapping[str, _Target] = {}


class MeasuredDecoder:
    """Decodes the messages of one topic, or pattern of topics, by a format that makes measurements.

    ``find`` returns the sensor that a measurement's ``device`` names, or raises :class:`UnusableError`; ``series_ids``
    maps (sensor_id, quantity) to series_id; ``max_future`` is how many microseconds a time may lie ahead of its
    message's arrival; ``names`` is what the placeholders of the topic's pattern stand for.
    """

    def __init__(
        self,
        options: FormatOptions,
        reader: Reader,
        find: Callable[[str], Sensor],
        series_ids: Mapping[tuple[str, str], int],
        max_future: int,
        names: Mapping[str, str],
        listed: Sequence[Mapping[str, Quantity]],
    ) -> None:
        self._read = reader.read
        self._trees = reader.trees if isinstance(reader, TreeReader) and options.unlisted == "ignore" else None
        self._strict = options.unlisted == "quarantine"
        self._find = find
        self._series_ids = series_ids
        self._max_future = max_future
        self._names = names
        self._listed = frozenset(quantity.source or name for one in listed for name, quantity in one.items())
        self._sources: dict[str, _Source] = {}

    def decode(self, message: Message) -> Decoded:
        """Return what ``message`` holds; raises :class:`UndecodableError` or :class:`NoReadingError`."""
        readings: list[Reading] = []
        held = Held()
        if self._trees is None or len(message.payload) > SMALL:
            self._measured(self._read(message, self._names), message, readings, held)
        else:
            for one in self._trees(message, self._names):
                if not self._grown(one, message, readings, held):
                    self._measured(one.measurements(), message, readings, held)
        rejections = held.rejections()
        if not readings and not rejections:
            raise NoReadingError("none of its sensor's quantities")
        return Decoded(readings, rejections)

    def _measured(  # noqa: C901, PLR0912 - the one loop for all, with few calls
        self, measurements: Sequence[Measured], message: Message, readings: list[Reading], held: Held
    ) -> None:
        """Add to ``readings`` what ``measurements`` become, and to ``held`` what is held back of them."""
        latest = message.received + self._max_future
        known: str | None = None
        since, targets = 0, _NO_TARGETS
        raw: Any
        for quantity, raw, said, unit, device, problem in measurements:
            if device != known:  # mostly the one before
                source = self._sources.get(device)
                known = device
                since, targets = (0, _NO_TARGETS) if source is None else (source.since, source.targets)
            target = targets.get(quantity)
            if target is not None and said is not None and since <= said <= latest and problem is None:
                # What target.value() says of most values, without calling it.
                kind = type(raw)
                if kind is bool:
                    readings.append((target.series_id, said, 1.0 if raw else 0.0))
                    continue
                if (kind is float or kind is int) and -EXACT <= raw <= EXACT and unit in target.plain_units:
                    readings.append((target.series_id, said, float(raw)))
                    continue
            try:
                if target is None or problem is not None:
                    found = self._found(quantity, device, problem, held)
                    if found is None:
                        continue
                    since, target = found[0].since, found[1]
                time = said
                if time is None:
                    if message.retained:  # old news, and nobody knows how old
                        continue
                    time = message.received
                elif not since <= time <= latest:
                    check_time(time, since, latest)
                value = target.value(raw, unit)
            except UnusableError as error:
                held.add(error.reason, _named(quantity) + error.detail)
            else:
                if value is not None:
                    readings.append((target.series_id, time, value))

    def _found(
        self, quantity: str, device: str, problem: UnusableError | None, held: Held
    ) -> tuple[_Source, _Target] | None:
        """Return whose measurement this is; None: nobody's, or one that is held back for its ``problem``.

        Raises :class:`UnusableError`.
        """
        # What has no name could be any of the listed.
        if not (self._strict or quantity in self._listed or (problem is not None and not quantity)):
            return None
        source = self._sources.get(device) or self._source(device)
        if problem is not None:
            # Not raised: its traceback would hold this frame, which holds it, until garbage is collected.
            held.add(problem.reason, _named(quantity) + problem.detail)
            return None
        target = source.targets.get(quantity)
        if target is not None:
            return source, target
        if self._strict:
            raise UnusableError(Reason.UNKNOWN_QUANTITY, "no quantity of this sensor")
        return None

    def _grown(self, tree: Tree, message: Message, readings: list[Reading], held: Held) -> bool:
        """Do what :meth:`_measured` does with the measurements of ``tree``, in a third of the time.

        False: nothing was done; their sensor is new, or something is the matter with their time.
        """
        branch, prefix, (time, problem), device, units, key = tree
        source = self._sources.get(device)
        if source is None or problem is not None or (time is None and message.retained):
            return False
        if time is None:
            time = message.received
        elif not source.since <= time <= message.received + self._max_future:
            return False
        places = source.places.get(prefix)
        if places is not None:
            _pick(branch.items(), places, units, key, time, readings, held)
        return True

    def _source(self, device: str) -> _Source:
        sensor = self._find(device)
        targets = {
            quantity.source or name: _Target.of(name, quantity, self._series_ids[sensor.sensor_id, name])
            for name, quantity in sensor.quantities.items()
        }
        since = (sensor.since - _EPOCH) // datetime.resolution
        source = _Source(since, targets, {} if self._trees is None else places(targets))
        if len(self._sources) < MOST_DEVICES:
            self._sources[device] = source
        return source


def _pick(  # noqa: C901 - the one loop for all, with few calls
    branch: Iterable[tuple[str, Any]],
    places: Mapping[str, Place[_Target]],
    units: Mapping[str, str],
    key: Callable[[str], str | None] | None,
    time: int,
    readings: list[Reading],
    held: Held,
) -> None:
    """Add what of ``branch`` is listed, in its order; of a device's many values few are, as a rule."""
    for step, raw in branch:
        place = places.get(step)
        if place is None:
            continue
        kind, target = type(raw), place.here
        if kind is dict or kind is list:
            if place.below is not None:
                _pick(raw.items() if kind is dict else members(raw), place.below, units, key, time, readings, held)
            continue
        if target is None:
            continue
        # What target.value() says of most values, without calling it.
        if kind is bool:
            readings.append((target.series_id, time, 1.0 if raw else 0.0))
            continue
        if kind is str and len(raw) > target.longest:
            continue
        unit = units.get(step if key is None else key(target.source) or "")
        if (kind is float or kind is int) and -EXACT <= raw <= EXACT and unit in target.plain_units:
            readings.append((target.series_id, time, float(raw)))
            continue
        try:
            value = target.value(raw, unit)
        except UnusableError as error:
            held.add(error.reason, _named(target.source) + error.detail)
        else:
            if value is not None:
                readings.append((target.series_id, time, value))


def _named(quantity: str) -> str:
    return f"{shown(quantity)[1:-1]}: " if quantity else ""


def among(sensors: Sequence[Sensor]) -> Callable[[str], Sensor]:
    """Return how measurements find their sensor among those of one topic: by what the payload calls it, if it does."""
    by_device = {sensor.device: sensor for sensor in sensors}
    only = sensors[0] if len(sensors) == 1 else None

    def find(device: str) -> Sensor:
        found = by_device.get(device) if device else only
        if found is None:
            raise UnusableError(
                Reason.UNKNOWN_SENSOR,
                f"the payload names device {shown(device)}; set it as the device of a sensor with this topic"
                if device
                else "the payload names no device, and several sensors have this topic",
            )
        return found

    return find
