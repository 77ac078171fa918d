"""Mutations of messages for fuzz.py: bytes, numbers, texts, JSON trees, protobuf fields, topics."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.message import DecodeError

from collector.formats.sparkplug.payload import Payload
from collector.message import Message


@dataclass(frozen=True)
class Sample:
    """A message to mutate, and its format."""

    format: str
    topic: str
    payload: bytes


NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
TEXT = re.compile(rb'"[^"]*"')
NUMBERS = [
    b"0", b"-0", b"-1", b"1e999", b"-1e999", b"1e-999", b"NaN", b"Infinity", b"9007199254740993", b"0.1", b"true",
    b"18446744073709551616", b"1" * 400, b"1" * 5000, b"1.7976931348623157e308", b"1465839830100400200", b"null",
    b"99999999999999", b'"12"', b"[]", b"{}", b"1.5i", b"01", b"--1", b"268435456",
]  # fmt: skip
TEXTS = [
    b'""', b'"C"', b'"F"', b'"%RH"', b'"ON"', b'"\\u0000"', b'"\\ud800"', b'"urn:dev:ow:1"', b"1", b"null", b"[[]]",
    b'"2022-07-18T09:34:15.775023242+00:00"', b'"0001-01-01T00:00:00Z"', b'"9999-12-31T23:59:59Z"', b'"\xff"',
    b'"2026-03-29T02:30:00"', b'"' + b"x" * 3000 + b'"', '"°C"'.encode(), '"µ"'.encode(), b'"spBv1.0"',
    b'{"":{"":0}}',
]  # fmt: skip
TOKENS = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\n", b"\r", b" ", b"=", b"#", b"\0", b"\xff\xfe", b"//",
    b"\xef\xbb\xbf", b"[" * 2000, b'{"a":' * 1200, b"\x12\x00", b"\x1a\x05", b"\xf5\xff\xff\xff\x0f",
    b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
]  # fmt: skip
LEVELS = [
    "", "a", "tele", "stat", "SENSOR", "STATE", "LWT", "up", "status", "event", "spBv1.0", "NDATA", "DDATA", "NBIRTH",
    "DBIRTH", "NDEATH", "NCMD", "set", "get", "availability", "bridge", "é", "\ud800", "+", "#", "$SYS", "x" * 500,
    "switch:0", "rpc",
]  # fmt: skip


class Mutator:
    """Mutates messages, deterministically for a seed."""

    def __init__(self, seed: int, samples: Sequence[Sample]) -> None:
        self._random = random.Random(seed)
        self._samples = samples
        self._mutations: list[Callable[[bytes], bytes]] = [
            self._flip, self._cut, self._drop, self._repeat, self._splice, self._insert,
            self._number, self._number, self._text, self._text, self._tree, self._tree, self._wire,
        ]  # fmt: skip

    def message(self, sample: Sample, received: int) -> Message:
        """Return ``sample`` with one to four mutations."""
        random = self._random
        topic, payload = sample.topic, sample.payload
        for _ in range(random.choice((1, 1, 2, 4))):
            payload = random.choice(self._mutations)(payload)
        if random.random() < 0.2:
            topic = self._topic(topic)
        return Message(topic, payload, received, random.random() < 0.1)

    def _flip(self, payload: bytes) -> bytes:
        if not payload:
            return b"\x80"
        changed = bytearray(payload)
        for _ in range(self._random.choice((1, 1, 3, 20))):
            changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
        return bytes(changed)

    def _span(self, payload: bytes) -> tuple[int, int]:
        begin = self._random.randrange(len(payload) + 1)
        return begin, min(len(payload), begin + self._random.choice((1, 2, 4, 16, 64)))

    def _cut(self, payload: bytes) -> bytes:
        return payload[: self._span(payload)[0]]

    def _drop(self, payload: bytes) -> bytes:
        begin, end = self._span(payload)
        return payload[:begin] + payload[end:]

    def _repeat(self, payload: bytes) -> bytes:
        begin, end = self._span(payload)
        return payload[:end] + payload[begin:end] * self._random.choice((1, 2, 50)) + payload[end:]

    def _splice(self, payload: bytes) -> bytes:
        other = self._random.choice(self._samples).payload
        return payload[: self._span(payload)[0]] + other[self._span(other)[0] :]

    def _insert(self, payload: bytes) -> bytes:
        begin = self._span(payload)[0]
        return payload[:begin] + self._random.choice(TOKENS) + payload[begin:]

    def _number(self, payload: bytes) -> bytes:
        return self._swap(payload, NUMBER, NUMBERS)

    def _text(self, payload: bytes) -> bytes:
        return self._swap(payload, TEXT, TEXTS)

    def _swap(self, payload: bytes, pattern: re.Pattern[bytes], others: list[bytes]) -> bytes:
        matches = list(pattern.finditer(payload))
        if not matches:
            return self._flip(payload)
        begin, end = self._random.choice(matches).span()
        return payload[:begin] + self._random.choice(others) + payload[end:]

    def _tree(self, payload: bytes) -> bytes:
        """Change one place of a JSON tree: value, name, or nesting."""
        try:
            tree = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return self._drop(payload)
        random = self._random
        places: list[tuple[Any, Any]] = []
        waiting = [tree]
        while waiting:
            node = waiting.pop()
            if isinstance(node, dict | list):
                places += [(node, key) for key in (list(node) if isinstance(node, dict) else range(len(node)))]
                waiting += node.values() if isinstance(node, dict) else node
        if not places:
            return random.choice(NUMBERS)
        place, key = random.choice(places)
        value = place[key]
        way = random.randrange(5)
        if way == 0:
            place[key] = random.choice((None, True, False, 0, -1, 2**63, 1.5, "", "x", [], {}, [value], {"a": value}))
        elif way == 1:
            other, place_of = random.choice(places)
            place[key] = other[place_of] if not isinstance(other[place_of], dict | list) else 1
        elif way == 2:
            del place[key]
        elif isinstance(place, dict):
            place[random.choice(("", "a/b", "~1", "TempUnit", "time", "v", "é", "x" * 300, str(key).upper()))] = value
        else:
            place.insert(key, value)
        try:
            return orjson.dumps(tree)
        except (TypeError, orjson.JSONEncodeError):
            return self._drop(payload)

    def _wire(self, payload: bytes) -> bytes:
        """Change one field of a Sparkplug payload."""
        try:
            wire = Payload.FromString(payload)
        except DecodeError:
            return self._insert(payload)
        random = self._random
        way = random.randrange(6)
        metric = random.choice(wire.metrics) if wire.metrics else wire.metrics.add()
        if way == 0:
            metric.datatype = random.choice((0, 1, 4, 8, 9, 11, 12, 13, 16, 19, 22, 34, 35, 2**32 - 1))
        elif way == 1:
            metric.alias = random.choice((0, 7, 8, 2**64 - 1))
            metric.ClearField("name")
        elif way == 2:
            metric.long_value = random.choice((0, 2**63, 2**64 - 1))
        elif way == 3:
            metric.timestamp = random.choice((0, 1, 2**63, 2**64 - 1))
        elif way == 4:
            wire.seq = random.choice((0, 255, 256, 2**64 - 1))
        else:
            metric.properties.keys.append(random.choice(("engUnit", "Quality", "x")))
            metric.properties.values.add(type=3, int_value=random.choice((0, 192, 500)))
        changed: bytes = wire.SerializeToString()
        return changed

    def _topic(self, topic: str) -> str:
        random = self._random
        levels = topic.split("/")
        way, at = random.randrange(4), random.randrange(len(levels))
        if way == 0:
            levels[at] = random.choice(LEVELS)
        elif way == 1:
            del levels[at]
        elif way == 2:
            levels.insert(at, random.choice(LEVELS))
        else:
            levels.reverse()
        return "/".join(levels)
