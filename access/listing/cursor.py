"""Pagination cursor: the key of the last row as opaque text. Pure."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from access import times
from access.problems import ProblemError

Key = tuple[Any, ...]
"""Strings, integers, datetimes and dates."""
_LARGEST = 2**63
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def fingerprint(path: str, filters: Mapping[str, Any]) -> str:
    """Return a hash of path and filters: a cursor is valid only for the list that it was made for."""
    text = json.dumps([path, sorted((name, str(value)) for name, value in filters.items())])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def encode(key: Key, list_fingerprint: str) -> str:
    """Return ``key`` as text that is safe in a URL."""
    text = json.dumps([list_fingerprint, *map(_to_json, key)])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(text: str, list_fingerprint: str, types: Sequence[type]) -> Key:
    """Return the key that :func:`encode` encoded; raises :class:`ProblemError` for any other text.

    The values of the key must have the given ``types``.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        encoded_fingerprint, *values = json.loads(raw)
        key = tuple(_from_json(value) for value in values)
        valid = encoded_fingerprint == list_fingerprint and [type(value) for value in key] == list(types)
        valid = valid and all(map(_is_storable, key))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, binascii.Error):
        valid = False
    if not valid:
        detail = "The cursor does not belong to this request: use `next` unchanged, or omit the cursor."
        raise ProblemError("malformed", detail, [{"parameter": "cursor", "detail": "does not belong to this request"}])
    return key


def _is_storable(value: Any) -> bool:
    """Return whether the database can have ``value``: a cursor can be forged."""
    if isinstance(value, str):
        return not _UNSTORABLE.search(value)
    return not isinstance(value, int) or abs(value) < _LARGEST


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"instant": times.to_micros(value)}
    return {"day": value.isoformat()} if isinstance(value, date) else value


def _from_json(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return times.from_micros(value["instant"]) if "instant" in value else date.fromisoformat(value["day"])
