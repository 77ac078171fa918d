"""Several writers at once: each in a thread of its own, with batches that it writes in the order they were given."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from collector.store.batch import Accounts, Batch, Decode
from collector.store.writer import Writer, write_patiently

WAITING = 2
"""Most batches that wait for one writer: enough that uneven shares leave none without work for long."""

_PATIENCE = 1.0
"""Seconds for what is being written when a load is broken off."""


class Lanes:
    """Writes what it is given with all of ``writers``; a context manager, at whose end no thread is left.

    ``decode`` is :meth:`Writer.write`'s; ``committed`` hears the accounts of every batch, from any thread but from one
    at a time. While the database is away the writers wait for it. Where anything else goes wrong with one of them, the
    others stop too and the next call here raises it.
    """

    def __init__(self, writers: Sequence[Writer], decode: Decode, committed: Callable[[Accounts], None]) -> None:
        self._writers = writers
        self._decode = decode
        self._committed = committed
        self._changed = threading.Condition()
        self._waiting: list[deque[Batch]] = [deque() for _ in writers]
        self._unwritten = 0
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=lane, name="writer", daemon=True)
            for lane in zip(writers, self._waiting, strict=True)
        ]

    def __enter__(self) -> Self:
        """Start the threads."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads; what still waits is not written, which is nothing after :meth:`finish`."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        if not self._ended():
            for writer in self._writers:
                writer.interrupt()
            self._ended()

    def put(self, lane: int, batch: Batch) -> None:
        """Give ``batch`` to the writer at position ``lane``; waits while enough are waiting for it."""
        with self._changed:
            self._wait_until(lambda: len(self._waiting[lane]) < WAITING)
            self._waiting[lane].append(batch)
            self._unwritten += 1
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until all is committed."""
        with self._changed:
            self._wait_until(lambda: not self._unwritten)

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: ready() or self._error is not None)
        if self._error is not None:
            raise self._error

    def _ended(self) -> bool:
        """Say whether all threads have ended, after waiting a little for them."""
        deadline = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _write(self, writer: Writer, waiting: deque[Batch]) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: waiting or self._stopped.is_set())
                    if self._stopped.is_set():
                        return
                    batch = waiting.popleft()
                    self._changed.notify_all()
                accounts = write_patiently(writer, batch, self._decode, stop=self._stopped.wait)
                if accounts is None:
                    return
                with self._changed:
                    self._committed(accounts)
                    self._unwritten -= 1
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - it is raised again by who gives the batches
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()
