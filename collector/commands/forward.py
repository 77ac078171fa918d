"""``collector forward``: every MQTT message onto a Kafka topic, acknowledged once Kafka has it.

Needs the extra ``kafka`` (confluent-kafka, which brings librdkafka).
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from collector.commands import run as collect
from collector.commands.metrics import Endpoint, Gauges, long_held
from collector.message import Message
from collector.settings import CollectorSettings, KafkaSettings, MqttSettings
from collector.sources.kafka import QOS, RECEIVED, RETAINED, KafkaRefusedError, KafkaTroubles, await_topic
from collector.sources.mqtt import MqttSource

log = structlog.get_logger()

_GIVEN_UP = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}  # noqa: SLF001 - librdkafka's own errors begin so


class KafkaSink:
    """Puts messages on a topic in the order they come; a :class:`collector.sources.mqtt.Sink`.

    ``committed`` is called with those that all in-sync replicas have, from a thread of the sink's own. Memory is
    bounded by ``full``; librdkafka tries for as long as the cluster is away, so a message fails only for good.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: CollectorSettings,
        committed: Callable[[Sequence[Message]], None],
        new_producer: Callable[..., Producer] = Producer,
    ) -> None:
        self.failure: BaseException | None = None
        self.troubles = KafkaTroubles(kafka)
        self.forwarded = 0
        """Messages that Kafka has."""
        self.left = 0
        """Messages too large for it, which stay with the MQTT broker."""
        self._kafka = kafka
        self._committed = committed
        self._max_messages = settings.max_batch_messages
        self._max_bytes = settings.max_batch_megabytes * 1_000_000
        # Counted apart by the thread that adds and the one that hears from Kafka, so that neither needs a lock.
        self._added = self._added_bytes = self._done = self._done_bytes = 0
        self._delivered: list[Message] = []
        self._taken = time.monotonic()
        self._ended = threading.Event()
        self.producer = new_producer(self._configuration(settings.client_id), logger=self.troubles)
        self._thread = threading.Thread(target=self._run, name="kafka", daemon=True)

    def _configuration(self, client_id: str) -> dict[str, Any]:
        return {
            **self._kafka.client(),
            "client.id": client_id,
            "acks": "all",
            "enable.idempotence": True,  # in order and once, also when a request is tried again
            "message.timeout.ms": 0,  # for ever
            "message.max.bytes": self._kafka.max_message_bytes,
            "queue.buffering.max.messages": 0,  # `full` is the bound
            "queue.buffering.max.kbytes": 2_147_483_647,
            "partitioner": "murmur2_random",  # as Java's, so that all producers of a topic agree
            "compression.type": "zstd",
            "log.connection.close": False,
            "error_cb": self.troubles,
        }

    def start(self) -> None:
        """Begin to hear from Kafka; the thread that called may add messages from now on."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many messages Kafka has not acknowledged yet."""
        return self._added - self._done

    @property
    def held_since(self) -> float | None:
        """Since when (time.monotonic()) Kafka has taken nothing although something waits; None: nothing does."""
        return self._taken if self.waiting else None

    @property
    def full(self) -> bool:
        """Whether as much waits as may."""
        return self.waiting >= self._max_messages or self._added_bytes - self._done_bytes >= self._max_bytes

    def add(self, message: Message) -> None:
        """Hand ``message`` to librdkafka; one that no record may hold stays unacknowledged with the MQTT broker."""
        try:
            self.producer.produce(
                self._kafka.topic,
                message.payload,
                message.topic.encode("utf-8", "surrogateescape"),
                headers=[
                    (QOS, b"%d" % message.qos),
                    (RETAINED, b"%d" % message.retained),
                    (RECEIVED, b"%d" % message.received),
                ],
                timestamp=message.received // 1_000,
                on_delivery=partial(self._heard, message),
            )
        except KafkaException as error:
            if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise
            self.left += 1
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
        """Do nothing: librdkafka sends by itself."""

    def stop(self, seconds: float) -> bool:
        """Wait until Kafka has what was added, ``seconds`` at most, and end; return whether it has all of it."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        left = self.producer.flush(seconds)
        if left:
            self.producer.purge()
            self.producer.flush(1)
        self._hand_over()
        return not left and self.failure is None

    def _run(self) -> None:
        try:
            while not self._ended.is_set() and self.failure is None:
                self.producer.poll(0.1)
                self._hand_over()
                refused = self.troubles.refused
                if refused is not None:
                    self.failure = refused
        except BaseException as error:  # noqa: BLE001 - the source's thread raises it: nothing may end unseen
            self.failure = error

    def _heard(self, message: Message, error: KafkaError | None, _: object) -> None:
        """Take Kafka's word for one message; called while polling or flushing."""
        self._done += 1
        self._done_bytes += len(message.payload) + len(message.topic)
        if error is None:
            self._delivered.append(message)
        elif error.code() not in _GIVEN_UP:
            self.failure = self.failure or KafkaRefusedError(
                f"Kafka at {self._kafka.bootstrap_servers} does not take a record on topic {self._kafka.topic}: "
                f"{error.str()}. What was not taken stays with the MQTT broker; mend the topic, then start again."
            )

    def _hand_over(self) -> None:
        delivered, self._delivered = self._delivered, []
        if delivered or not self.waiting:
            self._taken = time.monotonic()
        if delivered:
            self._committed(delivered)
            self.forwarded += len(delivered)


class Forwarder:
    """One running ``collector forward``; :meth:`run` holds the calling thread."""

    def __init__(self, settings: CollectorSettings, mqtt: MqttSettings, kafka: KafkaSettings) -> None:
        self._settings = settings.beside("forward")
        self._watch = collect.RegistryWatch(settings)
        self._topic = kafka.topic
        self._source = MqttSource(mqtt, self._settings, self._watch.registry.subscribe)
        self._sink = KafkaSink(kafka, self._settings, self._source.committed)
        self._stopping = threading.Event()
        shown = Gauges()
        shown.source("forward", lambda: self._source.connections, lambda: self._source.connected)
        shown.gauge("forward_messages", "Messages that Kafka has.", lambda: self._sink.forwarded)
        shown.gauge("forward_unacknowledged_messages", "Messages read that it has not yet.", lambda: self._sink.waiting)
        shown.gauge("forward_too_large_messages", "Messages that stay with the broker.", lambda: self._sink.left)
        self._endpoint = Endpoint(
            shown, self._waiting, settings.metrics_address, kafka.metrics_port, "KAFKA_METRICS_PORT"
        )

    def _waiting(self) -> list[str]:
        """Return what keeps it from forwarding."""
        reasons = []
        if held := long_held(self._sink.held_since):
            reasons.append(f"Kafka has taken nothing for {held}")
        if not self._source.connected:
            reasons.append("not connected to the broker")
        return reasons

    def stop(self) -> None:
        """End :meth:`run`, in an orderly way; from any thread."""
        self._stopping.set()
        self._source.stop()

    def run(self) -> bool:
        """Forward until :meth:`stop`; return whether Kafka has all that was read."""
        with self._endpoint:
            return self._run()

    def _run(self) -> bool:
        sink = self._sink
        if not await_topic(sink.producer, self._topic, sink.troubles, self._stopping):
            if sink.troubles.refused is not None:
                raise sink.troubles.refused
            return True
        log.info("forwarding", kafka_topic=self._topic)
        sink.start()
        summary = threading.Thread(target=self._summarise, name="summary", daemon=True)
        summary.start()
        try:
            return self._source.run(sink)
        finally:
            self._stopping.set()
            summary.join()

    def _summarise(self) -> None:
        """Follow the registry's filters; log one line a period and one when stopping."""
        sink, before = self._sink, 0
        due = time.monotonic() + self._settings.summary_seconds
        last = False
        while not last:
            last = self._stopping.wait(min(1.0, self._settings.summary_seconds))
            if self._watch.changed():
                self._source.subscribe = self._watch.registry.subscribe
            if last or time.monotonic() >= due:
                due += self._settings.summary_seconds
                count, before = sink.forwarded - before, sink.forwarded
                log.info(
                    "forwarded" if count else "nothing arrived",
                    messages=count,
                    waiting=sink.waiting,
                    left_with_broker=sink.left,
                    total_messages=before,
                )


def run(settings: CollectorSettings, mqtt: MqttSettings, kafka: KafkaSettings) -> int:
    """Forward MQTT to Kafka until SIGTERM or SIGINT; return the exit status.

    0: Kafka has all that was read, and MQTT's broker knows. 1: it stayed away while stopping; what it does not have
    was not acknowledged, and the MQTT broker keeps it.
    """
    forwarder = Forwarder(settings, mqtt, kafka)
    collect.stop_on_signal(forwarder.stop)
    if forwarder.run():
        return 0
    log.error("stopped while Kafka was away; what it does not have stays with the MQTT broker")
    return 1
