"""Where the next page begins: the key of the last row, opaque to who sends it back. Pure."""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from access import times
from access.problems import ProblemError

Key = tuple[Any, ...]
"""Of texts, integers, instants and days."""


def fingerprint(path: str, asked: Mapping[str, Any]) -> str:
    """Return what tells one question from another: a key means nothing in the answer to another one."""
    told = json.dumps([path, sorted((name, str(value)) for name, value in asked.items())])
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def encode(key: Key, question: str) -> str:
    """Return ``key`` as text for an address."""
    told = json.dumps([question, *map(_told, key)])
    return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


def decode(text: str, question: str, kinds: Sequence[type]) -> Key:
    """Return the key that :func:`encode` made for ``question``; raises :class:`ProblemError` for any other text.

    ``kinds`` are the types that the key's values must have.
    """
    try:
        told, *values = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        key = tuple(_understood(value) for value in values)
        fits = told == question and [type(value) for value in key] == list(kinds)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, binascii.Error):
        fits = False
    if not fits:
        detail = "The cursor is not one of this request's: take `next` as it is, or leave the cursor out."
        raise ProblemError("malformed", detail, [{"parameter": "cursor", "detail": "not of this request"}])
    return key


def _told(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"instant": times.micros(value)}
    return {"day": value.isoformat()} if isinstance(value, date) else value


def _understood(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return times.at(value["instant"]) if "instant" in value else date.fromisoformat(value["day"])
