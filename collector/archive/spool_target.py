"""The spool as the target of a group commit: messages that arrive during a write become durable with the next one."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from collector.archive.spool import HOUR, Spool, split_by_hour
from collector.message import Message
from collector.store.group_commit import Target, write_with_retries

log = structlog.get_logger()

_GRACE = 5_000_000
"""Microseconds after the hour in which its messages may still be on their way through this program."""


class MessageBatch:
    """Messages in order of arrival."""

    __slots__ = ("messages", "size_bytes")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.size_bytes = 0
        """Size of payloads and topics."""

    def add(self, message: Message) -> None:
        """Add ``message``."""
        self.messages.append(message)
        self.size_bytes += len(message.payload) + len(message.topic)


@dataclass
class SpoolCounts:
    """Counts of messages that are in the spool."""

    messages: int = 0
    size_bytes: int = 0
    """Size of payloads and topics."""

    def add(self, other: "SpoolCounts") -> None:
        """Add the counts of ``other``."""
        self.messages += other.messages
        self.size_bytes += other.size_bytes


class SpoolTarget(Target[MessageBatch, SpoolCounts]):
    """Batches of messages for ``spool``. While the disk refuses, writes are retried and nothing is acknowledged."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def new_batch(self) -> MessageBatch:
        """Return an empty batch."""
        return MessageBatch()

    def new_counts(self) -> SpoolCounts:
        """Return counts of nothing."""
        return SpoolCounts()

    def add(self, batch: MessageBatch, message: Message) -> None:
        """Add ``message`` to ``batch``."""
        batch.add(message)

    def write(self, batch: MessageBatch, give_up: Callable[[float], bool]) -> SpoolCounts | None:
        """Write ``batch``, one hour after the other; None: writing was given up."""
        for messages in split_by_hour(batch.messages):
            if not self._append(messages, give_up):
                return None
        return SpoolCounts(len(batch.messages), batch.size_bytes)

    def _append(self, messages: Sequence[Message], give_up: Callable[[float], bool]) -> bool:
        def append() -> bool:
            self._spool.append(messages)
            return True

        def report(error: Exception) -> None:
            log.warning(
                "spool write failed; retrying, messages stay unacknowledged",
                spool=str(self._spool.directory),
                reason=getattr(error, "strerror", None) or str(error),
                messages=len(messages),
            )

        return write_with_retries(append, (OSError,), report, give_up) or False

    def idle(self) -> None:
        """Complete the segment of a past hour although no message follows."""
        self._spool.close_before((time.time_ns() // 1_000 - _GRACE) // HOUR)

    def finish(self) -> None:
        """Complete the open segment."""
        self._spool.close()
