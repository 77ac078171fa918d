"""Parallel writers: several threads write batches, each its own ones in the given order."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from collector.store.batch import Accounts, Batch, Decode
from collector.store.writer import Writer, write_until_stopped

QUEUE_LENGTH = 2
"""Most batches that wait for one writer: enough to keep all busy although their shares are uneven."""

_ABORT_SECONDS = 1.0
"""Time for the current writes to end when a load is aborted."""


class ParallelWriters:
    """Writes batches with all of ``writers``; a context manager that leaves no thread behind.

    ``decode`` is that of :meth:`Writer.write`; ``committed`` is called with the accounts of every batch, by one thread
    at a time. While the database is away the writers retry. After any other error of one writer the others stop too,
    and the next call here raises it.
    """

    def __init__(self, writers: Sequence[Writer], decode: Decode, committed: Callable[[Accounts], None]) -> None:
        self._writers = writers
        self._decode = decode
        self._committed = committed
        self._changed = threading.Condition()
        self._queues: list[deque[Batch]] = [deque() for _ in writers]
        self._unwritten = 0
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=writer_and_queue, name="writer", daemon=True)
            for writer_and_queue in zip(writers, self._queues, strict=True)
        ]

    def __enter__(self) -> Self:
        """Start the threads."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads; batches that still wait are not written (after :meth:`finish` there are none)."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        if not self._join():
            for writer in self._writers:
                writer.interrupt()
            self._join()

    def put(self, position: int, batch: Batch) -> None:
        """Queue ``batch`` for the writer at ``position``; blocks while that queue is full."""
        with self._changed:
            self._wait_until(lambda: len(self._queues[position]) < QUEUE_LENGTH)
            self._queues[position].append(batch)
            self._unwritten += 1
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until all batches are committed."""
        with self._changed:
            self._wait_until(lambda: not self._unwritten)

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: ready() or self._error is not None)
        if self._error is not None:
            raise self._error

    def _join(self) -> bool:
        """Wait up to a second for all threads to end; return whether they have."""
        deadline = time.monotonic() + _ABORT_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _write(self, writer: Writer, queue: deque[Batch]) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: queue or self._stopped.is_set())
                    if self._stopped.is_set():
                        return
                    batch = queue.popleft()
                    self._changed.notify_all()
                accounts = write_until_stopped(writer, batch, self._decode, self._stopped.wait)
                if accounts is None:
                    return
                with self._changed:
                    self._committed(accounts)
                    self._unwritten -= 1
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised by the next put or finish
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()
