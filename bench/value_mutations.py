"""Property of decoding: where one value of a message is replaced, all others stay readings and that one is counted.

A value is a number in a JSON payload whose change alters exactly one reading. It is replaced by text, by literals that
are no JSON and by other types; then the other readings are the same, and the replaced one is a reading, quarantined or
counted as ignored.
"""

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

from mutate import Sample

from collector.decode.decoder import Decoder
from collector.message import Message, NoReadingError, Reading, UndecodableError
from collector.registry import sensors_file
from collector.registry.discovery import UnregisteredError

REPLACEMENTS = (
    '"-1.6"', '"21,5"', '"1.234,5"', '"20.6 \u2103"', '"warm"', '"unavailable"', '"nan"', "nan", "-nan", "inf",
    "-Infinity", "1.#INF", "1.#QNAN", "1e999", "true", '"5\\u0000"', "9007199254740993", '"9007199254740993"', '"ON"',
)  # fmt: skip
_MARKER = "value-to-replace"
_PROBE = 17.25


class ValueMutations:
    """The values of one sample, and a decoder that knows its sensors."""

    def __init__(self, sample: Sample, registry: bytes, arrived: int) -> None:
        self._sample, self._arrived = sample, arrived
        self._decoder = Decoder(sensors_file.parse(registry), {})
        self._numbers = itertools.count(1)
        try:
            document = json.loads(sample.payload)
        except ValueError:
            document = None
        self._expected = set() if document is None else set(self._decode(sample.payload)[0])
        self._payloads = [text for text in _with_marker(document) if self._is_value(text)] if self._expected else []

    def check(self, source: random.Random) -> str | None:
        """Return the payload for which the property does not hold, and why; None: it holds."""
        if not self._payloads:
            return None
        text, replacement = source.choice(self._payloads), source.choice(REPLACEMENTS)
        payload = text.replace(json.dumps(_MARKER), replacement).encode()
        readings, others = self._decode(payload)
        missing = self._expected - set(readings)
        if len(missing) > 1:
            return f"{len(missing)} readings are missing: {payload!r}"
        if len(readings) + others < len(self._expected):
            return f"a value is not counted: {payload!r}"
        return None

    def _is_value(self, text: str) -> bool:
        readings, others = self._decode(text.replace(json.dumps(_MARKER), str(_PROBE)).encode())
        return not others and len(self._expected - set(readings)) == 1 and len(readings) == len(self._expected)

    def _decode(self, payload: bytes) -> tuple[list[Reading], int]:
        """Return the readings, and the number of quarantined and ignored ones."""
        message = Message(self._sample.topic, payload, self._arrived)
        for _ in range(3):
            try:
                decoded = self._decoder.decode(message)
            except UnregisteredError as error:
                for registered, sensor, quantity in error.discoveries:
                    registered.record(sensor, quantity, next(self._numbers))
            except NoReadingError as error:
                return [], sum(error.ignored.values()) or 1
            except UndecodableError:
                return [], 0
            else:
                rejected = sum(rejection.readings for rejection in decoded.rejections)
                return decoded.readings, rejected + sum(decoded.ignored.values())
        return [], 0


def _with_marker(document: Any) -> Iterator[str]:
    """Yield the document with each of its numbers replaced by a marker."""
    for parent, key in list(_numbers(document)):
        value = parent[key]
        parent[key] = _MARKER
        yield json.dumps(document)
        parent[key] = value


def _numbers(document: Any) -> Iterator[tuple[Any, Any]]:
    pairs = (
        document.items() if isinstance(document, dict) else enumerate(document if isinstance(document, list) else ())
    )
    for key, value in pairs:
        if type(value) in (int, float):
            yield document, key
        else:
            yield from _numbers(value)
