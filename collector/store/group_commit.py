"""Group commit: messages gather in one batch while the last one is being written."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from collector.message import Message
from collector.store.batch import Accounts, Batch, Decode
from collector.store.writer import Writer, write_patiently


@dataclass
class Progress:
    """What happened since the last summary."""

    accounts: Accounts = field(default_factory=Accounts)
    batches: int = 0
    largest: int = 0
    slowest_seconds: float = 0.0
    """Longest time from a message's arrival to its commit."""


class Pipeline:
    """Hands what one thread adds to a writer thread, a batch at a time.

    No timer delays a batch: the writer takes whatever has gathered the moment it is free, so that a quiet stream has
    its readings committed at once and a busy one pays for few transactions. Memory is bounded by two batches, the
    one that gathers and the one that is being written; :attr:`full` says when to stop adding.

    These are called in the writer thread: ``committed`` with each batch that has been committed, ``wrote`` with its
    messages, the seconds that writing took and what became of them, ``room`` when a batch that was full has been taken
    away, ``before_batch`` before each batch and about once a second when nothing arrives.
    """

    def __init__(
        self,
        writer: Writer,
        decode: Decode,
        *,
        committed: Callable[[Batch], None],
        room: Callable[[], None] = lambda: None,
        before_batch: Callable[[], None] = lambda: None,
        wrote: Callable[[Sequence[Message], float, Accounts], None] = lambda *_: None,
        max_messages: int,
        max_bytes: int,
    ) -> None:
        self.decode = decode
        """Used for messages that are added from now on; replaced when the registry changes."""
        self.progress = Progress()
        self.failure: BaseException | None = None
        self._writer = writer
        self._committed = committed
        self._room = room
        self._before_batch = before_batch
        self._wrote = wrote
        self._writing: Batch | None = None
        self.writing_since: float | None = None
        """When the write that runs began, by time.monotonic()."""
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._batch = Batch()
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._stopping = threading.Event()
        self._abandon = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def add(self, message: Message) -> None:
        """Decode ``message`` for the next transaction; call :meth:`notify` after the last of several."""
        with self._lock:
            self._batch.add(message, self.decode)

    def notify(self) -> None:
        """Wake the writer: something has been added."""
        if self._batch.messages:
            self._arrived.set()

    @property
    def full(self) -> bool:
        """Whether as much waits as may; the source must stop reading until ``room`` is called."""
        batch = self._batch
        return len(batch.messages) >= self._max_messages or batch.size + len(batch.rows) >= self._max_bytes

    @property
    def waiting(self) -> int:
        """How many messages wait for their transaction to begin."""
        return len(self._batch.messages)

    def in_hand(self) -> tuple[int, int | None]:
        """Return how many messages are not committed yet, and when the oldest of them arrived."""
        with self._lock:
            batches = [batch for batch in (self._writing, self._batch) if batch is not None and batch.messages]
            oldest = batches[0].messages[0].received if batches else None
            return sum(len(batch.messages) for batch in batches), oldest

    def take_progress(self) -> Progress:
        """Return what happened since the last call."""
        with self._lock:
            taken, self.progress = self.progress, Progress()
        return taken

    def join(self) -> None:
        """Return when the writer has ended, which :meth:`stop` makes it do."""
        self._thread.join()

    def stop(self, seconds: float) -> bool:
        """Write what waits, for ``seconds`` at most, and end; return whether all of it was committed."""
        self._stopping.set()
        self._arrived.set()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._abandon.set()
            while self._thread.is_alive():  # again and again: the first may meet a moment without a connection
                self._writer.interrupt()
                self._thread.join(0.5)
        return self.failure is None and not self._batch.messages and not self._abandon.is_set()

    def _run(self) -> None:
        try:
            while True:
                self._arrived.wait(timeout=0 if self._stopping.is_set() else 1.0)
                self._before_batch()
                with self._lock:
                    self._arrived.clear()
                    batch, was_full = self._batch, self.full
                    if batch.messages:
                        self._batch, self._writing = Batch(), batch
                if was_full:
                    self._room()
                if batch.messages:
                    if not self._write(batch):
                        return
                elif self._stopping.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - the source's thread raises it: nothing may end unseen
            self.failure = error
        finally:
            self._writer.close()

    def _write(self, batch: Batch) -> bool:
        begun = self.writing_since = time.monotonic()
        accounts = write_patiently(self._writer, batch, self.decode, stop=self._abandon.wait)
        if accounts is None:
            return False
        self._wrote(batch.messages, time.monotonic() - begun, accounts)
        with self._lock:
            self._writing = self.writing_since = None
            progress = self.progress
            progress.accounts.add(accounts)
            progress.batches += 1
            progress.largest = max(progress.largest, len(batch.messages))
            waited = time.time() - batch.messages[0].received / 1e6
            progress.slowest_seconds = max(progress.slowest_seconds, waited)
        self._committed(batch)
        return True
