"""Console command ``collector``."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from collector.commands import run as collect
from collector.files.options import Form, TimeUnit
from collector.message import Reason
from collector.registry import sensors_file
from collector.settings import ArchiveSettings, CollectorSettings, KafkaSettings, RegistrySettings
from collector.sources.mqtt import MqttSource
from collector.sources.sparkplug_host import SparkplugHost
from collector.store import quarantine, sparkplug_births
from collector.store.writer import Writer
from core import database, logs, setting_names, settings, tables
from core.console import DOTENV, new_app, option, run
from core.errors import SettingError
from core.settings import DatabaseSettings, Mistakes, MqttSettings

app = new_app("Brings readings into the warehouse.")


@app.command()
def check() -> None:
    """Check sensors.json and all settings, list every mistake, connect to nothing."""
    found = _configuration(decodes=True, dotenv=True).registry
    series = sum(len(sensor.quantities) for sensor in found.sensors)
    patterns = f", {len(found.patterns)} sensor patterns" if found.patterns else ""
    print(f"sensors.json and settings are good: {len(found.sensors)} sensors, {series} series{patterns}")


class Settings(NamedTuple):
    """All settings of the collector."""

    database: DatabaseSettings
    mqtt: MqttSettings
    kafka: KafkaSettings
    archive: ArchiveSettings
    collector: CollectorSettings


class Configuration(NamedTuple):
    """All settings and the registry."""

    collector: CollectorSettings
    mqtt: MqttSettings
    kafka: KafkaSettings
    archive: ArchiveSettings
    registry: sensors_file.Registry


def _configuration(*, decodes: bool = False, dotenv: bool = False) -> Configuration:
    """Return all settings and the registry; raises :class:`SettingError` that lists every mistake in them.

    ``decodes``: for a command that decodes messages. ``dotenv``: unknown names in ``.env`` are mistakes too.
    """
    mistakes = Mistakes()
    if dotenv:
        mistakes.collect(lambda: setting_names.check(DOTENV))
    loaded = mistakes.collect(lambda: settings.load_all(Settings))
    registry = mistakes.collect(lambda: sensors_file.load(settings.load(RegistrySettings).registry))
    if decodes and loaded and registry:
        mistakes.collect(lambda: sparkplug_births.check(registry, loaded.collector.share_group))
    mistakes.check()
    assert loaded
    assert registry
    return Configuration(loaded.collector, loaded.mqtt, loaded.kafka, loaded.archive, registry)


class Source(StrEnum):
    """Where messages come from."""

    MQTT = "mqtt"
    KAFKA = "kafka"


@app.command("run")
def run_(source: Annotated[Source, option("--source", help="Where messages come from.")] = Source.MQTT) -> None:
    """Collect until stopped; acknowledge every message after its readings are committed."""
    told = _configuration(decodes=True)
    logs.configure()
    if source is Source.KAFKA:
        with _kafka_needed():
            from collector.sources.kafka import KafkaSource  # noqa: PLC0415 - an extra, not installed everywhere
        sys.exit(collect.run(told.collector, source, lambda _: KafkaSource(told.kafka, told.collector)))
    host = SparkplugHost(told.collector.sparkplug_host_id)
    sys.exit(
        collect.run(told.collector, source, lambda filters: MqttSource(told.mqtt, told.collector, filters, host), host)
    )


@app.command("forward")
def forward_() -> None:
    """Put every MQTT message on Kafka, unchanged; acknowledge it after Kafka has."""
    told = _configuration()
    logs.configure()
    with _kafka_needed():
        from collector.commands import forward  # noqa: PLC0415 - an extra, not installed everywhere
    sys.exit(forward.run(told.collector, told.mqtt, told.kafka))


archive_app = typer.Typer(help="Keep every MQTT message as it came, in Parquet files by hour; needs no database.")
app.add_typer(archive_app, name="archive")


@archive_app.callback(invoke_without_command=True)
def archive_(context: typer.Context) -> None:
    """Keep every MQTT message as it came, in Parquet files by hour; needs no database.

    Alone, until Ctrl-C or SIGTERM; with a command, that command.
    """
    if context.invoked_subcommand is not None:
        return
    told = _configuration()
    logs.configure()
    from collector.commands import archive  # noqa: PLC0415 - pyarrow takes a third of a second to import

    sys.exit(archive.run(told.collector, told.mqtt, told.archive))


@archive_app.command("compact")
def compact_() -> None:
    """Make one file of the several of each hour that is over; no message is lost, whatever kills it."""
    from collector.archive import upkeep  # noqa: PLC0415

    told = _archive()
    if told is not None and told.url is not None:
        print("nothing to do: the archive is in an object store, where nothing is replaced")
    elif told is not None:
        done = upkeep.compact(told.directory, told.file_megabytes * 1_000_000, datetime.now(UTC))
        print(f"compacted {done.files:,} hours with {done.content.messages:,} messages")
        _say_what_is_wrong(done.wrong)


@archive_app.command("verify")
def verify_(
    days: Annotated[int | None, option("--days", min=1, help="Only the files of so many days; default: all.")] = None,
    record: Annotated[bool, option("--record", help="Tell the database: raw readings go only then.")] = False,  # noqa: FBT002
) -> None:
    """Read every message of every file; the exit status is 1 where that does not work.

    With --record also what is older and was not recorded yet, or has changed since.
    """
    from collector.archive import destination, upkeep  # noqa: PLC0415

    if told := _archive():
        now = datetime.now(UTC)
        since = now - timedelta(days=days) if days else datetime.min.replace(tzinfo=UTC)
        try:
            where = destination.located(told)
            if record:
                from collector.archive import verified_hours as records  # noqa: PLC0415

                with database.connect(application_name="collector-archive") as connection:
                    seen = upkeep.verify(
                        *where, since, records.known(connection), lambda hour: records.record(connection, hour, now)
                    )
            else:
                seen = upkeep.verify(*where, since)
        except OSError as error:
            raise SettingError(f"can't look into the archive, {destination.shown(told)}: {error}") from error
        print(f"read {seen.content.messages:,} messages in {seen.files:,} files")
        _say_what_is_wrong(seen.wrong)


def _archive() -> ArchiveSettings | None:
    """Return where the archive is, or None, having said so, where there is none."""
    told = settings.load(ArchiveSettings)
    if told.url is None and not told.directory.is_dir():
        print(f"nothing to do: no archive in {told.directory.absolute()}")
        return None
    return told


def _say_what_is_wrong(wrong: Mapping[str, str]) -> None:
    for path, reason in wrong.items():
        print(f"{path}: {reason}", file=sys.stderr)
    if wrong:
        raise typer.Exit(1)


@contextmanager
def _kafka_needed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "confluent_kafka":
            raise
        raise SettingError("Kafka needs one more package: pip install 'sensor-warehouse[kafka]'") from error


@app.command("load")
def load_(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE…", help="CSV, Parquet and NDJSON files; .gz too. Directories of an archive."),
    ],
    form: Annotated[Form | None, option("--format", help="What the files are; default: what their names say.")] = None,
    sensor: Annotated[str | None, option("--sensor", metavar="ID", help="The sensor that all rows are of.")] = None,
    column: Annotated[
        list[str] | None,
        option(
            "--column",
            metavar="NAME=COLUMN",
            help="What a column is: time, sensor_id, a quantity (temperature=value), or quantity and value.",
        ),
    ] = None,
    timezone: Annotated[str | None, option("--timezone", help="IANA zone of times that are written without.")] = None,
    time_unit: Annotated[TimeUnit | None, option("--time-unit", help="How times are written.")] = None,
    delimiter: Annotated[str | None, option("--delimiter", help="CSV: one character, or tab.")] = None,
) -> None:
    """Load files of readings; doing it again changes nothing. Rows that are no readings go to quarantine."""
    from collector.commands import load  # noqa: PLC0415 - pyarrow takes a third of a second to import

    done = load.load(
        files,
        form,
        sensor=sensor,
        columns=column or (),
        timezone=timezone,
        time_unit=time_unit,
        delimiter=delimiter,
        settings=settings.load(CollectorSettings),
    )
    sys.exit(done)


quarantine_app = new_app("Look at, replay or discard what could not become a reading.")
app.add_typer(quarantine_app, name="quarantine")


@quarantine_app.command("list")
def quarantine_list(
    reason: Annotated[Reason | None, option("--reason", help="Only what is held back for this reason.")] = None,
    limit: Annotated[int, option("--limit", help="How many rows to show, latest first.", min=1)] = 20,
) -> None:
    """Show what is open: how much for each reason, and the latest rows."""
    with database.connect() as connection, database.wrapped("reading the quarantine"):
        per_reason = quarantine.summary(connection)
        rows = quarantine.listed(connection, reason, limit)
    if not per_reason:
        print("the quarantine is empty")
        return
    tables.show("Open, by reason", ("reason", "rows", "readings", "earliest", "latest"), per_reason)
    tables.show("Latest", ("id", "received", "source", "topic", "reason", "detail", "readings", "bytes"), rows)


@quarantine_app.command("show")
def quarantine_show(row_id: Annotated[int, typer.Argument(metavar="ID", help="The row's id.")]) -> None:
    """Show one row with its payload."""
    with database.connect() as connection, database.wrapped("reading the quarantine"):
        row = quarantine.show(connection, row_id)
    payload: bytes = row.pop("payload")
    for name, value in row.items():
        if value is not None:
            print(f"{name:>14}  {tables.printable(str(value))}")
    print(f"{'payload':>14}  {len(payload)} bytes")
    try:
        print(tables.printable(payload.decode(), keep="\n\t"))
    except UnicodeDecodeError:
        print(payload.hex(" "))


@quarantine_app.command("replay")
def quarantine_replay(
    reason: Annotated[Reason | None, option("--reason", help="Only messages held back for this reason.")] = None,
) -> None:
    """Send open messages through the registry as it is now; what becomes readings is settled, once."""
    collector = settings.load(CollectorSettings)
    watch = collect.RegistryWatch(collector)
    writer = Writer("replay", collector.client_id)
    total = quarantine.Replay()
    with database.wrapped("replaying the quarantine"):
        decoder = watch.synchronise(writer.connection())
        for part in quarantine.replay(writer, decoder.decode, reason):
            total.messages += part.messages
            total.readings += part.readings
            total.unchanged += part.unchanged
    writer.close()
    print(f"{total.messages} messages replayed, {total.readings} readings stored, {total.unchanged} messages unchanged")


@quarantine_app.command("discard")
def quarantine_discard(
    row_ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]…", help="The rows' ids.")] = None,
    reason: Annotated[Reason | None, option("--reason", help="All that is held back for this reason.")] = None,
) -> None:
    """Mark rows as never to be replayed; they stay readable until they are purged."""
    if bool(row_ids) == (reason is not None):
        raise SettingError("discard what? Give ids (`collector quarantine list` shows them) or a --reason, not both")
    with database.connect() as connection, database.wrapped("discarding"):
        if row_ids:
            quarantine.discard(connection, row_ids)
            count = len(row_ids)
        else:
            assert reason is not None
            count = quarantine.discard_all(connection, reason)
    print(f"{count} discarded")


def main() -> None:
    """Run the console command."""
    run(app, "collector")
