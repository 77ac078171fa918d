"""``collector quarantine``: list, show, replay and discard rejected messages and readings."""

from collections.abc import Sequence
from functools import cache

from collector.commands.decoder_builder import DecoderBuilder
from collector.message import Reason
from collector.registry import sensors_file, sync
from collector.settings import CollectorSettings
from collector.store import quarantine
from collector.store.batch import Decode
from collector.store.birth_store import BirthStore
from collector.store.writer import Writer
from core import database, tables
from core.errors import SettingError
from core.settings import load as load_settings


def print_list(reason: Reason | None, limit: int) -> None:
    """Print the open rows: their number per reason, and the latest ``limit`` of them."""
    with database.connect() as connection, database.wrapped_errors("reading the quarantine"):
        per_reason = quarantine.summary(connection)
        rows = quarantine.list_open(connection, reason, limit)
    if not per_reason:
        print("the quarantine is empty")
        return
    tables.show("Open, by reason", ("reason", "rows", "readings", "earliest", "latest"), per_reason)
    tables.show("Latest", ("id", "received", "source", "topic", "reason", "detail", "readings", "bytes"), rows)


def print_row(row_id: int) -> None:
    """Print one row with its payload."""
    with database.connect() as connection, database.wrapped_errors("reading the quarantine"):
        row = quarantine.get_row(connection, row_id)
    payload: bytes = row.pop("payload")
    for name, value in row.items():
        if value is not None:
            print(f"{name:>14}  {tables.printable(str(value))}")
    if row["omitted_bytes"] is not None:
        print(f"{'payload':>14}  not kept: see COLLECTOR_QUARANTINE_MEGABYTES; the archive has the messages")
        return
    print(f"{'payload':>14}  {len(payload)} bytes")
    try:
        print(tables.printable(payload.decode(), keep="\n\t"))
    except UnicodeDecodeError:
        print(payload.hex(" "))


def replay(reason: Reason | None, *, at_arrival: bool = False) -> None:
    """Decode open messages again, with the current registry, and print the counts."""
    collector = load_settings(CollectorSettings)
    registry = sensors_file.load(collector.registry)
    births = BirthStore()
    writer = Writer("replay", collector.client_id, births=births)
    total = quarantine.ReplayResult()
    with database.wrapped_errors("replaying the quarantine"):
        decoder = DecoderBuilder(collector, births).build(writer.connection(), registry)
        synchronised = sync.synchronise(writer.connection(), registry)

        @cache
        def decoder_of_rows(options: str) -> Decode:
            from collector.commands import load  # noqa: PLC0415 - pyarrow takes a third of a second to import

            return load.decoder_of_rows(synchronised, registry, options, collector)

        for result in quarantine.replay(
            writer, decoder.decode, reason, at_arrival=at_arrival, decoder_of_rows=decoder_of_rows
        ):
            total.add(result)
    writer.close()
    print(f"{total.messages} messages replayed, {total.readings} readings stored, {total.unchanged} messages unchanged")
    if total.arrival_unknown:
        print(
            f"{total.arrival_unknown} messages of unknown arrival: `collector load` the archive of that time, which "
            "has their arrival; or --at-arrival stores them with the time at which they were collected"
        )


def discard(row_ids: Sequence[int], reason: Reason | None) -> None:
    """Mark rows as never to be replayed, by their ids or by ``reason``, and print their number."""
    if bool(row_ids) == (reason is not None):
        raise SettingError("give ids (`collector quarantine list` shows them) or a --reason, not both")
    with database.connect() as connection, database.wrapped_errors("discarding"):
        if reason is not None:
            count = quarantine.discard_reason(connection, reason)
        else:
            quarantine.discard(connection, row_ids)
            count = len(row_ids)
    print(f"{count} discarded")
