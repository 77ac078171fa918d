"""PostgreSQL's own programs pg_dump and pg_restore: which ones to run, and running them with what they say."""

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

_SECONDS = 10.0
"""Time between two lines where there is no terminal."""

Step = Callable[[str], None]
"""Takes the name of a table whose rows are being copied."""


def find(name: str, major: int) -> Path:
    """Return the program ``name`` for a server of PostgreSQL ``major``: of that version, else the next newer one.

    Raises :class:`DatabaseError` with the mend when there is none: an older one refuses.
    """
    found: dict[int, Path] = {}
    for path in client_programs(name):
        version = re.search(
            r"\) (\d+)", subprocess.run([path, "--version"], check=False, capture_output=True, text=True).stdout
        )
        if version:
            found.setdefault(int(version.group(1)), path)
    fitting = [one for one in sorted(found) if one >= major]
    if not fitting:
        have = f"only those of {', '.join(map(str, sorted(found)))} are" if found else "none is"
        raise DatabaseError(
            f"{name} of PostgreSQL {major} or newer is needed, as new as the server, and {have} here. Install it "
            f"(Debian, Ubuntu: apt install postgresql-client-{major})."
        )
    return found[fitting[0]]


def run(command: Sequence[str | Path], step: Step) -> None:
    """Run a program with ``--verbose``; ``step`` gets each table whose rows it copies.

    What it writes only its owner may read. Raises :class:`DatabaseError` with what the program said when it fails.
    """
    said: deque[str] = deque(maxlen=5)
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
                    said.append(line.strip())
        except BaseException:
            running.terminate()
            raise
    if running.returncode:
        raise DatabaseError(f"{Path(command[0]).name} failed: {' '.join(said) or f'status {running.returncode}'}")


# pg_dump and pg_restore, 15 to 18.
_TABLE = re.compile(r'(?:dumping contents of table|processing data for table) "?([^"\n]+)')
_ROUTINE = re.compile(
    r"pg_(dump|restore): (last|reading|finding|identifying|flagging|saving|dumping|creating|connecting|executing|"
    r"processing|launching|entering|finished|skipping|implied|hint|detail|warning: circular)", re.IGNORECASE
)  # fmt: skip


@contextmanager
def progress(doing: str, tables: int) -> Iterator[Step]:
    """Yield what shows how far it has come: a bar on a terminal, else a line every ten seconds, on standard error."""
    if not sys.stderr.isatty():
        yield _Lines(doing, tables)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[table]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=tables, table="")

        def step(table: str) -> None:
            bar.update(task, advance=1, table=table)

        yield step


class _Lines:
    def __init__(self, doing: str, tables: int) -> None:
        self._doing = doing
        self._tables = tables
        self._done = 0
        self._last = time.monotonic()

    def __call__(self, table: str) -> None:
        self._done += 1
        if time.monotonic() - self._last >= _SECONDS:
            self._last = time.monotonic()
            print(f"{self._doing}: {self._done} of {self._tables} tables, {table}", file=sys.stderr, flush=True)
