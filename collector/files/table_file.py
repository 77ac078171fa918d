"""Common parts of files of rows and columns: chunks of rows, progress, and errors that name the fix."""

import codecs
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collector.files.columns import cells
from collector.files.columns.cells import Column
from collector.files.options import FileError
from collector.message import Message

MAXIMUM_BYTES = 32_000_000
"""Most bytes of cells in one transaction."""

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Chunk:
    """Rows of a file that are decoded together."""

    columns: tuple[tuple[str, Column], ...]
    """Names and cells, as :func:`cells.plain` has them."""
    numbers: NDArray[np.int64]
    """The rows' numbers in the file."""
    malformed: list[tuple[int, str, str]] = field(default_factory=list)
    """Malformed rows: number, text and problem. Their positions follow those of the others."""

    def message(self, position: int, name: str, received: int) -> Message:
        """Return the row at ``position`` as a message."""
        rows = len(self.numbers)
        if position >= rows:
            number, text, _ = self.malformed[position - rows]
            return Message(f"{name}:{number}", text.encode("utf-8", "surrogateescape"), received)
        row = cells.row(self.columns, position)
        payload = json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=str)
        return Message(f"{name}:{self.numbers[position]}", payload.encode("utf-8", "backslashreplace"), received)

    def take(self, rows: NDArray[np.bool_]) -> "Chunk":
        """Return the chosen rows, without malformed ones."""
        mask = pa.array(rows)
        return Chunk(tuple((name, column.filter(mask)) for name, column in self.columns), self.numbers[rows])

    def joined(self, other: "Chunk") -> "Chunk":
        """Return the rows of this chunk and then those of ``other``."""
        columns = zip(self.columns, other.columns, strict=True)
        return Chunk(
            tuple((name, pa.concat_arrays([column, more])) for (name, column), (_, more) in columns),
            np.concatenate([self.numbers, other.numbers]),
            [*self.malformed, *other.malformed],
        )


class RowMessages(Sequence[Message]):
    """Rows as messages, each built when it is accessed: few are."""

    def __init__(self, chunk: Chunk, positions: NDArray[np.int64], name: str, received: int) -> None:
        self._chunk = chunk
        self._positions = positions
        self._name = name
        self._received = received

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> list[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | list[Message]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return self._chunk.message(int(self._positions[index]), self._name, self._received)


class TableFile(Protocol):
    """A file of rows and columns."""

    @property
    def columns(self) -> list[str]:
        """Names of all columns, in their order."""

    def time_unit(self, column: str, given: str | None) -> str:
        """Return the unit of times in ``column``; raises :class:`FileError` where it is unknown."""

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[Chunk]:
        """Yield the ``columns``, about ``rows`` rows at a time; raises :class:`FileError` on unreadable rows."""

    def done(self) -> float:
        """Return the part of the file that has been read, from 0 to 1."""

    def close(self) -> None:
        """Close the file."""


Block = tuple[pa.RecordBatch, NDArray[np.int64], list[tuple[int, str, str]]]
"""Rows, their numbers in the file, and the malformed rows among them: number, text, problem."""


def gather(blocks: Iterable[Block], columns: Sequence[str], rows: int) -> Iterator[Chunk]:
    """Yield ``blocks`` as chunks of ``rows`` rows, or of fewer where they are large."""
    waiting: list[Block] = []
    count = size = 0
    for block in blocks:
        waiting.append(block)
        count += block[0].num_rows + len(block[2])
        size += block[0].nbytes + sum(len(text) for _, text, _ in block[2])
        if count >= rows or size >= MAXIMUM_BYTES:
            yield from _cut(waiting, columns, rows)
            waiting, count, size = [], 0, 0
    if count:
        yield from _cut(waiting, columns, rows)


def _cut(blocks: list[Block], columns: Sequence[str], rows: int) -> Iterator[Chunk]:
    table = pa.Table.from_batches([block[0] for block in blocks])
    numbers = np.concatenate([block[1] for block in blocks])
    malformed = [row for block in blocks for row in block[2]]
    # Equal parts, so that no small rest takes a separate transaction.
    parts = max(1, round(len(numbers) / rows))
    ends = [len(numbers) * part // parts for part in range(parts + 1)]
    for start, end in pairwise(ends):
        part = table.slice(start, end - start).combine_chunks()
        chosen = tuple((name, cells.plain(_whole(part.column(name)))) for name in columns)
        yield Chunk(chosen, numbers[start:end], malformed)
        malformed = []


def _whole(column: "pa.ChunkedArray[pa.Scalar[pa.DataType]]") -> cells.Column:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Turn errors of the file at ``path`` into a :class:`FileError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise FileError(f"{path}: a directory; name the files in it") from error
    except PermissionError as error:
        raise FileError(f"{path}: no permission to read it; give this user permission") from error
    except EOFError as error:
        raise FileError(f"{path}: truncated in its compressed data; copy it again") from error
    except (OSError, pa.ArrowException, ValueError) as error:
        text = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise FileError(f"{path}: {_FIXES.get(_kind(text), 'damaged or of another format')} ({text})") from error


_FIXES = {
    "cut": "truncated in its compressed data; copy it again",
    "quote": 'a row is longer than 4 MB, or a quotation mark (") is never closed',
    "footer": "not a Parquet file, or truncated; copy it again or name its format with --format",
}


def _kind(text: str) -> str:
    if "Truncated" in text:
        return "cut"
    if "straddling" in text:
        return "quote"
    return "footer" if "Parquet magic" in text or "Parquet file size" in text else ""


def check_not_empty(path: Path) -> int:
    """Return the size of the file at ``path`` in bytes; raises :class:`FileError` if it is empty."""
    if path.is_dir():
        raise IsADirectoryError(path)
    size = path.stat().st_size
    if size == 0:
        raise FileError(f"{path}: empty; there is nothing to load")
    return size


def open_stream(path: Path) -> tuple[pa.OSFile, Any]:
    """Open ``path``, through gunzip if its content is compressed; return the file and the stream to read from."""
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP
    raw = pa.OSFile(str(path), "rb")
    return raw, pa.CompressedInputStream(raw, "gzip") if compressed else raw


_BLOCK = 1_000_000
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def encoding_of(path: Path, given: str | None) -> str:
    """Return the encoding of a text file: ``given``, else by its byte order mark or its NUL characters, else UTF-8."""
    if given is not None:
        return given
    raw, stream = open_stream(path)
    with raw:
        head = bytes(stream.read(1000))
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    # Western text in UTF-16 has a NUL in every other byte.
    even, odd = head[::2], head[1::2]
    if head and not any(odd) and all(even):
        return "utf-16-le"
    return "utf-16-be" if head and not any(even) and all(odd) else "utf-8"


def open_text(path: Path, encoding: str, comment: str | None = None) -> tuple[pa.OSFile, Any]:
    """Open a text file, like :func:`open_stream`, as UTF-8 and without the lines that begin with ``comment``."""
    raw, stream = open_stream(path)
    is_plain = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
    if is_plain and comment is None:
        return raw, stream
    return raw, pa.PythonFile(_Text(stream, None if is_plain else encoding, comment), mode="r")


class _Text(io.RawIOBase):
    """``stream`` as UTF-8 (``encoding`` None: it is), without the lines that begin with ``comment``."""

    def __init__(self, stream: Any, encoding: str | None, comment: str | None) -> None:
        self._stream = stream
        # Bytes that the encoding lacks cost their cell only, as in UTF-8.
        self._decoder = None if encoding is None else codecs.getincrementaldecoder(encoding)("replace")
        self._comment = (
            None if comment is None else re.compile(rb"^" + re.escape(comment.encode()) + rb".*\n?", re.MULTILINE)
        )
        self._unfinished = b""
        """The beginning of a line."""
        self._ready = b""
        self._is_first = True

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer``, up to the end of the file; return the number of bytes."""
        size = len(buffer)
        while len(self._ready) < size and self._fill():
            pass
        content, self._ready = self._ready[:size], self._ready[size:]
        buffer[: len(content)] = content
        return len(content)

    def _fill(self) -> bool:
        """Read a block; return whether there may be more."""
        block = bytes(self._stream.read(_BLOCK))
        is_last = not block
        if self._decoder is not None:
            block = self._decoder.decode(block, is_last).encode()
        if self._is_first:
            block = block.removeprefix(codecs.BOM_UTF8)
            self._is_first = False
        if self._comment is not None:
            block = self._unfinished + block
            end = len(block) if is_last else block.rfind(b"\n") + 1
            block, self._unfinished = self._comment.sub(b"", block[:end]), block[end:]
        self._ready += block
        return not is_last
