"""Instants, periods and widths of windows as they stand in a request. Pure."""

import re
from datetime import UTC, date, datetime, time, timedelta

MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_WIDTH = re.compile(r"([0-9]{1,15})(us|ms|s|m|h|d)")
_LONGEST = 3_660 * _UNITS["d"]
_LOST_PLUS = re.compile(r"(T[\d:.,]+) (\d\d:?\d\d)")


def width(text: str) -> int:
    """Return how many microseconds ``10s``, ``500ms``, ``5m``, ``1h`` or ``1d`` are; raises ``ValueError``."""
    found = _WIDTH.fullmatch(text)
    length = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < length <= _LONGEST:
        raise ValueError("write a number and ms, s, m, h or d, such as 10s or 15m; ten years at most")
    return length


def instant(text: object) -> datetime:
    """Return the instant that ISO 8601 ``text`` is, in UTC; a date alone is its first. Raises ``ValueError``."""
    if isinstance(text, datetime):
        return text
    mend = "write an ISO 8601 time with Z or an offset, such as 2026-03-01T12:00:00Z, or a date"
    if not isinstance(text, str) or len(text) > 40:  # noqa: PLR2004 - no time is longer
        raise ValueError(mend)
    try:
        # In an address a plus that nobody has escaped is a space.
        found = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text))
        if found.tzinfo is None:
            # A date is a date everywhere in this product, where days are those of UTC; a time of day is not.
            found = datetime.combine(date.fromisoformat(text), time(), UTC)
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(mend) from None


def written(when: datetime) -> str:
    """Return ``when`` as it stands in answers: ISO 8601, in UTC, with Z."""
    text = when.isoformat()
    if not text.endswith("+00:00"):
        text = when.astimezone(UTC).isoformat()
    return text[:-6] + "Z"


def micros(when: datetime) -> int:
    """Return microseconds since 1970-01-01 UTC."""
    return (when - EPOCH) // MICROSECOND


def at(microseconds: int) -> datetime:
    """Return the instant so many microseconds after 1970-01-01 UTC."""
    return EPOCH + microseconds * MICROSECOND


def next_minute(when: datetime) -> datetime:
    """Return the first whole minute that is not before ``when``."""
    minute = when.replace(second=0, microsecond=0)
    return minute if minute == when else minute + timedelta(minutes=1)
