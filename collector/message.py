"""Core types: messages, readings and the reasons for rejections. Pure values."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class Message(NamedTuple):
    """One message as it arrived."""

    topic: str
    payload: bytes
    received: int
    """Time of arrival: microseconds since 1970-01-01 UTC."""
    retained: bool = False
    """Set by the broker on messages that it stored before the collector subscribed."""
    delivery: int = 0
    """The source's identifier for the acknowledgement (MQTT packet identifier; 0: nothing to acknowledge)."""
    qos: int = 1
    """MQTT quality of service of the delivery."""
    redelivered: bool = False
    """Set by the broker on messages that it sent before (MQTT's DUP flag)."""
    waited: int = 0
    """Microseconds that it may have waited at the broker, if longer than COLLECTOR_ARRIVAL_LIMIT_SECONDS, else 0."""

    @property
    def measured(self) -> int | None:
        """The time of readings that have none, which is that of the arrival; None: it is unknown."""
        return None if self.retained or self.waited else self.received


Reading = tuple[int, int, float]
"""series_id, time (microseconds since 1970-01-01 UTC), value. A bare tuple: one is made for every value."""


LARGEST = 1e290
"""Values lie between this and its negative: telemetry.reading refuses others, since their sums would overflow."""


class Reason(StrEnum):
    """The reason for a quarantine row; the values are those of ``telemetry.quarantine.reason``."""

    MALFORMED = "malformed"
    UNKNOWN_SENSOR = "unknown_sensor"
    UNKNOWN_QUANTITY = "unknown_quantity"
    MISSING_BIRTH = "missing_birth"
    WRONG_TYPE = "wrong_type"
    WRONG_UNIT = "wrong_unit"
    NOT_FINITE = "not_finite"
    NOT_EXACT = "not_exact"
    TOO_LARGE = "too_large"
    BAD_QUALITY = "bad_quality"
    MISSING_TIME = "missing_time"
    UNREADABLE_TIME = "unreadable_time"
    TIME_WITHOUT_ZONE = "time_without_zone"
    AMBIGUOUS_TIME = "ambiguous_time"
    NONEXISTENT_TIME = "nonexistent_time"
    ARRIVAL_UNKNOWN = "arrival_unknown"
    TIME_TOO_OLD = "time_too_old"
    TIME_IN_FUTURE = "time_in_future"
    CONFLICTING_VALUE = "conflicting_value"
    REFUSED_BY_DATABASE = "refused_by_database"
    DEFECT = "defect"


class IgnoredReason(StrEnum):
    """The reason why a message, or a value in it, is no reading although nothing is wrong with it."""

    EMPTY_PAYLOAD = "empty_payload"
    """MQTT's way to delete a retained message."""
    EMPTY_LIST = "empty_list"
    NO_VALUE = "no_value"
    """The document has no values: no member, no record, only comments."""
    NO_DECODED_PAYLOAD = "no_decoded_payload"
    """A LoRaWAN uplink without the output of a payload formatter or codec."""
    NOT_TELEMETRY = "not_telemetry"
    """Presence, commands, settings, events and other messages about the device or its gateway."""
    RETAINED_WITHOUT_TIME = "retained_without_time"
    NO_LISTED_QUANTITY = "no_listed_quantity"
    AVAILABILITY_TEXT = "availability_text"
    """A text such as ``unavailable`` or ``offline`` in place of a value."""
    NULL = "null"
    """null or an empty list in place of a value."""
    UNMAPPED_TEXT = "unmapped_text"
    """A text that is no number and that ``states`` does not map."""
    NOT_A_VALUE = "not_a_value"
    """An object or a list in place of a value."""
    IGNORED_BY_REGISTRY = "ignored_by_registry"
    """sensors.json has an option to ignore it."""


class Rejection(NamedTuple):
    """Readings of one message that are quarantined for one reason; ``readings`` 0 means the message as a whole."""

    reason: Reason
    detail: str
    readings: int = 0


NONE_IGNORED: Mapping[IgnoredReason, int] = {}


class Decoded(NamedTuple):
    """The content of a message."""

    readings: list[Reading]
    rejections: list[Rejection]
    ignored: Mapping[IgnoredReason, int] = NONE_IGNORED
    """Number of values of listed quantities that are no readings, by reason."""
    replaces: bool = False
    """Whether a reading replaces an earlier one of its series and time: the format publishes states."""


class Rejections:
    """The quarantined readings of one message, by reason: the first detail and the number of readings.

    ``ignored`` counts the values that are no readings.

    With one row per reading a single message of 20,000 bad readings would write its payload 20,000 times.
    """

    __slots__ = ("_by_reason", "ignored")

    def __init__(self) -> None:
        self._by_reason: dict[Reason, Rejection] = {}
        self.ignored: dict[IgnoredReason, int] = {}

    def ignore(self, reason: IgnoredReason, values: int = 1) -> None:
        """Count ``values`` that are no readings."""
        self.ignored[reason] = self.ignored.get(reason, 0) + values

    def add(self, reason: Reason, detail: str, readings: int = 1) -> None:
        """Add ``readings`` that are quarantined for ``reason``."""
        known = self._by_reason.get(reason)
        if known is None:
            self._by_reason[reason] = Rejection(reason, detail, readings)
        else:
            self._by_reason[reason] = known._replace(readings=known.readings + readings)

    def as_list(self) -> list[Rejection]:
        """Return one rejection per reason."""
        return list(self._by_reason.values())


class UndecodableError(Exception):
    """A message as a whole can't be understood: the one error that a format raises."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.rejection = Rejection(reason, detail)


class NoReadingError(Exception):
    """A message that holds no reading although nothing is wrong with it; it is counted as ignored.

    ``ignored`` counts its values of listed quantities that are no readings, by reason.
    """

    def __init__(self, reason: IgnoredReason, detail: str, ignored: Mapping[IgnoredReason, int] = NONE_IGNORED) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.ignored = ignored


class UnusableError(ValueError):
    """A value, a time or a part of a message that can't be a reading."""

    readings = 1
    """How many readings it would have been."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class IgnoredError(UnusableError):
    """A part of a message that is no reading although nothing is wrong with it; it is counted as ignored."""

    def __init__(self, ignored: IgnoredReason, detail: str) -> None:
        super().__init__(Reason.UNKNOWN_QUANTITY, detail)
        self.ignored = ignored


_LONGEST_TEXT = 60
_LONGEST_QUOTE = 160


def quoted(raw: Any) -> str:
    """Return ``raw`` for a rejection's detail: short, in ASCII and printable, so that terminals and columns take it."""
    # Lists and objects are not looked into: they may be deep, large, and shared by all readings of a message.
    if isinstance(raw, list | dict):
        return "a list" if isinstance(raw, list) else "an object"
    text = ascii(raw[:_LONGEST_TEXT] + "…" if isinstance(raw, str) and len(raw) > _LONGEST_TEXT else raw)
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"
