"""Tables on the terminal."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_MAX_WIDTH = 200


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print ``rows`` under the names ``columns``; numbers are right-aligned, times have seconds."""
    table = Table(title=title, title_justify="left")
    listed = list(rows)
    for index, name in enumerate(columns):
        numeric = bool(listed) and isinstance(listed[0][index], int | float)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        table.add_row(*(escape(_text(value)) for value in row))
    Console().print(table)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    shown = "" if value is None else printable(str(value))
    return shown if len(shown) <= _MAX_WIDTH else shown[:_MAX_WIDTH] + "…"


def printable(text: str, keep: str = "") -> str:
    """Return ``text`` with control characters escaped, so that text of a device can't control the terminal."""
    return "".join(
        character
        if character in keep or character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )
