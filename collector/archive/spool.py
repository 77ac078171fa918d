"""The spool: received messages that are in no finished file yet, durable against a kill and a power cut.

A segment becomes one file of the archive. It begins with :data:`_BEGIN`, followed by blocks of messages. Each block is
written and synchronised to disk as a whole before its messages are acknowledged: ``BLCK``, the CRC-32 of the messages,
their length (both unsigned, 32 bits, little-endian), and the messages as one Arrow record batch (the IPC message,
https://arrow.apache.org/docs/format/Columnar.html). A block that a kill cut short was not acknowledged.
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

from collector.archive.message_table import SCHEMA, to_batch
from collector.message import Message
from core.errors import WarehouseError

HOUR = 3_600_000_000
"""Microseconds."""

_BEGIN = b"SWSPOOL1"
_MARK = b"BLCK"
_HEAD = struct.Struct("<4sII")
_SEARCH_BYTES = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP_FORMAT = "%Y%m%dT%H%M%S%fZ"
_TIMESTAMP_LENGTH = len("20260301T120000123456Z")
_NAME = re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{8}\.spool")


class ArchiveError(WarehouseError):
    """The archive or its spool can't be used; the text has the reason and the fix."""


@dataclass(frozen=True)
class Block:
    """One intact block, and its end in the segment."""

    batch: "pa.RecordBatch"
    end: int
    skipped: int
    """Damaged bytes before it: they had been synchronised, so the disk is the cause and not a kill."""


class Segment:
    """One file of the spool, named after the arrival of its first message and a random number."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begun = datetime.strptime(path.name[:_TIMESTAMP_LENGTH], _TIMESTAMP_FORMAT).replace(tzinfo=UTC)
        self.hour = (self.begun - _EPOCH) // timedelta(hours=1)

    @property
    def name(self) -> str:
        """Name of its file in the archive: the same again if it is finished twice because of a kill."""
        return f"date={self.begun:%Y-%m-%d}/hour={self.begun:%H}/{self.path.stem}.parquet"

    def blocks(self) -> Iterator[Block]:
        """Yield the intact blocks; the segment ends where a block was cut short.

        Raises ``OSError``, and :class:`ArchiveError` if another version wrote it.
        """
        with self.path.open("rb") as file:
            begin = file.read(len(_BEGIN))
            if begin != _BEGIN and begin.startswith(_BEGIN[:-1]):
                raise ArchiveError(f"{self.path} was written by another version: finish it with that one")
            position = len(_BEGIN)
            while True:
                body, skipped = _read(file, position), 0
                if body is None:
                    next_position, body = _search(file, position + 1)
                    if body is None:
                        return
                    position, skipped = next_position, next_position - position
                position += _HEAD.size + len(body)
                yield Block(pa.ipc.read_record_batch(pa.py_buffer(body), SCHEMA), position, skipped)

    def remove(self, *, keep: bool) -> None:
        """Remove the segment from the spool; with ``keep`` its bytes stay there under another name."""
        if keep:
            self.path.rename(self.path.with_suffix(".damaged"))
        else:
            self.path.unlink()
        sync_directory(self.path.parent)


class Spool:
    """A directory of segments, for one process at a time and one thread of it.

    ``complete`` is called with each segment that gets no more messages. Raises :class:`ArchiveError` if ``directory``
    can't be used or another process uses it.
    """

    def __init__(self, directory: Path, max_bytes: int, complete: Callable[[Segment], None]) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._complete = complete
        self._segment: Segment | None = None
        self._file: int | None = None
        self._end = 0
        """End of the segment's last durable block."""
        self._lock: int | None = _lock(directory)

    def recover(self, hour: int) -> None:
        """Complete the segments that an earlier process left, or continue with the last one if it is of this ``hour``.

        With a new segment at every start, a program that restarts again and again would make very many files.
        """
        try:
            self._recover(hour)
        except OSError as error:
            raise ArchiveError(f"the spool {self.directory} can't be read: {error.strerror}") from error

    def _recover(self, hour: int) -> None:
        segments = [Segment(path) for path in sorted(self.directory.iterdir()) if _NAME.fullmatch(path.name)]
        for segment in segments:
            if segment is segments[-1] and segment.hour == hour:
                ends = [(block.end, block.skipped) for block in segment.blocks()]
                end = ends[-1][0] if ends else len(_BEGIN)
                if end < self._max_bytes and not any(skipped for _, skipped in ends):
                    self._segment, self._end = segment, end
                    return
            self._complete(segment)

    def append(self, messages: Sequence[Message]) -> None:
        """Make ``messages``, all of one hour, durable; raises ``OSError``: then none is."""
        hour = messages[0].received // HOUR
        if self._segment is not None and (self._segment.hour != hour or self._end >= self._max_bytes):
            self.close()
        body = to_batch(messages).serialize()
        block = _HEAD.pack(_MARK, zlib.crc32(body), len(body)) + body.to_pybytes()
        if self._segment is None:
            stamp = (_EPOCH + timedelta(microseconds=messages[0].received)).strftime(_TIMESTAMP_FORMAT)
            self._segment = Segment(self.directory / f"{stamp}-{secrets.token_hex(4)}.spool")
            self._end = len(_BEGIN)
        try:
            if self._file is None:
                self._file = self._open(self._segment.path)
            _write(self._file, block)
            os.fsync(self._file)
        except OSError:
            # After a failed fsync it is unknown which pages are on the disk: the block will be written again, after the
            # last durable one and through another descriptor.
            self._close_file()
            raise
        self._end += len(block)

    def _open(self, path: Path) -> int:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(file, self._end)
            os.pwrite(file, _BEGIN, 0)
            os.lseek(file, self._end, os.SEEK_SET)
            sync_directory(self.directory)
        except OSError:
            os.close(file)
            raise
        return file

    def close_before(self, hour: int) -> None:
        """Complete the segment if it is of an earlier hour, so that a stream that stops has its files too."""
        if self._segment is not None and self._segment.hour < hour:
            self.close()

    def close(self) -> None:
        """Complete the open segment, if there is one."""
        self._close_file()
        segment, self._segment = self._segment, None
        if segment is not None and segment.path.exists():
            self._complete(segment)

    def _close_file(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def release(self) -> None:
        """Release the directory for other processes."""
        self._close_file()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def split_by_hour(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Yield ``messages``, which are in order of arrival, one sequence per hour."""
    start = 0
    while start < len(messages):
        end = (messages[start].received // HOUR + 1) * HOUR
        stop = bisect_left(messages, end, start, key=lambda message: message.received)
        yield messages[start:stop]
        start = stop


def _lock(directory: Path) -> int:
    """Lock ``directory`` and return the descriptor, which holds the lock until it is closed."""
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
            f"another archiver (process {owner}) uses {directory}: end it, or give this one another ARCHIVE_DIRECTORY "
            "and COLLECTOR_CLIENT_ID"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _read(file: BinaryIO, position: int) -> bytes | None:
    """Return the body of the block at ``position``; None: there is no intact block."""
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
    """Return position and body of the next intact block from ``position`` on; None: there is none."""
    while True:
        file.seek(position)
        part = file.read(_SEARCH_BYTES)
        offset = part.find(_MARK)
        while offset >= 0:
            body = _read(file, position + offset)
            if body is not None:
                return position + offset, body
            offset = part.find(_MARK, offset + 1)
        if len(part) < _SEARCH_BYTES:
            return position, None
        position += len(part) - len(_MARK) + 1


def sync_directory(directory: Path) -> None:
    """Synchronise the entries of ``directory`` to disk; raises ``OSError``."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
