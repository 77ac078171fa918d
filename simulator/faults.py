"""Simulated faults between sensor and collector, with counts.

A :class:`FaultSpec` defines kind, rate and place of faults; :class:`Faults` applies them to streams of samples
(measurement faults) and of messages (transport faults). A fault depends only on the seed, the sensor and the time, not
on earlier readings, so the same run has the same faults. Pure: no clock.
"""

import dataclasses
import heapq
import itertools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import orjson

from core import durations
from core.errors import SettingError
from simulator import random_source
from simulator.payloads import Message, Sample, Value

RATES = ("lost", "duplicate", "late", "out-of-order", "out-of-range", "malformed")
DEFAULT_MIX = "lost=0.01,duplicate=0.02,late=0.02:90s,out-of-order=0.02,out-of-range=0.005,malformed=0.005"
"""The faults of ``--faults all``; in addition the clock of the first sensor is 30 s fast."""

MALFORMED = ("truncated", "not-utf-8", "nan", "wrong-type")

_EXAMPLE = {
    "lost": "lost=0.01",
    "duplicate": "duplicate=0.02",
    "late": "late=0.05:90s",
    "out-of-order": "out-of-order=0.05",
    "out-of-range": "out-of-range=0.01, out-of-range=SENSOR or out-of-range=SENSOR:10m",
    "malformed": "malformed=0.01",
    "skew": "skew=SENSOR:+120s",
    "silent": "silent=SENSOR or silent=SENSOR:10m",
    "flat": "flat=SENSOR or flat=SENSOR:10m",
}


@dataclass(frozen=True)
class FaultSpec:
    """Faults: rates as shares of all messages (0 to 1), and seconds by sensor.

    ``skew``: seconds that a sensor's clock is ahead. ``silent``, ``flat`` and ``outside``: seconds after the start of
    the run from which a sensor sends no readings, repeats its value, or sends only implausible values.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    late_seconds: float = 90.0
    skew: Mapping[str, float] = field(default_factory=dict)
    silent: Mapping[str, float] = field(default_factory=dict)
    flat: Mapping[str, float] = field(default_factory=dict)
    outside: Mapping[str, float] = field(default_factory=dict)


def parse(text: str, sensors: Collection[str]) -> FaultSpec:
    """Read ``lost=0.01,late=0.05:90s,skew=thermostat-1:+120s,…``, or ``all``; ``sensors`` are the known ids.

    Raises :class:`SettingError` that lists every mistake with its fix.
    """
    mistakes: list[str] = []
    parsed = _ParsedFaults()
    items = [item.strip() for item in text.split(",") if item.strip()]
    for item in itertools.chain.from_iterable(
        [*DEFAULT_MIX.split(","), *(f"skew={first}:+30s" for first in list(sensors)[:1])] if item == "all" else [item]
        for item in items
    ):
        name, sign, value = item.partition("=")
        try:
            if name not in _EXAMPLE:
                raise ValueError(f"no such fault; there are {', '.join(_EXAMPLE)}, and all")  # noqa: TRY301
            if not sign:
                raise ValueError(f"write {_EXAMPLE[name]}")  # noqa: TRY301
            parsed.add(name, value, sensors)
        except ValueError as error:
            mistakes.append(f"{item}: {error}")
    if not items:
        mistakes.append(f"empty: write all, or for example {_EXAMPLE['lost']},{_EXAMPLE['late']}")
    if mistakes:
        raise SettingError("--faults\n" + "\n".join(f"  {mistake}" for mistake in mistakes))
    return FaultSpec(parsed.rates, parsed.late_seconds, parsed.skew, parsed.silent, parsed.flat, parsed.outside)


class _ParsedFaults:
    """The faults parsed so far."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self.late_seconds = FaultSpec.late_seconds
        self.skew: dict[str, float] = {}
        self.silent: dict[str, float] = {}
        self.flat: dict[str, float] = {}
        self.outside: dict[str, float] = {}

    def add(self, name: str, value: str, sensors: Collection[str]) -> None:
        if name in RATES and not (name == "out-of-range" and re.search("[^0-9.]", value)):
            share, colon, length = value.partition(":")
            if not re.fullmatch(r"\d*\.?\d+", share) or not 0 <= float(share) <= 1:
                raise ValueError(f"{share!r} is not a share from 0 to 1: write {_EXAMPLE[name]}")
            if colon and name != "late":
                raise ValueError(f"only late has a duration: write {_EXAMPLE[name]}")
            self.rates[name] = float(share)
            if colon:
                self.late_seconds = durations.parse(length)
            return
        # Split at the last colon, because a sensor id may contain colons; without a duration all of it is the id.
        sensor, _, length = value.rpartition(":")
        if value in sensors or not sensor:
            sensor, length = value, ""
        if sensor not in sensors:
            raise ValueError(f"no simulated sensor {sensor!r}; there are {', '.join(sorted(sensors)[:20])}")
        if name == "skew":
            if not length:
                raise ValueError(f"a duration is missing: write {_EXAMPLE[name]}")
            sign = -1 if length.startswith("-") else 1
            self.skew[sensor] = sign * durations.parse(length.lstrip("+-"))
        else:
            after = {"silent": self.silent, "flat": self.flat, "out-of-range": self.outside}[name]
            after[sensor] = durations.parse(length) if length else 0.0


class Faults:
    """Applies a :class:`FaultSpec`; ``tally`` counts faults.

    Its keys: ``samples`` and ``messages`` are the input; ``silent``, ``flat``, ``skew`` and ``out-of-range`` count
    samples; ``lost``, ``duplicate`` (one additional copy each), ``late``, ``out-of-order`` and ``malformed`` (also
    ``malformed:nan`` and so on, by :data:`MALFORMED`) count messages; ``out`` is the number of output messages.
    """

    def __init__(self, spec: FaultSpec, seed: int, start: float) -> None:
        self.spec = spec
        self.tally: Counter[str] = Counter()
        self._seed = seed
        self._start = start
        self._frozen: dict[str, Mapping[str, Value]] = {}
        self._salts: dict[tuple[str, str], int] = {}

    def samples(self, stream: Iterable[Sample]) -> Iterator[Sample]:
        """Yield the samples of ``stream`` with faults: silent, flat or out-of-range sensors, wrong clocks."""
        for sample in stream:
            self.tally["samples"] += 1
            name = sample.sensor.sensor_id
            elapsed = sample.seconds - self._start
            if elapsed >= self.spec.silent.get(name, float("inf")):
                self.tally["silent"] += 1
                continue
            faulty = sample
            if elapsed >= self.spec.flat.get(name, float("inf")):
                self.tally["flat"] += 1
                faulty = dataclasses.replace(faulty, values=self._frozen.setdefault(name, sample.values))
            is_outside = elapsed >= self.spec.outside.get(name, float("inf"))
            if is_outside or self._affects("out-of-range", name, sample.seconds):
                values = {key: _outside(sample, key, value) for key, value in faulty.values.items()}
                self.tally["out-of-range"] += sum(values[key] != faulty.values[key] for key in values)
                faulty = dataclasses.replace(faulty, values=values)
            if skew := self.spec.skew.get(name):
                self.tally["skew"] += 1
                faulty = dataclasses.replace(faulty, seconds=sample.seconds + skew)
            yield faulty

    def messages(self, stream: Iterable[Message]) -> Iterator[Message]:
        """Yield the messages of ``stream`` (ordered by publish time) with faults, in the order of publishing.

        A late message follows the messages of ``late_seconds`` later, a message out of order the next one of its
        sensor. Messages still delayed at the end of ``stream`` come last.
        """
        late: list[tuple[float, int, Message]] = []
        order = itertools.count()
        swapped: dict[str, Message] = {}
        for message in stream:
            self.tally["messages"] += 1
            while late and late[0][0] <= message.publish_time:
                yield from self._out(heapq.heappop(late)[2])
            name, when = message.sensor_id, message.publish_time
            if self._affects("lost", name, when):
                self.tally["lost"] += 1
                continue
            sent = self._malformed(message)
            if self._affects("late", name, when):
                self.tally["late"] += 1
                publish_time = when + self.spec.late_seconds
                delayed = dataclasses.replace(sent, publish_time=publish_time)
                heapq.heappush(late, (publish_time, next(order), delayed))
            elif name not in swapped and self._affects("out-of-order", name, when):
                self.tally["out-of-order"] += 1
                swapped[name] = sent
            else:
                yield from self._out(sent)
                if name in swapped:
                    yield from self._out(swapped.pop(name))
        for message in [*swapped.values(), *(item[2] for item in sorted(late, key=lambda item: item[:2]))]:
            yield from self._out(message)

    def _out(self, message: Message) -> Iterator[Message]:
        self.tally["out"] += 1
        yield message
        if self._affects("duplicate", message.sensor_id, message.publish_time):
            self.tally["duplicate"] += 1
            self.tally["out"] += 1
            yield message

    def _malformed(self, message: Message) -> Message:
        if not self._affects("malformed", message.sensor_id, message.publish_time):
            return message
        draw = random_source.uniform(self._salt("kind", message.sensor_id), round(message.publish_time * 1000))
        kind = MALFORMED[int(draw * len(MALFORMED))]
        self.tally["malformed"] += 1
        self.tally[f"malformed:{kind}"] += 1
        return dataclasses.replace(message, payload=MALFORMERS[kind](message.payload))

    def _affects(self, fault: str, sensor_id: str, seconds: float) -> bool:
        rate = self.spec.rates.get(fault, 0.0)
        return rate > 0 and random_source.uniform(self._salt(fault, sensor_id), round(seconds * 1000)) < rate

    def _salt(self, fault: str, sensor_id: str) -> int:
        salt = self._salts.get((fault, sensor_id))
        if salt is None:
            salt = self._salts[fault, sensor_id] = random_source.key(self._seed, "fault", fault, sensor_id)
        return salt


def _outside(sample: Sample, name: str, value: Value) -> Value:
    """Return a number outside the quantity's plausible range, or ``value`` if it has no range.

    Its distance from the bound contains that of ``value``, so that an implausible series still varies.
    """
    quantity = sample.sensor.quantities[name]
    if isinstance(value, bool | str):
        return value
    if quantity.maximum is not None:
        return quantity.maximum + 1 + abs(quantity.maximum) * 0.5 + abs(quantity.maximum - value)
    if quantity.minimum is not None:
        return quantity.minimum - 1 - abs(quantity.minimum) * 0.5 - abs(value - quantity.minimum)
    return value


def _all_numbers(payload: bytes, replace: Callable[[str], str]) -> bytes:
    """Replace the numbers and booleans of all members, at any depth, with the result of ``replace``."""
    members = r'(?<=":)(?:-?\d[\d.eE+-]*|true|false)'
    return re.sub(members, lambda match: replace(match[0]), payload.decode()).encode()


MALFORMERS: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda payload: payload[: len(payload) * 2 // 3],
    "not-utf-8": lambda payload: payload.replace(b'"', b'"\xff', 1),
    # JSON has no NaN, but the printf of many devices writes it.
    "nan": lambda payload: _all_numbers(payload, lambda _: "NaN"),
    "wrong-type": lambda payload: _all_numbers(payload, lambda number: orjson.dumps({"is": number}).decode()),
}
"""Kind of malformed payload → function that makes it from a valid one."""
