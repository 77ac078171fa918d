"""Tables for people."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_WIDEST = 200


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print ``rows`` under ``columns``; numbers to the right, times to the second."""
    table = Table(title=title, title_justify="left")
    kept = list(rows)
    for index, name in enumerate(columns):
        numeric = bool(kept) and isinstance(kept[0][index], int | float)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in kept:
        table.add_row(*(escape(_text(value)) for value in row))
    Console().print(table)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    shown = "" if value is None else printable(str(value))
    return shown if len(shown) <= _WIDEST else shown[:_WIDEST] + "…"


def printable(text: str, keep: str = "") -> str:
    """Return ``text`` with its control characters spelled out: what a device sends must not steer a terminal."""
    return "".join(
        one if one in keep or one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode()
        for one in text
    )
