"""Console command ``timescale``."""

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

app = console.new_app("The database: local server, migrations, status, retention, backup.")


@app.command()
def serve(
    data: Annotated[
        Path, console.option("--data", help="Data directory; created if it does not exist.")
    ] = DEFAULT_DATA,
    port: Annotated[
        int | None,
        console.option(
            "--port", min=1, max=65535, help=f"TCP port; default: {DEFAULT_PORT}, or a free one if that is taken."
        ),
    ] = None,
    choice: Annotated[
        Choice, console.option("--edition", help="auto: TimescaleDB Community if it is installed.")
    ] = "auto",
) -> None:
    """Run a local database server on 127.0.0.1 until Ctrl-C or SIGTERM.

    It uses a PostgreSQL with TimescaleDB Community if one is installed, else the bundled PostgreSQL.
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
    """Migrate the database of the PG* settings to the schema of this code; a second run changes nothing.

    TIMESCALE_EDITION (auto, timescaledb, postgresql) is the edition of a new database. TIMESCALE_RETENTION_DAYS is the
    age in days at which raw readings are dropped (unset: never), once they are archived, in the means, and scanned; the
    means are kept.
    """
    migration = run_migrations()
    print(describe(migration))
    for warning in migration.warnings:
        print(f"warning: {warning}", file=sys.stderr)


@app.command("logins")
def logins_() -> None:
    """Create or update one login per service, with only the rights that it needs.

    The passwords are in PG_COLLECTOR_PASSWORD, PG_DBT_PASSWORD, … (docs/security.md has the list); a login without one
    is skipped. Run it after `timescale migrate`, as the owner of the database, and again after a password change.
    """
    if not (lines := logins.create(os.environ)):
        names = ", ".join(login.setting for login in logins.LOGINS)
        raise SettingError(f"no password of a login is set: {names}. `make secrets` creates them.")
    print("\n".join(lines))


@app.command()
def status(
    exact: Annotated[bool, console.option("--exact", help="Count the readings exactly.")] = False,  # noqa: FBT002
    as_json: Annotated[bool, console.option("--json", help="Print one JSON document.")] = False,  # noqa: FBT002
) -> None:
    """Show the state of the database: edition, size, rows, means, jobs, accounts, quarantine.

    Ends with status 1 if the accounts don't balance.
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
    dry_run: Annotated[bool, console.option("--dry-run", help="Only show expired readings.")] = False,  # noqa: FBT002
) -> None:
    """Drop raw readings older than TIMESCALE_RETENTION_DAYS, and show why others are kept.

    Readings are kept until they are archived, in the means, and scanned; the oldest are dropped first. On
    TimescaleDB a job does the same every hour. Quarantine rows settled more than 90 days ago are deleted as well.
    """
    with connect(application_name="timescale-retention") as connection:
        edition(connection)  # raises if the database has not been migrated
        if dry_run:
            remaining = retention.expired_chunks(connection)
        else:
            result = retention.apply(connection)
            remaining = result.remaining
            count = sum(chunk.readings for chunk in result.dropped)
            days = [f"{chunk.begins:%Y-%m-%d}" for chunk in result.dropped]
            print(f"dropped {count:,} readings" + (f" of {days[0]} to {days[-1]}" if days else ""))
            print(f"deleted {result.purged:,} settled rows of the quarantine")
    print("\n".join(retention.describe(remaining)) or "no other readings are old enough")


@app.command("backup")
def backup_(
    target: Annotated[
        str, typer.Argument(metavar="FILE|DIR/", help="A new file, or a new directory if it ends with a slash.")
    ],
) -> None:
    """Back up the whole database of the PG* settings to a file, or with several processes to a directory.

    The backup is a consistent snapshot, taken while the database is in use; only its owner can read it. It needs
    pg_dump of the server's version or newer.
    """
    size = backup.backup(Path(target), folder=target.endswith("/"))
    print(f"{target}: {size:,} bytes")


@app.command("restore")
def restore_(
    source: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A backup made by `timescale backup`.")],
    no_owner: Annotated[bool, console.option("--no-owner", help="The restoring login owns all objects.")] = False,  # noqa: FBT002
) -> None:
    """Restore a backup, with means, policies and grants, into the empty database of the PG* settings."""
    result = backup.restore(source, owners=not no_owner)
    if result.created_roles:
        print(f"created roles without login: {', '.join(result.created_roles)}")
    print(f"restored {result.tables:,} tables; revision {result.revision}")
    if result.revision != head():
        print("run `timescale migrate`: the backup is from another version of the code")


def describe(migration: Migration) -> str:
    """Return the result of a migration as text."""
    lines = [f"applied {name}" for name in migration.applied]
    if not migration.applied:
        lines.append("nothing to apply")
    lines.append(
        f"edition {migration.edition}, revision {migration.after}; raw readings are kept {migration.retention}"
    )
    return "\n".join(lines)


def main() -> None:
    """Run the console command."""
    console.run(app, "timescale")
