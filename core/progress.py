"""Progress of a load: a bar on a terminal, otherwise a line every few seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

SECONDS = 5.0
"""Seconds between two lines."""


class Report(Protocol):
    """Shows the progress: number of rows, and processed share of the file (0 to 1)."""

    def __call__(self, rows: int, share: float) -> None:
        """Show the progress."""


@contextmanager
def display(name: str) -> Iterator[Report]:
    """Yield a function that shows the progress of file ``name`` on standard error."""
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
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=1.0, rows=0, rate=0.0)

        def report(rows: int, share: float) -> None:
            rate = rows / max(time.monotonic() - started, 0.001)
            progress.update(task, completed=share, rows=rows, rate=rate)

        yield report


class _Lines:
    def __init__(self, name: str) -> None:
        self._name = name
        self._started = self._last = time.monotonic()

    def __call__(self, rows: int, share: float) -> None:
        now = time.monotonic()
        if now - self._last < SECONDS:
            return
        self._last = now
        elapsed = now - self._started
        left = f", {elapsed / share - elapsed:,.0f} s left" if 0 < share < 1 else ""
        line = f"{self._name}: {rows:,} rows, {100 * share:.0f} %, {rows / elapsed:,.0f} rows/s{left}"
        print(line, file=sys.stderr, flush=True)
