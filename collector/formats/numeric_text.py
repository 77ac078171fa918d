"""Numbers that devices send as text: ``"21.5"``, and by setting ``"21,5"`` and ``"21.5 °C"``. Pure."""

import re
from collections.abc import Sequence
from typing import Literal

from collector import units
from collector.formats import json_payload
from collector.message import IgnoredReason

Decimal = Literal[",", "."]
"""The decimal mark of texts; the other of the two may then group thousands."""

PADDING = "\0 \t\r\n\v\f\u00a0\ufeff"
"""Characters around a value that are no part of it: white space, and the end of a C string."""

NO_VALUE = frozenset({"", "unavailable", "unknown", "none", "null", "undefined", "n/a", "n.a.", "-", "--", "---"})
"""What devices and home automation write where they have no value, in lower case."""
AVAILABILITY = NO_VALUE | {"offline", "online"}
"""The same, and what they write of themselves."""

_LONGEST = 400
"""Characters; the longest double has fewer."""
_LONGEST_BEFORE_UNIT = 32
"""Characters of a number that a unit follows."""

_DIGITS = r"(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+"
_NUMBER = re.compile(rf"[+-]?{_DIGITS}")
_INTEGER = re.compile(r"[+-]?[0-9]+")
NOT_FINITE = json_payload.NOT_FINITE
"""What C's printf writes for numbers that are not finite, on all platforms; compare ignoring case."""
_NOT_FINITE = re.compile(rf"{NOT_FINITE}|[+-]?\u221e", re.IGNORECASE)
_BEGINS = re.compile("[~<>=\u2264\u2265\u2248\u00b1]?\\s*[+-]?\\s*[.,]?\\d")
"""What begins like a number: in any script, or with a mark such as that of a limit, ``<5``."""
_MARKS: tuple[tuple[Decimal, Decimal], ...] = ((",", "."), (".", ","))
_NO_UNIT = frozenset("0123456789,.:;+-_#'")
"""Characters that no unit begins with: what they begin is the rest of a number, a time or a date."""
_GROUPS = "[ \u00a0\u202f\u2009'\u2019]"
_MINUS = frozenset("\u2212\ufe63\uff0d")
"""Minus signs of locales: JavaScript and ICU write them in Swedish, Norwegian, Finnish and others."""
_QUOTES = frozenset("\"'")


def _local(mark: str, other: str) -> re.Pattern[str]:
    """Return the pattern of numbers with decimal mark ``mark``, which ``other`` may group."""
    mark, other = re.escape(mark), re.escape(other)
    groups = rf"[0-9]{{1,3}}(?:(?:{other}[0-9]{{3}})++|(?:{_GROUPS}[0-9]{{3}})++)"
    indian = rf"[0-9]{{1,2}}(?:{other}[0-9]{{2}}(?={other}))++{other}[0-9]{{3}}"  # 12,34,567
    return re.compile(rf"[+-]?(?:{groups}|{indian}|[0-9]++)(?:{mark}[0-9]*+)?(?:[eE][+-]?[0-9]++)?|[+-]?{mark}[0-9]++")


_LOCAL: dict[Decimal, re.Pattern[str]] = {mark: _local(mark, other) for mark, other in _MARKS}
"""Numbers by their decimal mark, with or without groups of thousands."""


def number(text: str, decimal: Decimal | None = None) -> float | None:
    """Return the number that the whole of ``text`` is, as an integer where it has no decimals; None: it is none.

    Without ``decimal`` it is a number of JSON, with a few liberties: ``+5``, ``.5``, ``5.``, ``05``. Texts for what is
    not finite, such as ``nan`` and ``1.#INF``, are numbers too. With ``decimal`` thousands may be grouped.

    >>> number("-1.6"), number("21,5"), number("1.234,5", ","), number("open")
    (-1.6, None, 1234.5, None)
    """
    text = text.strip(PADDING)
    if len(text) > _LONGEST and not _INTEGER.fullmatch(text):
        return None
    if decimal is None and _NUMBER.fullmatch(text):  # most texts
        return _plain(text)
    if (bare := _bare(text)) != text:
        return number(bare, decimal)
    if _NOT_FINITE.fullmatch(text):
        return _infinite(text)
    return None if decimal is None else _local_number(text, decimal)


def _plain(text: str) -> float:
    return json_payload.integer(text) if _INTEGER.fullmatch(text) else float(text)


def _local_number(text: str, decimal: Decimal) -> float | None:
    if _LOCAL[decimal].fullmatch(text):
        text = re.sub(_GROUPS, "", text.replace("." if decimal == "," else ",", "")).replace(",", ".")
    elif decimal == "," and "." in text:
        return None  # 21.5 where the comma is the decimal mark: ambiguous
    return _plain(text) if _NUMBER.fullmatch(text) else None


def _bare(text: str) -> str:
    """Return ``text`` without quotation marks around it (a JSON text within a text), and with the minus of ASCII."""
    text = text.strip(PADDING)
    if text[:1] in _QUOTES and len(text) > 1 and text[-1] == text[0]:
        text = text[1:-1].strip(PADDING + "\"'")
    return "-" + text[1:] if text[:1] in _MINUS else text


def _infinite(text: str) -> float:
    """Return NaN or the infinity that ``text`` is."""
    if not any(word in text.lower() for word in ("inf", "ovf", "\u221e")):
        return float("nan")
    return float("-inf") if text[0] == "-" else float("inf")


def number_and_unit(text: str, decimal: Decimal | None = None) -> tuple[float, str] | None:
    """Return the number at the beginning of ``text`` and the unit behind it; None: there is no number, or no unit.

    >>> number_and_unit("20.6 ℃")
    (20.6, '℃')
    """
    text = _bare(text)
    patterns = (_NUMBER,) if decimal is None else (_LOCAL[decimal], _NUMBER)
    end = max((match.end() for pattern in patterns if (match := pattern.match(text)) is not None), default=0)
    unit = text[end:].strip(PADDING)
    if not 0 < end <= _LONGEST_BEFORE_UNIT or not unit or unit[0] in _NO_UNIT:
        return None
    value = number(text[:end], decimal)
    return None if value is None or value - value != 0 else (value, unit)


_SHORT = 32
"""Bytes; no payload without a value is longer."""
_EMPTY = {"null": IgnoredReason.NULL, "[]": IgnoredReason.EMPTY_LIST, "{}": IgnoredReason.NO_VALUE}


def absent(payload: bytes) -> IgnoredReason | None:
    """Return why ``payload``, which a format can't read, is no reading in any format; None: it may be one."""
    if len(payload) > _SHORT:
        return None
    text = _bare(payload.decode(errors="replace")).lower()
    return _EMPTY.get(text) or (IgnoredReason.AVAILABILITY_TEXT if text in AVAILABILITY else None)


def problem(text: str, decimal: Decimal | None, *, unit_suffix: bool) -> str | None:
    """Return why ``text``, which is no number, looks like one, and the setting that helps; None: it does not."""
    text = _bare(text)
    if not _BEGINS.match(text):
        return None
    rest = _BEFORE_UNIT.sub("", text, 1)
    if rest and (rest[0] in _NO_UNIT or ":" in rest or not units.is_known(rest)):  # a time, a duration, a version
        return _NO_HELP
    others = tuple(mark for mark, _ in _MARKS if mark != decimal)
    present = "" if decimal is None else f'"decimal" is "{decimal}"; '
    for mark in others:
        if number(text, mark) is not None or (unit_suffix and number_and_unit(text, mark) is not None):
            return f'{present}set "decimal": "{mark}" for the quantity or its type if that is its decimal mark'
    return _NO_HELP if unit_suffix or not rest else _suffix_help(text, decimal, others, present)


def _suffix_help(text: str, decimal: Decimal | None, others: Sequence[Decimal], present: str) -> str:
    if number_and_unit(text, decimal) is not None:
        return 'set "unit_suffix": true for the quantity or its type if a unit follows the number'
    for mark in others:
        if number_and_unit(text, mark) is not None:
            return f'{present}set "unit_suffix": true and "decimal": "{mark}" for the quantity or its type'
    return _NO_HELP


_NO_HELP = 'map it under "states" if it is a state'
_BEFORE_UNIT = re.compile(rf"[+-]?(?:[0-9.,']|{_GROUPS})*+(?:[eE][+-]?[0-9]++)?+\s*+")
"""Characters of numbers with any decimal mark and any groups."""
