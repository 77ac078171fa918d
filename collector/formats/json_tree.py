"""JSON trees: the values in nested objects and lists, each named by its path, joined by slashes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from collector.formats import json_payload
from collector.formats.measurement import Measurement, Reader, Topic
from collector.formats.times import ARRIVAL, Moment
from collector.message import IgnoredReason, Message, NoReadingError, Reason, UndecodableError, UnusableError

LONGEST_PREFIX = 200
"""Characters; values under a longer path are skipped. This bounds the depth too, since every level has a slash."""

MOST_LEAVES = 10_000
"""Values of one tree; a longer list of two-byte numbers would take a hundred times the memory of its payload."""

SMALL = 2 * MOST_LEAVES
"""Bytes of JSON that have at most :data:`MOST_LEAVES` leaves: the shortest takes two with its comma."""

_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_NINETEEN = b"0" * 19
_LONG_INTEGER = b"0" * 20
_LONG_NEGATIVE = b"-" + b"0" * 19
"""An integer that may exceed 64 bits, after all digits became 0. orjson turns such integers into floats silently."""

LONGEST_TEXT = 200
"""Bytes of a payload that is not JSON but a state."""

_JSON_BEGINS = (b"{", b"[", b'"')
_TOO_MANY = f"more than {MOST_LEAVES} values in one tree"

_NO_UNITS: Mapping[str, str] = {}
_INDEXES = tuple(map(str, range(MOST_LEAVES)))
_new = tuple.__new__

Leaf = float | bool | str


def load(payload: bytes) -> Any:
    """Return the JSON document in ``payload``, integers of any length exact; raises :class:`UndecodableError`.

    Raises :class:`NoReadingError` on an empty payload: MQTT's way of deleting a retained message.
    """
    if not payload:
        raise NoReadingError(IgnoredReason.EMPTY_PAYLOAD, "an empty payload, which deletes a retained message")
    digits = payload.translate(_DIGITS)  # a seventh of the time a regular expression takes
    exact = _NINETEEN in digits and (_LONG_INTEGER in digits or _LONG_NEGATIVE in digits)
    return json_payload.load_exactly(payload) if exact else json_payload.load(payload)


def load_object(payload: bytes) -> dict[str, Any]:
    """Return the JSON object in ``payload``; raises as :func:`load` does, and where the document is no object."""
    document = load(payload)
    if type(document) is not dict:
        raise UndecodableError(Reason.MALFORMED, "JSON, but not an object")
    return document


def load_or_text(payload: bytes) -> Any:
    """Return the JSON document in ``payload``, or the payload as text: many devices send bare states (``ON``).

    Raises :class:`UndecodableError` where a payload that begins as an object, list or string of JSON is not JSON, and
    where text is not UTF-8, longer than any state or has control characters.
    """
    try:
        return load(payload)
    except UndecodableError:
        payload = payload.rstrip(json_payload.PADDING)
        if payload[:1] in _JSON_BEGINS or len(payload) > LONGEST_TEXT:
            raise
        text = payload.decode(errors="ignore")
        if len(text.encode()) != len(payload) or not text.isprintable():
            raise
        return text


def leaves(tree: dict[str, Any] | list[Any], prefix: str = "") -> list[tuple[str, Leaf]]:
    """Return every number, text, true and false in ``tree`` with its name, in its order; null is left out.

    Names are those of the members, joined by slashes; the name of a list's item is its index: ``by_minute/0``.
    ``prefix`` is put before each name; it ends in a slash. Raises :class:`UndecodableError` beyond
    :data:`MOST_LEAVES`.
    """
    collected: list[tuple[str, Leaf]] = []
    _collect(tree, prefix, collected)
    return collected


def _collect(tree: dict[str, Any] | list[Any], prefix: str, collected: list[tuple[str, Leaf]]) -> None:
    if len(prefix) > LONGEST_PREFIX:
        return
    if len(tree) > MOST_LEAVES:
        raise UndecodableError(Reason.MALFORMED, _TOO_MANY)
    for step, value in members(tree):
        kind = type(value)
        if kind is dict or kind is list:
            _collect(value, f"{prefix}{step}/", collected)
        elif value is not None:
            collected.append((prefix + step, value))
    if len(collected) > MOST_LEAVES:
        raise UndecodableError(Reason.MALFORMED, _TOO_MANY)


def measurements(
    tree: dict[str, Any] | list[Any],
    prefix: str = "",
    when: Moment = ARRIVAL,
    device: str = "",
    units: Mapping[str, str] = _NO_UNITS,
) -> list[Measurement]:
    """Return the leaves of ``tree`` as measurements; ``units``: by the last step of names, where that implies one."""
    collected: list[Measurement] = []
    _measure(tree, prefix, (*when, device, units), collected)
    return collected


_Shared = tuple[int | None, UnusableError | None, str, Mapping[str, str]]


def _measure(tree: dict[str, Any] | list[Any], prefix: str, shared: _Shared, collected: list[Measurement]) -> None:
    # The same as _collect, but with measurements. It runs for most messages and once per value, so it calls tuple's
    # constructor, which takes half the time of Measurement's.
    if len(prefix) > LONGEST_PREFIX:
        return
    if len(tree) > MOST_LEAVES:
        raise UndecodableError(Reason.MALFORMED, _TOO_MANY)
    time, problem, device, units = shared
    for step, value in members(tree):
        kind = type(value)
        if kind is dict or kind is list:
            _measure(value, f"{prefix}{step}/", shared, collected)
        elif value is not None:
            collected.append(_new(Measurement, (prefix + step, value, time, units.get(step), device, problem)))
    if len(collected) > MOST_LEAVES:
        raise UndecodableError(Reason.MALFORMED, _TOO_MANY)


_T = TypeVar("_T")


class Place(Generic[_T]):
    """The listed name at one step of a tree, and those below it."""

    __slots__ = ("below", "here")

    def __init__(self) -> None:
        self.here: _T | None = None
        self.below: dict[str, Place[_T]] | None = None
        """By step, where the member is a tree itself."""


def places(listed: Mapping[str, _T]) -> dict[str, dict[str, Place[_T]]]:
    """Return the places in a tree that the names of ``listed`` may have: by prefix, then by step.

    Any slash in a name may join two members or be part of one member's name.
    """
    by_prefix: dict[str, dict[str, Place[_T]]] = {}
    for name, value in listed.items():
        ends = [0, *(at + 1 for at, character in enumerate(name[:LONGEST_PREFIX]) if character == "/")]
        for number, end in enumerate(ends):
            steps = by_prefix.setdefault(name[:end], {})
            steps.setdefault(name[end:], Place()).here = value
            for further in ends[number + 1 :]:
                steps.setdefault(name[end : further - 1], Place()).below = by_prefix.setdefault(name[:further], {})
    return by_prefix


class Tree(NamedTuple):
    """A tree whose leaves are measurements of one device and one instant."""

    tree: dict[str, Any]
    prefix: str = ""
    """Put before each name: empty, or a text that ends in a slash."""
    when: Moment = ARRIVAL
    device: str = ""
    units: Mapping[str, str] = _NO_UNITS
    key: Callable[[str], str | None] | None = None
    """Returns the key in ``units`` for a name; None: the key is its last step."""

    def measurements(self) -> list[Measurement]:
        """Return all measurements; raises :class:`UndecodableError` beyond :data:`MOST_LEAVES`."""
        tree, prefix, when, device, units, key = self
        if key is None:
            return measurements(tree, prefix, when, device, units)
        time, problem = when
        return [
            Measurement(name, value, time, units.get(key(name) or ""), device, problem)
            for name, value in leaves(tree, prefix)
        ]


def members(tree: dict[str, Any] | list[Any]) -> Iterable[tuple[str, Any]]:
    """Return the members of ``tree``, or the items of a list with their index."""
    return tree.items() if type(tree) is dict else zip(_INDEXES, tree, strict=False)


@runtime_checkable
class TreeReader(Reader, Protocol):
    """A reader whose messages are trees, so that the decoder can look up the listed quantities only."""

    def trees(self, message: Message, topic: Topic) -> Sequence[Tree]:
        """Return the trees in ``message``; raises as :meth:`read` does, except that trees may have no value."""
        ...


def all_measurements(trees: Sequence[Tree]) -> list[Measurement]:
    """Return the measurements of all ``trees``; raises :class:`NoReadingError` where there is none."""
    measurements = [measurement for tree in trees for measurement in tree.measurements()]
    if not measurements:
        raise NoReadingError(IgnoredReason.NO_VALUE, "no value in the message")
    return measurements
