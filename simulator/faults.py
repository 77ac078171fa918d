"""What goes wrong between a sensor and the collector, on purpose and with a tally.

A :class:`Spec` says which faults, how often and where; :class:`Faults` applies them to streams of samples (what is
measured wrongly) and of messages (what is transported wrongly). Whether something befalls a reading depends only on
the seed, its sensor and its time, never on what came before, so the same run has the same faults. Pure: no clock.
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
SENSORS = ("skew", "silent", "flat")
MIX = "lost=0.01,duplicate=0.02,late=0.02:90s,out-of-order=0.02,out-of-range=0.005,malformed=0.005"
"""What ``--faults all`` stands for, with the first sensor's clock 30 s fast."""

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
class Spec:
    """Which faults: shares of all messages (0 to 1), and seconds by sensor.

    ``skew``: how far a sensor's clock is ahead. ``silent``, ``flat`` and ``outside``: how long after the start of the
    run a sensor says nothing more, or only what it said then, or nothing that is plausible.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    late_seconds: float = 90.0
    skew: Mapping[str, float] = field(default_factory=dict)
    silent: Mapping[str, float] = field(default_factory=dict)
    flat: Mapping[str, float] = field(default_factory=dict)
    outside: Mapping[str, float] = field(default_factory=dict)


def parse(text: str, sensors: Collection[str]) -> Spec:
    """Read ``lost=0.01,late=0.05:90s,skew=thermostat-1:+120s,…``, or ``all``; ``sensors`` are the known ids.

    Raises :class:`SettingError` that lists every mistake with its mend.
    """
    mistakes: list[str] = []
    found = _Found()
    items = [item.strip() for item in text.split(",") if item.strip()]
    for item in itertools.chain.from_iterable(
        [*MIX.split(","), *(f"skew={first}:+30s" for first in list(sensors)[:1])] if item == "all" else [item]
        for item in items
    ):
        name, sign, value = item.partition("=")
        try:
            if name not in _EXAMPLE:
                raise ValueError(f"no such fault; there are {', '.join(_EXAMPLE)}, and all")  # noqa: TRY301
            if not sign:
                raise ValueError(f"write {_EXAMPLE[name]}")  # noqa: TRY301
            found.take(name, value, sensors)
        except ValueError as error:
            mistakes.append(f"{item}: {error}")
    if not items:
        mistakes.append(f"nothing in it: write all, or for example {_EXAMPLE['lost']},{_EXAMPLE['late']}")
    if mistakes:
        raise SettingError("--faults\n" + "\n".join(f"  {mistake}" for mistake in mistakes))
    return Spec(found.rates, found.late_seconds, found.skew, found.silent, found.flat, found.outside)


class _Found:
    """What has been read of a spec so far."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self.late_seconds = Spec.late_seconds
        self.skew: dict[str, float] = {}
        self.silent: dict[str, float] = {}
        self.flat: dict[str, float] = {}
        self.outside: dict[str, float] = {}

    def take(self, name: str, value: str, sensors: Collection[str]) -> None:
        if name in RATES and not (name == "out-of-range" and re.search("[^0-9.]", value)):
            share, colon, length = value.partition(":")
            if not re.fullmatch(r"\d*\.?\d+", share) or not 0 <= float(share) <= 1:
                raise ValueError(f"{share!r} is no share from 0 to 1: write {_EXAMPLE[name]}")
            if colon and name != "late":
                raise ValueError(f"only late takes a length of time: write {_EXAMPLE[name]}")
            self.rates[name] = float(share)
            if colon:
                self.late_seconds = durations.parse(length)
            return
        # From the right, because a sensor's id may hold colons; a second part that is no time belongs to the id.
        sensor, _, length = value.rpartition(":")
        if value in sensors or not sensor:
            sensor, length = value, ""
        if sensor not in sensors:
            raise ValueError(f"no simulated sensor {sensor!r}; there are {', '.join(sorted(sensors)[:20])}")
        if name == "skew":
            if not length:
                raise ValueError(f"by how much? write {_EXAMPLE[name]}")
            sign = -1 if length.startswith("-") else 1
            self.skew[sensor] = sign * durations.parse(length.lstrip("+-"))
        else:
            after = {"silent": self.silent, "flat": self.flat, "out-of-range": self.outside}[name]
            after[sensor] = durations.parse(length) if length else 0.0


class Faults:
    """Applies a :class:`Spec`; ``tally`` counts what was done.

    Its keys: ``samples`` and ``messages`` that came in; ``silent``, ``flat``, ``skew`` and ``out-of-range`` in
    samples; ``lost``, ``duplicate`` (one more copy each), ``late``, ``out-of-order`` and ``malformed`` (also
    ``malformed:nan`` and so on, by :data:`MALFORMED`) in messages; ``out``, the messages that left.
    """

    def __init__(self, spec: Spec, seed: int, start: float) -> None:
        self.spec = spec
        self.tally: Counter[str] = Counter()
        self._seed = seed
        self._start = start
        self._frozen: dict[str, Mapping[str, Value]] = {}
        self._salts: dict[tuple[str, str], int] = {}

    def samples(self, stream: Iterable[Sample]) -> Iterator[Sample]:
        """Yield what the sensors report of ``stream``: some silent, frozen, out of range, or with a wrong clock."""
        for sample in stream:
            self.tally["samples"] += 1
            name = sample.sensor.sensor_id
            running = sample.seconds - self._start
            if running >= self.spec.silent.get(name, float("inf")):
                self.tally["silent"] += 1
                continue
            changed = sample
            if running >= self.spec.flat.get(name, float("inf")):
                self.tally["flat"] += 1
                changed = dataclasses.replace(changed, values=self._frozen.setdefault(name, sample.values))
            lasts = running >= self.spec.outside.get(name, float("inf"))
            if lasts or self._befalls("out-of-range", name, sample.seconds):
                values = {key: _outside(sample, key, value) for key, value in changed.values.items()}
                self.tally["out-of-range"] += sum(values[key] != changed.values[key] for key in values)
                changed = dataclasses.replace(changed, values=values)
            if skew := self.spec.skew.get(name):
                self.tally["skew"] += 1
                changed = dataclasses.replace(changed, seconds=sample.seconds + skew)
            yield changed

    def messages(self, stream: Iterable[Message]) -> Iterator[Message]:
        """Yield what reaches the broker of ``stream`` (ordered by ``due``), in the order it is published.

        Late messages wait until what is due ``late_seconds`` later, messages out of order until after the next one
        of their sensor; whatever still waits when ``stream`` ends comes last.
        """
        late: list[tuple[float, int, Message]] = []
        order = itertools.count()
        swapped: dict[str, Message] = {}
        for message in stream:
            self.tally["messages"] += 1
            while late and late[0][0] <= message.due:
                yield from self._out(heapq.heappop(late)[2])
            name, when = message.sensor_id, message.due
            if self._befalls("lost", name, when):
                self.tally["lost"] += 1
                continue
            made = self._malformed(message)
            if self._befalls("late", name, when):
                self.tally["late"] += 1
                due = when + self.spec.late_seconds
                heapq.heappush(late, (due, next(order), dataclasses.replace(made, due=due)))
            elif name not in swapped and self._befalls("out-of-order", name, when):
                self.tally["out-of-order"] += 1
                swapped[name] = made
            else:
                yield from self._out(made)
                if name in swapped:
                    yield from self._out(swapped.pop(name))
        for message in [*swapped.values(), *(item[2] for item in sorted(late, key=lambda item: item[:2]))]:
            yield from self._out(message)

    def _out(self, message: Message) -> Iterator[Message]:
        self.tally["out"] += 1
        yield message
        if self._befalls("duplicate", message.sensor_id, message.due):
            self.tally["duplicate"] += 1
            self.tally["out"] += 1
            yield message

    def _malformed(self, message: Message) -> Message:
        if not self._befalls("malformed", message.sensor_id, message.due):
            return message
        draw = random_source.uniform(self._salt("kind", message.sensor_id), round(message.due * 1000))
        kind = MALFORMED[int(draw * len(MALFORMED))]
        self.tally["malformed"] += 1
        self.tally[f"malformed:{kind}"] += 1
        return dataclasses.replace(message, payload=BREAK[kind](message.payload))

    def _befalls(self, fault: str, sensor_id: str, seconds: float) -> bool:
        rate = self.spec.rates.get(fault, 0.0)
        return rate > 0 and random_source.uniform(self._salt(fault, sensor_id), round(seconds * 1000)) < rate

    def _salt(self, fault: str, sensor_id: str) -> int:
        salt = self._salts.get((fault, sensor_id))
        if salt is None:
            salt = self._salts[fault, sensor_id] = random_source.key(self._seed, "fault", fault, sensor_id)
        return salt


def _outside(sample: Sample, name: str, value: Value) -> Value:
    """Return a number beyond the quantity's plausible range, or ``value`` where there is none to leave.

    It lies as far behind the bound as ``value`` lies before it, and more: what leaves its range goes on moving.
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
    """Replace the numbers and truth values of all members, whatever the nesting, by text of our own."""
    members = r'(?<=":)(?:-?\d[\d.eE+-]*|true|false)'
    return re.sub(members, lambda found: replace(found[0]), payload.decode()).encode()


BREAK: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda payload: payload[: len(payload) * 2 // 3],
    "not-utf-8": lambda payload: payload.replace(b'"', b'"\xff', 1),
    # JSON knows no NaN, but many devices' printf does.
    "nan": lambda payload: _all_numbers(payload, lambda _: "NaN"),
    "wrong-type": lambda payload: _all_numbers(payload, lambda number: orjson.dumps({"is": number}).decode()),
}
"""How each kind of malformed payload is made from a good one."""
