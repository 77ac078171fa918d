"""Protocols of the two sides of a running program: a Source reads messages, a Sink makes them durable."""

from collections.abc import Sequence
from typing import Protocol

from collector.message import Message
from collector.sources.arrival import Arrival
from collector.sources.arrival_clock import ArrivalClock


class Sink(Protocol):
    """Takes the messages of a source: a :class:`collector.store.group_commit.GroupCommit`, or Kafka.

    Once messages are durable the sink calls the source's ``committed`` with them. When it was full and has capacity
    again, it calls ``resume``. Both calls may come from any thread.
    """

    failure: BaseException | None
    """The error that ended the sink, if any; the source then stops and raises it."""

    @property
    def is_full(self) -> bool:
        """Whether its capacity is used up; the source then reads no more until ``resume`` is called."""

    def add(self, message: Message) -> None:
        """Take one message, without waiting."""

    def notify(self) -> None:
        """Start writing: no more messages follow immediately."""

    def stop(self, seconds: float) -> bool:
        """Flush pending messages, waiting up to ``seconds``, and end; return whether all of them are durable."""


class Source(Protocol):
    """Reads messages: :class:`~collector.sources.mqtt.MqttSource` or :class:`~collector.sources.kafka.KafkaSource`."""

    topic_filters: tuple[str, ...]
    """The registry's MQTT topic filters; replaced when the registry changes."""
    connections: int
    """Number of connections since the start."""

    @property
    def arrival(self) -> Arrival | None:
        """How long messages may have waited at the broker; None: the source has the time of their arrival."""

    @property
    def clock(self) -> ArrivalClock | None:
        """The clock of arrivals; None: messages have the time of their arrival."""

    @property
    def connected(self) -> bool:
        """Whether it currently receives messages."""

    def committed(self, messages: Sequence[Message]) -> None:
        """Acknowledge ``messages``: they are durable. From any thread."""

    def resume(self) -> None:
        """Continue reading: the sink has capacity again. From any thread."""

    def run(self, sink: Sink) -> bool:
        """Pass messages to ``sink`` until :meth:`stop`; return whether all that were read are durable."""

    def stop(self) -> None:
        """Make :meth:`run` return in an orderly way. From any thread."""
