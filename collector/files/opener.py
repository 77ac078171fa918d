"""Opens files of every format as batches."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from collector.files import layout, options
from collector.files.batches import WriterAssignment, message_batches, row_batches
from collector.files.columns.decoder import ColumnDecoder, ColumnReadings, RepeatedTimes
from collector.files.csv_file import CsvFile
from collector.files.file_sensors import FileSensors
from collector.files.lines import Envelopes, LineDecoder
from collector.files.ndjson_file import NdjsonFile
from collector.files.options import FileError, Form, Options
from collector.files.parquet_file import ParquetFile
from collector.files.row_decoder import RowDecoder
from collector.files.table_file import Chunk, TableFile
from collector.formats import json_payload
from collector.message import Decoded, Message, Reason, UndecodableError
from collector.registry.discovery import Discovery, RegisteredSensors
from collector.registry.sensors import Sensor
from collector.store.batch import Batch, Decode

READINGS_PER_BATCH = 50_000
"""Approximate; a batch is a transaction."""

Register = Callable[[Sequence[Discovery]], object]
"""Registers series that the database does not have yet, and records their ids."""


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
    options: str | None = None
    """How the file is read, for its rows in quarantine (:func:`decoder_of_rows`)."""


class FileOpener:
    """Opens files of every format.

    ``registered`` are the sensors of the database, and ``register`` registers others; ``max_future`` is the time in
    microseconds that a reading may be ahead, ``writers`` the number of parallel writers. ``decode`` decodes the
    messages that lines hold.
    """

    def __init__(
        self,
        registered: RegisteredSensors,
        discovered: Iterable[Sensor],
        chosen: Options,
        max_future: int,
        writers: int,
        register: Register,
        decode: Decode | None = None,
    ) -> None:
        registry = registered.registry
        self._options = chosen
        self._max_future = max_future
        self._writers = writers
        self._decode_message = decode
        self._register = register
        # By name: the registry is limited to the times that retention accepts, so that its sensors may differ.
        self._only = None if chosen.sensor is None else registry.named(chosen.sensor.sensor_id)
        known = (*registry.sensors, *registry.members, *discovered) if self._only is None else (self._only,)
        self._file_sensors = FileSensors(
            [chosen.in_files(sensor) for sensor in known],
            registered.series_ids,
            chosen.zone,
            registered=registered,
            in_files=chosen.in_files,
        )

    def open(self, path: Path, form: Form | None) -> FileBatches:
        """Return the batches of the file at ``path``; ``form`` None: by its name. Raises :class:`FileError`."""
        form = form or options.form_of(path)
        if self._options.reads_messages:
            return self._messages(path, form)
        if form is Form.NDJSON and not self._options.columns:
            return self._lines(path)
        text = self._options.text
        file: TableFile
        if form is Form.CSV:
            file = CsvFile(path, self._options.delimiter, text)
        else:
            file = ParquetFile(path) if form is Form.PARQUET else NdjsonFile(path, text.encoding)
        columns = layout.find(file.columns, self._options, self._file_sensors.quantities, str(path))
        unit = file.time_unit(columns.time, self._options.time_unit)
        decoder = RowDecoder(columns, self._file_sensors, unit, self._max_future, text)
        rows = max(1, READINGS_PER_BATCH * self._writers // max(1, len(columns.wide)))
        batches = self._chunks(path, file.chunks(columns.columns, rows), decoder)
        return FileBatches(batches, decoder.decode, file.done, file.close, self._options.as_text(unit))

    def _chunks(self, path: Path, chunks: Iterator[Chunk], decoder: RowDecoder) -> Iterator[tuple[int, Batch]]:
        assignment = WriterAssignment(self._writers)
        columns = ColumnDecoder(decoder)
        for chunk, readings, received in resolved(self._registered(chunks, columns, path.name), columns, path.name):
            yield from row_batches(chunk, columns, path.name, received, assignment, readings)

    def _registered(self, chunks: Iterator[Chunk], columns: ColumnDecoder, name: str) -> Iterator[Chunk]:
        """Yield ``chunks`` after the sensors and series in them that patterns discover are registered."""
        for chunk in chunks:
            received = time.time_ns() // 1_000
            while discoveries := columns.discoveries(chunk, name, received):
                self._register(discoveries)
                self._file_sensors.refresh()
            yield chunk

    def _lines(self, path: Path) -> FileBatches:
        """Return the lines of a file as messages of their sensors."""
        file, name = NdjsonFile(path, self._options.text.encoding), path.name
        lines = self._line_decoder(str(path))

        def topic(number: int, line: bytes) -> str:
            return lines.topic(line) or f"{name}:{number}"

        messages = (Message(topic(number, line), line, time.time_ns() // 1_000) for number, line in file.lines())
        return FileBatches(
            for_one_writer(message_batches(messages, lines.decode, READINGS_PER_BATCH)),
            lines.decode,
            file.done,
            file.close,
            self._options.as_text(None),
        )

    def _messages(self, path: Path, form: Form) -> FileBatches:
        """Return the messages in the lines of a file, decoded as live messages are."""
        if form is not Form.NDJSON:
            raise FileError(f"{path}: --message and --topic are for NDJSON; remove them, or name the columns")
        file = NdjsonFile(path, self._options.text.encoding)
        assert self._decode_message is not None, "options without --message and --topic"
        envelopes = Envelopes(path.name, self._options, self._decode_message)
        messages = (envelopes.message(number, line) for number, line in file.lines())
        batches = message_batches(messages, envelopes.decode, READINGS_PER_BATCH)
        return FileBatches(for_one_writer(batches), envelopes.decode, file.done, file.close)

    def _line_decoder(self, where: str) -> LineDecoder:
        if self._only is not None and self._only.format.needs_topic:
            raise FileError(
                f"{where}: lines of format {self._only.format.name} need their topic; add --topic TOPIC, or name their "
                "members with --column"
            )
        return LineDecoder(self._file_sensors, self._max_future, self._with_time_options, only=self._only is not None)

    def _with_time_options(self, sensor: Sensor) -> Sensor:
        """Return ``sensor`` with the time zone and unit of the options."""
        unit = self._options.time_unit
        form = sensor.format if unit is None else sensor.format.with_time_unit(unit.value)
        return replace(sensor, zone=self._options.zone or sensor.zone, format=form)

    def decoder_of_rows(self, unit: str | None) -> Decode:
        """Return a decoder for rows of files, without their file; ``unit`` is that of their times, None: lines.

        A row is a JSON object of its columns, as the quarantine has it.
        """
        if unit is None:
            return self._line_decoder("a line").decode
        decoders: dict[tuple[str, ...], RowDecoder] = {}

        def decode(message: Message) -> Decoded:
            row = json_payload.load(message.payload)
            names = tuple(row) if type(row) is dict else ()
            if names not in decoders:
                try:
                    columns = layout.find(names, self._options, self._file_sensors.quantities, "a row")
                except FileError as error:
                    raise UndecodableError(Reason.MALFORMED, str(error)[:500]) from None
                decoders[names] = RowDecoder(columns, self._file_sensors, unit, self._max_future, self._options.text)
            return decoders[names].decode(message)

        return decode


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


def for_one_writer(batches: Iterator[Batch]) -> Iterator[tuple[int, Batch]]:
    """Assign ``batches`` to the first writer: messages may need earlier ones, and may name any sensor."""
    return ((0, batch) for batch in batches)
