"""The spool: what has been received and stands in no finished file yet, safe against a kill and a power cut.

A segment holds what is to be one file of the archive. It begins with :data:`_BEGIN`; then come blocks of messages,
each written and synchronised as a whole before any of its messages is acknowledged: ``BLCK``, the CRC-32 of what
follows, its length (both unsigned, 32 bits, little-endian), and the messages as one Arrow record batch (the IPC
message, https://arrow.apache.org/docs/format/Columnar.html). What a kill leaves half written was not acknowledged.
"""

import fcntl
import os
import re
import secrets
import struct
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from collector.archive.message_table import SCHEMA, batch
from collector.message import Message
from core.errors import WarehouseError

HOUR = 3_600_000_000
"""Microseconds."""

_BEGIN = b"SWSPOOL1"
_MARK = b"BLCK"
_HEAD = struct.Struct("<4sII")
_SEARCH = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STAMP = "%Y%m%dT%H%M%S%fZ"
_STAMP_LENGTH = len("20260301T120000123456Z")
_NAME = re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{8}\.spool")


class ArchiveError(WarehouseError):
    """The archive or its spool can't be used; the text says why and what mends it."""


@dataclass(frozen=True)
class Found:
    """One block that is as it was written, and where it ends in the segment."""

    batch: "pa.RecordBatch"
    end: int
    skipped: int
    """Damaged bytes before it: they had been synchronised, so this is the disk's doing and not a kill's."""


class Segment:
    """One file of the spool, called after the arrival of its first message and a random number."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begun = datetime.strptime(path.name[:_STAMP_LENGTH], _STAMP).replace(tzinfo=UTC)
        self.hour = (self.begun - _EPOCH) // timedelta(hours=1)

    @property
    def name(self) -> str:
        """What its file is called: the same again if a kill makes it be finished twice."""
        return f"date={self.begun:%Y-%m-%d}/hour={self.begun:%H}/{self.path.stem}.parquet"

    def blocks(self) -> Iterator[Found]:
        """Yield what the segment holds; a block that was cut short ends it.

        Raises ``OSError``, and :class:`ArchiveError` where another version wrote it.
        """
        with self.path.open("rb") as file:
            begin = file.read(len(_BEGIN))
            if begin != _BEGIN and begin.startswith(_BEGIN[:-1]):
                raise ArchiveError(f"{self.path} was written by another version: let that one finish it")
            position = len(_BEGIN)
            while True:
                body, skipped = _read(file, position), 0
                if body is None:
                    place, body = _search(file, position + 1)
                    if body is None:
                        return
                    position, skipped = place, place - position
                position += _HEAD.size + len(body)
                yield Found(pa.ipc.read_record_batch(pa.py_buffer(body), SCHEMA), position, skipped)

    def remove(self, *, keep: bool) -> None:
        """Take the segment out of the spool; ``keep`` its bytes beside it, under another name."""
        if keep:
            self.path.rename(self.path.with_suffix(".damaged"))
        else:
            self.path.unlink()
        synchronise(self.path.parent)


class Spool:
    """A directory of segments, for one process at a time and one thread of it.

    ``complete`` is called with each segment to which nothing will be added any more. Raises :class:`ArchiveError`
    where ``directory`` can't be used or another process has it.
    """

    def __init__(self, directory: Path, max_bytes: int, complete: Callable[[Segment], None]) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._complete = complete
        self._segment: Segment | None = None
        self._file: int | None = None
        self._end = 0
        """Where the segment's last block that is safe ends."""
        self._lock: int | None = _locked(directory)

    def recover(self, hour: int) -> None:
        """Take up what an earlier process left: complete it, or go on with it where it is of this ``hour``.

        If every start began a segment anew, a program that is started again and again would leave a flood of files.
        """
        try:
            self._recover(hour)
        except OSError as error:
            raise ArchiveError(f"the spool {self.directory} can't be read: {error.strerror}") from error

    def _recover(self, hour: int) -> None:
        left = [Segment(path) for path in sorted(self.directory.iterdir()) if _NAME.fullmatch(path.name)]
        for segment in left:
            if segment is left[-1] and segment.hour == hour:
                ends = [(block.end, block.skipped) for block in segment.blocks()]
                end = ends[-1][0] if ends else len(_BEGIN)
                if end < self._max_bytes and not any(skipped for _, skipped in ends):
                    self._segment, self._end = segment, end
                    return
            self._complete(segment)

    def append(self, messages: Sequence[Message]) -> None:
        """Make ``messages``, which all arrived in the same hour, safe; raises ``OSError`` where it can't, none is."""
        hour = messages[0].received // HOUR
        if self._segment is not None and (self._segment.hour != hour or self._end >= self._max_bytes):
            self.close()
        body = batch(messages).serialize()
        block = _HEAD.pack(_MARK, zlib.crc32(body), len(body)) + body.to_pybytes()
        if self._segment is None:
            stamp = (_EPOCH + timedelta(microseconds=messages[0].received)).strftime(_STAMP)
            self._segment = Segment(self.directory / f"{stamp}-{secrets.token_hex(4)}.spool")
            self._end = len(_BEGIN)
        try:
            if self._file is None:
                self._file = self._opened(self._segment.path)
            _write(self._file, block)
            os.fsync(self._file)
        except OSError:
            # After a failed fsync nobody knows which pages are on the disk: the block will be written again, from the
            # last place that is certain and through another descriptor.
            self._let_go()
            raise
        self._end += len(block)

    def _opened(self, path: Path) -> int:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(file, self._end)
            os.pwrite(file, _BEGIN, 0)
            os.lseek(file, self._end, os.SEEK_SET)
            synchronise(self.directory)
        except OSError:
            os.close(file)
            raise
        return file

    def close_before(self, hour: int) -> None:
        """Complete the segment if it is of an earlier hour: a stream that falls silent has its files too."""
        if self._segment is not None and self._segment.hour < hour:
            self.close()

    def close(self) -> None:
        """Complete the segment that is open, if one is."""
        self._let_go()
        segment, self._segment = self._segment, None
        if segment is not None and segment.path.exists():
            self._complete(segment)

    def _let_go(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def release(self) -> None:
        """Let another process have the directory."""
        self._let_go()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def hours(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Yield ``messages``, which are in order of arrival, hour by hour."""
    start = 0
    while start < len(messages):
        end = (messages[start].received // HOUR + 1) * HOUR
        stop = bisect_left(messages, end, start, key=lambda message: message.received)
        yield messages[start:stop]
        start = stop


def _locked(directory: Path) -> int:
    """Return the lock of ``directory``, which this process holds until it ends or closes it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ArchiveError(
            f"the spool {directory} can't be used: {error.strerror}. Check ARCHIVE_DIRECTORY and ARCHIVE_SPOOL"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(lock, 20, 0).decode(errors="replace").strip()
        os.close(lock)
        raise ArchiveError(
            f"another archiver (process {owner}) uses {directory}: end it, or give this one an ARCHIVE_DIRECTORY and "
            "a COLLECTOR_CLIENT_ID of its own"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _read(file: BinaryIO, position: int) -> bytes | None:
    """Return the body of the block at ``position``, or None where there is no whole one."""
    file.seek(position)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    mark, checksum, length = _HEAD.unpack(head)
    if mark != _MARK:
        return None
    body = file.read(length)
    return body if len(body) == length and zlib.crc32(body) == checksum else None


def _search(file: BinaryIO, position: int) -> tuple[int, bytes | None]:
    """Return where the next whole block from ``position`` on begins, and its body; None where there is none."""
    while True:
        file.seek(position)
        part = file.read(_SEARCH)
        place = part.find(_MARK)
        while place >= 0:
            body = _read(file, position + place)
            if body is not None:
                return position + place, body
            place = part.find(_MARK, place + 1)
        if len(part) < _SEARCH:
            return position, None
        position += len(part) - len(_MARK) + 1


def synchronise(directory: Path) -> None:
    """Make the names in ``directory`` as durable as the files they name; raises ``OSError``."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
