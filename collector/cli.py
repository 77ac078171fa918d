"""Console command ``collector``: its commands, options and help texts."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from collector.commands import configuration, quarantine
from collector.commands import run as collect
from collector.commands.run import SourceName
from collector.files.options import Form, TextOptions, TimeUnit
from collector.message import Reason
from core.console import new_app, new_group, option, run

app = new_app("Brings readings into the warehouse.")


@app.command()
def check() -> None:
    """Check sensors.json and all settings, list every mistake, connect to nothing."""
    configuration.check()


@app.command("run")
def run_(source: Annotated[SourceName, option("--source", help="Source of the messages.")] = SourceName.MQTT) -> None:
    """Collect until stopped; acknowledge every message after its readings are committed."""
    sys.exit(collect.run(source))


@app.command("forward")
def forward_() -> None:
    """Forward every MQTT message to Kafka, unchanged; acknowledge it once Kafka has it."""
    with configuration.kafka_extra():
        from collector.commands import forward  # noqa: PLC0415 - an extra, not installed everywhere
    sys.exit(forward.run())


archive_app = typer.Typer(help="Store every MQTT message unchanged in hourly Parquet files; needs no database.")
app.add_typer(archive_app, name="archive")


@archive_app.callback(invoke_without_command=True)
def archive_(context: typer.Context) -> None:
    """Store every MQTT message unchanged in hourly Parquet files; needs no database.

    Without a command it runs until Ctrl-C or SIGTERM.
    """
    if context.invoked_subcommand is None:
        from collector.commands import archive  # noqa: PLC0415 - pyarrow takes a third of a second to import

        sys.exit(archive.run())


@archive_app.command("compact")
def compact_() -> None:
    """Merge the files of each past hour into one; a kill at any moment loses no message."""
    from collector.commands import archive  # noqa: PLC0415

    sys.exit(archive.compact())


@archive_app.command("verify")
def verify_(
    days: Annotated[
        int | None, option("--days", min=1, help="Only the files of the last N days; default: all.")
    ] = None,
    record: Annotated[  # noqa: FBT002 - the name of the option
        bool, option("--record", help="Record verified hours in the database; only then are raw readings deleted.")
    ] = False,
) -> None:
    """Read every message of every file; the exit status is 1 if one can't be read.

    With --record also older hours that are not recorded yet or have changed since.
    """
    from collector.commands import archive  # noqa: PLC0415

    sys.exit(archive.verify(days, record=record))


@app.command("load")
def load_(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE…", help="CSV, Parquet and NDJSON files, also .gz; directories of an archive."),
    ],
    form: Annotated[Form | None, option("--format", help="Format of the files; default: by their names.")] = None,
    sensor: Annotated[str | None, option("--sensor", metavar="ID", help="Sensor of all rows.")] = None,
    column: Annotated[
        list[str] | None,
        option(
            "--column",
            metavar="NAME=COLUMN",
            help="Meaning of a column: time (also time=Date+Time), sensor_id, a quantity (temperature=value), "
            "or quantity and value.",
        ),
    ] = None,
    timezone: Annotated[
        str | None, option("--timezone", help="Zone of times without one: Europe/Athens, -07:00.")
    ] = None,
    time_unit: Annotated[TimeUnit | None, option("--time-unit", help="Unit or notation of the times.")] = None,
    delimiter: Annotated[str | None, option("--delimiter", help="CSV: one character, or tab.")] = None,
    decimal: Annotated[
        str | None, option("--decimal", help="Decimal mark of numbers: --decimal , for 1.021,75.")
    ] = None,
    thousands: Annotated[
        str | None, option("--thousands", help="Mark between thousands: --thousands , for 1,021.75.")
    ] = None,
    time_format: Annotated[
        list[str] | None,
        option(
            "--time-format",
            metavar="FORMAT",
            help="Form of the times in strptime codes, several with several options: '%d.%m.%Y %H:%M:%S', "
            "'%m/%d/%Y %I:%M:%S %p'.",
        ),
    ] = None,
    unit: Annotated[
        list[str] | None,
        option("--unit", metavar="QUANTITY=UNIT", help="Unit of a quantity in the files: temperature=[degF]."),
    ] = None,
    missing: Annotated[
        list[str] | None,
        option("--missing", metavar="TEXT", help="Cell without a value, besides NA, null, -- and the like: -9999."),
    ] = None,
    skip_lines: Annotated[
        int, option("--skip-lines", min=0, help="CSV: lines before the header, or before the rows with --header-line.")
    ] = 0,
    header_line: Annotated[
        int | None,
        option("--header-line", min=1, help="CSV: line of the header: --header-line 2 --skip-lines 4 for TOA5 files."),
    ] = None,
    comment: Annotated[
        str | None, option("--comment", metavar="TEXT", help="CSV: beginning of lines that are comments: '#'.")
    ] = None,
    encoding: Annotated[
        str | None, option("--encoding", help="Encoding: windows-1252; default: UTF-8, or UTF-16 by its mark.")
    ] = None,
    message: Annotated[
        str | None,
        option("--message", metavar="POINTER", help="NDJSON: where a line has the message of a device: /result."),
    ] = None,
    topic: Annotated[
        str | None,
        option(
            "--topic", metavar="TOPIC", help="NDJSON: topic of the messages in the lines, or pointer to it: /topic."
        ),
    ] = None,
    arrival_unknown: Annotated[  # noqa: FBT002 - a flag of the command line
        bool,
        option("--arrival-unknown", help="Of archives, only messages that are in quarantine as arrival_unknown."),
    ] = False,
    dry_run: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, option("--dry-run", help="Show what would be stored and what would not; write nothing.")
    ] = False,
) -> None:
    """Load files of readings; loading a file again changes nothing. Rows that are no readings go to quarantine.

    Exit status: 0 if all rows were stored or duplicates, 2 if some are in quarantine, 1 if nothing was stored or a file
    is unreadable.
    """
    from collector.commands import load  # noqa: PLC0415 - pyarrow takes a third of a second to import

    sys.exit(
        load.load(
            files,
            form,
            sensor=sensor,
            columns=column or (),
            timezone=timezone,
            time_unit=time_unit,
            delimiter=delimiter,
            text=TextOptions(
                decimal=decimal,
                thousands=thousands,
                time_formats=tuple(time_format or ()),
                skip_lines=skip_lines,
                header_line=header_line,
                comment=comment,
                encoding=encoding,
                missing=tuple(missing or ()),
                units=tuple(unit or ()),
            ),
            message=message,
            topic=topic,
            arrival_unknown=arrival_unknown,
            dry_run=dry_run,
        )
    )


quarantine_app = new_group("List, show, replay or discard messages and readings that were rejected.")
app.add_typer(quarantine_app, name="quarantine")


@quarantine_app.command("list")
def quarantine_list(
    reason: Annotated[Reason | None, option("--reason", help="Only rows with this reason.")] = None,
    limit: Annotated[int, option("--limit", help="Number of rows to show, latest first.", min=1)] = 20,
) -> None:
    """Show the open rows: their number for each reason, and the latest ones."""
    quarantine.print_list(reason, limit)


@quarantine_app.command("show")
def quarantine_show(row_id: Annotated[int, typer.Argument(metavar="ID", help="The row's id.")]) -> None:
    """Show one row with its payload."""
    quarantine.print_row(row_id)


@quarantine_app.command("replay")
def quarantine_replay(
    reason: Annotated[Reason | None, option("--reason", help="Only messages with this reason.")] = None,
    at_arrival: Annotated[  # noqa: FBT002 - a flag of the command line
        bool,
        option("--at-arrival", help="Store readings of unknown arrival with the time at which they were collected."),
    ] = False,
) -> None:
    """Decode open messages again with the current registry; those that become readings are stored, once."""
    quarantine.replay(reason, at_arrival=at_arrival)


@quarantine_app.command("discard")
def quarantine_discard(
    row_ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]…", help="The rows' ids.")] = None,
    reason: Annotated[Reason | None, option("--reason", help="All open rows with this reason.")] = None,
) -> None:
    """Mark rows as never to be replayed; they stay readable until they are purged."""
    quarantine.discard(row_ids or (), reason)


def main() -> None:
    """Run the console command."""
    run(app, "collector")
