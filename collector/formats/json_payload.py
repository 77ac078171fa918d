"""JSON payloads: strict and fast where they are good, forgiving where only single values are bad."""

import json
from typing import Any

import orjson

from collector.message import Reason, UndecodableError

MISSING: Any = object()
"""What a pointer finds where nothing is; unlike ``null``, which is a value."""


def load(payload: bytes) -> Any:
    """Return the JSON document in ``payload``; raises :class:`UndecodableError`.

    RFC 8259 knows no NaN and no infinity, yet devices send them. Such a document is read all the same (as
    Python's ``json`` does), so that one bad number costs one reading and not the whole message.
    """
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as strict:
        try:
            return json.loads(payload.decode())
        except UnicodeDecodeError as error:
            raise UndecodableError(Reason.MALFORMED, f"not UTF-8 at byte {error.start}") from error
        except RecursionError as error:
            raise UndecodableError(Reason.MALFORMED, "nested too deeply") from error
        except ValueError as error:
            raise UndecodableError(Reason.MALFORMED, f"not JSON: {strict}") from error


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
