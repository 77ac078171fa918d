"""The three forms of a list: a JSON document, lines of JSON (https://github.com/ndjson/ndjson-spec), CSV (RFC 4180)."""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

import orjson

from access import times
from access.problems import ProblemError

Form = Literal["json", "ndjson", "csv"]
MEDIA_TYPES: dict[Form, str] = {"json": "application/json", "ndjson": "application/x-ndjson", "csv": "text/csv"}
_TAKEN = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "text/csv": "csv",
}
_ANY = {"*/*": "json", "application/*": "json", "text/*": "csv"}

Row = Sequence[Any]


def choose(accept: str | None, wanted: Form | None) -> Form:
    """Return the form to answer in: ``wanted``, else the best of the header ``accept``; raises :class:`ProblemError`.

    By RFC 9110, section 12.5.1, as far as three media types need it.
    """
    if wanted is not None:
        return wanted
    best: tuple[float, int, Form] | None = None
    for place, part in enumerate((accept or "*/*").split(",")):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        form = _TAKEN.get(name) or _ANY.get(name)
        weight = _weight(parameters)
        if form is None or weight <= 0:
            continue
        candidate = (weight - (name in _ANY) * 1e-6, -place, form)
        if best is None or candidate[:2] > best[:2]:
            best = candidate  # type: ignore[assignment]
    if best is None:
        raise ProblemError("not-acceptable", f"Nothing of {accept!r} can be had: {', '.join(MEDIA_TYPES.values())}.")
    return best[2]


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def document(columns: Sequence[str], rows: Sequence[Row], following: str | None) -> bytes:
    """Return a JSON document of ``rows`` and of where more are."""
    items = [dict(zip(columns, row, strict=True)) for row in rows]
    return orjson.dumps({"items": items, "next": following}, option=orjson.OPT_UTC_Z)


def lines(columns: Sequence[str], rows: Sequence[Row]) -> bytes:
    """Return each row as a line of JSON."""
    option = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(dict(zip(columns, row, strict=True)), option=option) for row in rows)


def table(columns: Sequence[str], rows: Sequence[Row], *, headed: bool) -> bytes:
    """Return CSV, with the names of the columns first where it is ``headed``; lists and objects in it are JSON."""
    text = io.StringIO()
    writer = csv.writer(text)
    if headed:
        writer.writerow(columns)
    # By column: what needs no look, which is most, gets none.
    writer.writerows(zip(*map(_column, zip(*rows, strict=True)), strict=True))
    return text.getvalue().encode("utf-8", "replace")


def _column(values: Sequence[Any]) -> Sequence[Any]:
    kind = next((type(value) for value in values if value is not None), None)
    if kind is None or kind not in _CELLS:
        return values
    cell = _CELLS[kind]
    return [None if value is None else cell(value) for value in values]


def _as_json(value: Any) -> str:
    return orjson.dumps(value).decode()


_CELLS: dict[type, Callable[[Any], str]] = {
    datetime: times.written,
    bool: _as_json,
    list: _as_json,
    dict: _as_json,
}
