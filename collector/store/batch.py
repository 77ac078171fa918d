"""A batch: the content of one transaction (rows, quarantine rows and accounts). Pure."""

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from collector.formats.times import date
from collector.message import Decoded, Message, NoReadingError, Reading, Reason, Rejection, UndecodableError
from collector.registry.discovery import Discovery, UnregisteredError
from collector.store import ignored

Decode = Callable[[Message], Decoded]

ROW = struct.Struct(">hiqiiidiq")
"""One row (time, series_id, value, received_at) of PostgreSQL's binary COPY format: the number of fields, then
length and value of each (https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format")."""

_pack = ROW.pack

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)

MAX_DISCOVERIES = 10_000
"""Per batch; further ones are discovered when its messages are decoded again."""

POSTGRES_EPOCH = 946_684_800_000_000
"""2000-01-01 UTC, the epoch of PostgreSQL's timestamps, in microseconds since 1970."""


class Quarantined(NamedTuple):
    """One row for ``telemetry.quarantine``."""

    message: Message
    rejection: Rejection


@dataclass
class Accounts:
    """Counts of messages and readings by outcome; named like the columns of ``telemetry.intake``."""

    messages: int = 0
    decoded: int = 0
    ignored: int = 0
    quarantined_messages: int = 0
    readings: int = 0
    stored: int = 0
    duplicate: int = 0
    replaced: int = 0
    quarantined_readings: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every message and every reading has exactly one outcome."""
        return (
            self.messages == self.decoded + self.ignored + self.quarantined_messages
            and self.readings == self.stored + self.duplicate + self.replaced + self.quarantined_readings
        )

    def add(self, other: "Accounts") -> None:
        """Add ``other`` to this, column by column."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class Batch:
    """Messages, decoded into rows and quarantine rows for the database.

    ``rows`` is the body of a binary COPY. ``accounts`` lacks only the counts that the database returns: the number of
    new rows, of duplicates and of replaced values.
    """

    __slots__ = (
        "_added",
        "_origins",
        "_replaces",
        "_row_ends",
        "accounts",
        "ignored",
        "messages",
        "payload_bytes",
        "quarantined",
        "rows",
        "unregistered",
    )

    def __init__(self) -> None:
        self._added: list[Message] = []
        self.messages: Sequence[Message] = self._added
        self.rows = bytearray()
        self.quarantined: list[Quarantined] = []
        self.accounts = Accounts()
        self.ignored: ignored.Counts = {}
        """Messages and values that are no readings although nothing is wrong with them."""
        self.unregistered: dict[tuple[str, str], Discovery] = {}
        """Series to register before their messages can be decoded, by sensor and quantity.

        While there are any, the batch is incomplete: the messages concerned have no outcome in ``accounts``.
        """
        self.payload_bytes = 0
        """Size of payloads and topics."""
        self._row_ends: list[int] = []
        """End of each message's rows."""
        self._replaces = bytearray()
        """1 for each message whose format publishes state, else 0."""
        self._origins: Sequence[int] | None = None

    @classmethod
    def of(cls, messages: Iterable[Message], decode: Decode) -> "Batch":
        """Return a batch of ``messages``."""
        batch = cls()
        for message in messages:
            batch.add(message, decode)
        return batch

    @classmethod
    def prepared(
        cls,
        messages: Sequence[Message],
        rows: bytearray,
        origins: Sequence[int],
        quarantined: list[Quarantined],
        accounts: Accounts,
        ignored_counts: ignored.Counts | None = None,
    ) -> "Batch":
        """Return a complete batch that was decoded elsewhere; ``messages`` may be a lazy sequence.

        ``origins`` is, for each row, the position of its message; the rows may be in any order.
        """
        batch = cls()
        batch.messages = messages
        batch.rows = rows
        batch.quarantined = quarantined
        batch.accounts = accounts
        batch.ignored = ignored_counts or {}
        batch._origins = origins
        return batch

    def add(self, message: Message, decode: Decode) -> None:
        """Decode ``message`` and count its readings."""
        accounts = self.accounts
        accounts.messages += 1
        self._added.append(message)
        self.payload_bytes += len(message.payload) + len(message.topic)
        replaces = False
        try:
            readings, rejections, values, replaces = content(message, decode)
        except NoReadingError as error:
            accounts.ignored += 1
            ignored.count(self.ignored, message.topic, error.reason, error.ignored)
        except UndecodableError as error:
            accounts.quarantined_messages += 1
            self.quarantined.append(Quarantined(message, error.rejection))
        except UnregisteredError as error:
            for discovery in error.discoveries:
                if len(self.unregistered) < MAX_DISCOVERIES:
                    self.unregistered.setdefault((discovery.sensor.sensor_id, discovery.quantity), discovery)
        else:
            accounts.decoded += 1
            if values:
                ignored.count(self.ignored, message.topic, None, values)
            accounts.readings += len(readings)
            arrival = rounded_arrival(message.received, readings[0][1]) - POSTGRES_EPOCH if readings else 0
            self.rows += b"".join(
                [
                    _pack(4, 8, time - POSTGRES_EPOCH, 4, series_id, 8, value, 8, arrival)
                    for series_id, time, value in readings
                ]
            )
            for rejection in rejections:
                accounts.readings += rejection.readings
                accounts.quarantined_readings += rejection.readings
                self.quarantined.append(Quarantined(message, rejection))
        self._row_ends.append(len(self.rows))
        self._replaces.append(replaces)

    def refuse(self, rejection: Rejection) -> "Batch":
        """Return this batch of one message with all its readings quarantined for the reason of ``rejection``."""
        refused = Batch()
        readings = self.row_count

        def reject(_: Message) -> Decoded:
            return Decoded([], [rejection._replace(readings=readings)])

        refused.add(self.messages[0], reject)
        refused.ignored = self.ignored
        refused.quarantined = [*self.quarantined, *refused.quarantined]
        for row in self.quarantined:
            refused.accounts.readings += row.rejection.readings
            refused.accounts.quarantined_readings += row.rejection.readings
        return refused

    @property
    def row_count(self) -> int:
        """Number of readings for the database."""
        return len(self.rows) // ROW.size

    @property
    def size_bytes(self) -> int:
        """Size of payloads, topics and rows; memory is bounded by it."""
        return self.payload_bytes + len(self.rows)

    def replaces(self, position: int) -> bool:
        """Return whether readings of the message at ``position`` replace earlier ones of their series and time."""
        return self._origins is None and self._replaces[position] == 1

    def with_readings(self) -> list[int]:
        """Return the positions of the messages that have readings for the database, in order."""
        if self._origins is not None:
            return sorted(set(self._origins))
        ends = self._row_ends
        return [position for position, end in enumerate(ends) if end > (ends[position - 1] if position else 0)]

    def readings(self) -> Iterator[tuple[Reading, int]]:
        """Yield every row as a reading, with the position of its message."""
        for index, (_, _, time, _, series_id, _, value, _, _) in enumerate(ROW.iter_unpack(self.rows)):
            origins = self._origins
            position = bisect_right(self._row_ends, index * ROW.size) if origins is None else origins[index]
            yield (series_id, time + POSTGRES_EPOCH, value), position


def content(message: Message, decode: Decode) -> Decoded:
    """Return the content of ``message``; readings at its arrival are rejected if it may have waited at the broker.

    Arrivals are unique microseconds, so a reading of this time is one without its own. Raises what ``decode`` raises.
    """
    decoded = decode(message)
    if not message.waited:
        return decoded
    known = [reading for reading in decoded.readings if reading[1] != message.received]
    unknown = len(decoded.readings) - len(known)
    if not unknown:
        return decoded
    detail = (
        f"no time in the message, and it may have waited {message.waited / 1e6:.0f} s at the broker; load the archive "
        "of that time, or replay with --at-arrival"
    )
    rejection = Rejection(Reason.ARRIVAL_UNKNOWN, detail, unknown)
    return decoded._replace(readings=known, rejections=[*decoded.rejections, rejection])


def not_before(decode: Decode, oldest: int) -> Decode:
    """Return ``decode`` with readings before ``oldest``, in microseconds since 1970, rejected."""

    def decode_not_before(message: Message) -> Decoded:
        decoded = decode(message)
        old = [reading for reading in decoded.readings if reading[1] < oldest]
        if not old:
            return decoded
        detail = f"{date(min(time for _, time, _ in old))} is before {date(oldest)}, where retention begins"
        return decoded._replace(
            readings=[reading for reading in decoded.readings if reading[1] >= oldest],
            rejections=[*decoded.rejections, Rejection(Reason.TIME_TOO_OLD, detail, len(old))],
        )

    return decode_not_before


def rounded_arrival(received: int, time: int) -> int:
    """Return ``received`` rounded to whole seconds after (or before) ``time``; all in microseconds.

    The delay of a message is noise: in milliseconds it takes 2 to 3 bytes per reading in the columnstore, in whole
    seconds almost none. Rounding to seconds of the clock would not help: delays around one would still alternate.
    """
    return time + int((received - time) / 1_000_000) * 1_000_000
