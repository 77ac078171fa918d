"""Which sensors are played, and the stream of their messages: history as a whole, live as time goes."""

import heapq
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from collector.registry import sensors_file as registries
from collector.registry.sensors_file import FieldsFormat, Registry, Sensor
from core.errors import SettingError
from simulator import random_source, signals
from simulator.payloads import Form, Message, Sample, message

SLOWEST_SECONDS = 1800.0
"""Sensors that report less often come from files and are played only when named."""


@dataclass(frozen=True)
class Player:
    """One sensor with its signals. ``interval`` is in seconds."""

    sensor: Sensor
    signals: dict[str, signals.Signal]
    interval: float
    phase: float

    def sample(self, seconds: float) -> Sample:
        """Return what the sensor measures at ``seconds`` since 1970-01-01 UTC."""
        return Sample(self.sensor, seconds, {name: one.at(seconds) for name, one in self.signals.items()})


def played(registry: Registry) -> list[Sensor]:
    """Return the sensors that are played when none is named."""
    return [
        sensor
        for sensor in registry.sensors
        if _interval(sensor) < SLOWEST_SECONDS and isinstance(sensor.format, FieldsFormat)
    ]


def choose(registry: Registry, count: int | None, named: Sequence[str]) -> list[Sensor]:
    """Return the sensors to play: those ``named``, else the first ``count`` (None: all) that are not from files.

    Raises :class:`SettingError` for unknown names and for more sensors than there are.
    """
    if named:
        known = {sensor.sensor_id: sensor for sensor in registry.sensors}
        unknown = [name for name in named if name not in known]
        if unknown:
            raise SettingError(
                f"--sensor: not in the registry: {', '.join(unknown)}; it has {', '.join(sorted(known)[:20])}"
            )
        return [known[name] for name in dict.fromkeys(named)]
    sensors = played(registry)
    if not sensors:
        raise SettingError("the registry has no sensor with an interval below 1800 s; name one with --sensor ID")
    if count is not None and count > len(sensors):
        raise SettingError(
            f"--sensors {count}: the registry has {len(sensors)} to play, and the collector must know each one. "
            f"Write a larger registry with `simulator registry --sensors {count} > many.json` "
            "and set COLLECTOR_REGISTRY=many.json for the collector and the simulator."
        )
    return sensors[:count]


def players(sensors: Iterable[Sensor], seed: int, rate: float | None) -> list[Player]:
    """Return the players of ``sensors``; ``rate`` in readings a second, None: as the registry's intervals say.

    Raises :class:`SettingError` that lists every quantity whose signal there isn't.
    """
    made, mistakes = [], []
    for sensor in sensors:
        curves = {}
        for name in sensor.quantities:
            try:
                curves[name] = signals.signal(sensor, name, seed)
            except SettingError as error:
                mistakes.append(f"  {error}")
        interval = 1 / rate if rate else _interval(sensor)
        # Each sensor has its own moment within the second, as real ones do: the load comes evenly.
        share = random_source.uniform(random_source.key(seed, sensor.sensor_id, "phase"), 0)
        phase = int(share * interval * 1000) / 1000
        made.append(Player(sensor, curves, interval, phase))
    if mistakes:
        raise SettingError("\n".join(["the registry's signals", *mistakes]))
    return made


def history(players: Sequence[Player], start: float, end: float, interval: float) -> Iterator[Sample]:
    """Yield what ``players`` measured at every whole multiple of ``interval`` seconds, ``start`` ≤ time < ``end``."""
    for number in range(_after(start, interval), _after(end, interval)):
        for player in players:
            yield player.sample(number * interval)


def history_size(players: Sequence[Player], start: float, end: float, interval: float) -> int:
    """Return how many samples :func:`history` yields."""
    return len(players) * (_after(end, interval) - _after(start, interval))


def live(players: Sequence[Player], start: float, end: float) -> Iterator[Sample]:
    """Yield what ``players`` measure from ``start`` on, in order of time, until ``end`` (may be infinite).

    The times are fixed by interval and seed: a simulator that starts again measures at the same ones.
    """
    queue: list[tuple[float, int, int]] = []
    for index, player in enumerate(players):
        # One earlier may be rounded up to the start, the found one down to before it.
        number = _after(start - player.phase, player.interval) - 1
        while _moment(player, number) < start:
            number += 1
        queue.append((_moment(player, number), index, number))
    heapq.heapify(queue)
    while queue and queue[0][0] < end:
        seconds, index, number = queue[0]
        yield players[index].sample(seconds)
        heapq.heapreplace(queue, (_moment(players[index], number + 1), index, number + 1))


def messages(samples: Iterable[Sample], form: Form, batch: int) -> Iterator[Message]:
    """Yield the messages of ``samples``, ``batch`` samples of one sensor in each; at the end what is left over."""
    if batch == 1:
        for sample in samples:
            yield message([sample], form)
        return
    gathered: dict[str, list[Sample]] = {}
    for sample in samples:
        waiting = gathered.setdefault(sample.sensor.sensor_id, [])
        waiting.append(sample)
        if len(waiting) == batch:
            yield message(waiting, form)
            waiting.clear()
    for waiting in gathered.values():
        if waiting:
            yield message(waiting, form)


def enlarged(text: bytes, count: int, source: str = "sensors.json") -> str:
    """Return a registry with ``count`` sensors to play, made of the one in ``text``, as JSON.

    The first are the registry's own; more repeat them with a number behind id, device and topic. Sensors that come
    from files stay, and sensor patterns. Raises :class:`SettingError`.
    """
    registry = registries.parse(text, source)
    own = {sensor.sensor_id for sensor in played(registry)}
    if not own:
        raise SettingError(f"{source} has no sensor with an interval below {SLOWEST_SECONDS:g} s to repeat")
    document: dict[str, Any] = json.loads(text.decode("utf-8-sig"))
    entries: list[dict[str, Any]] = document["sensors"]
    patterns = [entry for entry in entries if entry.get("sensor_id") in own]
    taken = {entry.get("sensor_id") for entry in entries}
    made = [dict(entry) for entry in patterns[:count]]
    for turn in itertools.count(2):
        for pattern in patterns:
            if len(made) >= count:
                break
            if (name := f"{pattern['sensor_id']}-{turn:04}") in taken:
                continue
            copy = {**pattern, "sensor_id": name, "topic": f"{pattern['topic']}-{turn:04}"}
            if "device" in pattern:
                copy["device"] = f"{pattern['device']}-{turn:04}"
            made.append(copy)
        if len(made) >= count:
            break
    document["sensors"] = made + [entry for entry in entries if entry.get("sensor_id") not in own]
    lines = ",\n    ".join(json.dumps(entry, ensure_ascii=False) for entry in document.pop("sensors"))
    head = json.dumps(document, indent=2, ensure_ascii=False).removesuffix("\n}")
    result = f'{head},\n  "sensors": [\n    {lines}\n  ]\n}}\n'
    # Topics may not be covered by the subscriptions any more (`sensors/+` still is, a literal one is not).
    registries.parse(result.encode(), f"{source}, repeated")
    return result


def _interval(sensor: Sensor) -> float:
    return min(quantity.interval_seconds for quantity in sensor.quantities.values())


def _after(seconds: float, interval: float) -> int:
    """Return the number of the first multiple of ``interval`` not before ``seconds``."""
    return -int(-seconds // interval)


def _moment(player: Player, number: int) -> float:
    # Whole milliseconds, which is what payloads carry: the value belongs to the time that is written.
    return round((number * player.interval + player.phase) * 1000) / 1000
