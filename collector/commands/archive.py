"""``collector archive``: its own MQTT session, spool, finisher and store put together. It needs no database."""

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import structlog

from collector.archive import destination, finisher
from collector.archive.finisher import Finisher
from collector.archive.spool import HOUR, Spool
from collector.archive.spool_sink import SpoolSink
from collector.commands.metrics import Endpoint, Metrics, long_held
from collector.commands.run import RegistryWatch, stop_on_signal
from collector.settings import ArchiveSettings, CollectorSettings, MqttSettings
from collector.sources.mqtt import MqttSource
from core.errors import SettingError

log = structlog.get_logger()


class Archiver:
    """One running archiver; :meth:`run` holds the calling thread.

    Raises :class:`~collector.archive.spool.ArchiveError` where the spool can't be used, :class:`SettingError` where
    the store can't be.
    """

    def __init__(self, settings: CollectorSettings, mqtt: MqttSettings, archive: ArchiveSettings) -> None:
        self._settings = settings
        self._watch = RegistryWatch(settings)
        self._source = MqttSource(mqtt, settings.beside("archive"), self._watch.registry.subscribe)
        self._stopped = threading.Event()
        self._sink: SpoolSink | None = None
        self._metrics = Metrics("archive", lambda: self._sink.in_hand() if self._sink else (0, None))
        self._metrics.source("archive", lambda: self._source.connections, lambda: self._source.connected)
        try:
            target = destination.opened(archive)
        except (OSError, pa.ArrowException) as error:
            raise SettingError(f"ARCHIVE_URL can't be used: {error}") from error
        directory = archive.spool_directory
        self._finisher = Finisher(target)
        self._spool = Spool(directory, archive.file_megabytes * 1_000_000, self._finisher.add)
        finisher.clear(directory)
        self._spool.recover(time.time_ns() // 1_000 // HOUR)
        self._metrics.gauge("archive_unfinished_files", "Files of the spool to finish.", lambda: self._finisher.waiting)
        disks = [directory, *([] if archive.url else [archive.directory])]
        self._metrics.gauge("archive_disk_free_ratio", "Free part of the fullest disk of archive and spool, 0 to 1.",
                            lambda: free(disks))  # fmt: skip
        self._endpoint = Endpoint(
            self._metrics, self._waiting, settings.metrics_address, archive.metrics_port, "ARCHIVE_METRICS_PORT"
        )
        log.info("archiving", to=destination.shown(archive), spool=str(directory), unfinished=self._finisher.waiting)

    def stop(self) -> None:
        """End :meth:`run`, in an orderly way; from any thread, not from a signal handler."""
        self._source.stop()

    def _waiting(self) -> list[str]:
        """Return what keeps it from archiving."""
        reasons = []
        if self._sink and (held := long_held(self._sink.writing_since)):
            reasons.append(f"the disk has taken nothing for {held}")
        if not self._source.connected:
            reasons.append("not connected to the broker")
        return reasons

    def run(self) -> bool:
        """Archive until :meth:`stop`; return whether all that was read is safe and acknowledged."""
        with self._endpoint:
            return self._run()

    def _run(self) -> bool:
        sink = self._sink = SpoolSink(
            self._spool,
            committed=self._source.committed,
            room=self._source.room,
            wrote=self._metrics.wrote,
            max_messages=self._settings.max_batch_messages,
            max_bytes=self._settings.max_batch_megabytes * 1_000_000,
        )
        summary = threading.Thread(target=self._summarise, args=(sink,), name="summary", daemon=True)
        summary.start()
        try:
            return self._source.run(sink)
        finally:
            sink.stop(0)
            if not self._finisher.stop(self._settings.drain_seconds):
                log.warning("files left to finish; the next start does it", waiting=self._finisher.waiting)
            self._stopped.set()
            summary.join()
            self._spool.release()

    def _summarise(self, sink: SpoolSink) -> None:
        """Log one line a period, and one for the rest when stopping; follow the registry's topic filters."""
        total, begun, due = 0, time.monotonic(), time.monotonic() + self._settings.summary_seconds
        last = False
        while not last:
            last = self._stopped.wait(min(1.0, max(due - time.monotonic(), 0)))
            if self._watch.changed():
                self._source.subscribe = self._watch.registry.subscribe
            now = time.monotonic()
            if now < due and not last:
                continue
            progress = sink.take_progress()
            total += progress.messages
            log.info(
                "archived" if progress.messages else "nothing arrived",
                messages=progress.messages,
                messages_per_second=round(progress.messages / max(now - begun, 0.001), 1),
                bytes=progress.size_bytes,
                writes=progress.writes,
                largest_write=progress.largest,
                slowest_ms=round(progress.slowest_seconds * 1000),
                unfinished_files=self._finisher.waiting,
                total_messages=total,
            )
            begun, due = now, now + self._settings.summary_seconds


def free(directories: Sequence[Path]) -> float:
    """Return which part of the fullest of the disks of ``directories`` is free for the likes of us, 0 to 1."""
    seen = [os.statvfs(directory) for directory in directories if directory.is_dir()]
    return min((one.f_bavail / one.f_blocks for one in seen if one.f_blocks), default=0.0)


def run(settings: CollectorSettings, mqtt: MqttSettings, archive: ArchiveSettings) -> int:
    """Archive from MQTT until SIGTERM or SIGINT; return the exit status.

    0: all that was read is safe and acknowledged. 1: the disk refused while stopping; what is not safe was not
    acknowledged either, and the broker keeps it.
    """
    archiver = Archiver(settings, mqtt, archive)
    stop_on_signal(archiver.stop)
    if archiver.run():
        return 0
    log.error("stopped while the disk refused; what is not in the spool stays with the broker")
    return 1
