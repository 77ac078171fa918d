"""The rule that turns a raw value, its unit and its time into a reading of a series. Pure.

1. Time: not before the sensor's ``since`` and not after the message's arrival plus COLLECTOR_MAX_FUTURE_SECONDS;
   the arrival itself where the message has no time.
2. Kind: states (texts that the registry maps to numbers), true and false, numbers, texts that are a number. null and
   an empty list are no reading. A text that begins like a number is quarantined. For any other value the format's
   :attr:`~collector.formats.measurement.FormatOptions.wrong_kind` decides whether it is ignored or quarantined.
3. Number: finite, smaller than :data:`~collector.message.LARGEST`, and an integer only if a double holds it exactly.
4. Unit: converted from the unit in the message, else from ``sent_unit``, to the unit of the series.

:meth:`Series.reading` is the rule. Everything that decodes faster (:func:`column_readings` here, the loops of
:mod:`collector.decode.series_decoder`, the columns of :mod:`collector.files.batches`) accepts only values for which
the rule has an obvious result and leaves all others to it; property tests compare them with the rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

from collector import units
from collector.formats import numeric_text
from collector.formats.measurement import Column
from collector.formats.times import date
from collector.message import LARGEST, IgnoredReason, Reading, Reason, UnusableError, quoted
from collector.registry.schema import Quantity

EXACT = 2**53
"""Every integer between this and its negative has an exact double."""
LEAST_EXACT = -EXACT

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBERS = frozenset((int, float))
_WORDS = {"true": 1.0, "false": 0.0, "on": 1.0, "off": 0.0, "yes": 1.0, "no": 0.0}
"""Texts that are true or false, in lower case."""


_DEGREES = frozenset(("\u00b0", "\u00ba", "\u02da", "deg"))
"""Behind a temperature, as in 21.5\u00b0, its own unit; an angle elsewhere."""
_NO_NUMBER_BEGINS = frozenset("abcdefghjklmopqrstuvwxyzABCDEFGHJKLMOPQRSTUVWXYZ")
"""Letters that no number begins with: all but those of NaN and infinity."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of the registry, prepared for values."""

    source: str
    """The device's name for the quantity."""
    series_id: int
    since: int
    """The earliest accepted time, in microseconds since 1970-01-01 UTC."""
    unit: str
    sent_unit: str
    has_sent_unit: bool
    """Whether the registry has a ``sent_unit``: then a unit that is unknown is another spelling of it."""
    plain_units: frozenset[str | None]
    """Units of a number that needs no conversion; empty where the only numbers are 0 and 1."""
    is_boolean: bool
    is_strict: bool
    """Whether a value of another kind is quarantined rather than ignored."""
    takes_booleans: bool
    takes_words: bool
    """Whether 0 and 1, and texts such as on and off, are true and false where the series is a boolean."""
    states: Mapping[str, float]
    """By text as it is written and in lower case."""
    longest_state: int
    """Characters; most texts that devices send are no states at all."""
    decimal: numeric_text.Decimal | None
    """Decimal mark of texts."""
    unit_suffix: bool
    """Whether texts have a unit behind the number."""
    expected_text: str
    """The texts that are values, for the detail of a rejection."""

    @classmethod
    def of(
        cls,
        name: str,
        quantity: Quantity,
        series_id: int,
        since: int,
        *,
        is_strict: bool,
        takes_words: bool | None = None,
    ) -> "Series":
        """Return the series of ``quantity``, called ``name``; ``since`` is in microseconds since 1970.

        ``takes_words`` None: unless it is strict.
        """
        if takes_words is None:
            takes_words = not is_strict
        is_boolean = quantity.kind == "boolean"
        states = quantity.states or {}
        by_text = {**{text.lower(): value for text, value in states.items()}, **states}
        if is_boolean and takes_words:
            by_text = {**_WORDS, **by_text}
        sent_unit = quantity.sent_unit or quantity.unit
        without_unit = (None, "") if sent_unit == quantity.unit else ()
        return cls(
            source=quantity.source or name,
            series_id=series_id,
            since=since,
            unit=quantity.unit,
            sent_unit=sent_unit,
            has_sent_unit=quantity.sent_unit is not None,
            plain_units=frozenset() if is_boolean else frozenset((quantity.unit, *without_unit)),
            is_boolean=is_boolean,
            is_strict=is_strict,
            takes_booleans=is_boolean or not is_strict,
            takes_words=takes_words,
            states=by_text,
            longest_state=max(map(len, by_text), default=-1),
            decimal=quantity.decimal,
            unit_suffix=bool(quantity.unit_suffix),
            expected_text=f"one of {', '.join(map(quoted, states))}"
            if states
            else ("true or false" if is_boolean else "a number"),
        )

    def reading(self, raw: Any, unit: str | None, time: int | None, received: int, latest: int) -> Reading | None:
        """Return the reading of ``raw`` in ``unit`` at ``time``; None: it is no reading and is ignored.

        ``unit`` and ``time`` are None where the message has none; ``received``, when it arrived, is then the time.
        ``latest`` is the last time accepted. Times are in microseconds since 1970-01-01 UTC. Raises
        :class:`~collector.message.UnusableError`.
        """
        if raw is None or raw == []:
            return None
        if time is None:
            time = received
        else:
            check_time(time, self.since, latest)
        value = self.value(raw, unit)
        return None if value is None else (self.series_id, time, value)

    def value(self, raw: Any, unit: str | None) -> float | None:
        """Return ``raw`` in the unit of the series; see :meth:`reading`."""
        kind = type(raw)
        if kind is float or kind is int:
            # Most values are such numbers; number() handles the others.
            if LEAST_EXACT <= raw <= EXACT and unit in self.plain_units:
                return float(raw)
        elif kind is str:
            return self._text(raw, unit)
        elif kind is bool:
            if self.takes_booleans:
                return 1.0 if raw else 0.0
        elif raw is None or raw == [] or not self.is_strict:
            return None
        if self.is_boolean:
            if raw in (0, 1) and self.takes_words:
                return float(raw)
            raise UnusableError(Reason.WRONG_TYPE, f"expected true or false, got {quoted(raw)}")
        return self._converted(number(raw), unit or self.sent_unit)

    def conversion(self) -> units.Conversion | None:
        """Return the conversion of numbers without a unit; None: they have the unit of the series, or it has none."""
        return None if None in self.plain_units or self.is_boolean else units.conversion(self.sent_unit, self.unit)

    def _converted(self, value: float, unit: str) -> float:
        if unit == self.unit:
            return value
        try:
            convert = units.conversion(unit, self.unit)
        except ValueError as error:
            if self._is_sent_unit(unit):
                return self._converted(value, self.sent_unit)
            hint = "" if units.exists(unit) else '; if it is another spelling set "sent_unit" to its UCUM code'
            raise UnusableError(Reason.WRONG_UNIT, f"{error}{hint}") from None
        return value if convert is None else number(convert(value))

    def _is_sent_unit(self, unit: str) -> bool:
        """Return whether ``unit`` can only be another spelling of the unit that the registry has."""
        return self.has_sent_unit and unit != self.sent_unit and not units.exists(unit)

    def _text(self, text: str, unit: str | None) -> float | None:
        """Return the number of a state, or the one that ``text`` is; None: it is no reading."""
        text = text.strip(numeric_text.PADDING)
        if len(text) <= self.longest_state:
            value = self.states.get(text)
            if value is None:
                value = self.states.get(text.lower())
            if value is not None:
                return value
        if text[:1] in _NO_NUMBER_BEGINS:  # most states
            return self._unmapped(text)
        plain = numeric_text.number(text, self.decimal)
        if plain is not None:
            return self.value(plain, unit)
        if self.unit_suffix and (parts := numeric_text.number_and_unit(text, self.decimal)) is not None:
            if not units.exists(parts[1]):  # sent_unit is not assumed here: 3h 5m is not three hours
                raise UnusableError(Reason.WRONG_UNIT, f"no known unit follows the number in {quoted(text)}")
            is_temperature = parts[1] in _DEGREES and self.sent_unit in ("Cel", "[degF]")
            return self.value(parts[0], None if is_temperature else parts[1])
        help_text = numeric_text.problem(text, self.decimal, unit_suffix=self.unit_suffix)
        if help_text is not None:
            raise UnusableError(Reason.WRONG_TYPE, f"expected {self.expected_text}, got {quoted(text)}; {help_text}")
        return self._unmapped(text)

    def _unmapped(self, text: str) -> float | None:
        """Return None for a text that is no reading; raises where the format quarantines it."""
        # Tables, which take words, have markers of missing values of their own.
        if self.is_strict and (self.takes_words or text.lower() not in numeric_text.AVAILABILITY):
            raise UnusableError(
                Reason.WRONG_TYPE,
                f'expected {self.expected_text}, got {quoted(text)}; map it under "states" if it is a state',
            )
        return None


def ignored_reason(raw: Any) -> IgnoredReason:
    """Return why ``raw``, for which the rule has no number, is no reading."""
    if raw is None or raw == []:
        return IgnoredReason.NULL
    if type(raw) is str:
        is_absent = raw.strip(numeric_text.PADDING).lower() in numeric_text.AVAILABILITY
        return IgnoredReason.AVAILABILITY_TEXT if is_absent else IgnoredReason.UNMAPPED_TEXT
    return IgnoredReason.NOT_A_VALUE


def number(raw: Any) -> float:
    """Return ``raw`` as a float; raises :class:`~collector.message.UnusableError`.

    Text, booleans and null are no numbers. An integer that a double can't hold exactly (beyond 2^53, not every
    one can be) is refused rather than altered.
    """
    kind = type(raw)
    if kind is float:
        if -LARGEST < raw < LARGEST:
            return raw  # type: ignore[no-any-return]
        if raw - raw != 0.0:
            raise UnusableError(Reason.NOT_FINITE, f"{raw} is not a finite number")
        raise UnusableError(Reason.TOO_LARGE, f"{raw} is too large: sums of such values would overflow")
    if kind is int:
        try:
            value = float(raw)
        except OverflowError:
            raise UnusableError(Reason.NOT_FINITE, "an integer too large for a double") from None
        if value != raw:
            raise UnusableError(Reason.NOT_EXACT, f"{raw} has no exact double; it would become {value:.0f}")
        return number(value)
    raise UnusableError(Reason.WRONG_TYPE, f"expected a number, got {quoted(raw)}")


def conversion_problem(sent: str, wanted: str) -> str | None:
    """Return why numbers in unit ``sent`` can't become numbers in ``wanted``; None: they can."""
    try:
        units.conversion(sent, wanted)
    except ValueError as error:
        return str(error)
    return None


def check_time(time: int, earliest: int, latest: int) -> None:
    """Raise :class:`~collector.message.UnusableError` unless ``earliest <= time <= latest``, in microseconds."""
    if time < earliest:
        raise UnusableError(Reason.TIME_TOO_OLD, f"{date(time)} is before {date(earliest)}")
    if time > latest:
        raise UnusableError(
            Reason.TIME_IN_FUTURE, f"{date(time)} is after {date(latest)}, the latest time accepted on arrival"
        )


def microseconds(instant: datetime) -> int:
    """Return ``instant`` in microseconds since 1970-01-01 UTC."""
    return (instant - _EPOCH) // datetime.resolution


def column_readings(column: Column, series: Series, latest: int) -> list[Reading] | None:
    """Return the readings of ``column``, if all of its values and times are plainly accepted by the rule."""
    values, times = column.values, column.times
    kinds = set(map(type, values))
    if not (column.magnitude < EXACT and kinds <= _NUMBERS and None in series.plain_units):
        return None
    if not (series.since <= min(times) and max(times) <= latest):
        return None
    floats = map(float, values) if int in kinds else values
    return list(zip(repeat(series.series_id), times, floats, strict=False))
