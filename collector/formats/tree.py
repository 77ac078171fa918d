"""JSON trees: what stands in nested objects and lists, each with the slash-joined name of its place."""

from collections.abc import Mapping
from itertools import count
from typing import Any

from collector.formats import json_payload
from collector.formats.clock import ARRIVAL, Moment
from collector.formats.measurement import Measurement
from collector.formats.values import UnusableError
from collector.message import NoReadingError, Reason, UndecodableError

LONGEST_PREFIX = 200
"""Characters; what is nested under a longer name is left out. It bounds the depth too: every level has its slash."""

MOST_LEAVES = 10_000
"""Values of one tree; a list of two-byte numbers would take a hundred times its payload's memory."""

_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_INTEGER = b"0" * 20
"""Once all digits are 0: what may be an integer beyond 64 bits, which orjson turns into a float without a word."""

LONGEST_TEXT = 200
"""Bytes of a payload that is no JSON and yet a state."""

_JSON_BEGINS = (b"{", b"[", b'"')
_TOO_MANY = f"more than {MOST_LEAVES} values in one tree"

_NO_UNITS: Mapping[str, str] = {}
_new = tuple.__new__

Leaf = float | bool | str


def load(payload: bytes) -> Any:
    """Return the JSON document in ``payload``, integers of any length exact; raises :class:`UndecodableError`.

    Raises :class:`NoReadingError` on an empty payload: MQTT's way of deleting a retained message.
    """
    if not payload:
        raise NoReadingError("an empty payload, which deletes a retained message")
    exact = _LONG_INTEGER in payload.translate(_DIGITS)  # a seventh of the time a regular expression takes
    return json_payload.load_exactly(payload) if exact else json_payload.load(payload)


def load_object(payload: bytes) -> dict[str, Any]:
    """Return what :func:`load` does; raises :class:`UndecodableError` too where that is no object."""
    document = load(payload)
    if type(document) is not dict:
        raise UndecodableError(Reason.MALFORMED, "JSON, but no object")
    return document


def load_or_text(payload: bytes) -> Any:
    """Return what :func:`load` does, or the payload as text where it is no JSON: states often come bare (``ON``).

    Raises :class:`UndecodableError` where it begins as an object, list or string of JSON and is none, where it is not
    UTF-8, and where no state would be so long or hold control characters.
    """
    try:
        return load(payload)
    except UndecodableError:
        if payload[:1] in _JSON_BEGINS or len(payload) > LONGEST_TEXT:
            raise
        text = payload.decode(errors="ignore")
        if len(text.encode()) != len(payload) or not text.isprintable():
            raise
        return text


def leaves(tree: dict[str, Any] | list[Any], prefix: str = "") -> list[tuple[str, Leaf]]:
    """Return every number, text, true and false in ``tree`` with its name, in its order; null is left out.

    Names are those of the members, joined by slashes, those of a list's items their index: ``by_minute/0``.
    ``prefix`` stands before each name as it is: give its slash. Raises :class:`UndecodableError` beyond
    :data:`MOST_LEAVES`.
    """
    found: list[tuple[str, Leaf]] = []
    _collect(tree, prefix, found)
    return found


def _collect(tree: dict[str, Any] | list[Any], prefix: str, found: list[tuple[str, Leaf]]) -> None:
    if len(prefix) > LONGEST_PREFIX:
        return
    if len(tree) > MOST_LEAVES:
        raise UndecodableError(Reason.MALFORMED, _TOO_MANY)
    for step, value in tree.items() if type(tree) is dict else zip(map(str, count()), tree, strict=False):
        kind = type(value)
        if kind is dict or kind is list:
            _collect(value, f"{prefix}{step}/", found)
        elif value is not None:
            found.append((prefix + step, value))
    if len(found) > MOST_LEAVES:
        raise UndecodableError(Reason.MALFORMED, _TOO_MANY)


def measurements(
    tree: dict[str, Any] | list[Any],
    prefix: str = "",
    when: Moment = ARRIVAL,
    device: str = "",
    units: Mapping[str, str] = _NO_UNITS,
) -> list[Measurement]:
    """Return what :func:`leaves` does as measurements; ``units``: by the last step of names that say theirs."""
    found: list[Measurement] = []
    _measure(tree, prefix, (*when, device, units), found)
    return found


_More = tuple[int | None, UnusableError | None, str, Mapping[str, str]]


def _measure(tree: dict[str, Any] | list[Any], prefix: str, more: _More, found: list[Measurement]) -> None:
    # What _collect does, with measurements at its leaves: most messages are nothing else, and one is made for every
    # value, so it calls tuple's own constructor, which takes half the time of Measurement's.
    if len(prefix) > LONGEST_PREFIX:
        return
    if len(tree) > MOST_LEAVES:
        raise UndecodableError(Reason.MALFORMED, _TOO_MANY)
    time, problem, device, units = more
    for step, value in tree.items() if type(tree) is dict else zip(map(str, count()), tree, strict=False):
        kind = type(value)
        if kind is dict or kind is list:
            _measure(value, f"{prefix}{step}/", more, found)
        elif value is not None:
            found.append(_new(Measurement, (prefix + step, value, time, units.get(step), device, problem)))
    if len(found) > MOST_LEAVES:
        raise UndecodableError(Reason.MALFORMED, _TOO_MANY)
