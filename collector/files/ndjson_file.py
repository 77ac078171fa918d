"""NDJSON files: one JSON object per line, or one array of them."""

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from collector.files.options import FileError
from collector.files.table_file import MAXIMUM_BYTES, Chunk, check_not_empty, encoding_of, errors_of, open_text
from collector.formats import json_payload
from collector.message import NoReadingError, Reason, UndecodableError, quoted

_BLOCK = 1_000_000
_LONGEST = 16_000_000
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+(?P<end>"?)|[\[\]{},]', re.DOTALL)
"""A text, whole or up to the end of what is there, or a mark of JSON."""


class NdjsonFile:
    """One NDJSON file, or one JSON array of objects; raises :class:`FileError`.

    Its first line is line 1; empty lines are skipped. The elements of an array are numbered from 1.
    """

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self._path = path
        with errors_of(path):
            self._size = check_not_empty(path)
            self._encoding = encoding_of(path, encoding)
            self._raw, self._stream = open_text(path, self._encoding)

    @property
    def columns(self) -> list[str]:
        """Names of the members in the first lines."""
        names: dict[str, None] = {}
        for _, line in islice(NdjsonFile(self._path, self._encoding).lines(), 100):
            with suppress(UndecodableError):
                document = json_payload.load(line)
                names |= dict.fromkeys(document if type(document) is dict else ())
        return list(names)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield each line, or element of the array, with its number; raises :class:`FileError` where it is damaged."""
        with errors_of(self._path):
            blocks = self._blocks()
            first = next(blocks, b"")
            is_array = first.lstrip().startswith(b"[")
            yield from (self._elements if is_array else self._lines)(chain([first], blocks))

    def _blocks(self) -> Iterator[bytes]:
        """Yield the file without its byte order mark; the first block has more than blanks, if any has."""
        begin = bytes(self._stream.read(_BLOCK)).removeprefix(codecs.BOM_UTF8)
        while not begin.strip() and (block := bytes(self._stream.read(_BLOCK))):
            begin += block
        yield begin
        while block := bytes(self._stream.read(_BLOCK)):
            yield block

    def _lines(self, blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        rest, number = b"", 0
        for block in blocks:
            *lines, rest = (rest + block).split(b"\n")
            for number, line in enumerate(lines, number + 1):  # noqa: B020 - continues the count
                if line.strip():
                    yield number, line.rstrip(b"\r")
            if len(rest) > _LONGEST:
                raise FileError(f"{self._path}: line {number + 1} is longer than 16 MB; is it NDJSON?")
        if rest.strip():
            yield number + 1, rest.rstrip(b"\r")

    def _elements(self, blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """Yield the elements of an array."""
        waiting, number, depth, start, place = b"", 0, 0, 0, 0
        for block in blocks:
            waiting, start, place = waiting[start:] + block, 0, place - start
            for token in _TOKEN.finditer(waiting, place):
                mark = token[0]
                if token["end"] == b"":
                    break  # the text goes on in the next block
                place = token.end()
                if mark in (b"[", b"{"):
                    depth += 1
                    start = token.end() if depth == 1 else start
                elif mark in (b"]", b"}"):
                    depth -= 1
                if (depth == 1 and mark == b",") or (depth == 0 and mark == b"]"):
                    element = waiting[start : token.start()].strip()
                    start = token.end()
                    if element:
                        number += 1
                        yield number, element
            if len(waiting) - start > _LONGEST:
                raise FileError(f"{self._path}: element {number + 1} of the array is longer than 16 MB")
        if depth or waiting[start:].strip():
            raise FileError(f"{self._path}: the array is not closed after element {number}; copy the file again")

    def time_unit(self, column: str, given: str | None) -> str:  # noqa: ARG002 - that of the protocol
        """Return the unit of times: ``given``, else that they are ISO 8601."""
        return given or "iso8601"

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[Chunk]:
        """Yield the members ``columns`` of the lines as columns of text, about ``rows`` rows at a time."""
        waiting: list[_Row] = []
        malformed: list[tuple[int, str, str]] = []
        size = 0
        for number, line in self.lines():
            try:
                waiting.append((number, _row(line)))
            except (UndecodableError, NoReadingError) as error:
                malformed.append((number, line.decode("utf-8", "surrogateescape"), str(error)))
            size += len(line)
            if len(waiting) + len(malformed) >= rows or size >= MAXIMUM_BYTES:
                yield _chunk(waiting, columns, malformed)
                waiting, malformed, size = [], [], 0
        if waiting or malformed:
            yield _chunk(waiting, columns, malformed)

    def done(self) -> float:
        """Return the part of the file that has been read, from 0 to 1."""
        return self._raw.tell() / self._size

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


_Row = tuple[int, dict[str, Any]]
"""Number of a line, and its object."""


def _row(line: bytes) -> dict[str, Any]:
    row = json_payload.load(line)
    if type(row) is not dict:
        raise UndecodableError(Reason.MALFORMED, f"expected a row, got {quoted(row)}")
    return row


def _chunk(rows: Sequence[_Row], columns: Sequence[str], malformed: list[tuple[int, str, str]]) -> Chunk:
    cells = tuple((name, pa.array([_cell(row.get(name)) for _, row in rows], pa.string())) for name in columns)
    return Chunk(cells, np.array([number for number, _ in rows], np.int64), malformed)


def _cell(value: Any) -> str | None:
    """Return ``value`` as a cell of a CSV file: a column has one type, and members of JSON objects have several."""
    if value is None or type(value) is str:
        return value
    return json.dumps(value, ensure_ascii=False)
