"""Group commit to the spool: what arrives while the last write runs becomes safe with the next one."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from collector.archive.spool import HOUR, Spool, hours
from collector.message import Message
from core.backoff import Backoff

log = structlog.get_logger()

_GRACE = 5_000_000
"""Microseconds after the hour in which messages of it may still be on their way through this program."""


@dataclass
class Progress:
    """What happened since the last summary."""

    messages: int = 0
    size_bytes: int = 0
    writes: int = 0
    largest: int = 0
    slowest_seconds: float = 0.0
    """Longest time from a message's arrival to its being safe."""


class SpoolSink:
    """Takes messages from a source and hands them to a writer thread, which makes them safe in ``spool``.

    ``committed`` is called with messages that are safe, ``wrote`` with them and the seconds that writing took, ``room``
    when as much waited as may and that was taken away; all in the writer thread. Memory is bounded by what gathers and
    what is being written: ``max_messages`` and ``max_bytes`` for each. While the disk refuses, both are held and
    nothing is acknowledged.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        committed: Callable[[Sequence[Message]], None],
        room: Callable[[], None],
        wrote: Callable[[Sequence[Message], float], None] = lambda *_: None,
        max_messages: int,
        max_bytes: int,
    ) -> None:
        self.failure: BaseException | None = None
        self.progress = Progress()
        self._spool = spool
        self._committed = committed
        self._room = room
        self._wrote = wrote
        self._writing: Sequence[Message] = ()
        self.writing_since: float | None = None
        """When the write that runs began, by time.monotonic()."""
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: list[Message] = []
        self._size = 0
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._stopping = threading.Event()
        self._abandon = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    @property
    def full(self) -> bool:
        """Whether as much waits as may."""
        return len(self._messages) >= self._max_messages or self._size >= self._max_bytes

    def add(self, message: Message) -> None:
        """Take one message for the next write."""
        with self._lock:
            self._messages.append(message)
            self._size += len(message.payload) + len(message.topic)

    def notify(self) -> None:
        """Wake the writer: something has been added."""
        if self._messages:
            self._arrived.set()

    def in_hand(self) -> tuple[int, int | None]:
        """Return how many messages are not safe yet, and when the oldest of them arrived."""
        with self._lock:
            waiting = [messages for messages in (self._writing, self._messages) if messages]
            return sum(map(len, waiting)), waiting[0][0].received if waiting else None

    def take_progress(self) -> Progress:
        """Return what happened since the last call."""
        with self._lock:
            taken, self.progress = self.progress, Progress()
        return taken

    def stop(self, seconds: float) -> bool:
        """Make safe what waits, for ``seconds`` at most, complete the open segment, and end; return whether all is."""
        self._stopping.set()
        self._arrived.set()
        self._thread.join(seconds)
        self._abandon.set()
        self._thread.join()
        return self.failure is None and not self._messages

    def _run(self) -> None:
        try:
            while True:
                self._arrived.wait(timeout=0 if self._stopping.is_set() else 1.0)
                with self._lock:
                    self._arrived.clear()
                    messages, size, was_full = self._messages, self._size, self.full
                    if messages:
                        self._messages, self._size, self._writing = [], 0, messages
                if was_full:
                    self._room()
                if messages:
                    begun = self.writing_since = time.monotonic()
                    for part in hours(messages):
                        if not self._write(part):
                            self._messages = messages
                            return
                    self._wrote(messages, time.monotonic() - begun)
                    self._count(messages, size)
                    self._committed(messages)
                elif self._stopping.is_set():
                    self._spool.close()
                    return
                else:
                    self._spool.close_before((time.time_ns() // 1_000 - _GRACE) // HOUR)
        except BaseException as error:  # noqa: BLE001 - the source's thread raises it: nothing may end unseen
            self.failure = error

    def _write(self, messages: Sequence[Message]) -> bool:
        """Write until it succeeds; return False where stopping came first."""
        backoff, since = Backoff(first=0.1, longest=5.0), time.monotonic()
        while True:
            try:
                self._spool.append(messages)
            except OSError as error:
                log.warning(
                    "can't write the spool, holding; nothing is acknowledged",
                    spool=str(self._spool.directory),
                    reason=error.strerror or str(error),
                    messages=len(messages),
                )
                if self._abandon.wait(backoff.advance()):
                    return False
            else:
                if backoff.last:
                    log.info("writing again", away_seconds=round(time.monotonic() - since, 1))
                return True

    def _count(self, messages: Sequence[Message], size: int) -> None:
        with self._lock:
            self._writing, self.writing_since = (), None
            progress = self.progress
            progress.messages += len(messages)
            progress.size_bytes += size
            progress.writes += 1
            progress.largest = max(progress.largest, len(messages))
            progress.slowest_seconds = max(progress.slowest_seconds, time.time() - messages[0].received / 1e6)
