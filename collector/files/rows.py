"""One row of a file to its readings: what a row means, and the way for rows that whole columns can't take. Pure.

A row is a message whose payload is a JSON object of column to cell. Text cells are read as CSV cells are, whatever the
format of the file; everything else means what it means in a live message.
"""

import re
from typing import Any
from zoneinfo import ZoneInfo

from collector.files.layout import Layout
from collector.files.sensor_lookup import Source, Sources
from collector.formats import json_payload
from collector.formats.scalars import UnusableError, boolean, check_time, epoch, iso8601, number, shown
from collector.message import Decoded, Held, Message, NoReadingError, Reading, Reason, Rejection, UndecodableError

NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
"""A finite number as text: what CSV files hold, without Python's underscores and other scripts' digits."""

_NUMBER = re.compile(NUMBER)
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?[0-9]{1,400}")

EXACT = 2**53
"""Below it a double holds every integer; from it on integers are looked at one by one."""


class RowDecoder:
    """Decodes rows of one file.

    ``time_unit`` is ``iso8601`` or a unit of epoch numbers; ``max_future`` is how many microseconds a time may lie
    ahead of the row's arrival. Without a sensor column all rows are of the first of ``sources``.
    """

    def __init__(self, layout: Layout, sources: Sources, time_unit: str, max_future: int) -> None:
        self.layout = layout
        self.sources = sources
        self.time_unit = time_unit
        self.max_future = max_future

    def decode(self, message: Message) -> Decoded:
        """Return what the row holds; raises :class:`UndecodableError` or :class:`NoReadingError`.

        A row without any value is none: so empty lines at the end of a spreadsheet cost nothing.
        """
        row = json_payload.load(message.payload)
        if type(row) is not dict:
            raise UndecodableError(Reason.MALFORMED, f"{shown(row)} where a row is due")
        values = self._values(row)
        if not values:
            raise NoReadingError("no value in the row")
        source = self._source(row)
        readings: list[Reading] = []
        held = Held()
        try:
            time = instant(row.get(self.layout.time), self.time_unit, source.zone)
            check_time(time, source.since, message.received + self.max_future)
        except UnusableError as error:
            return Decoded([], [Rejection(error.reason, error.detail, len(values))])
        for quantity, cell in values:
            known = source.series.get(quantity) if isinstance(quantity, str) else None
            if known is None:
                held.add(Reason.UNKNOWN_QUANTITY, f"quantity {shown(quantity)}")
                continue
            series_id, is_boolean = known
            try:
                readings.append((series_id, time, truth(cell) if is_boolean else amount(cell)))
            except UnusableError as error:
                held.add(error.reason, f"{quantity}: {error.detail}")
        return Decoded(readings, held.rejections())

    def _values(self, row: dict[str, Any]) -> list[tuple[Any, Any]]:
        layout = self.layout
        if layout.value is not None and layout.quantity is not None:
            cell = row.get(layout.value)
            name = row.get(layout.quantity)
            return [] if empty(cell) else [(name.strip() if isinstance(name, str) else name, cell)]
        return [(quantity, cell) for quantity, column in layout.wide if not empty(cell := row.get(column))]

    def _source(self, row: dict[str, Any]) -> Source:
        if self.layout.sensor is None:
            return self.sources.all[0]
        cell = row.get(self.layout.sensor)
        if empty(cell):
            raise UndecodableError(Reason.UNKNOWN_SENSOR, "names no sensor")
        position = self.sources.find(str(cell).strip())
        if position < 0:
            raise UndecodableError(Reason.UNKNOWN_SENSOR, f"sensor {shown(cell)}")
        return self.sources.all[position]


def empty(cell: Any) -> bool:
    """Say whether a cell holds nothing; absent, null and blank are one."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def amount(cell: Any) -> float:
    """Return the number in ``cell``; raises :class:`UnusableError`."""
    if not isinstance(cell, str):
        return number(cell)
    found = parsed(cell)
    return number(cell if found is None else found)


def truth(cell: Any) -> float:
    """Return true as 1 and false as 0; raises :class:`UnusableError`."""
    text = cell.strip().lower() if isinstance(cell, str) else None
    return boolean({"true": True, "false": False}.get(text, cell) if text is not None else cell)


def parsed(text: str) -> float | None:
    """Return the number that ``text`` writes, an integer where a double might alter it; None: it writes none."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return float(text) if _NOT_FINITE.fullmatch(text) else None
    value = float(text)
    return int(text) if abs(value) >= EXACT and _INTEGER.fullmatch(text) else value


def instant(cell: Any, unit: str, zone: ZoneInfo | None) -> int:
    """Return the time in ``cell`` in microseconds since 1970; raises :class:`UnusableError`."""
    if empty(cell):
        raise UnusableError(Reason.MISSING_TIME, "no time in the row")
    if unit == "iso8601":
        return iso8601(cell.strip() if isinstance(cell, str) else cell, zone)
    raw = parsed(cell) if isinstance(cell, str) else cell
    try:
        return epoch(cell if raw is None else raw, unit)
    except OverflowError:
        raise UnusableError(Reason.UNREADABLE_TIME, f"{shown(cell)} is out of the calendar") from None
