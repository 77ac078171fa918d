"""What goes in and what comes out: messages, readings, and why something is not a reading. Pure values."""

from enum import StrEnum
from typing import NamedTuple


class Message(NamedTuple):
    """One message as it arrived."""

    topic: str
    payload: bytes
    received: int
    """When it arrived: microseconds since 1970-01-01 UTC."""
    retained: bool = False
    """Set by the broker on what it kept from before we subscribed."""
    delivery: int = 0
    """The source's own handle for acknowledging it (MQTT packet identifier; 0: nothing to acknowledge)."""
    qos: int = 1
    """MQTT's quality of service it was delivered with."""


Reading = tuple[int, int, float]
"""series_id, time (microseconds since 1970-01-01 UTC), value. A bare tuple: one is made for every value."""


class Reason(StrEnum):
    """Why a message or a reading is in quarantine; the values are what ``telemetry.quarantine.reason`` holds."""

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
    TIME_TOO_OLD = "time_too_old"
    TIME_IN_FUTURE = "time_in_future"
    CONFLICTING_VALUE = "conflicting_value"
    REFUSED_BY_DATABASE = "refused_by_database"
    DEFECT = "defect"


class Rejection(NamedTuple):
    """Readings of one message that are held back for one reason; ``readings`` 0 means the message as a whole."""

    reason: Reason
    detail: str
    readings: int = 0


class Decoded(NamedTuple):
    """What a message held."""

    readings: list[Reading]
    rejections: list[Rejection]


class Held:
    """Readings of one message that are held back, by reason: the first detail and how many.

    One row a reading would let a single message of 20,000 bad readings write its payload 20,000 times.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[Reason, Rejection] = {}

    def add(self, reason: Reason, detail: str, readings: int = 1) -> None:
        """Hold back ``readings`` more for ``reason``."""
        found = self._found.get(reason)
        if found is None:
            self._found[reason] = Rejection(reason, detail, readings)
        else:
            self._found[reason] = found._replace(readings=found.readings + readings)

    def rejections(self) -> list[Rejection]:
        """Return one rejection a reason."""
        return list(self._found.values())


class UndecodableError(Exception):
    """A message as a whole can't be understood: the one error a format raises."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.rejection = Rejection(reason, detail)


class NoReadingError(Exception):
    """A message holds no reading by its nature; it is counted as ignored."""
