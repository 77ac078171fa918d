"""How far a load has come: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

SECONDS = 5.0
"""Time between two lines."""


class Report(Protocol):
    """Takes what has been done so far: rows, and the part of the file from 0 to 1."""

    def __call__(self, rows: int, done: float) -> None:
        """Show it."""


@contextmanager
def shown(name: str) -> Iterator[Report]:
    """Yield what shows the progress on the file called ``name``, on standard error."""
    if sys.stderr.isatty():
        with _bar(name) as report:
            yield report
    else:
        yield _Lines(name)


@contextmanager
def _bar(name: str) -> Iterator[Report]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    begun = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=1.0, rows=0, rate=0.0)

        def report(rows: int, done: float) -> None:
            rate = rows / max(time.monotonic() - begun, 0.001)
            progress.update(task, completed=done, rows=rows, rate=rate)

        yield report


class _Lines:
    def __init__(self, name: str) -> None:
        self._name = name
        self._begun = self._last = time.monotonic()

    def __call__(self, rows: int, done: float) -> None:
        now = time.monotonic()
        if now - self._last < SECONDS:
            return
        self._last = now
        taken = now - self._begun
        left = f", {taken / done - taken:,.0f} s left" if 0 < done < 1 else ""
        line = f"{self._name}: {rows:,} rows, {100 * done:.0f} %, {rows / taken:,.0f} rows/s{left}"
        print(line, file=sys.stderr, flush=True)
