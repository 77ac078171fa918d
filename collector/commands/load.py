"""``collector load``: files into the database, in transactions of about 50,000 readings, a few of them in parallel.

There is no state beside the data: run a load that was killed again, and the readings it had stored are duplicates.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path

from collector.commands.decoder_builder import DecoderBuilder
from collector.commands.dry_run import DryRun
from collector.files import archive_file, options
from collector.files.archive_file import Archive
from collector.files.batches import message_batches
from collector.files.opener import READINGS_PER_BATCH, FileBatches, FileOpener, for_one_writer
from collector.files.options import FileError, Form, Options
from collector.message import Decoded, Message, Reason, UndecodableError
from collector.registry import sensors_file, sync
from collector.registry.discovery import Discovery, RegisteredSensors
from collector.registry.sensors_file import Registry
from collector.registry.sync import SyncResult
from collector.settings import CollectorSettings
from collector.store.batch import Accounts, Decode
from collector.store.birth_store import BirthStore
from collector.store.parallel_writers import ParallelWriters
from collector.store.quarantine import match_arrivals, settle_arrivals
from collector.store.writer import Writer
from core import database, logs, progress
from core.errors import SettingError
from core.settings import load as load_settings


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
        births = BirthStore()
        message_writer = Writer("archive", settings.client_id, births=births, also=settle_arrivals)
        stack.callback(message_writer.close)
        builder = DecoderBuilder(settings, births)
        connection = message_writer.connection()
        with database.wrapped_errors("writing the registry (has `timescale migrate` been run?)"):
            synchronised = sync.synchronise(connection, registry)
            decode = builder.build(connection, registry).decode if chosen.reads_messages else None
        opener = file_opener(synchronised, registry, chosen, settings, decode)
        # All archives together: a message may need earlier ones, in whichever file they are.
        of_archives = partial(
            _open_archives, archived, builder, registry, message_writer, arrival_unknown=arrival_unknown
        )
        for path in (path for path in paths if path not in archived[1:]):
            begun = time.monotonic()
            total = Accounts()
            is_archive = path in archived
            try:
                if is_archive:
                    _load(path, of_archives(), [message_writer], total)
                else:
                    _load_rows(path, opener.open(path, form), settings, total)
            except FileError as error:
                statuses.add(1)
                print(f"collector: {error}", file=sys.stderr)
                if not total.messages:
                    continue
            print(summary(path, total, time.monotonic() - begun, "messages" if is_archive else "rows"), flush=True)
            if not is_archive:
                statuses.add(exit_status(total))
    return 1 if 1 in statuses else max(statuses)


def file_opener(
    synchronised: SyncResult,
    registry: Registry,
    chosen: Options,
    settings: CollectorSettings,
    decode: Decode | None = None,
) -> FileOpener:
    """Return the opener of files with the series that the database has; ``decode`` decodes messages in lines."""
    registered = RegisteredSensors(
        registry.not_before(synchronised.oldest),
        synchronised.series_ids,
        synchronised.discovered,
        settings.max_discovered,
    )
    return FileOpener(
        registered,
        synchronised.discovered,
        chosen,
        round(settings.max_future_seconds * 1_000_000),
        settings.load_connections,
        _register,
        decode,
    )


def decoder_of_rows(synchronised: SyncResult, registry: Registry, text: str, settings: CollectorSettings) -> Decode:
    """Return the decoder for rows of files in quarantine with the ``file_options`` ``text``."""
    try:
        chosen, unit = options.from_text(registry, text)
    except SettingError as error:
        detail = str(error)[:500]

        def refuse(_message: Message) -> Decoded:
            raise UndecodableError(Reason.UNKNOWN_SENSOR, detail)

        return refuse
    return file_opener(synchronised, registry, chosen, settings).decoder_of_rows(unit)


def _register(discoveries: Sequence[Discovery]) -> None:
    """Register series that a file discovers, over a connection of its own: the writers use theirs."""
    with database.connect() as connection:
        sync.register(connection, discoveries)


def _load_rows(path: Path, file: FileBatches, settings: CollectorSettings, total: Accounts) -> None:
    with ExitStack() as stack:
        writers = [
            stack.enter_context(closing(Writer("file", settings.client_id, file_options=file.options)))
            for _ in range(settings.load_connections)
        ]
        _load(path, file, writers, total)


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
        for_one_writer(message_batches(messages, decode, READINGS_PER_BATCH)),
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
    message: str | None = None,
    topic: str | None = None,
    arrival_unknown: bool = False,
    dry_run: bool = False,
    settings: CollectorSettings | None = None,
) -> int:
    """Check the options, then :func:`run` or :func:`run_dry`.

    Raises :class:`~core.errors.SettingError` before any change.
    """
    settings = settings or load_settings(CollectorSettings)
    registry = sensors_file.load(settings.registry)
    chosen = options.parse(registry, sensor, columns, timezone, time_unit, delimiter, text, message, topic)
    if dry_run:
        return run_dry(paths, form, chosen, settings, registry)
    return run(paths, form, chosen, settings, registry, arrival_unknown=arrival_unknown)


def run_dry(
    paths: Sequence[Path], form: Form | None, chosen: Options, settings: CollectorSettings, registry: Registry
) -> int:
    """Print what a load of ``paths`` would store; return the exit status that it would have. Needs no database."""
    if form is None and (archives := list(filter(archive_file.is_archive, paths))):
        raise SettingError(f"{archives[0]} is an archive, and --dry-run is for files: name the files")
    statuses = {0}
    reader = DryRun(registry, chosen, settings)
    for path in paths:
        try:
            statuses.add(exit_status(reader.read(path, form)))
        except FileError as error:
            statuses.add(1)
            print(f"collector: {error}", file=sys.stderr)
    return 1 if 1 in statuses else max(statuses)
