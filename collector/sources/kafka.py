"""Readings from Kafka: a consumer group whose offsets are committed after the database's commit.

Needs the extra ``kafka`` (confluent-kafka, which brings librdkafka). See docs/kafka.md for what a record holds and
docs/decisions/0005-kafka-offsets-and-pauses.md for the why of what happens here.
"""

import logging
import re
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
from collector.sources.mqtt import Sink
from core.backoff import Backoff
from core.errors import WarehouseError

log = structlog.get_logger()

RETAINED = "retained"
QOS = "qos"
RECEIVED = "received"

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
_MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001 - librdkafka's own errors begin so
_AWAY = {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._TIMED_OUT}  # noqa: SLF001
_LONGEST_PAUSE = 10.0
_SAY_AGAIN_SECONDS = 10.0

_POLL_SECONDS = 0.25
"""Longest wait for a record; what else happens in the loop (committing offsets, stopping) may come so late."""
_MOST_RECORDS = 2_000
_PATIENCE_SECONDS = 1.0
"""How long a full sink is waited for before partitions are paused: pausing throws away what was fetched ahead, and
a transaction takes less. Far below ``max.poll.interval.ms`` (5 minutes)."""
_LONGEST_REVOKE = 60.0
_LAST_COMMIT_SECONDS = 3.0
_OFFSET_BITS = 48
_OFFSETS = (1 << _OFFSET_BITS) - 1
_ARRIVAL = re.compile(rb"[0-9]{1,17}")
"""Microseconds since 1970; of thousands of digits Python would make no integer at all."""
_EARLIEST = 946_684_800_000_000
"""2000-01-01, in microseconds since 1970: clocks that were never set say 1970, and no message is older than this."""
_DAY = 86_400_000_000


class KafkaRefusedError(WarehouseError):
    """Kafka refuses this client, or it can't go on; trying again would not help."""


class KafkaTroubles:
    """What becomes of a client's errors: trouble that may pass is logged, a refusal ends the client."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.refused: KafkaRefusedError | None = None
        self.connected = False
        """Set once the cluster has answered; from then on a wrong login is taken for trouble that may pass."""
        self._kafka = kafka
        self._said: dict[str, float] = {}

    def __call__(self, error: KafkaError) -> None:
        """Take note of ``error``; librdkafka's ``error_cb``, and for what records and answers say."""
        code = error.code()
        refused = code in _REFUSALS or (code == KafkaError._AUTHENTICATION and not self.connected)  # noqa: SLF001
        if error.fatal() or refused:
            kafka = self._kafka
            self.refused = self.refused or KafkaRefusedError(
                f"Kafka at {kafka.bootstrap_servers} refuses this client (topic {kafka.topic}, group {kafka.group}): "
                f"{error.str()}. Check KAFKA_TOPIC, KAFKA_GROUP, the login, and what that login may do."
            )
        elif code in _MISSING:
            self._say("the topic does not exist yet; waiting for it", topic=self._kafka.topic)
        elif code in _AWAY:
            self._say("broker away", broker=self._kafka.bootstrap_servers, reason=error.str())
        else:
            self._say("trouble with Kafka", error.name(), reason=error.str())

    def log(self, level: int, form: str, *details: Any) -> None:
        """Log what librdkafka has to say beyond its errors; the one method it asks of a logger."""
        if level >= logging.WARNING:
            self._say("trouble with Kafka", reason=form % details)

    def _say(self, event: str, kind: str = "", **details: Any) -> None:
        """Log a line, each kind of event at intervals only: librdkafka repeats itself with every try."""
        now = time.monotonic()
        if now >= self._said.get(event + kind, 0):
            self._said[event + kind] = now + _SAY_AGAIN_SECONDS
            log.warning(event, **details)


def await_topic(client: Consumer | Producer, topic: str, troubles: KafkaTroubles, stopping: threading.Event) -> bool:
    """Return True once ``topic`` is there, False when told to stop; trouble goes to ``troubles``."""
    backoff = Backoff(first=0.5, longest=_LONGEST_PAUSE)
    while not stopping.is_set() and troubles.refused is None:
        try:
            missing = client.list_topics(topic, timeout=2).topics[topic].error
        except KafkaException as error:
            missing = error.args[0]
        if missing is None:
            troubles.connected = True
            return True
        troubles(missing)
        client.poll(0)  # serves error_cb
        stopping.wait(backoff.advance())
    return False


def message_of(record: Record, topic_header: str) -> Message:
    """Return what ``record`` holds, the same each time it is read.

    ``delivery`` is its place: the partition in the bits above the 48th, the offset in those below.
    """
    headers: dict[str, Any] = dict(record.headers() or ())
    topic = headers.get(topic_header)
    if topic is None:
        topic = record.key()
    said = headers.get(RECEIVED)
    received = int(said) if said is not None and _ARRIVAL.fullmatch(said) else 0
    qos = headers.get(QOS)
    return Message(
        _text(topic),
        record.value() or b"",
        received if _can_be(received) else _arrival(record),
        headers.get(RETAINED) == b"1",
        (record.partition() or 0) << _OFFSET_BITS | (record.offset() or 0),
        int(qos) if qos in {b"0", b"1", b"2"} else 1,
    )


def _text(raw: str | bytes | None) -> str:
    return raw.decode("utf-8", "surrogateescape") if isinstance(raw, bytes) else raw or ""


def _can_be(arrival: int) -> bool:
    """Say whether a message may have come then; the arrival is the time of readings that have none of their own.

    A day ahead of our clock still may: of what another machine wrote, only nonsense is put right here.
    """
    return _EARLIEST <= arrival <= time.time_ns() // 1_000 + _DAY


def _arrival(record: Record) -> int:
    """Return when Kafka says the record came, in microseconds since 1970."""
    _, milliseconds = record.timestamp()
    if not _can_be(milliseconds * 1_000):
        return time.time_ns() // 1_000
    # Kafka counts milliseconds: of two records of one, readings without a time of their own must not collide.
    return milliseconds * 1_000 + (record.offset() or 0) % 1_000


@dataclass
class _Progress:
    """How far one partition has got: offsets of what comes next."""

    read: int = -1
    written: int = -1
    committed: int = -1


class KafkaSource:
    """Feeds a sink from a topic; :meth:`run` holds the calling thread until :meth:`stop`.

    Only what ``committed`` was called with has its offset committed. While the sink is full the partitions are
    paused, so that the group goes on believing in this member, however long the database is away.
    """

    def __init__(
        self, kafka: KafkaSettings, settings: CollectorSettings, new_consumer: Callable[..., Consumer] = Consumer
    ) -> None:
        self.subscribe: tuple[str, ...] = ()
        """MQTT's topic filters, which mean nothing here."""
        self.connections = 0
        """How often it has been given partitions."""
        self._kafka = kafka
        self._settings = settings
        self._new_consumer = new_consumer
        self._troubles = KafkaTroubles(kafka)
        self._safe: deque[Sequence[Message]] = deque()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._mine: dict[int, _Progress] = {}
        self._paused = False
        self._committing = False
        self._commit_after = 0.0
        self._patience = min(settings.drain_seconds, _LONGEST_REVOKE)

    @property
    def connected(self) -> bool:
        """Whether the cluster has answered."""
        return self._troubles.connected

    def committed(self, messages: Sequence[Message]) -> None:
        """Take note that ``messages`` are safe; their offsets are committed by the loop. From any thread."""
        self._safe.append(messages)
        self._woken.set()

    def room(self) -> None:
        """Take note that the sink can take more again. From any thread."""
        self._woken.set()

    def stop(self) -> None:
        """Make :meth:`run` return: it reads no more, writes what it has read, commits and leaves the group."""
        self._stopping.set()
        self._woken.set()

    def run(self, sink: Sink) -> bool:
        """Bring records to ``sink`` until :meth:`stop`; return whether all that was read is safe.

        Waits for brokers that are away and for a topic that does not exist. Raises :class:`KafkaRefusedError` where
        the cluster refuses this client, and what ended the sink, if something did.
        """
        consumer = self._new_consumer(self._configuration(), logger=self._troubles)
        try:
            if await_topic(consumer, self._kafka.topic, self._troubles, self._stopping):
                consumer.subscribe(
                    [self._kafka.topic],
                    on_assign=self._assigned,
                    on_revoke=lambda _, given_up: self._revoked(consumer, sink, given_up),
                    on_lost=self._lost,
                )
                while not self._stopping.is_set() and sink.failure is None and self._troubles.refused is None:
                    self._turn(consumer, sink)
            clean = sink.stop(self._settings.drain_seconds)
            self._patience = 0  # what is not written now will not be
        finally:
            consumer.close()  # gives up all partitions, and so commits what is written
        if sink.failure is not None:
            raise sink.failure
        if self._troubles.refused is not None:
            raise self._troubles.refused
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
            "topic.metadata.refresh.interval.ms": 30_000,  # how soon new partitions are seen
            # Bounds what is fetched ahead: 16 MB and one fetch, and for small records a count a partition, since
            # each costs some hundred bytes beside its own.
            "queued.max.messages.kbytes": 16_384,
            "queued.min.messages": 10_000,
            "fetch.queue.backoff.ms": 20,  # a queue this short is empty within the default second
            "fetch.max.bytes": 16_777_216,
            "log.connection.close": False,
            "error_cb": self._troubles,
            "on_commit": self._offsets_committed,
        }

    def _turn(self, consumer: Consumer, sink: Sink) -> None:
        """Go round the loop once."""
        self._look()
        self._commit(consumer)
        if sink.full and not self._paused:
            self._wait_while(lambda: sink.full and not self._stopping.is_set(), _PATIENCE_SECONDS)
        if sink.full != self._paused:
            self._pause(consumer, sink.full)
        if self._paused:
            self._wait_while(lambda: sink.full and not self._stopping.is_set(), _POLL_SECONDS)
        first = consumer.poll(0 if self._paused else _POLL_SECONDS)
        if first is None:
            return
        # consume() waits until it has as many as it was asked for, so it is asked only for what is there already.
        for record in [first, *consumer.consume(_MOST_RECORDS, 0)]:
            self._take(record, sink)
        sink.notify()

    def _take(self, record: Record, sink: Sink) -> None:
        error = record.error()
        if error is not None:
            self._troubles(error)
            return
        progress = self._mine.get(record.partition() or 0)
        if progress is None:
            return  # of a partition given up since it was fetched: whoever has it now reads it
        sink.add(message_of(record, self._kafka.topic_header))
        progress.read = (record.offset() or 0) + 1

    def _look(self) -> None:
        """See what has become safe."""
        self._woken.clear()
        while self._safe:
            # The last offset of each partition: batches are written one after the other, in the order of reading.
            last = {message.delivery >> _OFFSET_BITS: message.delivery for message in self._safe.popleft()}
            for partition, delivery in last.items():
                if partition in self._mine:
                    self._mine[partition].written = (delivery & _OFFSETS) + 1

    def _wait_while(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until ``condition()`` is false, ``seconds`` at most, seeing what becomes safe meanwhile."""
        deadline = time.monotonic() + seconds
        while condition() and (left := deadline - time.monotonic()) > 0:
            self._woken.wait(left)
            self._look()

    def _pause(self, consumer: Consumer, pause: bool) -> None:  # noqa: FBT001
        partitions = [TopicPartition(self._kafka.topic, partition) for partition in self._mine]
        (consumer.pause if pause else consumer.resume)(partitions)
        self._paused = pause
        log.info("paused: the database is behind" if pause else "resumed", partitions=sorted(self._mine))

    def _due(self) -> list[TopicPartition]:
        """Return the offsets that may be committed and are not."""
        return [
            TopicPartition(self._kafka.topic, partition, progress.written)
            for partition, progress in self._mine.items()
            if progress.written not in {-1, progress.committed}
        ]

    def _commit(self, consumer: Consumer) -> None:
        """Commit offsets, one request at a time: what becomes due meanwhile goes with the next."""
        if self._committing or time.monotonic() < self._commit_after:
            return
        due = self._due()
        if due:
            consumer.commit(offsets=due, asynchronous=True)
            self._committing = True

    def _offsets_committed(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """See what became of a request; what failed is due again. Called while polling."""
        self._committing = False
        for offset in offsets:
            failed = error or offset.error
            if failed is None:
                if offset.partition in self._mine:
                    self._mine[offset.partition].committed = offset.offset
            else:
                self._commit_after = time.monotonic() + 1
                self._troubles(failed)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        self.connections += 1
        self._troubles.connected = True
        self._mine.update({one.partition: _Progress() for one in partitions})
        if self._paused:
            consumer.pause(partitions)
        log.info("partitions assigned", topic=self._kafka.topic, partitions=sorted(self._mine))

    def _revoked(self, consumer: Consumer, sink: Sink, partitions: list[TopicPartition]) -> None:
        """Give up ``partitions`` once what was read of them is safe and committed, or after some patience.

        What is not safe by then is read again by whoever gets them, and the database finds it there already.
        """
        leaving = [self._mine[one.partition] for one in partitions if one.partition in self._mine]

        def behind() -> bool:
            return sink.failure is None and any(progress.written < progress.read for progress in leaving)

        self._look()
        self._wait_while(behind, self._patience)
        deadline = time.monotonic() + _LAST_COMMIT_SECONDS
        while (due := self._due()) and time.monotonic() < deadline:
            try:
                done = consumer.commit(offsets=due, asynchronous=False) or []
            except KafkaException as error:
                self._offsets_committed(error.args[0], due)
                if not (error.args[0].retriable() or error.args[0].code() == KafkaError.REBALANCE_IN_PROGRESS):
                    break
            else:
                self._offsets_committed(None, done)
            if self._due():
                time.sleep(0.1)  # another member is joining just now
        self._give_up(partitions, uncommitted=sum(progress.committed < progress.read for progress in leaving))
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Let go of what others have already; what was read of it is written all the same, and not committed."""
        self._give_up(partitions, lost=True)
        consumer.incremental_unassign(partitions)

    def _give_up(self, partitions: list[TopicPartition], **details: Any) -> None:
        for one in partitions:
            self._mine.pop(one.partition, None)
        given_up = sorted(one.partition for one in partitions)
        log.info("partitions given up", topic=self._kafka.topic, partitions=given_up, **details)
