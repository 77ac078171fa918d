"""``timescale``: the database's console command."""

import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from core import console
from core.database import connect
from core.errors import DatabaseError, SettingError
from local_services.database_server import DEFAULT_DATA, DEFAULT_PORT, LocalServer
from local_services.postgres_binaries import Choice
from timescale import backup, logins, retention
from timescale.migrate import Migration, edition, head
from timescale.migrate import migrate as run_migrations
from timescale.status import show
from timescale.status import status as read_status

app = console.new_app("The database: run it locally, migrate it, look at it.")


@app.command()
def serve(
    data: Annotated[Path, console.option("--data", help="Directory for the data; made when new.")] = DEFAULT_DATA,
    port: Annotated[
        int | None,
        console.option("--port", min=1, max=65535, help=f"TCP port; without it {DEFAULT_PORT}, or a free one."),
    ] = None,
    choice: Annotated[
        Choice, console.option("--edition", help="auto takes TimescaleDB Community where it is installed.")
    ] = "auto",
) -> None:
    """Run a local database server on 127.0.0.1 until Ctrl-C or SIGTERM.

    A PostgreSQL with TimescaleDB Community is used when one is installed, else the bundled PostgreSQL.
    """
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with LocalServer(data, choice, port) as server:
        print(f"# {server.binaries}, data in {server.data}")
        print("# Copy these lines into another terminal; then `timescale migrate`, `psql`.")
        for name, value in server.environment().items():
            print(f"export {name}={shlex.quote(value)}")
        print("# Running. Ctrl-C stops it.", flush=True)
        while not stopping:
            if server.has_ended(0.2):
                raise DatabaseError(f"the server ended unexpectedly:\n{server.failure_lines()}")


@app.command()
def migrate() -> None:
    """Bring the database that PG* name to the schema of this code; running it again changes nothing.

    TIMESCALE_EDITION (auto, timescaledb, postgresql) chooses for a fresh database; TIMESCALE_RETENTION_DAYS drops raw
    readings after so many days (unset: never), once they are in the archive, in the means, and scanned; the means stay.
    """
    done = run_migrations()
    print(describe(done))
    for warning in done.warnings:
        print(f"warning: {warning}", file=sys.stderr)


@app.command("logins")
def logins_() -> None:
    """Make the logins of the services, or bring them up to date: one each, with no more rights than it needs.

    Those whose password stands in PG_COLLECTOR_PASSWORD, PG_DBT_PASSWORD, … (docs/security.md has the list). Run it
    after `timescale migrate`, as the owner of the database, and again when a password was changed.
    """
    if not (done := logins.make(os.environ)):
        names = ", ".join(login.setting for login in logins.LOGINS)
        raise SettingError(f"no password of a login is set: {names}. `make secrets` makes them.")
    print("\n".join(done))


@app.command()
def status(
    exact: Annotated[bool, console.option("--exact", help="Count the readings instead of estimating.")] = False,  # noqa: FBT002
    as_json: Annotated[bool, console.option("--json", help="For machines: one JSON document.")] = False,  # noqa: FBT002
) -> None:
    """Show how the database is: edition, size, rows, means, jobs, accounts, quarantine.

    Ends with status 1 when the accounts don't balance.
    """
    with connect(application_name="timescale-status") as connection:
        state = read_status(connection, exact=exact)
    if as_json:
        print(json.dumps(state.document(), indent=2))
    else:
        show(state, Console(soft_wrap=not sys.stdout.isatty()))
    if not state.balanced:
        raise typer.Exit(1)


@app.command("retention")
def retention_(
    dry_run: Annotated[bool, console.option("--dry-run", help="Only show what would go, and what is held.")] = False,  # noqa: FBT002
) -> None:
    """Drop raw readings older than TIMESCALE_RETENTION_DAYS that wait for nothing; say what the others wait for.

    They wait for the archive, for the means and for a quality scan, the oldest first. On TimescaleDB a job does the
    same every hour. What was settled in quarantine 90 days ago goes as well.
    """
    with connect(application_name="timescale-retention") as connection:
        edition(connection)  # says what to run where nothing has been migrated
        if dry_run:
            left = retention.spans(connection)
        else:
            done = retention.apply(connection)
            left = done.left
            count = sum(span.readings for span in done.dropped)
            days = [f"{span.begins:%Y-%m-%d}" for span in done.dropped]
            print(f"dropped {count:,} readings" + (f" of {days[0]} to {days[-1]}" if days else ""))
            print(f"deleted {done.purged:,} settled rows of the quarantine")
    print("\n".join(retention.lines(left)) or "nothing else is old enough to go")


@app.command("backup")
def backup_(
    target: Annotated[
        str, typer.Argument(metavar="FILE|DIR/", help="A new file, or with a slash at its end a new directory.")
    ],
) -> None:
    """Write the whole database that PG* name to a file, or by several processes to a directory.

    It is the state of one moment, while everything goes on, and for its owner's eyes alone. pg_dump does it, which must
    be here, as new as the server.
    """
    size = backup.backup(Path(target), folder=target.endswith("/"))
    print(f"{target}: {size:,} bytes")


@app.command("restore")
def restore_(
    source: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="What `timescale backup` wrote.")],
    no_owner: Annotated[bool, console.option("--no-owner", help="All is to be the login's that restores.")] = False,  # noqa: FBT002
) -> None:
    """Restore a backup into the database that PG* name, which must be empty: means, policies and grants included."""
    done = backup.restore(source, owners=not no_owner)
    if done.made:
        print(f"made roles without a login: {', '.join(done.made)}")
    print(f"restored {done.tables:,} tables; revision {done.revision}")
    if done.revision != head():
        print("run `timescale migrate`: the backup is of another version of the code")


def describe(done: Migration) -> str:
    """Say what a migration has done, for people."""
    lines = [f"applied {name}" for name in done.applied]
    if not done.applied:
        lines.append("nothing to apply")
    lines.append(f"edition {done.edition}, revision {done.after}; raw readings are kept {done.retention}")
    return "\n".join(lines)


def main() -> None:
    """Run the console command."""
    console.run(app, "timescale")
