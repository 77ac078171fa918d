"""Numbers and instants as devices write them, and why some are none."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from collector.message import Reason

LARGEST = 1e290
"""Values lie between this and its negative: telemetry.reading refuses others, since their sums would overflow."""


EXACT = 2**53
"""Every integer between this and its negative has an exact double."""


class UnusableError(ValueError):
    """A value or time that can't make a reading."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def number(raw: Any) -> float:
    """Return ``raw`` as a float; raises :class:`UnusableError`.

    Text, booleans and null are no numbers. An integer that a double can't hold exactly (beyond 2^53, not every
    one can be) is refused rather than altered.
    """
    kind = type(raw)
    if kind is float:
        if -LARGEST < raw < LARGEST:
            return raw  # type: ignore[no-any-return]
        if raw - raw != 0.0:
            raise UnusableError(Reason.NOT_FINITE, f"{raw} is not a finite number")
        raise UnusableError(Reason.TOO_LARGE, f"{raw} is so large that no sum could be made of it")
    if kind is int:
        try:
            value = float(raw)
        except OverflowError:
            raise UnusableError(Reason.NOT_FINITE, "an integer too large for a double") from None
        if value != raw:
            raise UnusableError(Reason.NOT_EXACT, f"{raw} has no exact double; it would become {value:.0f}")
        return number(value)
    raise UnusableError(Reason.WRONG_TYPE, f"{shown(raw)} where a number is due")


def boolean(raw: Any) -> float:
    """Return true as 1 and false as 0; raises :class:`UnusableError` on everything else."""
    if raw is True:
        return 1.0
    if raw is False:
        return 0.0
    raise UnusableError(Reason.WRONG_TYPE, f"{shown(raw)} where true or false is due")


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LONGEST_TIME = 64
"""Characters; twice what a time to the nanosecond with an offset has."""


def iso8601(raw: Any, zone: ZoneInfo | None) -> int:
    """Return the instant ``raw`` names (ISO 8601 text) in microseconds since 1970; raises :class:`UnusableError`.

    ``zone`` is where times without an offset belong; without it they are refused.
    """
    if type(raw) is not str or len(raw) > LONGEST_TIME:
        raise UnusableError(Reason.UNREADABLE_TIME, f"{shown(raw)} where an ISO 8601 text is due")
    try:
        instant = datetime.fromisoformat(raw)
    except ValueError:
        raise UnusableError(Reason.UNREADABLE_TIME, f"{shown(raw)} is not an ISO 8601 time") from None
    if instant.tzinfo is None:
        if zone is None:
            raise UnusableError(
                Reason.TIME_WITHOUT_ZONE,
                f"{shown(raw)} has no zone: send Z or an offset, or set the sensor's timezone",
            )
        instant = instant.replace(tzinfo=zone)
    try:
        since = instant - EPOCH
    except (OverflowError, ValueError):
        raise UnusableError(Reason.UNREADABLE_TIME, f"{shown(raw)} is out of the calendar") from None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}


def epoch(raw: Any, unit: str) -> int:
    """Return ``raw``, a number of s, ms, us or ns since 1970, in microseconds; raises :class:`UnusableError`."""
    if type(raw) not in (int, float) or raw - raw != 0:
        raise UnusableError(Reason.UNREADABLE_TIME, f"{shown(raw)} where a number of {unit} since 1970 is due")
    if unit == "ns":
        return int(raw // 1_000)
    try:
        microseconds: int = round(raw * _MICROSECONDS[unit])
    except OverflowError:  # a float near its end becomes infinite; as an integer it does not
        microseconds = int(raw) * _MICROSECONDS[unit]
    return microseconds


def check_time(time: int, earliest: int, latest: int) -> None:
    """Raise :class:`UnusableError` unless ``earliest <= time <= latest``, all in microseconds since 1970."""
    if time < earliest:
        raise UnusableError(Reason.TIME_TOO_OLD, f"{date(time)} is before {date(earliest)}")
    if time > latest:
        raise UnusableError(
            Reason.TIME_IN_FUTURE, f"{date(time)} is after {date(latest)}, the latest allowed on arrival"
        )


def date(microseconds: int) -> str:
    """Return ``microseconds`` since 1970 as text, whatever they are."""
    try:
        return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{microseconds} µs since 1970"


def shown(raw: Any) -> str:
    """Return ``raw`` short enough for a message, with nothing in it that a terminal or a text column minds."""
    # Lists and objects are not looked into: they may be deep, large, and shared by all readings of a message.
    if isinstance(raw, list | dict):
        return "a list" if isinstance(raw, list) else "an object"
    text = ascii(raw[:60] + "…" if isinstance(raw, str) and len(raw) > 60 else raw)  # noqa: PLR2004 - a line's worth
    return text if len(text) <= 160 else text[:160] + "…"  # noqa: PLR2004
