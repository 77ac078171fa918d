"""Times as devices write them: ISO 8601 text and numbers since 1970, as microseconds since 1970-01-01 UTC."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from collector.formats import numeric_text
from collector.message import Reason, UnusableError, quoted

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LONGEST_TIME = 64
"""Characters; twice the length of a time to the nanosecond with an offset."""

Moment = tuple[int | None, UnusableError | None]
"""``Measurement.time`` and ``Measurement.problem``."""

ARRIVAL: Moment = (None, None)
"""The message has no time; its arrival counts."""

_CLOCK_SET = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970. Clocks that were never set count from 1970, or from the device's start."""


def moment(raw: Any, unit: str, zone: ZoneInfo | None = None) -> Moment:
    """Return the instant of ``raw``: ISO 8601 text (unit ``iso8601``), else a number of ``unit`` since 1970.

    null is no time. ``zone`` is the zone of text without an offset; without a zone such text is a problem.
    """
    if raw is None:
        return ARRIVAL
    try:
        return (iso8601(raw, zone) if unit == "iso8601" else epoch(raw, unit)), None
    except UnusableError as error:
        return None, error.with_traceback(None)


def arrival_unless_set(when: Moment) -> Moment:
    """Return ``when``, or :data:`ARRIVAL` where the device's clock was not set yet."""
    time = when[0]
    return ARRIVAL if time is not None and time < _CLOCK_SET else when


def iso8601(raw: Any, zone: ZoneInfo | None) -> int:
    """Return the instant of ``raw`` (ISO 8601 text); raises :class:`~collector.message.UnusableError`.

    ``zone`` is the zone of times without an offset; without a zone they are refused.
    """
    if type(raw) is not str or len(raw) > LONGEST_TIME:
        raise UnusableError(Reason.UNREADABLE_TIME, f"expected an ISO 8601 text, got {quoted(raw)}")
    try:
        instant = datetime.fromisoformat(raw)
    except ValueError:
        raise UnusableError(Reason.UNREADABLE_TIME, f"{quoted(raw)} is not an ISO 8601 time") from None
    if instant.tzinfo is None:
        if zone is None:
            raise UnusableError(
                Reason.TIME_WITHOUT_ZONE,
                f"{quoted(raw)} has no zone: send Z or an offset, or set the sensor's timezone",
            )
        instant = instant.replace(tzinfo=zone)
    try:
        return since_1970(instant - EPOCH)
    except (OverflowError, ValueError):
        raise UnusableError(Reason.UNREADABLE_TIME, f"{quoted(raw)} is out of the calendar") from None


def since_1970(span: timedelta) -> int:
    """Return ``span`` in microseconds."""
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}


def epoch(raw: Any, unit: str) -> int:
    """Return the instant of ``raw``, a number of s, ms, us or ns since 1970, or a text that is such a number.

    Raises :class:`~collector.message.UnusableError`.
    """
    if type(raw) is str:
        # A text that is no number stays one, and is refused below.
        raw = raw if (plain := numeric_text.number(raw)) is None else plain
    if type(raw) not in (int, float) or raw - raw != 0:
        raise UnusableError(Reason.UNREADABLE_TIME, f"expected a number of {unit} since 1970, got {quoted(raw)}")
    if unit == "ns":
        return int(raw // 1_000)
    try:
        microseconds: int = round(raw * _MICROSECONDS[unit])
    except OverflowError:  # a float near its end becomes infinite; as an integer it does not
        microseconds = int(raw) * _MICROSECONDS[unit]
    return microseconds


def date(microseconds: int) -> str:
    """Return ``microseconds`` since 1970 as text; any integer has one."""
    try:
        return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{microseconds} µs since 1970"
