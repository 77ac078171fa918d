"""NDJSON files: one JSON object per line, decoded like a message of its sensor."""

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

from collector.decode.series_decoder import sensor_decoder
from collector.files.options import FileError
from collector.files.table_file import check_not_empty, encoding_of, errors_of, open_text
from collector.formats import json_payload
from collector.message import Decoded, Message, NoReadingError, Reason, UndecodableError
from collector.registry.sensors_file import Sensor

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

    def members(self) -> list[str]:
        """Return the names of members in the first lines."""
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

    def done(self) -> float:
        """Return the part of the file that has been read, from 0 to 1."""
        return self._raw.tell() / self._size

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


class LineDecoder:
    """Decodes lines by the format of their sensor, with the decoder of live messages.

    The sensor is ``only``, if given; else the one that the line names: at its format's device pointer, or in a
    member ``sensor_id`` or ``device_id``. ``max_future`` is in microseconds.
    """

    def __init__(
        self,
        sensors: Sequence[Sensor],
        series_ids: Mapping[tuple[str, str], int],
        max_future: int,
        only: Sensor | None = None,
    ) -> None:
        # A line has no topic, which most formats need.
        candidates = [only] if only is not None else sensors
        self._sensors = [sensor for sensor in candidates if not sensor.format.needs_topic]
        self._topics = [sensor.topic for sensor in self._sensors]
        self._decoders = [sensor_decoder(sensor, series_ids, max_future) for sensor in self._sensors]
        self._only = only is not None
        # A line is read to find its topic and again to decode it.
        self._last: tuple[bytes, int] = b"", -1
        # By the place of the name: the same name at another place may be another sensor.
        self._names: dict[tuple[str, ...], dict[str, int]] = {}
        for position, sensor in enumerate(self._sensors):
            pointers = {("sensor_id",), ("device_id",), sensor.format.device_path}
            for path in pointers - {()}:
                names = self._names.setdefault(path, {})
                names[sensor.device] = -1 if sensor.device in names else position
        for path in self._names:
            self._names[path] |= {sensor.sensor_id: position for position, sensor in enumerate(self._sensors)}

    def topic(self, line: bytes) -> str | None:
        """Return the topic of the sensor that ``line`` names; None: it names no sensor of the registry."""
        try:
            position = self._position(line)
        except UndecodableError:
            return None
        return None if position < 0 else self._topics[position]

    def decode(self, message: Message) -> Decoded:
        """Return the content of the line; raises :class:`UndecodableError` or :class:`NoReadingError`."""
        position = self._position(message.payload)
        if position < 0:
            raise UndecodableError(Reason.UNKNOWN_SENSOR, "names no sensor of the registry; name it with --sensor ID")
        try:
            return self._decoders[position].decode(message)
        except (UndecodableError, NoReadingError):
            raise
        except Exception as error:  # a defect in our code must not stop the file or lose the line
            raise UndecodableError(Reason.DEFECT, f"{type(error).__name__}: {error}"[:500]) from error

    def _position(self, line: bytes) -> int:
        if self._only:
            return 0
        if self._last[0] is not line:
            self._last = line, self._named(json_payload.load(line))
        return self._last[1]

    def _named(self, document: Any) -> int:
        for path, names in self._names.items():
            name = json_payload.find(document, path)
            position = names.get(name if type(name) is str else str(name), -1)
            if position >= 0:
                return position
        return -1
