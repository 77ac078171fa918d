"""Simulated signals: curves that depend only on seed, sensor, quantity and time.

The curves have no state, so history and live runs agree where they meet, and a restarted simulator continues the same
curve. Times are in seconds since 1970-01-01 UTC.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from collector.registry.sensors_file import Quantity, Sensor
from core.errors import SettingError
from simulator import random_source

_HOUR = 3600.0
_DAY = 24 * _HOUR
_YEAR = 365.2425 * _DAY

Curve = Callable[[float], float]


@dataclass(frozen=True)
class Signal:
    """One series: ``curve`` returns the exact value at a time, ``decimals`` is the resolution of the sensor."""

    curve: Curve
    decimals: int
    minimum: float
    maximum: float
    boolean: bool = False

    def at(self, seconds: float) -> float | bool:
        """Return the reading at ``seconds``: rounded, and within the plausible range."""
        value = self.curve(seconds)
        if self.boolean:
            return value > 0
        value = min(max(value, self.minimum), self.maximum)
        return round(value, self.decimals) if self.decimals else round(value)


@dataclass(frozen=True)
class LoadCycle:
    """A period of a motor under load, from the begin of the load to its end.

    ``level`` is the mean value between the ramps, which take :data:`RAMP_SECONDS` each and are inside the cycle.
    """

    start: datetime
    end: datetime
    level: float


RAMP_SECONDS = 0.5


def names() -> tuple[str, ...]:
    """Return the valid values of a quantity's ``signal``."""
    return tuple(_MAKERS)


def signal(sensor: Sensor, name: str, seed: int) -> Signal:
    """Return the signal of quantity ``name`` of ``sensor``.

    It is the quantity's ``signal``, else the signal with the quantity's name, else ``wander``. Raises
    :class:`SettingError` if ``signal`` is unknown.
    """
    quantity = sensor.quantities[name]
    if quantity.signal is not None and quantity.signal not in _MAKERS:
        raise SettingError(
            f"{sensor.sensor_id}, {name}: no such signal {quantity.signal!r}; there are {', '.join(_MAKERS)}"
        )
    maker, decimals = _MAKERS.get(quantity.signal or name, _MAKERS["wander"])
    curve = maker(sensor, name, seed)
    if curve is None:  # the signal does not support the unit
        curve, decimals = _wander(sensor, name, seed), 2
    low, high = _range(quantity)
    return Signal(curve, decimals, low, high, boolean=quantity.kind == "boolean")


def motor_load_cycles(sensor: Sensor, name: str, seed: int, start: datetime, end: datetime) -> list[LoadCycle]:
    """Return the true load cycles of a ``motor_load`` signal that overlap ``start`` … ``end``, in order."""
    motor = _Motor(sensor, name, seed)
    cycles = motor.cycles(start.timestamp(), end.timestamp())
    return [
        LoadCycle(datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC), level)
        for first, last, level in cycles
    ]


def _range(quantity: Quantity) -> tuple[float, float]:
    """Return the bounds of a quantity; infinite where it has none."""
    low = -math.inf if quantity.minimum is None else quantity.minimum
    high = math.inf if quantity.maximum is None else quantity.maximum
    return low, high


def _noise(sensor: Sensor, name: str, seed: int) -> Curve:
    own = random_source.key(seed, sensor.sensor_id, name, "noise")
    return lambda seconds: random_source.noise(own, round(seconds * 1000))


def _climate(sensor: Sensor, seed: int) -> Curve:
    """Return the outdoor temperature in degrees Celsius; one curve per site."""
    site = random_source.key(seed, "site", sensor.site)
    weather, front = random_source.key(site, "weather"), random_source.key(site, "front")
    latitude = 45.0 if sensor.latitude is None else sensor.latitude
    noon_shift = (sensor.longitude or 0.0) * 240  # the sun moves one degree per 240 s
    yearly = math.copysign(0.18 * min(abs(latitude), 60), latitude)
    mean = 25 - 0.22 * abs(latitude)

    def at(seconds: float) -> float:
        season = -math.cos(2 * math.pi * (seconds / _YEAR - 0.055))  # coldest about 20 January in the north
        daily = math.cos(2 * math.pi * ((seconds + noon_shift) / _DAY - 15 / 24))  # warmest at 15:00 solar time
        slow = 2.5 * random_source.wander(weather, seconds, 3 * _DAY) + 0.8 * random_source.wander(
            front, seconds, 9 * _HOUR
        )
        return mean + yearly * season + 4.5 * daily + slow

    return at


_FROM_CELSIUS: dict[str, Curve] = {
    "Cel": lambda value: value,
    "[degF]": lambda value: value * 9 / 5 + 32,
    "K": lambda value: value + 273.15,
}


def _temperature(sensor: Sensor, name: str, seed: int) -> Curve | None:
    convert = _FROM_CELSIUS.get(sensor.quantities[name].unit)
    if convert is None:
        return None
    climate, noise = _climate(sensor, seed), _noise(sensor, name, seed)
    own = random_source.key(seed, sensor.sensor_id, name)
    offset = 2 * random_source.uniform(own, 0) - 1
    # Indoors: two fifths of the outdoor variation around a comfortable mean.
    return lambda seconds: convert(13 + offset + 0.4 * climate(seconds) + 0.04 * noise(seconds))


def _humidity(sensor: Sensor, name: str, seed: int) -> Curve | None:
    if sensor.quantities[name].unit != "%":
        return None
    climate, noise = _climate(sensor, seed), _noise(sensor, name, seed)
    own = random_source.key(seed, sensor.sensor_id, name)
    # The relative humidity of air that warms without taking up water falls by about 3 % per kelvin.
    return lambda seconds: (
        75 - 1.6 * climate(seconds) + 3 * random_source.wander(own, seconds, 2 * _DAY) + 0.3 * noise(seconds)
    )


_FROM_HECTOPASCAL = {"hPa": 1.0, "mbar": 1.0, "Pa": 100.0, "kPa": 0.1, "bar": 0.001}


def _pressure(sensor: Sensor, name: str, seed: int) -> Curve | None:
    factor = _FROM_HECTOPASCAL.get(sensor.quantities[name].unit)
    if factor is None:
        return None
    site = random_source.key(seed, "pressure", sensor.site)
    front = random_source.key(site, "front")
    noise = _noise(sensor, name, seed)

    def at(seconds: float) -> float:
        drift = 14 * random_source.wander(site, seconds, 4 * _DAY) + 3 * random_source.wander(
            front, seconds, 0.7 * _DAY
        )
        tide = 1.1 * math.cos(4 * math.pi * (seconds / _DAY - 10 / 24))  # maxima at 10:00 and 22:00
        return factor * (1013.25 + drift + tide + 0.06 * noise(seconds))

    return at


def _heart_rate(sensor: Sensor, name: str, seed: int) -> Curve | None:
    if sensor.quantities[name].unit not in {"/min", "{beats}/min", "{beat}/min"}:
        return None
    own = random_source.key(seed, sensor.sensor_id, name)
    noise = _noise(sensor, name, seed)
    rest = 56 + 12 * random_source.uniform(own, 0)
    slot = 3 * _HOUR
    ramp, recovery = 180.0, 420.0

    def activity(seconds: float) -> float:
        """Return the effort, 0 to 1: at most one activity of 20 to 60 minutes per three hours."""
        turn = int(seconds // slot)
        draws = random_source.key(own, turn)
        if random_source.uniform(draws, 0) > 0.6:  # noqa: PLR2004 - three of five slots are active
            return 0.0
        length = 1200 + 2400 * random_source.uniform(draws, 1)
        begin = turn * slot + random_source.uniform(draws, 2) * (slot - length - recovery)
        rise = min(max((seconds - begin) / ramp, 0), 1)
        fall = min(max((seconds - begin - length) / recovery, 0), 1)
        smooth = rise * rise * (3 - 2 * rise) * (1 - fall * fall * (3 - 2 * fall))
        return smooth * (0.5 + 0.5 * random_source.uniform(draws, 3))

    def at(seconds: float) -> float:
        calm = (
            rest + 4 * math.cos(2 * math.pi * (seconds / _DAY - 16 / 24)) + 3 * random_source.wander(own, seconds, 300)
        )
        return calm + 95 * activity(seconds) + 1.2 * noise(seconds)

    return at


class _Motor:
    """A base level and a rise under load about once per period, slightly different each time.

    The levels depend on the plausible range (0 … 30 V gives 12 V, and 3 V more under load).
    """

    def __init__(self, sensor: Sensor, name: str, seed: int) -> None:
        quantity = sensor.quantities[name]
        low = 0.0 if quantity.minimum is None else quantity.minimum
        high = low + 30.0 if quantity.maximum is None else quantity.maximum
        self._own = random_source.key(seed, sensor.sensor_id, name)
        self._noise = _noise(sensor, name, seed)
        self.base = low + (0.39 + 0.02 * random_source.uniform(self._own, 0)) * (high - low)
        self.rise = (0.09 + 0.02 * random_source.uniform(self._own, 1)) * (high - low)
        self.noise = 0.004 * (high - low)
        self.period = 180 + 120 * random_source.uniform(self._own, 2)
        self.duty = 0.35 + 0.1 * random_source.uniform(self._own, 3)

    def cycle(self, number: int) -> tuple[float, float, float]:
        """Return start, end (seconds) and level of the ``number``-th cycle since 1970; cycles never touch."""
        draws = random_source.key(self._own, number)
        start = (number + 0.1 * random_source.uniform(draws, 0)) * self.period
        duration = self.period * self.duty * (0.9 + 0.2 * random_source.uniform(draws, 1))
        level = self.base + self.rise * (0.9 + 0.2 * random_source.uniform(draws, 2))
        # Whole milliseconds, so that conversions do not change it.
        return round(start, 3), round(start + duration, 3), level

    def cycles(self, start: float, end: float) -> Iterator[tuple[float, float, float]]:
        for number in range(int(start // self.period) - 1, int(end // self.period) + 1):
            first, last, level = self.cycle(number)
            if last > start and first < end:
                yield first, last, level

    def __call__(self, seconds: float) -> float:
        start, end, level = self.cycle(int(seconds // self.period))
        share = min(max(min(seconds - start, end - seconds) / RAMP_SECONDS, 0), 1)
        return self.base + share * (level - self.base) + self.noise * self._noise(seconds)


def _wander(sensor: Sensor, name: str, seed: int) -> Curve:
    quantity = sensor.quantities[name]
    low, high = quantity.minimum, quantity.maximum
    if low is None:
        low = 0.0 if high is None else high - 100.0
    if high is None:
        high = low + 100.0
    middle, half = (low + high) / 2, (high - low) / 2
    own = random_source.key(seed, sensor.sensor_id, name)
    fine = random_source.key(own, "fine")
    # At most nine tenths of the distance to a bound.
    return lambda seconds: (
        middle
        + half * (0.7 * random_source.wander(own, seconds, 2 * _HOUR) + 0.2 * random_source.wander(fine, seconds, 600))
    )


_MAKERS: dict[str, tuple[Callable[[Sensor, str, int], Curve | None], int]] = {
    "temperature": (_temperature, 2),
    "humidity": (_humidity, 1),
    "pressure": (_pressure, 1),
    "heart_rate": (_heart_rate, 0),
    "motor_load": (_Motor, 2),
    "wander": (_wander, 2),
}
