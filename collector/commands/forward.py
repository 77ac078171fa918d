"""``collector forward``: every MQTT message goes to a Kafka topic and is acknowledged once Kafka has it.

Needs the extra ``kafka`` (confluent-kafka, which brings librdkafka).
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from collector.commands.configuration import load_configuration
from collector.commands.metrics import Gauges, stalled_for
from collector.commands.program import Program, run_until_signal
from collector.commands.registry_watch import RegistryWatch
from collector.message import Message
from collector.settings import CollectorSettings, KafkaSettings
from collector.sources.kafka import KafkaErrorHandler, KafkaRefusedError, wait_for_topic
from collector.sources.kafka_record import QOS, RECEIVED, RETAINED, WAITED
from collector.sources.mqtt import MqttSource
from core import logs
from core.settings import MqttSettings

log = structlog.get_logger()

_PURGED = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}  # noqa: SLF001 - names of librdkafka's own errors


class KafkaSink:
    """Sends messages to a topic, in order; a :class:`collector.sources.base.Sink`.

    ``committed`` is called with messages that all in-sync replicas have, in the sink's own thread. Memory is bounded by
    :attr:`is_full`. librdkafka retries for as long as the cluster is away, so that a failure of a message is permanent.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: CollectorSettings,
        committed: Callable[[Sequence[Message]], None],
        new_producer: Callable[..., Producer] = Producer,
    ) -> None:
        self.failure: BaseException | None = None
        self.errors = KafkaErrorHandler(kafka)
        self.forwarded = 0
        """Messages that Kafka has."""
        self.too_large = 0
        """Messages too large for Kafka, which stay with the MQTT broker."""
        self._kafka = kafka
        self._committed = committed
        self._max_messages = settings.max_batch_messages
        self._max_bytes = settings.max_batch_megabytes * 1_000_000
        # Each is counted by one thread only, by the one that adds or the one that polls, so that neither needs a lock.
        self._added = self._added_bytes = self._finished = self._finished_bytes = 0
        self._delivered: list[Message] = []
        self._last_progress = time.monotonic()
        self._stopping = threading.Event()
        self.producer = new_producer(self._configuration(settings.client_id), logger=self.errors)
        self._thread = threading.Thread(target=self._run, name="kafka", daemon=True)

    def _configuration(self, client_id: str) -> dict[str, Any]:
        return {
            **self._kafka.client(),
            "client.id": client_id,
            "acks": "all",
            "enable.idempotence": True,  # in order and once, also when a request is retried
            "message.timeout.ms": 0,  # no limit
            "message.max.bytes": self._kafka.max_message_bytes,
            "queue.buffering.max.messages": 0,  # bounded by is_full
            "queue.buffering.max.kbytes": 2_147_483_647,
            "partitioner": "murmur2_random",  # as Java's, so that all producers use the same partitions
            "compression.type": "zstd",
            "log.connection.close": False,
            "error_cb": self.errors,
        }

    def start(self) -> None:
        """Start the polling thread; the calling thread may add messages from now on."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of messages that Kafka has not acknowledged yet."""
        return self._added - self._finished

    @property
    def waiting_since(self) -> float | None:
        """Time (monotonic) since which messages wait and Kafka has acknowledged none; None: none waits."""
        return self._last_progress if self.waiting else None

    @property
    def is_full(self) -> bool:
        """Whether the limit of messages or bytes that wait is reached."""
        return self.waiting >= self._max_messages or self._added_bytes - self._finished_bytes >= self._max_bytes

    def add(self, message: Message) -> None:
        """Pass ``message`` to librdkafka; one that is too large for a record stays unacknowledged."""
        try:
            self.producer.produce(
                self._kafka.topic,
                message.payload,
                message.topic.encode("utf-8", "surrogateescape"),
                headers=[
                    (QOS, b"%d" % message.qos),
                    (RETAINED, b"%d" % message.retained),
                    (RECEIVED, b"%d" % message.received),
                    *([(WAITED, b"%d" % message.waited)] if message.waited else []),
                ],
                timestamp=message.received // 1_000,
                on_delivery=partial(self._on_delivery, message),
            )
        except KafkaException as error:
            if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise
            self.too_large += 1
            log.error(  # noqa: TRY400 - no traceback
                "message too large for Kafka; it stays with the MQTT broker. Raise KAFKA_MAX_MESSAGE_BYTES and the "
                "topic's max.message.bytes",
                topic=message.topic,
                bytes=len(message.payload),
            )
        else:
            self._added += 1
            self._added_bytes += len(message.payload) + len(message.topic)

    def notify(self) -> None:
        """Do nothing: librdkafka sends automatically."""

    def stop(self, seconds: float) -> bool:
        """Flush pending messages, waiting up to ``seconds``, and end; return whether Kafka has all of them."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        unsent = self.producer.flush(seconds)
        if unsent:
            self.producer.purge()
            self.producer.flush(1)
        self._report_committed()
        return not unsent and self.failure is None

    def _run(self) -> None:
        try:
            while not self._stopping.is_set() and self.failure is None:
                self.producer.poll(0.1)
                self._report_committed()
                refused = self.errors.refused
                if refused is not None:
                    self.failure = refused
        except BaseException as error:  # noqa: BLE001 - the source's thread raises it: no error may go unnoticed
            self.failure = error

    def _on_delivery(self, message: Message, error: KafkaError | None, _: object) -> None:
        """Record the result of one message; called while polling or flushing."""
        self._finished += 1
        self._finished_bytes += len(message.payload) + len(message.topic)
        if error is None:
            self._delivered.append(message)
        elif error.code() not in _PURGED:
            self.failure = self.failure or KafkaRefusedError(
                f"Kafka at {self._kafka.bootstrap_servers} refuses a record on topic {self._kafka.topic}: "
                f"{error.str()}. Refused messages stay with the MQTT broker; correct the topic, then start again."
            )

    def _report_committed(self) -> None:
        delivered, self._delivered = self._delivered, []
        if delivered or not self.waiting:
            self._last_progress = time.monotonic()
        if delivered:
            self._committed(delivered)
            self.forwarded += len(delivered)


class Forwarder(Program):
    """``collector forward``, with its own MQTT session."""

    name: ClassVar[str] = "forward"
    incomplete: ClassVar[str] = "stopped while Kafka was away; messages that it does not have stay with the MQTT broker"

    def __init__(self, settings: CollectorSettings, mqtt: MqttSettings, kafka: KafkaSettings) -> None:
        settings = settings.for_role("forward")
        watch = RegistryWatch(settings)
        source = MqttSource(mqtt, settings, watch.registry.subscribe)
        self._topic = kafka.topic
        self._sink = sink = KafkaSink(kafka, settings, source.committed)
        self._summarised = 0
        """Messages in the summaries so far."""
        metrics = Gauges()
        metrics.gauge("forward_messages", "Messages that Kafka has.", lambda: sink.forwarded)
        metrics.gauge("forward_unacknowledged_messages", "Messages read that it has not yet.", lambda: sink.waiting)
        metrics.gauge("forward_too_large_messages", "Messages that stay with the broker.", lambda: sink.too_large)
        super().__init__(settings, source, watch, metrics, kafka.metrics_port, "KAFKA_METRICS_PORT")

    def prepare(self) -> KafkaSink | None:
        """Return the sink once the topic exists; raises :class:`KafkaRefusedError`."""
        sink = self._sink
        if not wait_for_topic(sink.producer, self._topic, sink.errors, self.stopping):
            if sink.errors.refused is not None:
                raise sink.errors.refused
            return None
        log.info("forwarding", kafka_topic=self._topic)
        sink.start()
        return sink

    def sink_waits_for(self) -> list[str]:
        """Return the reasons why no messages can be sent."""
        stalled = stalled_for(self._sink.waiting_since)
        return [f"Kafka has acknowledged nothing for {stalled}"] if stalled else []

    def log_summary(self, _seconds: float) -> None:
        """Log the messages since the last summary."""
        sink = self._sink
        count, self._summarised = sink.forwarded - self._summarised, sink.forwarded
        log.info(
            "forwarded" if count else "nothing arrived",
            messages=count,
            waiting=sink.waiting,
            left_with_broker=sink.too_large,
            total_messages=self._summarised,
        )


def run() -> int:
    """Forward until SIGTERM or SIGINT; return the exit status: see :func:`run_until_signal`."""
    configuration = load_configuration()
    logs.configure()
    return run_until_signal(Forwarder(configuration.collector, configuration.mqtt, configuration.kafka))
