"""Chunks of a table to batches: whole columns where they are good, the row decoder for every other row. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import overload

import numpy as np
from numpy.typing import NDArray

from collector.files import cells, time_columns
from collector.files.cells import Column
from collector.files.rows import RowDecoder
from collector.message import Decoded, Message, NoReadingError, Reason, UndecodableError
from collector.store.batch import POSTGRES_EPOCH, Accounts, Batch

ROW_TYPE = np.dtype(
    [
        ("fields", ">i2"),
        ("time_length", ">i4"),
        ("time", ">i8"),
        ("series_length", ">i4"),
        ("series_id", ">i4"),
        ("value_length", ">i4"),
        ("value", ">f8"),
        ("arrival_length", ">i4"),
        ("arrival", ">i8"),
    ]
)
"""The same bytes as :data:`collector.store.batch.ROW`."""

MAXIMUM_DAYS = 200
"""Most days that the transactions of one load touch at a time: each is a chunk of the hypertable with locks of its
own, and a server gives out a few thousand (``max_locks_per_transaction``)."""

_DAY = 86_400_000_000
_RUN = 1000
"""Rows that a server's COPY puts into a table and its indexes at a time."""


@dataclass(frozen=True)
class Chunk:
    """Rows of a file that are decoded together."""

    columns: tuple[tuple[str, Column], ...]
    """Names and cells, as :func:`cells.plain` has them."""
    numbers: NDArray[np.int64]
    """The rows' numbers in the file."""
    malformed: list[tuple[int, str, str]] = field(default_factory=list)
    """Rows that are none: number, text and what is wrong. Their positions follow those of the others."""

    def message(self, position: int, name: str, received: int) -> Message:
        """Return the row at ``position`` as a message."""
        rows = len(self.numbers)
        if position >= rows:
            number, text, _ = self.malformed[position - rows]
            return Message(f"{name}:{number}", text.encode("utf-8", "surrogateescape"), received)
        row = cells.row(self.columns, position)
        payload = json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=str)
        return Message(f"{name}:{self.numbers[position]}", payload.encode("utf-8", "backslashreplace"), received)


class Division:
    """Divides the readings of one file among ``count`` transactions at a time.

    All of a sensor and a day (UTC) go the same way: so of two values for one time the first in the file stays the
    first, and no two transactions write to the same row of a rollup. Sensors take turns in the order in which they
    appear, and from day to day, so that the ways get the same share whichever sensors are in a file, even just one.
    """

    def __init__(self, count: int, sensors: int) -> None:
        self.count = count
        self._turns = np.full(sensors + 1, -1, np.int64)  # the last one is for unknown sensors
        self._next = 0

    def of(self, sensors: NDArray[np.int64], days: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return for each of ``sensors`` (positions; -1: unknown) and ``days`` which way, from 0."""
        present, first = np.unique(sensors, return_index=True)
        for sensor in present[np.argsort(first)]:
            if self._turns[sensor] < 0:
                self._turns[sensor] = self._next
                self._next += 1
        return (self._turns[sensors] + days) % self.count


class RowMessages(Sequence[Message]):
    """Rows as messages, each made when it is looked at: few ever are."""

    def __init__(self, chunk: Chunk, positions: NDArray[np.int64], name: str, received: int) -> None:
        self._chunk = chunk
        self._positions = positions
        self._name = name
        self._received = received

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> list[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | list[Message]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return self._chunk.message(int(self._positions[index]), self._name, self._received)


@dataclass
class _Cells:
    """What whole columns say; one row a row, one column a possible reading of it."""

    sensor: NDArray[np.int64]
    """Positions among the sources; -1: unknown."""
    time: NDArray[np.int64]
    series: NDArray[np.int32]
    value: NDArray[np.float64]
    there: NDArray[np.bool_]
    """Cells that hold something."""
    unsure: NDArray[np.bool_]
    """Rows that are for the row decoder."""


def batches(
    chunk: Chunk, decoder: RowDecoder, name: str, received: int, division: Division
) -> Iterator[tuple[int, Batch]]:
    """Yield ``chunk`` as batches, each with its way of ``division``; ``name`` is the file's.

    A row is in one batch with all of its readings. There is one batch a way if the times are not too far apart.
    ``received`` is when the rows arrived, in microseconds since 1970-01-01 UTC.
    """
    found = _vectorise(chunk, decoder, received)
    outcomes = _one_by_one(chunk, found, decoder, name, received)
    days = np.zeros(len(chunk.numbers) + len(chunk.malformed), np.int64)
    days[: len(chunk.numbers)] = np.where(found.unsure, 0, found.time // _DAY)
    for position, outcome in outcomes.items():
        if isinstance(outcome, Decoded) and outcome.readings:
            days[position] = outcome.readings[0][1] // _DAY
    ways = np.zeros(len(days), np.int64)
    ways[: len(chunk.numbers)] = division.of(found.sensor, days[: len(chunk.numbers)])
    _, position_of_day = np.unique(days, return_inverse=True)
    part_of = position_of_day // max(1, MAXIMUM_DAYS // division.count) * division.count + ways
    order = np.argsort(part_of, kind="stable")  # stable: of two values for one time the first one stays the first
    for part in np.split(order, np.flatnonzero(np.diff(part_of[order])) + 1):
        if len(part):
            messages = RowMessages(chunk, part, name, received)
            yield int(ways[part[0]]), _batch(messages, part, found, outcomes, received)


_Outcome = Decoded | UndecodableError | NoReadingError


def _one_by_one(chunk: Chunk, found: _Cells, decoder: RowDecoder, name: str, received: int) -> dict[int, _Outcome]:
    """Return, by position, what the row decoder makes of the rows that whole columns can't say, and the malformed."""
    outcomes: dict[int, _Outcome] = {}
    for position in np.flatnonzero(found.unsure).tolist():
        try:
            outcomes[position] = decoder.decode(chunk.message(position, name, received))
        except (UndecodableError, NoReadingError) as error:
            outcomes[position] = error
    for position, (_, _, problem) in enumerate(chunk.malformed, len(chunk.numbers)):
        outcomes[position] = UndecodableError(Reason.MALFORMED, problem)
    return outcomes


def _vectorise(chunk: Chunk, decoder: RowDecoder, received: int) -> _Cells:
    columns = dict(chunk.columns)
    layout, sources = decoder.layout, decoder.sources
    rows = len(chunk.numbers)
    none = np.zeros(rows, np.int64)
    sensor = none if layout.sensor is None else cells.codes(columns[layout.sensor], sources.find)
    unsure = sensor < 0
    positions = {quantity: position for position, quantity in enumerate(sources.quantities)}
    if layout.quantity is not None and layout.value is not None:
        quantity = cells.codes(columns[layout.quantity], lambda text: positions.get(text, -1))
        wide = [(quantity, columns[layout.value])]
    else:
        wide = [(np.full(rows, positions.get(name, -1)), columns[column]) for name, column in layout.wide]
    time = _times(columns[layout.time], sensor, unsure, decoder, received)
    shape = (rows, len(wide))
    found = _Cells(sensor, time, np.zeros(shape, np.int32), np.zeros(shape), np.zeros(shape, np.bool_), unsure)
    for position, (quantity, column) in enumerate(wide):
        there = ~cells.blanks(column)
        series = np.where(quantity < 0, 0, sources.ids[sensor, quantity])
        value, sure = cells.amounts(column)
        is_boolean = sources.booleans[sensor, quantity]
        if is_boolean.any():
            truth, sure_truth = cells.truths(column)
            value, sure = np.where(is_boolean, truth, value), np.where(is_boolean, sure_truth, sure)
        found.series[:, position] = series
        found.value[:, position] = value
        found.there[:, position] = there
        unsure |= there & ~(sure & (series > 0))
    unsure &= found.there.any(axis=1)
    return found


def _times(
    column: Column, sensor: NDArray[np.int64], unsure: NDArray[np.bool_], decoder: RowDecoder, received: int
) -> NDArray[np.int64]:
    """Return the instants; rows where they are not certain or out of bounds are marked in ``unsure``."""
    found = time_columns.of(column, decoder.time_unit)
    micros, sure = found.micros, found.sure
    if found.local.any():
        zones = {source.zone for source in decoder.sources.all}
        for zone in zones:
            of_zone = np.array([source.zone == zone for source in decoder.sources.all])[sensor] & found.local
            if zone is None:
                sure &= ~of_zone
            elif of_zone.any():
                micros[of_zone], certain = time_columns.to_utc(micros[of_zone], zone)
                sure[of_zone] &= certain
    unsure |= ~sure | (micros < decoder.sources.since[sensor]) | (micros > received + decoder.max_future)
    return micros


def _batch(
    messages: RowMessages,
    positions: NDArray[np.int64],
    found: _Cells,
    outcomes: Mapping[int, _Outcome],
    received: int,
) -> Batch:
    """Return the batch of ``messages``, whose ``positions`` in the chunk ascend."""
    rows = positions[: np.searchsorted(positions, len(found.time))]  # without the malformed
    unsure = found.unsure[rows]
    readings = found.there[rows] & ~unsure[:, np.newaxis]
    row_of, slot = np.nonzero(readings)
    packed = np.empty(len(row_of), ROW_TYPE)
    packed["fields"], packed["time_length"], packed["series_length"] = 4, 8, 4
    packed["value_length"], packed["arrival_length"] = 8, 8
    time = found.time[rows][row_of]
    packed["time"] = time - POSTGRES_EPOCH
    packed["series_id"] = found.series[rows][row_of, slot]
    packed["value"] = found.value[rows][row_of, slot]
    # As collector.store.batch has it: whole seconds after the reading's time.
    packed["arrival"] = time + ((received - time) / 1_000_000).astype(np.int64) * 1_000_000 - POSTGRES_EPOCH
    decoded = int(readings.any(axis=1).sum())
    sure = len(rows) - int(unsure.sum())
    accounts = Accounts(messages=sure, decoded=decoded, ignored=sure - decoded, readings=len(packed))

    others = Batch()
    row_of_others: list[int] = []
    for index in [*np.flatnonzero(unsure).tolist(), *range(len(rows), len(positions))]:
        before = others.row_count
        others.add(messages[index], partial(_again, outcomes[int(positions[index])]))
        row_of_others += [index] * (others.row_count - before)
    if row_of_others:
        # Left to itself numpy turns the numbers round, to the order of bytes of this machine.
        packed = np.concatenate([packed, np.frombuffer(others.rows, ROW_TYPE)], dtype=ROW_TYPE)
        row_of = np.concatenate([row_of, np.array(row_of_others, np.int64)])
        order = np.argsort(row_of, kind="stable")
        packed, row_of = packed[order], row_of[order]
    accounts.add(others.accounts)
    order = _order(packed)
    return Batch.prepared(
        messages, bytearray(packed[order].tobytes()), row_of[order].tolist(), others.quarantined, accounts
    )


def _order(packed: NDArray[np.void]) -> NDArray[np.int64]:
    """Return the order in which the server takes the rows with least work: that of time, in runs sorted by series.

    The index on time wants the one, the primary key the other. A load of 100 series takes half of the time that it
    takes sorted by series alone. Equal keys keep their order: the first of two values for one time stays the first.
    """
    by_time = np.argsort(packed["time"].astype(np.int64), kind="stable")
    runs = np.arange(len(packed)) // _RUN
    by_series = np.lexsort((packed["series_id"].astype(np.int32)[by_time], runs))
    return by_time[by_series]


def _again(outcome: _Outcome, _: Message) -> Decoded:
    if isinstance(outcome, Decoded):
        return outcome
    raise outcome
