"""Selects the simulated sensors and computes their samples and messages: history and live."""

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
"""Sensors with a longer interval are loaded from files; they are simulated only if named."""


@dataclass(frozen=True)
class Device:
    """One simulated sensor with its signals. ``interval`` is in seconds."""

    sensor: Sensor
    signals: dict[str, signals.Signal]
    interval: float
    phase: float

    def sample(self, seconds: float) -> Sample:
        """Return the sample at ``seconds`` since 1970-01-01 UTC."""
        return Sample(self.sensor, seconds, {name: signal.at(seconds) for name, signal in self.signals.items()})


def default_sensors(registry: Registry) -> list[Sensor]:
    """Return the sensors that are simulated if none is named."""
    return [
        sensor
        for sensor in registry.sensors
        if _interval(sensor) < SLOWEST_SECONDS and isinstance(sensor.format, FieldsFormat)
    ]


def select_sensors(registry: Registry, count: int | None, named: Sequence[str]) -> list[Sensor]:
    """Return the sensors to simulate: those ``named``, else the first ``count`` default ones (None: all).

    Raises :class:`SettingError` for unknown names and if ``count`` is too large.
    """
    if named:
        known = {sensor.sensor_id: sensor for sensor in registry.sensors}
        unknown = [name for name in named if name not in known]
        if unknown:
            raise SettingError(
                f"--sensor: not in the registry: {', '.join(unknown)}; it has {', '.join(sorted(known)[:20])}"
            )
        return [known[name] for name in dict.fromkeys(named)]
    sensors = default_sensors(registry)
    if not sensors:
        raise SettingError("the registry has no sensor with an interval below 1800 s; name one with --sensor ID")
    if count is not None and count > len(sensors):
        raise SettingError(
            f"--sensors {count}: the registry has {len(sensors)} to simulate, and the collector must know each one. "
            f"Create a larger registry with `simulator registry --sensors {count} > many.json` "
            "and set COLLECTOR_REGISTRY=many.json for the collector and the simulator."
        )
    return sensors[:count]


def make_devices(sensors: Iterable[Sensor], seed: int, rate: float | None) -> list[Device]:
    """Return the devices of ``sensors``; ``rate`` in readings per second, None: the intervals of the registry.

    Raises :class:`SettingError` that lists every quantity with an unknown signal.
    """
    devices, mistakes = [], []
    for sensor in sensors:
        curves = {}
        for name in sensor.quantities:
            try:
                curves[name] = signals.signal(sensor, name, seed)
            except SettingError as error:
                mistakes.append(f"  {error}")
        interval = 1 / rate if rate else _interval(sensor)
        # Each sensor has its own offset within its interval, as real ones do, which spreads the load.
        share = random_source.uniform(random_source.key(seed, sensor.sensor_id, "phase"), 0)
        phase = int(share * interval * 1000) / 1000
        devices.append(Device(sensor, curves, interval, phase))
    if mistakes:
        raise SettingError("\n".join(["the registry's signals", *mistakes]))
    return devices


def history(devices: Sequence[Device], start: float, end: float, interval: float) -> Iterator[Sample]:
    """Yield the samples of ``devices`` at every whole multiple of ``interval`` seconds, ``start`` ≤ time < ``end``."""
    for number in range(_after(start, interval), _after(end, interval)):
        for device in devices:
            yield device.sample(number * interval)


def history_size(devices: Sequence[Device], start: float, end: float, interval: float) -> int:
    """Return the number of samples of :func:`history`."""
    return len(devices) * (_after(end, interval) - _after(start, interval))


def live(devices: Sequence[Device], start: float, end: float) -> Iterator[Sample]:
    """Yield the samples of ``devices`` from ``start`` on, in order of time, until ``end`` (may be infinite).

    The times depend only on interval and seed: a restarted simulator has the same ones.
    """
    queue: list[tuple[float, int, int]] = []
    for index, device in enumerate(devices):
        # The previous one may be rounded up to the start, this one down to before it.
        number = _after(start - device.phase, device.interval) - 1
        while _moment(device, number) < start:
            number += 1
        queue.append((_moment(device, number), index, number))
    heapq.heapify(queue)
    while queue and queue[0][0] < end:
        seconds, index, number = queue[0]
        yield devices[index].sample(seconds)
        heapq.heapreplace(queue, (_moment(devices[index], number + 1), index, number + 1))


def messages(samples: Iterable[Sample], form: Form, batch: int) -> Iterator[Message]:
    """Yield the messages of ``samples``, each with ``batch`` samples of one sensor, at the end with the rest."""
    if batch == 1:
        for sample in samples:
            yield message([sample], form)
        return
    batches: dict[str, list[Sample]] = {}
    for sample in samples:
        collected = batches.setdefault(sample.sensor.sensor_id, [])
        collected.append(sample)
        if len(collected) == batch:
            yield message(collected, form)
            collected.clear()
    for collected in batches.values():
        if collected:
            yield message(collected, form)


def enlarge_registry(text: bytes, count: int, source: str = "sensors.json") -> str:
    """Return a registry with ``count`` simulated sensors, made from the one in ``text``, as JSON.

    The first ones are those of the registry; further ones repeat them with a number appended to id, device and topic.
    Sensors loaded from files and sensor patterns do not change. Raises :class:`SettingError`.
    """
    registry = registries.parse(text, source)
    default_ids = {sensor.sensor_id for sensor in default_sensors(registry)}
    if not default_ids:
        raise SettingError(f"{source} has no sensor with an interval below {SLOWEST_SECONDS:g} s to repeat")
    document: dict[str, Any] = json.loads(text.decode("utf-8-sig"))
    entries: list[dict[str, Any]] = document["sensors"]
    originals = [entry for entry in entries if entry.get("sensor_id") in default_ids]
    taken = {entry.get("sensor_id") for entry in entries}
    enlarged = [dict(entry) for entry in originals[:count]]
    for turn in itertools.count(2):
        for original in originals:
            if len(enlarged) >= count:
                break
            if (name := f"{original['sensor_id']}-{turn:04}") in taken:
                continue
            copy = {**original, "sensor_id": name, "topic": f"{original['topic']}-{turn:04}"}
            if "device" in original:
                copy["device"] = f"{original['device']}-{turn:04}"
            enlarged.append(copy)
        if len(enlarged) >= count:
            break
    document["sensors"] = enlarged + [entry for entry in entries if entry.get("sensor_id") not in default_ids]
    lines = ",\n    ".join(json.dumps(entry, ensure_ascii=False) for entry in document.pop("sensors"))
    head = json.dumps(document, indent=2, ensure_ascii=False).removesuffix("\n}")
    result = f'{head},\n  "sensors": [\n    {lines}\n  ]\n}}\n'
    # Checks that the subscriptions still cover the topics (`sensors/+` does, a literal topic does not).
    registries.parse(result.encode(), f"{source}, repeated")
    return result


def _interval(sensor: Sensor) -> float:
    return min(quantity.interval_seconds for quantity in sensor.quantities.values())


def _after(seconds: float, interval: float) -> int:
    """Return the number of the first multiple of ``interval`` not before ``seconds``."""
    return -int(-seconds // interval)


def _moment(device: Device, number: int) -> float:
    # Whole milliseconds, which is what payloads carry: the value belongs to the time that is written.
    return round((number * device.interval + device.phase) * 1000) / 1000
