"""Finds and runs PostgreSQL's programs pg_dump and pg_restore, with progress and errors."""

import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from core.errors import DatabaseError
from local_services.postgres_binaries import client_programs

_LINE_SECONDS = 10.0
"""Seconds between two progress lines without a terminal."""

Step = Callable[[str], None]
"""Called with the name of each table whose rows are copied."""


def find(name: str, major: int) -> Path:
    """Return the program ``name`` for a server of PostgreSQL ``major``: the same version, else the next newer one.

    Raises :class:`DatabaseError` with the fix if there is none: older programs refuse newer servers.
    """
    programs: dict[int, Path] = {}
    for path in client_programs(name):
        version = re.search(
            r"\) (\d+)", subprocess.run([path, "--version"], check=False, capture_output=True, text=True).stdout
        )
        if version:
            programs.setdefault(int(version.group(1)), path)
    usable = [installed for installed in sorted(programs) if installed >= major]
    if not usable:
        installed_versions = ", ".join(map(str, sorted(programs))) or "none"
        raise DatabaseError(
            f"{name} of PostgreSQL {major} or newer is required, the version of the server (installed: "
            f"{installed_versions}). Install it (Debian, Ubuntu: apt install postgresql-client-{major})."
        )
    return programs[usable[0]]


def run(command: Sequence[str | Path], step: Step) -> None:
    """Run a program with ``--verbose``; call ``step`` for each table whose rows it copies.

    Only the owner can read files that it writes. Raises :class:`DatabaseError` with the program's output if it fails.
    """
    messages: deque[str] = deque(maxlen=5)
    with subprocess.Popen(
        [*command, "--verbose"], stderr=subprocess.PIPE, text=True, errors="replace", umask=0o077
    ) as running:
        assert running.stderr
        try:
            for line in running.stderr:
                table = _TABLE.search(line)
                if table:
                    step(table.group(1))
                elif not _ROUTINE.match(line):
                    messages.append(line.strip())
        except BaseException:
            running.terminate()
            raise
    if running.returncode:
        raise DatabaseError(f"{Path(command[0]).name} failed: {' '.join(messages) or f'status {running.returncode}'}")


# pg_dump and pg_restore, 15 to 18.
_TABLE = re.compile(r'(?:dumping contents of table|processing data for table) "?([^"\n]+)')
_ROUTINE = re.compile(
    r"pg_(dump|restore): (last|reading|finding|identifying|flagging|saving|dumping|creating|connecting|executing|"
    r"processing|launching|entering|finished|skipping|implied|hint|detail|warning: circular)", re.IGNORECASE
)  # fmt: skip


@contextmanager
def progress(action: str, tables: int) -> Iterator[Step]:
    """Yield a function that shows progress on standard error: a bar on a terminal, else a line every ten seconds."""
    if not sys.stderr.isatty():
        yield _Lines(action, tables)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[table]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(action, total=tables, table="")

        def step(table: str) -> None:
            bar.update(task, advance=1, table=table)

        yield step


class _Lines:
    def __init__(self, action: str, tables: int) -> None:
        self._action = action
        self._tables = tables
        self._done = 0
        self._last = time.monotonic()

    def __call__(self, table: str) -> None:
        self._done += 1
        if time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            print(f"{self._action}: {self._done} of {self._tables} tables, {table}", file=sys.stderr, flush=True)
