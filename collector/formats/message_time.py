"""The time a message says, as its measurements need it: an instant, or why there is none."""

from typing import Any
from zoneinfo import ZoneInfo

from collector.formats.scalars import UnusableError, epoch, iso8601

Moment = tuple[int | None, UnusableError | None]
"""``Measurement.time`` and ``Measurement.problem``."""

ARRIVAL: Moment = (None, None)
"""The message says no time."""

_SET = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970. Clocks that were never set count from 1970, or from the device's start."""


def moment(raw: Any, unit: str, zone: ZoneInfo | None = None) -> Moment:
    """Return the instant ``raw`` says: ISO 8601 text (unit ``iso8601``), else a number of ``unit`` since 1970.

    null is no time. ``zone`` is where text without an offset belongs; without it that is a problem.
    """
    if raw is None:
        return ARRIVAL
    try:
        return (iso8601(raw, zone) if unit == "iso8601" else epoch(raw, unit)), None
    except UnusableError as error:
        return None, error


def if_set(found: Moment) -> Moment:
    """Return ``found``, or :data:`ARRIVAL` where it comes from a clock that was not set yet."""
    time = found[0]
    return ARRIVAL if time is not None and time < _SET else found
