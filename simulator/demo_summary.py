"""Queries and summary of the demonstration."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.database import Connection
from core.errors import WarehouseError
from simulator.payloads import message
from simulator.publisher import Publisher
from simulator.schedule import Device

_PROBES = 5

MEANS = """
select distinct on (series.sensor_id, series.quantity)
    series.sensor_id, series.quantity, reading_1m.bucket, reading_1m.mean, series.unit, reading_1m.sample_count
from telemetry.reading_1m
inner join telemetry.series on reading_1m.series_id = series.series_id
where reading_1m.bucket >= %s
order by series.sensor_id, series.quantity, reading_1m.bucket desc
"""

ACCOUNTS = """
select
    messages, decoded, ignored, quarantined_messages, readings, stored, duplicate, replaced, quarantined_readings,
    balanced
from telemetry.accounting
"""

OPEN = "select count(*) from telemetry.quarantine where replayed_at is null and discarded_at is null"

COUNT = "select count(*) from telemetry.reading"

STORED = "select true from telemetry.readings where sensor_id = %s and quantity = %s and time = to_timestamp(%s)"


@dataclass(frozen=True)
class Accounts:
    """The row of ``telemetry.accounting``."""

    messages: int
    decoded: int
    ignored: int
    quarantined_messages: int
    readings: int
    stored: int
    duplicate: int
    replaced: int
    quarantined_readings: int
    balanced: bool

    def __str__(self) -> str:
        return (
            f"{'balanced' if self.balanced else 'NOT BALANCED'}: "
            f"{self.messages:,} messages = {self.decoded:,} decoded + {self.ignored:,} ignored "
            f"+ {self.quarantined_messages:,} quarantined; {self.readings:,} readings = {self.stored:,} stored "
            f"+ {self.duplicate:,} duplicate + {self.replaced:,} replaced + {self.quarantined_readings:,} quarantined"
        )


@dataclass(frozen=True)
class Mean:
    """One row of ``telemetry.reading_1m`` with names."""

    sensor_id: str
    quantity: str
    bucket: datetime
    mean: float
    unit: str
    sample_count: int


@dataclass(frozen=True)
class Summary:
    """State of the warehouse after the history, and its problems."""

    edition: str
    broker: str
    rows: int
    accounts: Accounts
    quarantined: int
    delay_seconds: float | None
    means: Sequence[Mean]
    missing: Sequence[str]

    def problems(self) -> list[str]:
        """Return the problems; an empty list is success."""
        problems = []
        if not self.rows:
            problems.append("no reading is stored")
        if not self.accounts.balanced:
            problems.append("the accounts do not balance: see telemetry.accounting")
        if self.missing:
            problems.append(f"no one-minute mean for {', '.join(self.missing)}")
        if self.delay_seconds is None:
            problems.append("the delay from publish to SQL could not be measured")
        return problems

    def text(self) -> str:
        """Return the summary as text."""
        delay = "not measured" if self.delay_seconds is None else f"{self.delay_seconds * 1000:.0f} ms"
        lines = [
            f"Database    {self.edition}",
            f"Broker      {self.broker}",
            f"Readings    {self.rows:,} stored",
            f"Accounts    {self.accounts}",
            f"Quarantine  {self.quarantined:,} open",
            f"Delay       {delay} from publish to SQL (median of {_PROBES} readings)",
            "",
            "Latest one-minute means",
        ]
        table = [("sensor", "quantity", "minute (UTC)", "mean", "unit", "readings")]
        table += [
            (mean.sensor_id, mean.quantity, f"{mean.bucket:%Y-%m-%d %H:%M}", f"{mean.mean:.2f}", mean.unit,
             str(mean.sample_count))
            for mean in self.means
        ]  # fmt: skip
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        right_aligned = {3, 5}
        lines += [
            "  "
            + "  ".join(
                cell.rjust(width) if column in right_aligned else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        ]
        return "\n".join(lines)


def accounts(connection: Connection) -> Accounts:
    """Return the current accounts."""
    return Accounts(*_row(connection, ACCOUNTS))


def summarise(
    connection: Connection,
    devices: Sequence[Device],
    since: datetime,
    delay_seconds: float | None,
    edition: str,
    broker: str,
) -> Summary:
    """Return the summary; means of minutes before ``since`` are ignored."""
    means = [Mean(*row) for row in connection.execute(MEANS, (since,)).fetchall()]
    present = {(mean.sensor_id, mean.quantity) for mean in means}
    expected = [(device.sensor.sensor_id, name) for device in devices for name in device.signals]
    (quarantined,) = _row(connection, OPEN)
    (rows,) = _row(connection, COUNT)
    return Summary(
        edition=edition,
        broker=broker,
        rows=rows,
        accounts=accounts(connection),
        quarantined=quarantined,
        delay_seconds=delay_seconds,
        means=means,
        missing=[f"{sensor} {quantity}" for sensor, quantity in expected if (sensor, quantity) not in present],
    )


def stored(connection: Connection, device: Device, seconds: float) -> bool:
    """Return whether the reading of ``device`` at ``seconds`` since 1970-01-01 UTC is in SQL."""
    name = next(iter(device.signals))
    return connection.execute(STORED, (device.sensor.sensor_id, name, seconds)).fetchone() is not None


def measure_delay(connection: Connection, publisher: Publisher, device: Device) -> float | None:
    """Return the median seconds from publishing a reading until SQL returns it; None if one does not arrive.

    The readings are valid ones of ``device``, at times between its regular ones.
    """
    delays = []
    for _ in range(_PROBES):
        seconds = round(time.time() * 1000) / 1000
        probe = message([device.sample(seconds)])
        start = time.perf_counter()
        publisher.publish(probe.topic, probe.payload)
        while not stored(connection, device, seconds):
            publisher.process_network(0.001)
            if time.perf_counter() - start > 10:  # noqa: PLR2004 - seconds; the goal is one
                return None
        delays.append(time.perf_counter() - start)
        publisher.drain()
    return statistics.median(delays)


def _row(connection: Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    if row is None:
        raise WarehouseError("the database returned no row: is it a warehouse database?")
    return row
