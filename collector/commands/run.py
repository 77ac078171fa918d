"""``collector run``: messages from MQTT or Kafka become readings in the database."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, ClassVar

import psycopg
import structlog
from psycopg import errors

from collector.commands.configuration import kafka_extra, load_configuration
from collector.commands.database_target import DatabaseTarget
from collector.commands.decoder_builder import DecoderBuilder
from collector.commands.metrics import Metrics, stalled_for
from collector.commands.program import Program, run_until_signal
from collector.commands.registry_watch import RegistryWatch
from collector.decode.decoder import Decoder
from collector.settings import CollectorSettings
from collector.sources.base import Source
from collector.sources.mqtt import MqttSource
from collector.sources.sparkplug_host import SparkplugHost
from collector.store.batch import Accounts, Batch
from collector.store.birth_store import BirthStore
from collector.store.group_commit import GroupCommit
from collector.store.writer import Writer
from core import database, logs
from core.backoff import Backoff
from core.errors import DatabaseError

log = structlog.get_logger()


class SourceName(StrEnum):
    """The sources of ``collector run``; the values are those of ``telemetry.intake.source``."""

    MQTT = "mqtt"
    KAFKA = "kafka"


class Collector(Program):
    """``collector run`` with one source.

    ``name`` is the source's in the accounts, ``new_source`` makes it from the registry's topic filters; ``host``
    publishes to Sparkplug edge nodes if the source can publish.
    """

    name: ClassVar[str] = "collector"
    source_name: ClassVar[str] = "source"
    incomplete: ClassVar[str] = (
        "stopped while the database was away; messages that are not committed stay with the broker"
    )

    def __init__(
        self,
        settings: CollectorSettings,
        name: str,
        new_source: Callable[[tuple[str, ...]], Source],
        host: SparkplugHost | None = None,
    ) -> None:
        self._settings = settings
        self._births = BirthStore()
        self._builder = DecoderBuilder(settings, self._births)
        self._writer = Writer(
            name, settings.client_id, births=self._births,
            payload_budget=round(settings.quarantine_megabytes * 1_000_000),
        )  # fmt: skip
        self._host = host or SparkplugHost()
        self._sink: GroupCommit[Batch, Accounts] | None = None
        self._total = Accounts()
        self._metrics = Metrics("collector", lambda: self._sink.uncommitted() if self._sink else (0, None))
        watch = RegistryWatch(settings)
        source = new_source(watch.registry.subscribe)
        super().__init__(settings, source, watch, self._metrics, settings.metrics_port, "COLLECTOR_METRICS_PORT")

    def prepare(self) -> GroupCommit[Batch, Accounts] | None:
        """Return the sink once the database is there and migrated."""
        decoder = self._wait_for_decoder()
        if decoder is None:
            return None
        target = DatabaseTarget(self._writer, decoder.decode)
        self._sink = GroupCommit(
            target,
            committed=self.source.committed,
            resume=self.source.resume,
            before_batch=lambda: self._apply_registry(target),
            wrote=self._metrics.wrote,
            max_messages=self._settings.max_batch_messages,
            max_bytes=self._settings.max_batch_megabytes * 1_000_000,
        )
        return self._sink

    def _wait_for_decoder(self) -> Decoder | None:
        backoff = Backoff(first=0.5, longest=10.0)
        while not self.stopping.is_set():
            try:
                return self._build_decoder()
            except (DatabaseError, psycopg.Error) as error:
                self._writer.close()
                reason = database.reason(error)
                if isinstance(error, errors.UndefinedTable | errors.UndefinedFunction):
                    reason = f"{reason}; run `timescale migrate`"
                log.warning("waiting for the database", reason=reason, next_try_seconds=backoff.pause)
                self.stopping.wait(backoff.advance())
        return None

    def _build_decoder(self) -> Decoder:
        decoder = self._builder.build(self._writer.connection(), self.watch.registry)
        self._host.follow(self._births.nodes)
        return decoder

    def _apply_registry(self, target: DatabaseTarget) -> None:
        """Decode with a changed registry from now on; in the writer's thread, which has the connection."""
        if not (self.watch.changed() or self._builder.is_outdated):
            return
        try:
            target.decode = self._build_decoder().decode
        except (DatabaseError, psycopg.Error) as error:
            self.watch.retry()
            self._writer.close()
            log.warning("registry not written yet", reason=database.reason(error))
        else:
            self.source.topic_filters = self.watch.registry.subscribe
            log.info("registry in force", sensors=len(self.watch.registry.sensors))

    def follow_registry(self) -> None:
        """Do nothing: the writer's thread applies a changed registry."""

    def interrupt(self) -> None:
        """Break the connection if the writer waits for the database's first answer."""
        if self._sink is None:
            self._writer.interrupt()

    def sink_waits_for(self) -> list[str]:
        """Return the reasons why no readings can be written."""
        if self._sink is None:
            return ["the database has not answered yet"]
        stalled = stalled_for(self._sink.writing_since)
        return [f"the database has accepted no write for {stalled}"] if stalled else []

    def log_summary(self, seconds: float) -> None:
        """Log the accounts of the last ``seconds``."""
        if self._sink is None:
            return
        progress = self._sink.take_progress()
        self._total.add(progress.counts)
        counts: dict[str, Any] = {name: count for name, count in vars(progress.counts).items() if count}
        if reasons := self._writer.take_ignored():
            counts["ignored_reasons"] = reasons
        log.info(
            "collected" if counts else "nothing arrived",
            **counts,
            readings_per_second=round(progress.counts.readings / seconds, 1),
            transactions=progress.batches,
            largest_batch=progress.largest_batch,
            slowest_ms=round(progress.slowest_seconds * 1000),
            waiting=self._sink.waiting,
            total_readings=self._total.readings,
        )


def run(source: SourceName) -> int:
    """Collect until SIGTERM or SIGINT; return the exit status: see :func:`run_until_signal`."""
    configuration = load_configuration(decodes=True)
    collector, mqtt, kafka = configuration.collector, configuration.mqtt, configuration.kafka
    logs.configure()
    if source is SourceName.KAFKA:
        with kafka_extra():
            from collector.sources.kafka import KafkaSource  # noqa: PLC0415 - an extra, not installed everywhere
        return run_until_signal(Collector(collector, source, lambda _: KafkaSource(kafka, collector)))
    host = SparkplugHost(collector.sparkplug_host_id)
    return run_until_signal(
        Collector(collector, source, lambda filters: MqttSource(mqtt, collector, filters, host), host)
    )
