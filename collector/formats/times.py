"""Times as devices write them: ISO 8601 text and numbers since 1970, as microseconds since 1970-01-01 UTC."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from collector.formats import numeric_text
from collector.message import Message, Reason, UnusableError, quoted

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LONGEST_TIME = 64
"""Characters; twice the length of a time to the nanosecond with an offset."""

Moment = tuple[int | None, UnusableError | None]
"""``Measurement.time`` and ``Measurement.problem``."""

ARRIVAL: Moment = (None, None)
"""The message has no time; its arrival counts."""

_CLOCK_SET = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970. Clocks that were never set count from 1970, or from the device's start."""


class Arrival(NamedTuple):
    """When a message was sent, as far as its arrival tells, in microseconds since 1970: it may have waited."""

    earliest: int
    latest: int


UNKNOWN_ARRIVAL = Arrival(-(2**63), 2**63)


def arrival_of(message: Message) -> Arrival:
    """Return the arrival that resolves local times of ``message``; a retained one was stored at any time before."""
    received = message.received
    return Arrival(-(2**63) if message.retained else received - message.waited, received)


def moment(
    raw: Any,
    unit: str,
    zone: ZoneInfo | None = None,
    received: Arrival | None = None,
    codes: Sequence[str] = (),
) -> Moment:
    """Return the instant of ``raw``: ISO 8601 text (unit ``iso8601``), else a number of ``unit`` since 1970.

    null is no time. ``zone`` is the zone of text without an offset; without a zone such text is a problem.
    ``received`` resolves local times that occur twice, see :func:`iso8601`; None: the format knows no zone. ``codes``
    are strptime codes, of which the first that matches a text is used.
    """
    if raw is None:
        return ARRIVAL
    try:
        if codes and type(raw) is str and (instant := _by_codes(raw, codes)) is not None:
            return _resolved(instant, raw, zone, received), None
        return (iso8601(raw, zone, received) if unit == "iso8601" else epoch(raw, unit)), None
    except UnusableError as error:
        if error.reason is Reason.TIME_WITHOUT_ZONE and received is None:
            error = UnusableError(error.reason, f"{quoted(raw)} has no zone; let the device send Z or an offset")
        return None, error.with_traceback(None)


def arrival_unless_set(when: Moment) -> Moment:
    """Return ``when``, or :data:`ARRIVAL` where the device's clock was not set yet."""
    time = when[0]
    return ARRIVAL if time is not None and time < _CLOCK_SET else when


def iso8601(raw: Any, zone: ZoneInfo | None, received: Arrival | None = None) -> int:
    """Return the instant of ``raw`` (ISO 8601 text); raises :class:`~collector.message.UnusableError`.

    ``zone`` is the zone of times without an offset; without a zone they are refused. ``received``, when the message
    arrived, resolves a local time that occurs twice (:data:`UNKNOWN_ARRIVAL`: nothing does); None: the caller does so,
    and the earlier instant is returned, for a time that does not exist that of the offset before the change.
    """
    return _resolved(parsed_iso8601(raw), raw, zone, received)


def parsed_iso8601(raw: Any) -> datetime:
    """Return the time that ``raw`` (ISO 8601 text) is, without a zone where it has no offset.

    Raises :class:`~collector.message.UnusableError`.
    """
    if type(raw) is not str or len(raw) > LONGEST_TIME:
        raise UnusableError(Reason.UNREADABLE_TIME, f"expected an ISO 8601 text, got {quoted(raw)}")
    try:
        return datetime.fromisoformat(raw)
    except ValueError:
        instant = _nearly_iso8601(raw)
        if instant is None:
            raise UnusableError(Reason.UNREADABLE_TIME, f"{quoted(raw)} is not an ISO 8601 time") from None
        return instant


_NEARLY = re.compile(
    r"(\d{4})[-/.](\d\d)[-/.](\d\d)[T ](\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?) ?(z|utc|gmt|[+-]\d\d:?\d\d)?",
    re.ASCII | re.IGNORECASE,
)
"""Times that differ from ISO 8601 in separators only, as in ``2024/06/05T14:19:21z``."""


def _nearly_iso8601(raw: str) -> datetime | None:
    match = _NEARLY.fullmatch(raw.strip())
    if match is None:
        return None
    year, month, day, time, offset = match.groups(default="")
    offset = "+00:00" if offset.isalpha() else offset
    try:
        return datetime.fromisoformat(f"{year}-{month}-{day}T{time}{offset}")
    except ValueError:
        return None


def _by_codes(raw: str, codes: Sequence[str]) -> datetime | None:
    """Return the time in ``raw`` by the first of the strptime ``codes`` that matches; None: none does."""
    text = raw.strip()
    text = text[:-1] + "Z" if text.endswith("z") else text
    for code in codes if len(text) <= LONGEST_TIME else ():
        try:
            return datetime.strptime(text, code)  # noqa: DTZ007 - the zone is added where there is none
        except ValueError:
            continue
    return None


def _resolved(instant: datetime, raw: Any, zone: ZoneInfo | None, received: Arrival | None) -> int:
    """Return ``instant`` in microseconds since 1970; raises :class:`~collector.message.UnusableError`."""
    if instant.tzinfo is None:
        if zone is None:
            raise UnusableError(
                Reason.TIME_WITHOUT_ZONE,
                f"{quoted(raw)} has no zone: send Z or an offset, or set the sensor's timezone",
            )
        instant = instant.replace(tzinfo=zone)
        if received is not None:
            return _local(instant, raw, received)
    try:
        return since_1970(instant - EPOCH)
    except (OverflowError, ValueError):
        raise UnusableError(Reason.UNREADABLE_TIME, f"{quoted(raw)} is out of the calendar") from None


_AHEAD = 300_000_000
"""Microseconds that a device's clock may be ahead of the arrival, or behind it where the message may have waited."""


def _local(instant: datetime, raw: Any, received: Arrival) -> int:
    """Return the local time ``instant`` in microseconds since 1970; raises :class:`~collector.message.UnusableError`.

    When clocks are set back an hour occurs twice. A message of that hour is of its second pass if that is not after
    the arrival; but whatever arrives more than the length of the hour later may be of either, and so may one that
    waited so long that it may have been sent in either.
    """
    try:
        first, later = since_1970(instant - EPOCH), instant.replace(fold=1)
        if later.utcoffset() == instant.utcoffset():
            return first
        second = since_1970(later - EPOCH)
    except (OverflowError, ValueError):
        raise UnusableError(Reason.UNREADABLE_TIME, f"{quoted(raw)} is out of the calendar") from None
    if first > second:  # the offsets before and after the change are swapped for a time that was skipped
        raise UnusableError(
            Reason.NONEXISTENT_TIME, f"{quoted(raw)} does not exist in {instant.tzinfo}: clocks were set forward"
        )
    length = second - first
    # Most messages are sent soon after their time; else before the second pass, or in the length of it.
    for first_end, second_end in ((first + _AHEAD, second + _AHEAD), (second - _AHEAD, second + length)):
        is_first = received.earliest < first_end and first - _AHEAD <= received.latest
        is_second = received.earliest < second_end and second - _AHEAD <= received.latest
        if is_first != is_second:
            return first if is_first else second
        if is_first:
            break
    raise UnusableError(
        Reason.AMBIGUOUS_TIME,
        f"{quoted(raw)} occurs twice in {instant.tzinfo}, and the time of arrival does not tell which; "
        "let the device send an offset or UTC",
    )


def since_1970(span: timedelta) -> int:
    """Return ``span`` in microseconds."""
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


_LIKELY = range(_CLOCK_SET, 4_102_444_800_000_000)
"""Microseconds of the years 2000 to 2099."""


def is_likely(microseconds: int) -> bool:
    """Return whether a time is in the years 2000 to 2099, where a number of the right unit is."""
    return microseconds in _LIKELY


def likely_unit(raw: Any) -> str | None:
    """Return the unit in which the number ``raw``, or a text that is one, is a time of this century; None: in none."""
    for unit in ("s", "ms", "us", "ns"):
        try:
            if epoch(raw, unit) in _LIKELY:
                return unit
        except UnusableError:
            return None
    return None


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
