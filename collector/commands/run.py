"""``collector run``: registry, source, pipeline and database put together."""

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import psycopg
import structlog
from psycopg import errors

from collector import units
from collector.commands.metrics import Endpoint, Metrics, long_held
from collector.decode.decoder import Decoder
from collector.formats.measurement import FormatOptions, Reader
from collector.message import Message
from collector.registry import sensors_file, sync
from collector.settings import CollectorSettings
from collector.sources.mqtt import Sink
from collector.sources.sparkplug_host import SparkplugHost
from collector.store import sparkplug_births
from collector.store.batch import Accounts
from collector.store.group_commit import Pipeline
from collector.store.sparkplug_births import Births
from collector.store.writer import Writer
from core import database
from core.backoff import Backoff
from core.errors import DatabaseError, SettingError

log = structlog.get_logger()

_RETENTION_SECONDS = 3600.0


class RegistryWatch:
    """Follows the registry file: a changed file is read, written to the database and decoded by.

    A file with mistakes changes nothing; they are logged, and the registry that was in force stays.
    """

    def __init__(self, settings: CollectorSettings) -> None:
        self.path = settings.registry
        self._settings = settings
        self._seen = self._stamp()  # before reading, so that a change in between is seen
        self.registry = sensors_file.load(self.path)
        self._looked = time.monotonic()
        self._pending = False
        self._synchronised = self._looked
        self._readers: Mapping[FormatOptions, Reader] = {}
        self.births = Births()
        """What those readers must not forget."""

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def forget(self) -> None:
        """Take the file as changed the next time: what :meth:`changed` announced could not be done."""
        self._pending = True

    def synchronise(self, connection: database.Connection) -> Decoder:
        """Write the registry to the database; return the decoder for it."""
        done = sync.synchronise(connection, self.registry)
        if done.written or done.retired:
            log.info("registry written", sensors=len(self.registry.sensors), changed=done.written, retired=done.retired)
        self._synchronised = time.monotonic()
        every = (*self.registry.sensors, *(pattern.prototype for pattern in self.registry.patterns))
        if any(sensor.format.sends_units for sensor in every):
            units.ready()  # payloads may say units; arrivals would be late by what the first of them takes
        self._readers = self.births.readers(connection, self.registry, self._readers)
        decoder = Decoder(
            self.registry.not_before(done.oldest),
            done.series_ids,
            done.discovered,
            max_future_seconds=self._settings.max_future_seconds,
            max_message_bytes=self._settings.max_message_megabytes * 1_000_000,
            max_discovered=self._settings.max_discovered,
            readers=self._readers,
        )
        self._readers = decoder.readers
        return decoder

    def changed(self) -> bool:
        """Look at the file, once a second at most; return whether the registry must be synchronised.

        It must when another one is now in force, and once an hour, since what retention accepts moves with the days.
        """
        if time.monotonic() - self._looked < 1:
            return False
        self._looked = time.monotonic()
        if time.monotonic() - self._synchronised > _RETENTION_SECONDS:
            self._pending = True
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            pending, self._pending = self._pending, False
            return pending
        self._seen = stamp
        try:
            found = sensors_file.load(self.path)
            sparkplug_births.check(found, self._settings.share_group)
        except SettingError as error:
            log.error("registry has mistakes; the one in force stays", mistakes=str(error))  # noqa: TRY400 - no traceback
            return False
        different = self._pending or found != self.registry
        self.registry, self._pending = found, False
        return different


class Source(Protocol):
    """A source of messages: :class:`~collector.sources.mqtt.MqttSource` or a Kafka consumer group."""

    subscribe: tuple[str, ...]
    """The registry's topic filters; replaced when the registry changes."""
    connections: int
    """How often it has connected."""

    @property
    def connected(self) -> bool:
        """Whether it can bring messages just now."""

    def committed(self, messages: Sequence[Message]) -> None:
        """Take note that ``messages`` are safe. From any thread."""

    def room(self) -> None:
        """Take note that the sink can take more again. From any thread."""

    def run(self, sink: Sink) -> bool:
        """Bring messages to ``sink`` until :meth:`stop`; return whether all that was read is safe."""

    def stop(self) -> None:
        """Make :meth:`run` return, in an orderly way. From any thread."""


class Collector:
    """One running collector; :meth:`run` holds the calling thread.

    ``name`` is the source's in the accounts, ``source`` makes it from the registry's topic filters; ``host`` speaks to
    Sparkplug's edge nodes, where the source can publish.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        name: str,
        source: Callable[[tuple[str, ...]], Source],
        host: SparkplugHost | None = None,
    ) -> None:
        self._settings = settings
        self._watch = RegistryWatch(settings)
        self._writer = Writer(name, settings.client_id)
        self._writer.births = self._watch.births
        self._host = host or SparkplugHost()
        self._source = source(self._watch.registry.subscribe)
        self._pipeline: Pipeline | None = None
        self._stopping = threading.Event()
        self._metrics = Metrics("collector", lambda: self._pipeline.in_hand() if self._pipeline else (0, None))
        self._metrics.source("collector", lambda: self._source.connections, lambda: self._source.connected)
        self._endpoint = Endpoint(
            self._metrics, self._waiting, settings.metrics_address, settings.metrics_port, "COLLECTOR_METRICS_PORT"
        )

    def stop(self) -> None:
        """End :meth:`run`, in an orderly way; from any thread, not from a signal handler."""
        self._stopping.set()
        self._source.stop()
        if self._pipeline is None:
            self._writer.interrupt()  # it may be waiting for the first answer of the database

    def run(self) -> bool:
        """Collect until :meth:`stop`; return whether all that was read has been committed and acknowledged."""
        with self._endpoint:
            return self._run()

    def _waiting(self) -> list[str]:
        """Return what keeps it from collecting."""
        reasons = [] if self._pipeline else ["the database has not answered yet"]
        if self._pipeline and (held := long_held(self._pipeline.writing_since)):
            reasons.append(f"the database has taken nothing for {held}")
        if not self._source.connected:
            reasons.append("not connected to the source")
        return reasons

    def _run(self) -> bool:
        decoder = self._first_decoder()
        if decoder is None:
            return True
        pipeline = self._pipeline = Pipeline(
            self._writer,
            decoder.decode,
            committed=lambda batch: self._source.committed(batch.messages),
            room=self._source.room,
            before_batch=lambda: self._follow_registry(pipeline),
            wrote=self._metrics.wrote,
            max_messages=self._settings.max_batch_messages,
            max_bytes=self._settings.max_batch_megabytes * 1_000_000,
        )
        summary = threading.Thread(target=self._summarise, args=(pipeline,), name="summary", daemon=True)
        summary.start()
        try:
            return self._source.run(pipeline)
        finally:
            self._stopping.set()
            pipeline.stop(0)
            summary.join()

    def _first_decoder(self) -> Decoder | None:
        """Return the decoder once the database is there and migrated; None when told to stop before."""
        backoff = Backoff(first=0.5, longest=10.0)
        while not self._stopping.is_set():
            try:
                return self._synchronise()
            except (DatabaseError, psycopg.Error) as error:
                self._writer.close()
                reason = database.reason(error)
                if isinstance(error, errors.UndefinedTable | errors.UndefinedFunction):
                    reason = f"{reason}; run `timescale migrate`"
                log.warning("waiting for the database", reason=reason, next_try_seconds=backoff.pause)
                self._stopping.wait(backoff.advance())
        return None

    def _synchronise(self) -> Decoder:
        decoder = self._watch.synchronise(self._writer.connection())
        self._host.follows(self._watch.births.nodes)
        return decoder

    def _follow_registry(self, pipeline: Pipeline) -> None:
        if not self._watch.changed():
            return
        try:
            pipeline.decode = self._synchronise().decode
        except (DatabaseError, psycopg.Error) as error:
            self._watch.forget()
            self._writer.close()
            log.warning("registry not written yet", reason=database.reason(error))
        else:
            self._source.subscribe = self._watch.registry.subscribe
            log.info("registry in force", sensors=len(self._watch.registry.sensors))

    def _summarise(self, pipeline: Pipeline) -> None:
        """Log one line a period, and one for the rest when stopping."""
        begun = time.monotonic()
        total = Accounts()
        last = False
        while not last:
            last = self._stopping.wait(self._settings.summary_seconds)
            if last:
                pipeline.join()
            now = time.monotonic()
            progress = pipeline.take_progress()
            total.add(progress.accounts)
            counts = {name: count for name, count in vars(progress.accounts).items() if count}
            log.info(
                "collected" if counts else "nothing arrived",
                **counts,
                readings_per_second=round(progress.accounts.readings / max(now - begun, 0.001), 1),
                transactions=progress.batches,
                largest_batch=progress.largest,
                slowest_ms=round(progress.slowest_seconds * 1000),
                waiting=pipeline.waiting,
                total_readings=total.readings,
            )
            begun = now


def stop_on_signal(stop: Callable[[], None]) -> None:
    """Have SIGTERM and SIGINT call ``stop``, each in a thread of its own.

    A handler runs between two steps of the main thread, which may hold the very lock that stopping needs.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=stop, daemon=True).start())


def run(
    settings: CollectorSettings,
    name: str,
    source: Callable[[tuple[str, ...]], Source],
    host: SparkplugHost | None = None,
) -> int:
    """Collect until SIGTERM or SIGINT; return the exit status. For the arguments see :class:`Collector`.

    0: all that was read has been committed and acknowledged. 1: the database stayed away while stopping; what was
    not committed was not acknowledged either, and the broker keeps it.
    """
    collector = Collector(settings, name, source, host)
    stop_on_signal(collector.stop)
    if collector.run():
        return 0
    log.error("stopped while the database was away; what is not committed stays with the broker")
    return 1
