"""Messages from Kafka: a consumer group whose offsets are committed after the database's commit.

Needs the extra ``kafka`` (confluent-kafka, which brings librdkafka). See docs/kafka.md for the content of a record
and docs/decisions/0005-kafka-offsets-and-pauses.md for the reasons of this design.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as Record

from collector.message import Message
from collector.settings import CollectorSettings, KafkaSettings
from collector.sources.arrival import Arrival
from collector.sources.arrival_clock import ArrivalClock
from collector.sources.base import Sink
from collector.sources.kafka_record import message_of, offset_of, partition_of
from core.backoff import Backoff
from core.errors import WarehouseError

log = structlog.get_logger()

_REFUSALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.INVALID_GROUP_ID,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    KafkaError.INVALID_SESSION_TIMEOUT,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.ILLEGAL_SASL_STATE,
}
_MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001 - names of librdkafka's own errors
_UNREACHABLE = {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._TIMED_OUT}  # noqa: SLF001
_LONGEST_PAUSE = 10.0
_LOG_INTERVAL_SECONDS = 10.0

_POLL_SECONDS = 0.25
"""Longest wait for a record; the rest of the loop (committing offsets, stopping) is delayed by up to this time."""
_MOST_RECORDS = 2_000
_PAUSE_AFTER_SECONDS = 1.0
"""Wait for a full sink before partitions are paused: pausing discards the records fetched ahead, and a transaction
takes less time. Far below ``max.poll.interval.ms`` (5 minutes)."""
_LONGEST_REVOCATION = 60.0
_LAST_COMMIT_SECONDS = 3.0


class KafkaRefusedError(WarehouseError):
    """Kafka refuses this client, or the client failed permanently; a retry would not help."""


class KafkaErrorHandler:
    """Handles a client's errors: temporary ones are logged, a refusal ends the client."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.refused: KafkaRefusedError | None = None
        self.connected = False
        """Set once the cluster has answered; from then on a failed login counts as temporary."""
        self._kafka = kafka
        self._next_log: dict[str, float] = {}
        """Kind of event to the time from which it is logged again."""

    def __call__(self, error: KafkaError) -> None:
        """Handle ``error``: librdkafka's ``error_cb``, also called for errors of records and answers."""
        code = error.code()
        refused = code in _REFUSALS or (code == KafkaError._AUTHENTICATION and not self.connected)  # noqa: SLF001
        if error.fatal() or refused:
            kafka = self._kafka
            self.refused = self.refused or KafkaRefusedError(
                f"Kafka at {kafka.bootstrap_servers} refuses this client (topic {kafka.topic}, group {kafka.group}): "
                f"{error.str()}. Check KAFKA_TOPIC, KAFKA_GROUP, the login, and what that login may do."
            )
        elif code in _MISSING:
            self._log("the topic does not exist yet; waiting for it", topic=self._kafka.topic)
        elif code in _UNREACHABLE:
            self._log("broker away", broker=self._kafka.bootstrap_servers, reason=error.str())
        else:
            self._log("Kafka error", error.name(), reason=error.str())

    def log(self, level: int, template: str, *details: Any) -> None:
        """Log librdkafka's other messages; the one method that it calls of a logger."""
        if level >= logging.WARNING:
            self._log("Kafka error", reason=template % details)

    def _log(self, event: str, kind: str = "", **details: Any) -> None:
        """Log a line, each kind of event at intervals only: librdkafka repeats it with every retry."""
        now = time.monotonic()
        if now >= self._next_log.get(event + kind, 0):
            self._next_log[event + kind] = now + _LOG_INTERVAL_SECONDS
            log.warning(event, **details)


def wait_for_topic(
    client: Consumer | Producer, topic: str, handler: KafkaErrorHandler, stopping: threading.Event
) -> bool:
    """Return True once ``topic`` exists, False if ``stopping`` is set or the client is refused before."""
    backoff = Backoff(first=0.5, longest=_LONGEST_PAUSE)
    while not stopping.is_set() and handler.refused is None:
        try:
            error = client.list_topics(topic, timeout=2).topics[topic].error
        except KafkaException as exception:
            error = exception.args[0]
        if error is None:
            handler.connected = True
            return True
        handler(error)
        client.poll(0)  # serves error_cb
        stopping.wait(backoff.advance())
    return False


@dataclass
class _Progress:
    """Position in one partition: each the offset after the last record that was read, written, committed."""

    read: int = -1
    written: int = -1
    committed: int = -1


class KafkaSource:
    """Passes messages from a topic to a sink; :meth:`run` blocks the calling thread until :meth:`stop`.

    Offsets are committed only for messages that ``committed`` was called with. While the sink is full the partitions
    are paused and polling goes on, so that this member stays in the group however long the database is away.
    """

    def __init__(
        self, kafka: KafkaSettings, settings: CollectorSettings, new_consumer: Callable[..., Consumer] = Consumer
    ) -> None:
        self.topic_filters: tuple[str, ...] = ()
        """Unused: MQTT topic filters have no meaning for a Kafka topic."""
        self.arrival: Arrival | None = None
        self.clock: ArrivalClock | None = None
        self.connections = 0
        """Number of partition assignments."""
        self._kafka = kafka
        self._settings = settings
        self._new_consumer = new_consumer
        self._errors = KafkaErrorHandler(kafka)
        self._durable: deque[Sequence[Message]] = deque()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._partitions: dict[int, _Progress] = {}
        self._paused = False
        self._committing = False
        self._commit_after = 0.0
        self._revocation_wait = min(settings.drain_seconds, _LONGEST_REVOCATION)

    @property
    def connected(self) -> bool:
        """Whether the cluster has answered."""
        return self._errors.connected

    def committed(self, messages: Sequence[Message]) -> None:
        """Have the loop commit the offsets of ``messages``: they are durable. From any thread."""
        self._durable.append(messages)
        self._woken.set()

    def resume(self) -> None:
        """Continue reading: the sink has capacity again. From any thread."""
        self._woken.set()

    def stop(self) -> None:
        """Make :meth:`run` return: it reads no more, flushes the sink, commits and leaves the group."""
        self._stopping.set()
        self._woken.set()

    def run(self, sink: Sink) -> bool:
        """Pass messages to ``sink`` until :meth:`stop`; return whether all that were read are durable.

        Waits for unreachable brokers and for a missing topic. Raises :class:`KafkaRefusedError` if the cluster refuses
        this client, and the sink's failure if it had one.
        """
        consumer = self._new_consumer(self._configuration(), logger=self._errors)
        try:
            if wait_for_topic(consumer, self._kafka.topic, self._errors, self._stopping):
                consumer.subscribe(
                    [self._kafka.topic],
                    on_assign=self._assigned,
                    on_revoke=lambda _, partitions: self._revoked(consumer, sink, partitions),
                    on_lost=self._lost,
                )
                while not self._stopping.is_set() and sink.failure is None and self._errors.refused is None:
                    self._poll(consumer, sink)
            clean = sink.stop(self._settings.drain_seconds)
            self._revocation_wait = 0  # the sink has ended
        finally:
            consumer.close()  # revokes all partitions, which commits the offsets of what is written
        if sink.failure is not None:
            raise sink.failure
        if self._errors.refused is not None:
            raise self._errors.refused
        return clean

    def _configuration(self) -> dict[str, Any]:
        return {
            **self._kafka.client(),
            "client.id": self._settings.client_id,
            "group.id": self._kafka.group,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": self._kafka.session_seconds * 1_000,
            "heartbeat.interval.ms": min(self._kafka.session_seconds * 1_000 // 4, 3_000),
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "topic.metadata.refresh.interval.ms": 30_000,  # new partitions are noticed within this time
            # Bounds of prefetching: 16 MB and one fetch, and a number of records per partition, since each record needs
            # some hundred bytes beside its own.
            "queued.max.messages.kbytes": 16_384,
            "queued.min.messages": 10_000,
            "fetch.queue.backoff.ms": 20,  # with the default of 1 s a queue this short runs empty
            "fetch.max.bytes": 16_777_216,
            "log.connection.close": False,
            "error_cb": self._errors,
            "on_commit": self._offsets_committed,
        }

    def _poll(self, consumer: Consumer, sink: Sink) -> None:
        """Commit offsets, pause or resume, and pass the records that are there to ``sink``."""
        self._update_written()
        self._commit(consumer)
        if sink.is_full and not self._paused:
            self._wait_while(lambda: sink.is_full and not self._stopping.is_set(), _PAUSE_AFTER_SECONDS)
        if sink.is_full != self._paused:
            self._pause(consumer, sink.is_full)
        if self._paused:
            self._wait_while(lambda: sink.is_full and not self._stopping.is_set(), _POLL_SECONDS)
        first = consumer.poll(0 if self._paused else _POLL_SECONDS)
        if first is None:
            return
        # consume() waits for the requested number of records unless its timeout is 0.
        for record in [first, *consumer.consume(_MOST_RECORDS, 0)]:
            self._add(record, sink)
        sink.notify()

    def _add(self, record: Record, sink: Sink) -> None:
        error = record.error()
        if error is not None:
            self._errors(error)
            return
        progress = self._partitions.get(record.partition() or 0)
        if progress is None:
            return  # its partition was revoked after the fetch; the new owner reads it
        sink.add(message_of(record, self._kafka.topic_header))
        progress.read = (record.offset() or 0) + 1

    def _update_written(self) -> None:
        """Record which offsets are durable."""
        self._woken.clear()
        while self._durable:
            # The last offset of each partition is enough: batches are written in the order of reading.
            last = {partition_of(message.delivery): message.delivery for message in self._durable.popleft()}
            for partition, delivery in last.items():
                if partition in self._partitions:
                    self._partitions[partition].written = offset_of(delivery) + 1

    def _wait_while(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait while ``condition()``, up to ``seconds``, and keep recording which offsets are durable."""
        deadline = time.monotonic() + seconds
        while condition() and (left := deadline - time.monotonic()) > 0:
            self._woken.wait(left)
            self._update_written()

    def _pause(self, consumer: Consumer, pause: bool) -> None:  # noqa: FBT001
        partitions = [TopicPartition(self._kafka.topic, partition) for partition in self._partitions]
        (consumer.pause if pause else consumer.resume)(partitions)
        self._paused = pause
        log.info("paused: the database is behind" if pause else "resumed", partitions=sorted(self._partitions))

    def _committable(self) -> list[TopicPartition]:
        """Return the offsets that are durable and not committed yet."""
        return [
            TopicPartition(self._kafka.topic, partition, progress.written)
            for partition, progress in self._partitions.items()
            if progress.written not in {-1, progress.committed}
        ]

    def _commit(self, consumer: Consumer) -> None:
        """Commit offsets, one request at a time; later ones go with the next request."""
        if self._committing or time.monotonic() < self._commit_after:
            return
        offsets = self._committable()
        if offsets:
            consumer.commit(offsets=offsets, asynchronous=True)
            self._committing = True

    def _offsets_committed(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """Handle the answer to a commit request; failed offsets are committed again. Called while polling."""
        self._committing = False
        for offset in offsets:
            failure = error or offset.error
            if failure is None:
                if offset.partition in self._partitions:
                    self._partitions[offset.partition].committed = offset.offset
            else:
                self._commit_after = time.monotonic() + 1
                self._errors(failure)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        self.connections += 1
        self._errors.connected = True
        self._partitions.update({assigned.partition: _Progress() for assigned in partitions})
        if self._paused:
            consumer.pause(partitions)
        log.info("partitions assigned", topic=self._kafka.topic, partitions=sorted(self._partitions))

    def _revoked(self, consumer: Consumer, sink: Sink, partitions: list[TopicPartition]) -> None:
        """Give up ``partitions`` once the records read are durable and committed, or after a bounded wait.

        Records that are not durable by then are read again by the next owner, and stored once: as duplicates.
        """
        numbers = [revoked.partition for revoked in partitions]
        revoked_progress = [self._partitions[number] for number in numbers if number in self._partitions]

        def unwritten() -> bool:
            return sink.failure is None and any(progress.written < progress.read for progress in revoked_progress)

        self._update_written()
        self._wait_while(unwritten, self._revocation_wait)
        deadline = time.monotonic() + _LAST_COMMIT_SECONDS
        while (offsets := self._committable()) and time.monotonic() < deadline:
            try:
                answered = consumer.commit(offsets=offsets, asynchronous=False) or []
            except KafkaException as error:
                self._offsets_committed(error.args[0], offsets)
                if not (error.args[0].retriable() or error.args[0].code() == KafkaError.REBALANCE_IN_PROGRESS):
                    break
            else:
                self._offsets_committed(None, answered)
            if self._committable():
                time.sleep(0.1)  # another member is joining
        uncommitted = sum(progress.committed < progress.read for progress in revoked_progress)
        self._give_up(partitions, uncommitted=uncommitted)
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Give up partitions that others own already; records that were read are written, and not committed."""
        self._give_up(partitions, lost=True)
        consumer.incremental_unassign(partitions)

    def _give_up(self, partitions: list[TopicPartition], **details: Any) -> None:
        numbers = sorted(partition.partition for partition in partitions)
        for number in numbers:
            self._partitions.pop(number, None)
        log.info("partitions given up", topic=self._kafka.topic, partitions=numbers, **details)
