"""JSON payloads: strict and fast where they are good, forgiving where only single values are bad."""

import json
from typing import Any

import orjson

from collector.message import Reason, UndecodableError

MISSING: Any = object()
"""What a pointer finds where nothing is; unlike ``null``, which is a value."""

ROUNDED = 2.0**63
"""From here on a float of :func:`load` may be an integer that lost digits; :func:`load_exactly` keeps them."""

_LONGEST_INTEGER = 400
"""More digits than the largest double has."""


def load(payload: bytes) -> Any:
    """Return the JSON document in ``payload``; raises :class:`UndecodableError`.

    RFC 8259 knows no NaN and no infinity, yet devices send them. Such a document is read all the same (as
    Python's ``json`` does), so that one bad number costs one reading and not the whole message.
    """
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return load_exactly(payload)


def load_exactly(payload: bytes) -> Any:
    """Return what :func:`load` does, five times slower, and with every integer as an ``int``.

    orjson makes floats of integers that 64 bits can't hold, and says nothing.
    """
    try:
        return json.loads(payload.decode(), parse_int=integer)
    except UnicodeDecodeError as error:
        raise UndecodableError(Reason.MALFORMED, f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise UndecodableError(Reason.MALFORMED, "nested too deeply") from error
    except ValueError as error:
        raise UndecodableError(Reason.MALFORMED, f"not JSON: {error}") from error


def integer(text: str) -> int | float:
    """Return the integer that ``text``, a sign and digits, is."""
    # Python refuses to read thousands of digits, as it would take long: such a number is infinite to us anyway.
    return int(text) if len(text) <= _LONGEST_INTEGER else float(text)


def steps(pointer: str) -> tuple[str, ...]:
    """Split a JSON Pointer (RFC 6901) into its steps, unescaped."""
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])


def find(document: Any, path: tuple[str, ...]) -> Any:
    """Return what stands at ``path`` in ``document``, or :data:`MISSING`."""
    for step in path:
        if type(document) is dict:
            document = document.get(step, MISSING)
        elif type(document) is list and step.isascii() and step.isdigit() and int(step) < len(document):
            document = document[int(step)]
        else:
            return MISSING
    return document
