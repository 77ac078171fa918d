"""JSON trees: what stands in nested objects and lists, each with the slash-joined name of its place."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from collector.formats import json_payload
from collector.formats.measurement import Measurement, Reader, Topic
from collector.formats.times import ARRIVAL, Moment
from collector.message import IgnoredReason, Message, NoReadingError, Reason, UndecodableError, UnusableError

LONGEST_PREFIX = 200
"""Characters; what is nested under a longer name is left out. It bounds the depth too: every level has its slash."""

MOST_LEAVES = 10_000
"""Values of one tree; a list of two-byte numbers would take a hundred times its payload's memory."""

SMALL = 2 * MOST_LEAVES
"""Bytes of JSON that hold no more leaves than that: the shortest with its comma takes two."""

_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_INTEGER = b"0" * 20
"""Once all digits are 0: what may be an integer beyond 64 bits, which orjson turns into a float without a word."""

LONGEST_TEXT = 200
"""Bytes of a payload that is no JSON and yet a state."""

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
    for step, value in members(tree):
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
    for step, value in members(tree):
        kind = type(value)
        if kind is dict or kind is list:
            _measure(value, f"{prefix}{step}/", more, found)
        elif value is not None:
            found.append(_new(Measurement, (prefix + step, value, time, units.get(step), device, problem)))
    if len(found) > MOST_LEAVES:
        raise UndecodableError(Reason.MALFORMED, _TOO_MANY)


_T = TypeVar("_T")


class Place(Generic[_T]):
    """What is listed at one step of a tree, and below it."""

    __slots__ = ("below", "here")

    def __init__(self) -> None:
        self.here: _T | None = None
        self.below: dict[str, Place[_T]] | None = None
        """By step, where the member is a tree itself."""


def places(listed: Mapping[str, _T]) -> dict[str, dict[str, Place[_T]]]:
    """Return where in a tree the names of ``listed`` may stand: by prefix, then by step.

    Any slash of a name may be one that joins two members or one member's own.
    """
    found: dict[str, dict[str, Place[_T]]] = {}
    for name, what in listed.items():
        ends = [0, *(at + 1 for at, character in enumerate(name[:LONGEST_PREFIX]) if character == "/")]
        for number, end in enumerate(ends):
            steps = found.setdefault(name[:end], {})
            steps.setdefault(name[end:], Place()).here = what
            for further in ends[number + 1 :]:
                steps.setdefault(name[end : further - 1], Place()).below = found.setdefault(name[:further], {})
    return found


class Tree(NamedTuple):
    """A tree whose leaves are measurements of one device and one instant."""

    tree: dict[str, Any]
    prefix: str = ""
    """What stands before each name: nothing, or what ends in a slash."""
    when: Moment = ARRIVAL
    device: str = ""
    units: Mapping[str, str] = _NO_UNITS
    key: Callable[[str], str | None] | None = None
    """What in ``units`` a name's unit is found by; None: its last step."""

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
    """A reader whose messages are trees, from which what is listed can be picked."""

    def trees(self, message: Message, topic: Topic) -> Sequence[Tree]:
        """Return the trees in ``message``; raises what :meth:`read` does, but for trees without a value."""
        ...


def all_measurements(trees: Sequence[Tree]) -> list[Measurement]:
    """Return the measurements of all ``trees``; raises :class:`NoReadingError` where there is none."""
    found = [one for tree in trees for one in tree.measurements()]
    if not found:
        raise NoReadingError(IgnoredReason.NO_VALUE, "holds no value")
    return found
