"""``collector archive``: raw messages from MQTT into Parquet files, without a database; compact and verify."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import structlog

from collector.archive import compact as compaction
from collector.archive import finisher, object_store, verified_hours
from collector.archive import verify as verification
from collector.archive.finisher import Finisher
from collector.archive.hourly_files import Report
from collector.archive.spool import HOUR, Spool
from collector.archive.spool_target import MessageBatch, SpoolCounts, SpoolTarget
from collector.commands.configuration import load_configuration
from collector.commands.metrics import Metrics, stalled_for
from collector.commands.program import Program, run_until_signal
from collector.commands.registry_watch import RegistryWatch
from collector.settings import ArchiveSettings, CollectorSettings
from collector.sources.mqtt import MqttSource
from collector.store.group_commit import GroupCommit
from core import database, logs
from core.errors import SettingError
from core.settings import MqttSettings, load

log = structlog.get_logger()


class Archiver(Program):
    """``collector archive``, with its own MQTT session.

    Raises :class:`~collector.archive.spool.ArchiveError` if the spool can't be used, :class:`SettingError` if the store
    can't be used.
    """

    name: ClassVar[str] = "archive"
    incomplete: ClassVar[str] = (
        "stopped while the disk refused; messages that are not in the spool stay with the broker"
    )

    def __init__(self, settings: CollectorSettings, mqtt: MqttSettings, archive: ArchiveSettings) -> None:
        self._settings = settings
        self._sink: GroupCommit[MessageBatch, SpoolCounts] | None = None
        self._total_messages = 0
        watch = RegistryWatch(settings)
        source = MqttSource(mqtt, settings.for_role("archive"), watch.registry.subscribe)
        try:
            store = object_store.open_store(archive)
        except (OSError, pa.ArrowException) as error:
            raise SettingError(f"ARCHIVE_URL can't be used: {error}") from error
        directory = archive.spool_directory
        self._finisher = Finisher(store)
        self._spool = Spool(directory, archive.file_megabytes * 1_000_000, self._finisher.add)
        finisher.remove_partial_files(directory)
        self._spool.recover(time.time_ns() // 1_000 // HOUR)
        self._metrics = self._new_metrics([directory, *([] if archive.url else [archive.directory])])
        super().__init__(settings, source, watch, self._metrics, archive.metrics_port, "ARCHIVE_METRICS_PORT")
        log.info(
            "archiving",
            to=object_store.location(archive),
            spool=str(directory),
            unfinished=self._finisher.waiting,
        )

    def _new_metrics(self, directories: Sequence[Path]) -> Metrics:
        metrics = Metrics("archive", lambda: self._sink.uncommitted() if self._sink else (0, None))
        metrics.gauge("archive_unfinished_files", "Files of the spool to finish.", lambda: self._finisher.waiting)
        metrics.gauge(
            "archive_disk_free_ratio",
            "Free-space ratio (0 to 1) of the fullest disk of archive and spool.",
            lambda: free_ratio(directories),
        )
        return metrics

    def prepare(self) -> GroupCommit[MessageBatch, SpoolCounts]:
        """Return the sink."""
        self._sink = GroupCommit(
            SpoolTarget(self._spool),
            committed=self.source.committed,
            resume=self.source.resume,
            wrote=lambda messages, seconds, _: self._metrics.wrote(messages, seconds),
            max_messages=self._settings.max_batch_messages,
            max_bytes=self._settings.max_batch_megabytes * 1_000_000,
        )
        return self._sink

    def finish(self) -> None:
        """Finish the files of the spool, once more."""
        if not self._finisher.stop(self._settings.drain_seconds):
            log.warning(
                "unfinished files stay in the spool; the next start finishes them", waiting=self._finisher.waiting
            )

    def release(self) -> None:
        """Release the spool for other processes."""
        self._spool.release()

    def sink_waits_for(self) -> list[str]:
        """Return the reasons why no messages can be written."""
        stalled = stalled_for(self._sink.writing_since) if self._sink else ""
        return [f"the disk has accepted no write for {stalled}"] if stalled else []

    def log_summary(self, seconds: float) -> None:
        """Log the messages of the last ``seconds``."""
        if self._sink is None:
            return
        progress = self._sink.take_progress()
        messages = progress.counts.messages
        self._total_messages += messages
        log.info(
            "archived" if messages else "nothing arrived",
            messages=messages,
            messages_per_second=round(messages / seconds, 1),
            bytes=progress.counts.size_bytes,
            writes=progress.batches,
            largest_write=progress.largest_batch,
            slowest_ms=round(progress.slowest_seconds * 1000),
            unfinished_files=self._finisher.waiting,
            total_messages=self._total_messages,
        )


def free_ratio(directories: Sequence[Path]) -> float:
    """Return the free-space ratio (0 to 1), for unprivileged users, of the fullest of the disks of ``directories``."""
    disks = [os.statvfs(directory) for directory in directories if directory.is_dir()]
    return min((disk.f_bavail / disk.f_blocks for disk in disks if disk.f_blocks), default=0.0)


def run() -> int:
    """Archive until SIGTERM or SIGINT; return the exit status: see :func:`run_until_signal`."""
    configuration = load_configuration()
    logs.configure()
    return run_until_signal(Archiver(configuration.collector, configuration.mqtt, configuration.archive))


def compact() -> int:
    """Merge the files of each past hour; return the exit status: 1 if the files of an hour can't be merged."""
    archive = _existing_archive()
    if archive is None:
        return 0
    if archive.url is not None:
        print("nothing to do: the archive is in an object store, where nothing is replaced")
        return 0
    report = compaction.compact(archive.directory, archive.file_megabytes * 1_000_000, datetime.now(UTC))
    print(f"compacted {report.files:,} hours with {report.content.messages:,} messages")
    return _print_errors(report.errors)


def verify(days: int | None, *, record: bool) -> int:
    """Read every message of the last ``days`` (None: of all); return the exit status: 1 if a file can't be read.

    ``record`` writes the hours to the database, and reads older ones too that are not recorded or have changed.
    """
    archive = _existing_archive()
    if archive is None:
        return 0
    now = datetime.now(UTC)
    since = now - timedelta(days=days) if days else datetime.min.replace(tzinfo=UTC)
    try:
        report = _verify_and_record(archive, since, now) if record else _verify(archive, since)
    except OSError as error:
        raise SettingError(f"can't read the archive, {object_store.location(archive)}: {error}") from error
    print(f"read {report.content.messages:,} messages in {report.files:,} files")
    return _print_errors(report.errors)


def _verify(archive: ArchiveSettings, since: datetime) -> Report:
    return verification.verify(*object_store.file_system(archive), since)


def _verify_and_record(archive: ArchiveSettings, since: datetime, now: datetime) -> Report:
    filesystem, root = object_store.file_system(archive)
    with database.connect(application_name="collector-archive") as connection:
        return verification.verify(
            filesystem,
            root,
            since,
            verified_hours.load(connection),
            lambda hour: verified_hours.record(connection, hour, now),
        )


def _existing_archive() -> ArchiveSettings | None:
    """Return the settings of the archive; None, with a printed message: there is none."""
    archive = load(ArchiveSettings)
    if archive.url is None and not archive.directory.is_dir():
        print(f"nothing to do: no archive in {archive.directory.absolute()}")
        return None
    return archive


def _print_errors(errors: Mapping[str, str]) -> int:
    for path, reason in errors.items():
        print(f"{path}: {reason}", file=sys.stderr)
    return 1 if errors else 0
