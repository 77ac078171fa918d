"""Tables for people."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


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
    return "" if value is None else str(value)
