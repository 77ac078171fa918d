"""Converts complete segments of the spool into finished files, in a background thread."""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import structlog

from collector.archive.message_table import open_writer, row_groups
from collector.archive.object_store import FileStore
from collector.archive.spool import ArchiveError, Segment
from core.backoff import Backoff

log = structlog.get_logger()

_PART = ".part"
_LONGEST_PAUSE = 60.0


class Finisher:
    """Finishes the segments it is given, one after the other; failed ones are retried without limit.

    A file is written beside its segment and goes to ``store`` when it is complete; only then is the segment removed.
    After a kill in between, the same file is written again under the same name.
    """

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._segments: deque[Segment] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._given_up = 0
        self._thread = threading.Thread(target=self._run, name="finisher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of segments that are not finished."""
        return len(self._segments) + self._given_up

    def add(self, segment: Segment) -> None:
        """Queue a complete segment. From any thread."""
        with self._changed:
            self._segments.append(segment)
            self._changed.notify()

    def stop(self, seconds: float) -> bool:
        """Try the waiting segments once more, for up to ``seconds``; return whether none is left in the spool."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(seconds)
        return not self.waiting

    def _run(self) -> None:
        backoff = Backoff(first=1.0, longest=_LONGEST_PAUSE)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._segments or self._stopping)
                if not self._segments:
                    return
                segment, last_attempt = self._segments[0], self._stopping
            if self._attempt(segment, backoff.pause):
                self._segments.popleft()
                backoff.reset()
                continue
            if last_attempt:
                self._segments.popleft()
                self._given_up += 1
                continue
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, backoff.advance())
                self._segments.rotate(-1)  # a segment that fails must not block the others

    def _attempt(self, segment: Segment, pause: float) -> bool:
        try:
            finish(segment, self._store)
        except Exception as error:  # noqa: BLE001 - an unknown error keeps the segment too: no message may be lost
            reason = str(error) if isinstance(error, OSError | ArchiveError | pa.ArrowException) else repr(error)
            log.error(  # noqa: TRY400 - no traceback
                "can't finish a file of the archive; its messages stay in the spool",
                file=segment.name,
                reason=reason[:500],
                next_try_seconds=pause,
            )
            return False
        return True


def finish(segment: Segment, store: FileStore) -> None:
    """Write the messages of ``segment`` as a file to ``store`` and remove the segment.

    Memory is bounded by a row group, not by the segment's size. Raises ``OSError``; the segment then stays.
    """
    begun = time.monotonic()
    damaged = count = 0

    def batches() -> Iterator["pa.RecordBatch"]:
        nonlocal damaged, count
        for block in segment.blocks():
            damaged += block.skipped
            count += block.batch.num_rows
            yield block.batch

    part = segment.path.with_suffix(_PART)
    spooled = segment.path.stat().st_size
    with part.open("wb") as file:
        with open_writer(file) as parquet:
            for table in row_groups(batches()):
                parquet.write_table(table, row_group_size=table.num_rows)
        file.flush()
        os.fsync(file.fileno())
    size = part.stat().st_size
    if count:
        store.put(part, segment.name)
    part.unlink(missing_ok=True)
    segment.remove(keep=damaged > 0)
    if damaged:
        log.error(
            "the disk has damaged a segment of the spool; its readable messages are in the archive",
            file=segment.name,
            damaged_bytes=damaged,
            kept=str(segment.path.with_suffix(".damaged")),
        )
    if count:
        log.info(
            "finished",
            file=segment.name,
            messages=count,
            bytes=size,
            bytes_per_message=round(size / count, 1),
            spooled_bytes=spooled,
            seconds=round(time.monotonic() - begun, 2),
        )


def remove_partial_files(spool: Path) -> None:
    """Remove incomplete files that a kill left in the ``spool``."""
    for part in spool.glob(f"*{_PART}"):
        with suppress(OSError):
            part.unlink()
