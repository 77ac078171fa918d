"""JSON payloads: a fast strict parser, a lenient one for documents with NaN or long integers, and JSON Pointers."""

import json
import re
from dataclasses import dataclass
from typing import Any

import orjson

from collector.message import IgnoredReason, NoReadingError, Reason, UndecodableError

PADDING = b"\0 \t\r\n"
"""Bytes behind a payload that are no part of it: white space, and the end of a C string."""

BOM = b"\xef\xbb\xbf"
"""What .NET writes before UTF-8."""

MISSING: Any = object()
"""Result of a pointer to a missing member; unlike ``null``, which is a value."""

ROUNDED = 2.0**63
"""From here on a float of :func:`load` may be an integer that lost digits; :func:`load_exactly` keeps them."""
LEAST_ROUNDED = -ROUNDED

NOT_FINITE = r"[+-]?(?:nan(?:\([a-z0-9_]*\))?|inf(?:inity)?|ovf|1\.?(?:#[a-z]{1,4}|\$)[0-9]*)"
"""What C's printf writes for numbers that are not finite, on all platforms; compare ignoring case.

Microsoft's rounds it like a number: 1.#QNAN has two decimals in 1.#R, and one in 1.$. Arduino's ``ovf`` is beyond 2^32.
"""
_NOT_FINITE = re.compile(
    rb'"(?:[^"\\]++|\\.)*+"|(?<![\w.+-])(?P<token>' + NOT_FINITE.encode() + rb")(?=[\s,\]}]|\Z)",
    re.IGNORECASE | re.DOTALL,
)
"""Texts, which are skipped, and numbers that are not finite."""

_LONGEST_INTEGER = 400
"""More digits than the largest double has."""


def load(payload: bytes) -> Any:
    """Return the JSON document in ``payload``; raises :class:`UndecodableError`.

    RFC 8259 allows neither NaN nor infinity, yet devices send them. Such a document is read all the same (as
    Python's ``json`` does), so that one bad number costs one reading and not the whole message.
    """
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return load_exactly(payload)


def load_exactly(payload: bytes) -> Any:
    """Return what :func:`load` does, five times slower, and with every integer as an ``int``.

    orjson turns integers beyond 64 bits into floats without an error.
    """
    payload = payload.rstrip(PADDING).removeprefix(BOM)
    if not payload:
        raise NoReadingError(IgnoredReason.EMPTY_PAYLOAD, "an empty payload, which deletes a retained message")
    try:
        return json.loads(payload.decode(), parse_int=integer)
    except UnicodeDecodeError as error:
        raise UndecodableError(Reason.MALFORMED, f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise UndecodableError(Reason.MALFORMED, "nested too deeply") from error
    except ValueError as error:
        plain = _NOT_FINITE.sub(_spelled, payload)
        if plain != payload:
            return load_exactly(plain)
        raise UndecodableError(Reason.MALFORMED, f"not JSON: {error}") from error


def _spelled(match: re.Match[bytes]) -> bytes:
    """Return a text of JSON as it is, and what is not finite as Python's ``json`` spells it."""
    token = match["token"]
    if token is None:
        return match[0]
    if b"inf" not in (token := token.lower()) and b"ovf" not in token:
        return b"NaN"
    return b"-Infinity" if token[:1] == b"-" else b"Infinity"


def integer(text: str) -> int | float:
    """Return the integer in ``text``, a sign and digits."""
    # Python refuses integers of thousands of digits, which take long to read; as a double they are infinite.
    return int(text) if len(text) <= _LONGEST_INTEGER else float(text)


def steps(pointer: str) -> tuple[str, ...]:
    """Split a JSON Pointer (RFC 6901) into its steps, unescaped."""
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])


def find(document: Any, path: tuple[str, ...]) -> Any:
    """Return the value at ``path`` in ``document``, or :data:`MISSING`."""
    for step in path:
        if type(document) is dict:
            document = document.get(step, MISSING)
        elif type(document) is list and step.isascii() and step.isdigit() and int(step) < len(document):
            document = document[int(step)]
        else:
            return MISSING
    return document


@dataclass(frozen=True, slots=True)
class Pointer:
    """A compiled JSON Pointer (RFC 6901)."""

    path: tuple[str, ...]
    key: str | None
    """The only step, where there is one: most pointers name a member, and a dictionary look-up is all they need."""

    @classmethod
    def compile(cls, text: str) -> "Pointer":
        """Return the pointer in ``text``."""
        path = steps(text)
        return cls(path, path[0] if len(path) == 1 else None)

    def find(self, item: dict[str, Any]) -> Any:
        """Return the value at this pointer in ``item``, or :data:`MISSING`."""
        return item.get(self.key, MISSING) if self.key is not None else find(item, self.path)

    def find_shared(self, item: dict[str, Any], document: Any) -> Any:
        """Return the value in ``item``, else in the whole ``document``, where readings of a list often share it."""
        value = self.find(item)
        return find(document, self.path) if value is MISSING and item is not document else value
