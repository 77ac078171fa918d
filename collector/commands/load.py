"""``collector load``: files into the database, in transactions of about 50,000 readings, a few of them in parallel.

There is no state beside the data: run a load that was killed again, and the readings it had stored are duplicates.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from collector.commands.decoder_builder import DecoderBuilder
from collector.files import archive_file, layout, options
from collector.files.archive_file import Archive
from collector.files.batches import WriterAssignment, message_batches, row_batches
from collector.files.columns.decoder import ColumnDecoder, ColumnReadings, RepeatedTimes
from collector.files.csv_file import CsvFile
from collector.files.ndjson_file import LineDecoder, NdjsonFile
from collector.files.options import FileError, Form, Options
from collector.files.parquet_file import ParquetFile
from collector.files.row_decoder import FileSensors, RowDecoder
from collector.files.table_file import Chunk, TableFile
from collector.message import Message
from collector.registry import sensors_file, sync
from collector.registry.sensors_file import Registry, Sensor
from collector.settings import CollectorSettings
from collector.store.batch import Accounts, Batch, Decode
from collector.store.birth_store import BirthStore
from collector.store.parallel_writers import ParallelWriters
from collector.store.quarantine import match_arrivals, settle_arrivals
from collector.store.writer import Writer
from core import database, logs, progress
from core.errors import SettingError
from core.settings import load as load_settings

READINGS_PER_BATCH = 50_000
"""Approximate; a batch is a transaction."""


@dataclass(frozen=True)
class FileBatches:
    """The batches of one file."""

    batches: Iterator[tuple[int, Batch]]
    """Each with the position of its writer, which writes its batches in this order."""
    decode: Decode
    """Decodes their messages again if the database refuses one."""
    progress: Callable[[], float]
    """Returns the part of the file that was read, 0 to 1."""
    close: Callable[[], None]


def run(
    paths: Sequence[Path],
    form: Form | None,
    chosen: Options,
    settings: CollectorSettings,
    registry: Registry,
    *,
    arrival_unknown: bool = False,
) -> int:
    """Load ``paths``; return the exit status. ``arrival_unknown``: of archives only messages quarantined for that.

    It is 0 if all rows were stored, duplicates or without a value, 2 if some are in quarantine, and 1 if nothing of a
    file was stored or a file was not read to its end. Messages of archives do not affect it. Raises
    :class:`~core.errors.DatabaseError` if the database is unreachable at the start; later the load waits for it.
    """
    archived = list(dict.fromkeys(path for path in paths if form is None and archive_file.is_archive(path)))
    if archived and chosen != Options():
        raise SettingError(
            f"{archived[0]} is read as an archive, whose messages need no options: remove the options for files, "
            "or name the files"
        )
    statuses = {0}
    with ExitStack() as stack:
        row_writers = [Writer("file", settings.client_id) for _ in range(settings.load_connections)]
        births = BirthStore()
        message_writers = [Writer("archive", settings.client_id, births=births, also=settle_arrivals)]
        for writer in (*row_writers, *message_writers):
            stack.callback(writer.close)
        with database.wrapped_errors("writing the registry (has `timescale migrate` been run?)"):
            synchronised = sync.synchronise(row_writers[0].connection(), registry)
        opener = FileOpener(
            registry.not_before(synchronised.oldest),
            synchronised.series_ids,
            chosen,
            round(settings.max_future_seconds * 1_000_000),
            settings.load_connections,
        )
        # All archives together: a message may need earlier ones, in whichever file they are.
        jobs = [
            (
                path,
                partial(
                    _open_archives,
                    archived,
                    DecoderBuilder(settings, births),
                    registry,
                    message_writers[0],
                    arrival_unknown=arrival_unknown,
                ),
                message_writers,
            )
            if path in archived
            else (path, partial(opener.open, path, form), row_writers)
            for path in paths
            if path not in archived[1:]
        ]
        for path, open_, writers in jobs:
            begun = time.monotonic()
            total = Accounts()
            try:
                _load(path, open_(), writers, total)
            except FileError as error:
                statuses.add(1)
                print(f"collector: {error}", file=sys.stderr)
                if not total.messages:
                    continue
            noun = "messages" if writers is message_writers else "rows"
            print(summary(path, total, time.monotonic() - begun, noun), flush=True)
            if noun == "rows":
                statuses.add(exit_status(total))
    return 1 if 1 in statuses else max(statuses)


def exit_status(total: Accounts) -> int:
    """Return 0 if all rows were stored or duplicates, 2 if some are in quarantine, 1 if nothing was stored."""
    if not total.messages:
        return 0
    if not total.stored + total.duplicate + total.replaced:
        return 1
    return 2 if total.quarantined_messages + total.quarantined_readings else 0


def _open_archives(
    paths: Sequence[Path], builder: DecoderBuilder, registry: Registry, writer: Writer, *, arrival_unknown: bool
) -> FileBatches:
    """Return the archived messages, decoded as live messages are; raises :class:`FileError`.

    ``arrival_unknown``: only those that are in quarantine for that reason.
    """
    archive = Archive(paths)
    with database.wrapped_errors("writing the registry"):
        decode = builder.build(writer.connection(), registry).decode
    messages = _of_unknown_arrival(archive.messages()) if arrival_unknown else archive.messages()
    return FileBatches(
        _for_one_writer(message_batches(messages, decode, READINGS_PER_BATCH)),
        decode,
        archive.done,
        archive.close,
    )


def _of_unknown_arrival(messages: Iterator[Message]) -> Iterator[Message]:
    """Yield those of ``messages`` that are in quarantine because their arrival is unknown."""
    with database.connect() as connection:
        while archived := list(islice(messages, READINGS_PER_BATCH)):
            positions = match_arrivals(connection, archived)
            yield from (message for position, message in enumerate(archived) if position in positions)


def _for_one_writer(batches: Iterator[Batch]) -> Iterator[tuple[int, Batch]]:
    """Assign ``batches`` to the first writer: messages may need earlier ones, and may name any sensor."""
    return ((0, batch) for batch in batches)


def _load(path: Path, file: FileBatches, writers: Sequence[Writer], total: Accounts) -> None:
    """Write all batches of ``file`` and count them in ``total``, also those before an error in the file."""
    try:
        with progress.display(path.name) as report:
            logs.configure()  # here, so that log lines appear above the progress bar

            def committed(accounts: Accounts) -> None:
                total.add(accounts)
                report(total.messages, file.progress())

            with ParallelWriters(writers, file.decode, committed) as parallel:
                try:
                    for position, batch in file.batches:
                        parallel.put(position, batch)
                except FileError:
                    parallel.finish()
                    raise
                parallel.finish()
    finally:
        file.close()


def summary(path: Path, total: Accounts, seconds: float, noun: str = "rows") -> str:
    """Return one line with the counts of a file."""
    quarantined = total.quarantined_messages + total.quarantined_readings
    replaced = f"{total.replaced:,} replaced, " if total.replaced else ""
    line = (
        f"{path.name}: {total.messages:,} {noun}, {total.readings:,} readings: {total.stored:,} stored, "
        f"{total.duplicate:,} duplicate, {replaced}{quarantined:,} quarantined; "
        f"{seconds:.1f} s, {total.readings / max(seconds, 0.001):,.0f} readings/s"
    )
    if total.ignored:
        line += f"; {total.ignored:,} {noun} without a value"
    return line + ("; see `collector quarantine list`" if quarantined else "")


class FileOpener:
    """Opens files of every format.

    ``max_future`` is the time in microseconds that a reading may be ahead, ``writers`` the number of parallel writers.
    """

    def __init__(
        self, registry: Registry, series_ids: dict[tuple[str, str], int], chosen: Options, max_future: int, writers: int
    ) -> None:
        self._options = chosen
        self._series_ids = series_ids
        self._max_future = max_future
        self._writers = writers
        # By name: ``registry`` is limited to the times that retention accepts, so that its sensors may differ.
        self._only = next(
            (sensor for sensor in registry.sensors if chosen.sensor and sensor.sensor_id == chosen.sensor.sensor_id),
            None,
        )
        self._only = self._only and chosen.in_files(self._only)
        self._sensors: Sequence[Sensor] = (
            [chosen.in_files(sensor) for sensor in registry.sensors] if self._only is None else [self._only]
        )
        self._file_sensors = FileSensors(self._sensors, series_ids, chosen.zone)

    def open(self, path: Path, form: Form | None) -> FileBatches:
        """Return the batches of the file at ``path``; ``form`` None: by its name. Raises :class:`FileError`."""
        form = form or options.form_of(path)
        if form is Form.NDJSON:
            return self._lines(path)
        text = self._options.text
        file: TableFile = CsvFile(path, self._options.delimiter, text) if form is Form.CSV else ParquetFile(path)
        columns = self._layout(path, file.columns)
        unit = file.time_unit(columns.time, self._options.time_unit)
        decoder = RowDecoder(columns, self._file_sensors, unit, self._max_future, text)
        rows = max(1, READINGS_PER_BATCH * self._writers // max(1, len(columns.wide)))
        return FileBatches(self._chunks(path, file, decoder, rows), decoder.decode, file.done, file.close)

    def _layout(self, path: Path, columns: Sequence[str]) -> layout.Layout:
        return layout.find(columns, self._options, self._file_sensors.quantities, str(path))

    def _chunks(self, path: Path, file: TableFile, decoder: RowDecoder, rows: int) -> Iterator[tuple[int, Batch]]:
        assignment = WriterAssignment(self._writers, len(decoder.sensors.all))
        columns = ColumnDecoder(decoder)
        for chunk, readings, received in resolved(file.chunks(decoder.layout.columns, rows), columns, path.name):
            yield from row_batches(chunk, columns, path.name, received, assignment, readings)

    def _lines(self, path: Path) -> FileBatches:
        """Return the lines of a file as messages of their sensors, or with --column as rows."""
        file, name = NdjsonFile(path, self._options.text.encoding), path.name
        decode: Decode
        if self._options.columns:
            unit = self._options.time_unit or "iso8601"
            columns = self._layout(path, file.members())
            rows = RowDecoder(columns, self._file_sensors, unit, self._max_future, self._options.text)
            decode = rows.decode
            topic: Callable[[int, bytes], str] = lambda number, _: f"{name}:{number}"  # noqa: E731
        else:
            if self._only is not None and self._only.format.needs_topic:
                name = self._only.format.name
                raise FileError(f"{path}: lines can't be of format {name}; name their members with --column")
            lines = LineDecoder(
                [self._with_time_options(sensor) for sensor in self._sensors],
                self._series_ids,
                self._max_future,
                only=self._only and self._with_time_options(self._only),
            )
            decode = lines.decode
            topic = lambda number, line: lines.topic(line) or f"{name}:{number}"  # noqa: E731
        messages = (Message(topic(number, line), line, time.time_ns() // 1_000) for number, line in file.lines())
        return FileBatches(
            _for_one_writer(message_batches(messages, decode, READINGS_PER_BATCH)), decode, file.done, file.close
        )

    def _with_time_options(self, sensor: Sensor) -> Sensor:
        """Return ``sensor`` with the time zone and unit of the options."""
        unit = self._options.time_unit
        form = sensor.format if unit is None else sensor.format.with_time_unit(unit.value)
        return replace(sensor, zone=self._options.zone or sensor.zone, format=form)


def resolved(chunks: Iterable[Chunk], decoder: ColumnDecoder, name: str) -> Iterator[tuple[Chunk, ColumnReadings, int]]:
    """Yield ``chunks`` with their readings and their arrival; the order of the rows has resolved repeated local times.

    Rows that need later rows for that go with a later chunk.
    """
    repeated = RepeatedTimes(decoder, name)
    waiting: Chunk | None = None
    for chunk in chunks:
        whole = chunk if waiting is None else waiting.joined(chunk)
        received = time.time_ns() // 1_000
        readings = decoder.decode(whole, received)
        rows = repeated.resolve(whole, readings, is_last=False)
        waiting = whole.take(rows) if rows.any() else None
        if waiting is not None:
            whole = replace(whole.take(~rows), malformed=whole.malformed)
            readings = decoder.decode(whole, received)
        yield whole, readings, received
    if waiting is not None:
        received = time.time_ns() // 1_000
        readings = decoder.decode(waiting, received)
        repeated.resolve(waiting, readings, is_last=True)
        yield waiting, readings, received


def load(
    paths: Sequence[Path],
    form: Form | None,
    *,
    sensor: str | None,
    columns: Sequence[str],
    timezone: str | None,
    time_unit: options.TimeUnit | None,
    delimiter: str | None,
    text: options.TextOptions | None = None,
    arrival_unknown: bool = False,
    settings: CollectorSettings | None = None,
) -> int:
    """Check the options, then :func:`run`; raises :class:`~core.errors.SettingError` before any change."""
    settings = settings or load_settings(CollectorSettings)
    registry = sensors_file.load(settings.registry)
    chosen = options.parse(registry, sensor, columns, timezone, time_unit, delimiter, text)
    return run(paths, form, chosen, settings, registry, arrival_unknown=arrival_unknown)
