"""Parses and formats times and window widths of requests and responses. Pure."""

import re
from datetime import UTC, date, datetime, time, timedelta

MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_WIDTH = re.compile(r"([0-9]{1,15})(us|ms|s|m|h|d)")
_LONGEST = 3_660 * _UNITS["d"]
_UNESCAPED_PLUS = re.compile(r"(T[\d:.,]+) (\d\d:?\d\d)")


def parse_width(text: str) -> int:
    """Return a width such as ``10s``, ``500ms``, ``5m``, ``1h`` or ``1d`` in microseconds; raises ``ValueError``."""
    match = _WIDTH.fullmatch(text)
    length = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < length <= _LONGEST:
        raise ValueError("must be a number and us, ms, s, m, h or d, for example 10s or 15m; ten years at most")
    return length


def parse_instant(text: object) -> datetime:
    """Parse an ISO 8601 time and return it in UTC; a date means its start. Raises ``ValueError``."""
    if isinstance(text, datetime):
        return text
    message = "must be an ISO 8601 time with Z or an offset, for example 2026-03-01T12:00:00Z, or a date"
    if not isinstance(text, str) or len(text) > 40:  # noqa: PLR2004 - longer than any ISO 8601 time
        raise ValueError(message)
    try:
        # An unescaped plus in a URL arrives as a space.
        parsed = datetime.fromisoformat(_UNESCAPED_PLUS.sub(r"\1+\2", text))
        if parsed.tzinfo is None:
            # A date without a time is a day in UTC, as everywhere in this product; a time without a zone is an error.
            parsed = datetime.combine(date.fromisoformat(text), time(), UTC)
        return parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(message) from None


def format_utc(when: datetime) -> str:
    """Return ``when`` as text for responses: ISO 8601 in UTC, with Z."""
    text = when.isoformat()
    if not text.endswith("+00:00"):
        text = when.astimezone(UTC).isoformat()
    return text[:-6] + "Z"


def to_micros(when: datetime) -> int:
    """Return microseconds since 1970-01-01 UTC."""
    return (when - EPOCH) // MICROSECOND


def from_micros(microseconds: int) -> datetime:
    """Return the time that is ``microseconds`` after 1970-01-01 UTC."""
    return EPOCH + microseconds * MICROSECOND


def next_minute(when: datetime) -> datetime:
    """Return ``when`` rounded up to a whole minute."""
    minute = when.replace(second=0, microsecond=0)
    return minute if minute == when else minute + timedelta(minutes=1)
