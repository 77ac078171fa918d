"""Group commit: messages gather in one batch while the previous batch is being written."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import structlog

from collector.message import Message
from core.backoff import Backoff

log = structlog.get_logger()

_IDLE_SECONDS = 1.0


class Gathering(Protocol):
    """A batch that messages are added to."""

    @property
    def messages(self) -> Sequence[Message]:
        """The messages, in order of arrival."""

    @property
    def size_bytes(self) -> int:
        """Memory that it takes, about."""


class Addable(Protocol):
    """Counts of what was written."""

    def add(self, other: Self) -> None:
        """Add ``other`` to this."""


Batch = TypeVar("Batch", bound=Gathering)
Counts = TypeVar("Counts", bound=Addable)
Written = TypeVar("Written")


class Target(ABC, Generic[Batch, Counts]):
    """The destination of a group commit: what its batches are and how they are written.

    All methods but :meth:`add` and :meth:`interrupt` are called in the writer thread.
    """

    @abstractmethod
    def new_batch(self) -> Batch:
        """Return an empty batch."""

    @abstractmethod
    def new_counts(self) -> Counts:
        """Return counts of nothing."""

    @abstractmethod
    def add(self, batch: Batch, message: Message) -> None:
        """Add ``message`` to ``batch``; in the thread of the source."""

    @abstractmethod
    def write(self, batch: Batch, give_up: Callable[[float], bool]) -> Counts | None:
        """Make ``batch`` durable, with retries; return its counts.

        ``give_up(pause)`` waits ``pause`` seconds and returns whether to stop retrying; then the result is None.
        """

    def idle(self) -> None:
        """Do what is to be done about once a second while no messages arrive."""

    def interrupt(self) -> None:
        """Make a write that waits fail. From any thread."""

    def finish(self) -> None:
        """Complete the work after the last batch, at an orderly end."""

    def close(self) -> None:
        """Release resources, at any end."""


@dataclass
class Progress(Generic[Counts]):
    """Statistics since the last summary."""

    counts: Counts
    batches: int = 0
    largest_batch: int = 0
    """Messages of the largest batch."""
    slowest_seconds: float = 0.0
    """Longest time from a message's arrival to its commit."""


class GroupCommit(Generic[Batch, Counts]):
    """A :class:`~collector.sources.base.Sink` whose writer thread writes to ``target``, one batch at a time.

    No timer delays a batch: the writer takes all messages that have gathered as soon as it is free. So a message of a
    quiet stream is committed at once, and a busy stream needs few transactions. Memory is bounded by two batches, one
    that gathers and one that is being written, of ``max_messages`` and ``max_bytes`` each; :attr:`is_full` is the
    backpressure.

    Callbacks in the writer thread: ``committed`` with the messages of each batch after its commit, ``wrote`` with its
    messages, the seconds the write took and its counts, ``resume`` when a full batch has been taken away,
    ``before_batch`` before each batch and about once a second while nothing arrives.
    """

    def __init__(
        self,
        target: Target[Batch, Counts],
        *,
        committed: Callable[[Sequence[Message]], None],
        resume: Callable[[], None] = lambda: None,
        before_batch: Callable[[], None] = lambda: None,
        wrote: Callable[[Sequence[Message], float, Counts], None] = lambda *_: None,
        max_messages: int,
        max_bytes: int,
    ) -> None:
        self.failure: BaseException | None = None
        self._target = target
        self._add = target.add
        self._committed = committed
        self._resume = resume
        self._before_batch = before_batch
        self._wrote = wrote
        self.writing_since: float | None = None
        """Start of the current write, or of what comes before a batch, by time.monotonic(); None: none is running."""
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._progress = Progress(target.new_counts())
        self._gathering = target.new_batch()
        self._writing: Batch | None = None
        self._lock = threading.Lock()
        self._added = threading.Event()
        self._stopping = threading.Event()
        self._give_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def add(self, message: Message) -> None:
        """Add ``message`` to the next batch; call :meth:`notify` after the last of several."""
        with self._lock:
            self._add(self._gathering, message)

    def notify(self) -> None:
        """Wake the writer thread."""
        if self._gathering.messages:
            self._added.set()

    @property
    def is_full(self) -> bool:
        """Whether the gathering batch has reached a limit; the source must stop reading until ``resume`` is called."""
        batch = self._gathering
        return len(batch.messages) >= self._max_messages or batch.size_bytes >= self._max_bytes

    @property
    def waiting(self) -> int:
        """Number of messages in the gathering batch."""
        return len(self._gathering.messages)

    def uncommitted(self) -> tuple[int, int | None]:
        """Return the number of messages that are not committed yet, and the arrival of the oldest of them."""
        with self._lock:
            batches = [batch for batch in (self._writing, self._gathering) if batch is not None and batch.messages]
            oldest = batches[0].messages[0].received if batches else None
            return sum(len(batch.messages) for batch in batches), oldest

    def take_progress(self) -> Progress[Counts]:
        """Return the statistics since the last call."""
        with self._lock:
            progress, self._progress = self._progress, Progress(self._target.new_counts())
        return progress

    def stop(self, seconds: float) -> bool:
        """Write the pending messages, waiting up to ``seconds``, and end; return whether all are committed."""
        self._stopping.set()
        self._added.set()
        self._thread.join(seconds)
        self._give_up.set()
        while self._thread.is_alive():  # repeatedly: there may be no connection to break at the first attempt
            self._target.interrupt()
            self._thread.join(0.5)
        return self.failure is None and not self.uncommitted()[0]

    def _run(self) -> None:
        try:
            while True:
                self._added.wait(timeout=0 if self._stopping.is_set() else _IDLE_SECONDS)
                self.writing_since = time.monotonic()
                self._before_batch()
                self.writing_since = None
                batch = self._take_batch()
                if batch is not None:
                    if not self._write(batch):
                        return
                elif self._stopping.is_set():
                    self._target.finish()
                    return
                else:
                    self._target.idle()
        except BaseException as error:  # noqa: BLE001 - the source's thread raises it: no error may go unnoticed
            self.failure = error
        finally:
            self._target.close()

    def _take_batch(self) -> Batch | None:
        with self._lock:
            self._added.clear()
            batch, was_full = self._gathering, self.is_full
            if batch.messages:
                self._gathering, self._writing = self._target.new_batch(), batch
        if was_full:
            self._resume()
        return batch if batch.messages else None

    def _write(self, batch: Batch) -> bool:
        begun = self.writing_since = time.monotonic()
        counts = self._target.write(batch, self._give_up.wait)
        if counts is None:
            return False
        self._wrote(batch.messages, time.monotonic() - begun, counts)
        with self._lock:
            self._writing = self.writing_since = None
            progress = self._progress
            progress.counts.add(counts)
            progress.batches += 1
            progress.largest_batch = max(progress.largest_batch, len(batch.messages))
            waited = time.time() - batch.messages[0].received / 1e6
            progress.slowest_seconds = max(progress.slowest_seconds, waited)
        self._committed(batch.messages)
        return True


def write_with_retries(
    write: Callable[[], Written],
    errors: tuple[type[Exception], ...],
    on_error: Callable[[Exception], None],
    give_up: Callable[[float], bool],
) -> Written | None:
    """Return the result of ``write()``, which is called again after each of ``errors``; None: it was given up.

    ``give_up(pause)`` waits ``pause`` seconds and returns whether to stop retrying.
    """
    backoff, since = Backoff(first=0.1, longest=5.0), time.monotonic()
    while True:
        try:
            written = write()
        except errors as error:
            on_error(error)
            if give_up(backoff.advance()):
                return None
        else:
            if backoff.last:
                log.info("writing again", away_seconds=round(time.monotonic() - since, 1))
            return written
