"""``collector load``: files to the warehouse, transactions of some ten thousand readings, a few of them at a time.

Nothing is noted beside the data: a load that was killed is run again, and what it had stored counts as duplicates.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from collector.commands.decoder_builder import DecoderBuilder
from collector.files import archive_file, layout, options
from collector.files.archive_file import Archive
from collector.files.batches import WriterAssignment, message_batches, row_batches
from collector.files.column_decoder import ColumnDecoder
from collector.files.csv_file import CsvFile
from collector.files.ndjson_file import LineDecoder, NdjsonFile
from collector.files.options import FileError, Form, Options
from collector.files.parquet_file import ParquetFile
from collector.files.row_decoder import FileSensors, RowDecoder
from collector.files.table_file import TableFile
from collector.message import Message
from collector.registry import sensors_file, sync
from collector.registry.sensors_file import Registry, Sensor
from collector.settings import CollectorSettings
from collector.settings import load as load_settings
from collector.store.batch import Accounts, Batch, Decode
from collector.store.birth_store import BirthStore
from collector.store.parallel_writers import ParallelWriters
from collector.store.writer import Writer
from core import database, logs, progress
from core.errors import SettingError

READINGS = 50_000
"""Readings in a transaction, about."""


@dataclass(frozen=True)
class Work:
    """One file as batches to write, and how to decode their messages once more if the database refuses one."""

    batches: Iterator[tuple[int, Batch]]
    """Each with the position of the writer that it is for, which writes its own in this order."""
    decode: Decode
    done: Callable[[], float]
    close: Callable[[], None]


def run(paths: Sequence[Path], form: Form | None, chosen: Options, settings: CollectorSettings, known: Registry) -> int:
    """Load ``paths``; return the exit status: 0 all were loaded, 1 at least one was not, or not to its end.

    Rows that can't become readings are in the quarantine and change nothing about the status. Raises
    :class:`~core.errors.DatabaseError` when the database is not there to begin with; if it goes away later, the
    load waits for it.
    """
    archived = list(dict.fromkeys(path for path in paths if form is None and archive_file.is_archive(path)))
    if archived and chosen != Options():
        raise SettingError(
            f"{archived[0]} is read as an archive, whose messages say all themselves: leave out the options for files, "
            "or name the files"
        )
    failed = False
    with ExitStack() as stack:
        rows = [Writer("file", settings.client_id) for _ in range(settings.load_connections)]
        births = BirthStore()
        messages = [Writer("archive", settings.client_id, births=births)]
        for writer in (*rows, *messages):
            stack.callback(writer.close)
        with database.wrapped("writing the registry (has `timescale migrate` been run?)"):
            done = sync.synchronise(rows[0].connection(), known)
        opener = Opener(
            known.not_before(done.oldest),
            done.series_ids,
            chosen,
            round(settings.max_future_seconds * 1_000_000),
            settings.load_connections,
        )
        # All archives as one, since a message may need those before it, whichever file they are in.
        jobs = [
            (path, partial(_messages, archived, DecoderBuilder(settings, births), known, messages[0]), messages)
            if path in archived
            else (path, partial(opener.open, path, form), rows)
            for path in paths
            if path not in archived[1:]
        ]
        for path, open_, writers in jobs:
            begun = time.monotonic()
            total = Accounts()
            try:
                _load(path, open_(), writers, total)
            except FileError as error:
                failed = True
                print(f"collector: {error}", file=sys.stderr)
                if not total.messages:
                    continue
            noun = "messages" if writers is messages else "rows"
            print(summary(path, total, time.monotonic() - begun, noun), flush=True)
    return 1 if failed else 0


def _messages(paths: Sequence[Path], builder: DecoderBuilder, known: Registry, writer: Writer) -> Work:
    """Return what was archived at ``paths``, decoded as live messages are; raises :class:`FileError`."""
    archive = Archive(paths)
    with database.wrapped("writing the registry"):
        decode = builder.build(writer.connection(), known).decode
    return Work(_in_order(message_batches(archive.messages(), decode, READINGS)), decode, archive.done, archive.close)


def _in_order(batches: Iterator[Batch]) -> Iterator[tuple[int, Batch]]:
    """Messages may need those before them and name any sensors: one writer takes them all."""
    return ((0, batch) for batch in batches)


def _load(path: Path, work: Work, writers: Sequence[Writer], total: Accounts) -> None:
    """Write all of ``work`` and count it in ``total``; what was read before an error is written all the same."""
    try:
        with progress.shown(path.name) as report:
            logs.configure()  # here, so that lines go above the bar and not through it

            def committed(accounts: Accounts) -> None:
                total.add(accounts)
                report(total.messages, work.done())

            with ParallelWriters(writers, work.decode, committed) as lanes:
                try:
                    for lane, batch in work.batches:
                        lanes.put(lane, batch)
                except FileError:
                    lanes.finish()
                    raise
                lanes.finish()
    finally:
        work.close()


def summary(path: Path, total: Accounts, seconds: float, noun: str = "rows") -> str:
    """Return one line on what became of the file."""
    held = total.quarantined_messages + total.quarantined_readings
    line = (
        f"{path.name}: {total.messages:,} {noun}, {total.readings:,} readings: {total.stored:,} stored, "
        f"{total.duplicate:,} duplicate, {held:,} quarantined; "
        f"{seconds:.1f} s, {total.readings / max(seconds, 0.001):,.0f} readings/s"
    )
    if total.ignored:
        line += f"; {total.ignored:,} {noun} without a value"
    return line + ("; see `collector quarantine list`" if held else "")


class Opener:
    """Opens files of every format.

    ``max_future`` is how many microseconds a time may lie ahead, ``lanes`` how many transactions at a time there are.
    """

    def __init__(
        self, known: Registry, series_ids: dict[tuple[str, str], int], chosen: Options, max_future: int, lanes: int
    ) -> None:
        self._options = chosen
        self._series_ids = series_ids
        self._max_future = max_future
        self._lanes = lanes
        # By name, since what the database still accepts (``known``) can be less than what the registry says.
        self._only = next(
            (one for one in known.sensors if chosen.sensor and one.sensor_id == chosen.sensor.sensor_id), None
        )
        self._sensors: Sequence[Sensor] = known.sensors if self._only is None else [self._only]
        self._file_sensors = FileSensors(self._sensors, series_ids, chosen.zone)

    def open(self, path: Path, form: Form | None) -> Work:
        """Return what is in the file at ``path``; ``form`` None: what its name says. Raises :class:`FileError`."""
        form = form or options.form_of(path)
        if form is Form.NDJSON:
            return self._lines(path)
        file: TableFile = CsvFile(path, self._options.delimiter) if form is Form.CSV else ParquetFile(path)
        found = self._layout(path, file.columns)
        unit = file.time_unit(found.time, self._options.time_unit)
        decoder = RowDecoder(found, self._file_sensors, unit, self._max_future)
        rows = max(1, READINGS * self._lanes // max(1, len(found.wide)))
        return Work(self._chunks(path, file, decoder, rows), decoder.decode, file.done, file.close)

    def _layout(self, path: Path, columns: Sequence[str]) -> layout.Layout:
        return layout.find(columns, self._options, self._file_sensors.quantities, str(path))

    def _chunks(self, path: Path, file: TableFile, decoder: RowDecoder, rows: int) -> Iterator[tuple[int, Batch]]:
        assignment = WriterAssignment(self._lanes, len(decoder.sensors.all))
        columns = ColumnDecoder(decoder)
        for chunk in file.chunks(decoder.layout.columns, rows):
            yield from row_batches(chunk, columns, path.name, time.time_ns() // 1_000, assignment)

    def _lines(self, path: Path) -> Work:
        """Lines are messages of their sensors, unless --column says that they are rows."""
        file, name = NdjsonFile(path), path.name
        decode: Decode
        if self._options.columns:
            unit = self._options.time_unit or "iso8601"
            rows = RowDecoder(self._layout(path, file.members()), self._file_sensors, unit, self._max_future)
            decode = rows.decode
            topic: Callable[[int, bytes], str] = lambda number, _: f"{name}:{number}"  # noqa: E731
        else:
            if self._only is not None and self._only.format.needs_topic:
                name = self._only.format.name
                raise FileError(f"{path}: lines can't be of format {name}; say with --column what their members are")
            lines = LineDecoder(
                [self._as_told(sensor) for sensor in self._sensors],
                self._series_ids,
                self._max_future,
                only=self._only and self._as_told(self._only),
            )
            decode = lines.decode
            topic = lambda number, line: lines.topic(line) or f"{name}:{number}"  # noqa: E731
        messages = (Message(topic(number, line), line, time.time_ns() // 1_000) for number, line in file.lines())
        return Work(_in_order(message_batches(messages, decode, READINGS)), decode, file.done, file.close)

    def _as_told(self, sensor: Sensor) -> Sensor:
        """Return ``sensor`` with the zone and unit of times that the options give."""
        unit = self._options.time_unit
        form = sensor.format if unit is None else sensor.format.with_time_unit(unit.value)
        return replace(sensor, zone=self._options.zone or sensor.zone, format=form)


def load(
    paths: Sequence[Path],
    form: Form | None,
    *,
    sensor: str | None,
    columns: Sequence[str],
    timezone: str | None,
    time_unit: options.TimeUnit | None,
    delimiter: str | None,
    settings: CollectorSettings | None = None,
) -> int:
    """Check the options, then :func:`run`; raises :class:`~core.errors.SettingError` with nothing touched."""
    settings = settings or load_settings(CollectorSettings)
    known = sensors_file.load(settings.registry)
    chosen = options.parse(known, sensor, columns, timezone, time_unit, delimiter)
    return run(paths, form, chosen, settings, known)
