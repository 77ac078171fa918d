"""Reading ahead: the next chunk is decoded while the database writes the last one."""

import threading
from collections.abc import Iterator
from queue import Empty, Queue
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Ahead(Generic[Item]):
    """Iterates over ``source`` in a thread of its own, one item ahead; its errors are raised here.

    Close it when done, also before the end: then nothing uses ``source`` any more.
    """

    def __init__(self, source: Iterator[Item]) -> None:
        self._source = source
        self._queue: Queue[tuple[Item | None, BaseException | None]] = Queue(maxsize=1)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="reader", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        """Yield the items of the source."""
        while True:
            item, error = self._queue.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    def close(self) -> None:
        """Stop reading and wait until the thread has ended."""
        self._closed.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)  # makes room where the thread waits for it
            except Empty:
                continue
        self._thread.join()

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._source:
                self._queue.put((item, None))
                if self._closed.is_set():
                    return
        except BaseException as raised:  # noqa: BLE001 - it is raised again by who iterates
            error = raised
        self._queue.put((None, error))
