"""Readings whose series and time are stored already with another value: which value stands. Pure.

The first value stands, and the other is a conflict, unless the format publishes state: then the later publish replaces
the earlier one. A second delivery never puts a replaced value back. See docs/decisions/0018-equal-times.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from collector.formats.times import date
from collector.message import Message, Reason, Rejections
from collector.store.batch import Batch, Quarantined, rounded_arrival

Key = tuple[int, int]
"""series_id and time, in microseconds since 1970-01-01 UTC."""

_SECOND = 1_000_000


class Order(Enum):
    """How the order of publishes is known, by the source of messages."""

    DELIVERY = auto()
    """A broker delivers in the order of publishes, and marks what it sent before."""
    ARRIVAL = auto()
    """Messages come a second time with the arrival that they had the first time (Kafka, archive)."""
    FIRST_ARRIVAL = auto()
    """Single messages come again, long after their neighbours, with their first arrival (quarantine)."""
    FILE = auto()
    """Rows have the order of their file, and no arrival."""

    @classmethod
    def of(cls, source: str) -> "Order":
        """Return the order of a source of ``telemetry.intake``."""
        named = {"kafka": cls.ARRIVAL, "archive": cls.ARRIVAL, "replay": cls.FIRST_ARRIVAL, "file": cls.FILE}
        return named.get(source, cls.DELIVERY)


class Publish(NamedTuple):
    """The message that a value came with."""

    source: str
    received: int
    """Arrival, in microseconds since 1970-01-01 UTC."""


@dataclass
class Stored:
    """The stored reading of one series and time."""

    value: float
    received: int
    """Arrival as it is stored: rounded down, by less than a second."""
    publish: Publish | None = None
    """The message that the value came with, where it has replaced another."""
    superseded: set[float] = field(default_factory=set)
    """Values that were replaced."""


@dataclass
class Change:
    """The changes of one series and time."""

    before: float
    """The value that the database has."""
    value: float
    """The value that is to stand."""
    received: int
    """Its arrival, rounded; see :func:`~collector.store.batch.rounded_arrival`."""
    publish: Publish | None
    """The message that it came with; None: it was stored first."""
    superseded: set[float]
    """Values to record as replaced, without ``before``."""


class Resolution(NamedTuple):
    """The outcomes of all readings of a batch whose series and time have several values."""

    changes: dict[Key, Change]
    conflicts: list[Quarantined]
    replaced: int
    """Readings of an instant with another value, of which the later one stands."""
    same: int
    """Readings beyond those equal to the stored value that change nothing, less those equal to it that do."""


class _Outcome(Enum):
    SAME = auto()
    NEWER = auto()
    OLDER = auto()
    CONFLICT = auto()


def resolve(batch: Batch, stored: Mapping[Key, Stored], source: str, begun: int) -> Resolution:
    """Return which values stand after ``batch``, whose readings count in their order.

    ``stored`` has the series and times of which ``batch`` has other values than the database. ``source`` is the
    batch's; a file's load began at ``begun``, in microseconds since 1970-01-01 UTC.
    """
    order = Order.of(source)
    rejections: dict[int, Rejections] = {}
    before = {key: state.value for key, state in stored.items()}
    changes: dict[Key, Change] = {}
    replaced = same = 0
    for (series_id, time, value), position in batch.readings():
        key = series_id, time
        state = stored.get(key)
        if state is None:
            continue
        message = batch.messages[position]
        outcome = _outcome(value, message, state, order, source, begun, replaces=batch.replaces(position))
        is_first = value == before[key]
        if outcome is _Outcome.SAME:
            same += not is_first
            continue
        same -= is_first
        if outcome is _Outcome.CONFLICT:
            detail = f"series {series_id} at {date(time)} has {state.value!r}, this says {value!r}"
            rejections.setdefault(position, Rejections()).add(Reason.CONFLICTING_VALUE, detail)
            continue
        replaced += 1
        if outcome is _Outcome.NEWER:
            state.superseded.add(state.value)
            change = changes.setdefault(key, Change(before[key], value, 0, None, set()))
            change.superseded.add(state.value)
            state.value, state.received = value, rounded_arrival(message.received, time)
            state.publish = Publish(source, message.received)
        else:
            state.superseded.add(value)
            changes.setdefault(key, Change(before[key], state.value, 0, None, set())).superseded.add(value)
    for key, change in changes.items():
        state = stored[key]
        change.value, change.received, change.publish = state.value, state.received, state.publish
        change.superseded -= {change.value, change.before}
    return Resolution(changes, _quarantined(batch, rejections), replaced, same)


def _outcome(
    value: float, message: Message, stored: Stored, order: Order, source: str, begun: int, *, replaces: bool
) -> _Outcome:
    if value == stored.value:
        return _Outcome.SAME
    is_live = order is Order.DELIVERY and not (message.redelivered or message.retained)
    if replaces and is_live:
        return _Outcome.NEWER
    if value in stored.superseded:
        again = (
            replaces
            and order is Order.ARRIVAL
            and stored.publish is not None
            and stored.publish.source == source
            and message.received > stored.publish.received
        )
        return _Outcome.NEWER if again else _Outcome.SAME
    if not replaces:
        return _Outcome.CONFLICT
    return _of_new_value(message, stored, order, begun)


def _of_new_value(message: Message, stored: Stored, order: Order, begun: int) -> _Outcome:
    """Return the outcome of a value that the series and time never had, of a format that publishes state."""
    if order is Order.DELIVERY:
        return _Outcome.NEWER  # its first delivery was not committed
    if order is Order.FILE:
        return _Outcome.NEWER if stored.received > begun - _SECOND else _Outcome.CONFLICT
    if stored.publish is not None:
        is_newer = message.received > stored.publish.received
    else:
        # Of one second, the archive has the other message too, and gives it its turn.
        is_newer = message.received >= stored.received + (0 if order is Order.ARRIVAL else _SECOND)
    return _Outcome.NEWER if is_newer else _Outcome.OLDER


def _quarantined(batch: Batch, rejections: Mapping[int, Rejections]) -> list[Quarantined]:
    return [
        Quarantined(batch.messages[position], rejection)
        for position, of_message in rejections.items()
        for rejection in of_message.as_list()
    ]


def publish_of(value: float, rows: Iterable[tuple[float, str | None, int]]) -> Publish | None:
    """Return the message that a stored ``value`` came with, by the latest of ``rows`` that it replaced.

    ``rows`` are (replaced_by, source, received) of ``telemetry.superseded`` for one series and time.
    """
    publishes = [Publish(source, received) for by, source, received in rows if by == value and source is not None]
    return max(publishes, key=lambda publish: publish.received, default=None)
