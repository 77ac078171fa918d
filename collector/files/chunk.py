"""Chunks of a table to batches: whole columns where they are good, the row decoder for every other row. Pure."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collector.batch import POSTGRES_EPOCH, Accounts, Batch
from collector.files import cells, instants
from collector.files.cells import Column
from collector.files.rows import RowDecoder
from collector.message import Decoded, Message, Reason, UndecodableError

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
"""The same bytes as :data:`collector.batch.ROW`."""

MAXIMUM_DAYS = 200
"""Most days that one transaction touches: each is a chunk of the hypertable with locks of its own, and a server
gives out a few thousand (``max_locks_per_transaction``)."""

_DAY = 86_400_000_000


@dataclass(frozen=True)
class Chunk:
    """Rows of a file that belong together in a transaction."""

    columns: tuple[tuple[str, Column], ...]
    """Names and cells, as :func:`cells.plain` has them."""
    numbers: NDArray[np.int64]
    """The rows' numbers in the file."""
    malformed: list[tuple[int, str, str]] = field(default_factory=list)
    """Rows that are none: number, text and what is wrong."""

    def take(self, positions: NDArray[np.int64]) -> "Chunk":
        """Return some rows, in the order given, without what is malformed."""
        chosen = pa.array(positions, pa.int64())
        return Chunk(tuple((name, column.take(chosen)) for name, column in self.columns), self.numbers[positions])


class RowMessages(Sequence[Message]):
    """Rows as messages, each made when it is looked at: few ever are."""

    def __init__(self, chunk: Chunk, name: str, received: int) -> None:
        self._chunk = chunk
        self._name = name
        self._received = received

    def __len__(self) -> int:
        return len(self._chunk.numbers) + len(self._chunk.malformed)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> list[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | list[Message]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        rows = len(self._chunk.numbers)
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        if index >= rows:
            number, text, _ = self._chunk.malformed[index - rows]
            return self._message(number, text.encode("utf-8", "surrogateescape"))
        row = cells.row(self._chunk.columns, index)
        payload = json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=str)
        return self._message(int(self._chunk.numbers[index]), payload.encode("utf-8", "backslashreplace"))

    def _message(self, number: int, payload: bytes) -> Message:
        return Message(f"{self._name}:{number}", payload, self._received)


@dataclass
class _Cells:
    """What whole columns say; one row a row, one column a possible reading of it."""

    time: NDArray[np.int64]
    series: NDArray[np.int32]
    value: NDArray[np.float64]
    there: NDArray[np.bool_]
    """Cells that hold something."""
    unsure: NDArray[np.bool_]
    """Rows that are for the row decoder."""


def batches(chunk: Chunk, decoder: RowDecoder, name: str, received: int) -> Iterator[Batch]:
    """Yield ``chunk`` as batches, one if its times are not too far apart; ``name`` is the file's.

    ``received`` is when the rows arrived, in microseconds since 1970-01-01 UTC.
    """
    found = _vectorise(chunk, decoder, received)
    days = np.where(found.unsure, 0, found.time // _DAY)
    _, positions = np.unique(days, return_inverse=True)
    if positions.size == 0 or positions.max() < MAXIMUM_DAYS:
        yield _batch(chunk, found, decoder, name, received)
        return
    order = np.argsort(positions, kind="stable")  # stable: of two values for one time the first one stays the first
    cuts = np.flatnonzero(np.diff(positions[order] // MAXIMUM_DAYS)) + 1
    for part in np.split(order, cuts):
        taken = chunk.take(part)
        yield _batch(taken, _vectorise(taken, decoder, received), decoder, name, received)
    if chunk.malformed:
        rest = Chunk((), np.zeros(0, np.int64), chunk.malformed)
        yield _with_others(rest, np.zeros(0, ROW_TYPE), np.zeros(0, np.int64), Accounts(), [], decoder, name, received)


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
    found = _Cells(time, np.zeros(shape, np.int32), np.zeros(shape), np.zeros(shape, np.bool_), unsure)
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
    found = instants.of(column, decoder.time_unit)
    micros, sure = found.micros, found.sure
    if found.local.any():
        zones = {source.zone for source in decoder.sources.all}
        for zone in zones:
            of_zone = np.array([source.zone == zone for source in decoder.sources.all])[sensor] & found.local
            if zone is None:
                sure &= ~of_zone
            elif of_zone.any():
                micros[of_zone], certain = instants.to_utc(micros[of_zone], zone)
                sure[of_zone] &= certain
    unsure |= ~sure | (micros < decoder.sources.since[sensor]) | (micros > received + decoder.max_future)
    return micros


def _batch(chunk: Chunk, found: _Cells, decoder: RowDecoder, name: str, received: int) -> Batch:
    readings = found.there & ~found.unsure[:, np.newaxis]
    row_of, slot = np.nonzero(readings)
    packed = np.empty(len(row_of), ROW_TYPE)
    packed["fields"], packed["time_length"], packed["series_length"] = 4, 8, 4
    packed["value_length"], packed["arrival_length"] = 8, 8
    packed["time"] = found.time[row_of] - POSTGRES_EPOCH
    packed["series_id"] = found.series[row_of, slot]
    packed["value"] = found.value[row_of, slot]
    packed["arrival"] = received // 1_000 * 1_000 - POSTGRES_EPOCH
    holds = readings.any(axis=1)
    decoded = int(holds.sum())
    others = np.flatnonzero(found.unsure)
    ignored = len(chunk.numbers) - decoded - len(others)
    accounts = Accounts(messages=decoded + ignored, decoded=decoded, ignored=ignored, readings=len(packed))
    return _with_others(chunk, packed, row_of, accounts, others.tolist(), decoder, name, received)


def _with_others(
    chunk: Chunk,
    packed: NDArray[Any],
    row_of: NDArray[np.int64],
    accounts: Accounts,
    others: list[int],
    decoder: RowDecoder,
    name: str,
    received: int,
) -> Batch:
    """Return the batch of ``packed`` rows and what the row decoder makes of the ``others`` and the malformed ones."""
    messages = RowMessages(chunk, name, received)
    one_by_one = Batch()
    row_of_others: list[int] = []
    for position in others:
        before = one_by_one.row_count
        one_by_one.add(messages[position], decoder.decode)
        row_of_others += [position] * (one_by_one.row_count - before)
    for position, (_, _, problem) in enumerate(chunk.malformed, len(chunk.numbers)):
        one_by_one.add(messages[position], partial(_refuse, problem))
    if row_of_others:
        # Left to itself numpy turns the numbers round, to the order of bytes of this machine.
        packed = np.concatenate([packed, np.frombuffer(one_by_one.rows, ROW_TYPE)], dtype=ROW_TYPE)
        row_of = np.concatenate([row_of, np.array(row_of_others, np.int64)])
        order = np.argsort(row_of, kind="stable")
        packed, row_of = packed[order], row_of[order]
    accounts.add(one_by_one.accounts)
    # In the order of the primary key, chunk by chunk: a quarter less work for the server than in the order of most
    # files. Equal keys keep their order (lexsort is stable), so the first of two values for one time stays the first.
    order = np.lexsort((packed["time"], packed["series_id"], packed["time"] // _DAY))
    rows, origins = bytearray(packed[order].tobytes()), row_of[order].tolist()
    return Batch.prepared(messages, rows, origins, one_by_one.quarantined, accounts)


def _refuse(problem: str, _: Message) -> Decoded:
    raise UndecodableError(Reason.MALFORMED, problem)
