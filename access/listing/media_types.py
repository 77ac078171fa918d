"""The three formats of a list: JSON document, NDJSON (https://github.com/ndjson/ndjson-spec), CSV (RFC 4180)."""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

import orjson

from access import times
from access.problems import ProblemError

Format = Literal["json", "ndjson", "csv"]
MEDIA_TYPES: dict[Format, str] = {"json": "application/json", "ndjson": "application/x-ndjson", "csv": "text/csv"}
_FORMATS = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "text/csv": "csv",
}
_WILDCARDS = {"*/*": "json", "application/*": "json", "text/*": "csv"}

Row = Sequence[Any]


def choose(accept: str | None, requested: Format | None) -> Format:
    """Return ``requested``, else the best format of the header ``accept``; raises :class:`ProblemError`.

    Implements RFC 9110, section 12.5.1, as far as three media types need it.
    """
    if requested is not None:
        return requested
    best: tuple[float, int, Format] | None = None
    for position, part in enumerate((accept or "*/*").split(",")):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        format_ = _FORMATS.get(name) or _WILDCARDS.get(name)
        weight = _weight(parameters)
        if format_ is None or weight <= 0:
            continue
        candidate = (weight - (name in _WILDCARDS) * 1e-6, -position, format_)
        if best is None or candidate[:2] > best[:2]:
            best = candidate  # type: ignore[assignment]
    if best is None:
        available = ", ".join(MEDIA_TYPES.values())
        raise ProblemError("not-acceptable", f"No media type of {accept!r} is available; use one of {available}.")
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


def json_document(columns: Sequence[str], rows: Sequence[Row], next_url: str | None) -> bytes:
    """Return a JSON document of ``rows`` and the URL of the next page."""
    items = [dict(zip(columns, row, strict=True)) for row in rows]
    return orjson.dumps({"items": items, "next": next_url}, option=orjson.OPT_UTC_Z)


def ndjson_rows(columns: Sequence[str], rows: Sequence[Row]) -> bytes:
    """Return one line of JSON per row."""
    option = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(dict(zip(columns, row, strict=True)), option=option) for row in rows)


def csv_rows(columns: Sequence[str], rows: Sequence[Row], *, header: bool) -> bytes:
    """Return CSV, with a line of column names if ``header``; lists and objects in it are JSON."""
    text = io.StringIO()
    writer = csv.writer(text)
    if header:
        writer.writerow(columns)
    # Converting by column skips the columns whose type needs no conversion, which is most of them.
    writer.writerows(zip(*map(_column, zip(*rows, strict=True)), strict=True))
    return text.getvalue().encode("utf-8", "replace")


def _column(values: Sequence[Any]) -> Sequence[Any]:
    kind = next((type(value) for value in values if value is not None), None)
    if kind is None or kind not in _CELLS:
        return values
    convert = _CELLS[kind]
    return [None if value is None else convert(value) for value in values]


def _as_json(value: Any) -> str:
    return orjson.dumps(value).decode()


_CELLS: dict[type, Callable[[Any], str]] = {
    datetime: times.format_utc,
    bool: _as_json,
    list: _as_json,
    dict: _as_json,
}
