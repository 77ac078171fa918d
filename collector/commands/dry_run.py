"""``collector load --dry-run``: what a load would store, without a database."""

import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path

from collector.decode.decoder import Decoder
from collector.files.opener import FileBatches, FileOpener
from collector.files.options import Form, Options
from collector.message import Reading
from collector.registry.discovery import Discovery, RegisteredSensors
from collector.registry.sensors_file import Registry
from collector.settings import CollectorSettings
from collector.store.batch import Accounts, Batch
from core import tables

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = 5
"""Readings that are printed."""
_MOST_TIMES = 1_000
"""Times of a series that its interval is determined from."""


@dataclass
class _Series:
    """The readings of one series in a file; times in microseconds since 1970-01-01 UTC."""

    readings: int = 0
    first: int = sys.maxsize
    last: int = -sys.maxsize
    times: list[int] = field(default_factory=list)

    def add(self, time: int) -> None:
        self.readings += 1
        self.first, self.last = min(self.first, time), max(self.last, time)
        if len(self.times) < _MOST_TIMES:
            self.times.append(time)

    @property
    def interval(self) -> str:
        """The median of the time from one reading to the next."""
        steps = [after - before for before, after in pairwise(sorted(set(self.times)))]
        return f"{statistics.median(steps) / 1e6:g} s" if steps else ""


class _Outcome:
    """What a load of one file would store."""

    def __init__(self) -> None:
        self.accounts = Accounts()
        self.readings: list[Reading] = []
        self.series: dict[int, _Series] = {}
        self.rejected: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.ignored: Counter[str] = Counter()

    def add(self, batch: Batch) -> None:
        """Count ``batch``, all of whose series have a number."""
        self.accounts.add(batch.accounts)
        for reading, _ in batch.readings():
            self.series.setdefault(reading[0], _Series()).add(reading[1])
            if len(self.readings) < _SHOWN:
                self.readings.append(reading)
        for message, rejection in batch.quarantined:
            self.rejected[rejection.reason] += rejection.readings or 1
            self.examples.setdefault(rejection.reason, f"{message.topic}: {rejection.detail}")
        for (_, reason), counts in batch.ignored.items():
            self.ignored[reason or ""] += counts.messages + counts.values

    @property
    def accepted(self) -> int:
        """Number of readings that are not quarantined."""
        return self.accounts.readings - self.accounts.quarantined_readings


class DryRun:
    """Reads files as a load does; each series of the registry has a number in place of its id in the database."""

    def __init__(self, registry: Registry, chosen: Options, settings: CollectorSettings) -> None:
        self._numbers = count(1)
        listed = (*registry.sensors, *registry.members)
        ids = {(sensor.sensor_id, name): next(self._numbers) for sensor in listed for name in sensor.quantities}
        self._units = {
            ids[sensor.sensor_id, name]: (sensor.sensor_id, name, quantity.unit)
            for sensor in listed
            for name, quantity in sensor.quantities.items()
        }
        decoder = Decoder(registry, ids, max_future_seconds=settings.max_future_seconds)
        self._opener = FileOpener(
            RegisteredSensors(registry, ids, (), settings.max_discovered),
            (),
            chosen,
            round(settings.max_future_seconds * 1_000_000),
            1,
            self._register,
            decoder.decode,
        )

    def _register(self, discoveries: Sequence[Discovery]) -> None:
        for registered, sensor, quantity in discoveries:
            number = next(self._numbers)
            registered.record(sensor, quantity, number)
            self._units[number] = sensor.sensor_id, quantity, sensor.quantities[quantity].unit

    def read(self, path: Path, form: Form | None) -> Accounts:
        """Read the file at ``path``, print what a load would store, and return its counts.

        Raises :class:`~collector.files.options.FileError`, after it has printed the rows before the mistake.
        """
        outcome = _Outcome()
        file = self._opener.open(path, form)
        try:
            self._read(file, outcome)
        finally:
            file.close()
            if outcome.accounts.messages:
                self._print(path, outcome)
        outcome.accounts.stored = outcome.accepted
        return outcome.accounts

    def _read(self, file: FileBatches, outcome: _Outcome) -> None:
        for _, batch in file.batches:
            while batch.unregistered:
                self._register(list(batch.unregistered.values()))
                batch = Batch.of(batch.messages, file.decode)  # noqa: PLW2901 - the same rows
            outcome.add(batch)

    def _print(self, path: Path, outcome: _Outcome) -> None:
        accounts = outcome.accounts
        print(
            f"{path.name}: {accounts.messages:,} rows, {accounts.readings:,} readings: {outcome.accepted:,} to store, "
            f"{accounts.quarantined_readings + accounts.quarantined_messages:,} to quarantine; "
            f"{accounts.ignored:,} rows without a value. Nothing was written."
        )
        first = [
            (*self._units[number][:2], _text(time), value, self._units[number][2])
            for number, time, value in outcome.readings
        ]
        if first:
            tables.show("First readings", ("sensor", "quantity", "time (UTC)", "value", "unit"), first)
            tables.show(
                "Series",
                ("sensor", "quantity", "unit", "readings", "interval", "first", "last"),
                self._rows(outcome.series),
            )
        if outcome.rejected:
            rows = [(reason, number, outcome.examples[reason]) for reason, number in outcome.rejected.most_common()]
            tables.show("To quarantine", ("reason", "rows or readings", "the first"), rows)
        if outcome.ignored:
            tables.show("Ignored", ("reason", "rows or values"), outcome.ignored.most_common())

    def _rows(self, series: Mapping[int, _Series]) -> list[tuple[object, ...]]:
        return [
            (*self._units[number], of.readings, of.interval, _text(of.first, "seconds"), _text(of.last, "seconds"))
            for number, of in sorted(series.items(), key=lambda item: self._units[item[0]])
        ]


def _text(time: int, precision: str = "milliseconds") -> str:
    """Return a time in microseconds since 1970 as text; readings may be centuries away."""
    try:
        instant = _EPOCH + timedelta(microseconds=time)
    except OverflowError:
        return f"{time} µs since 1970"
    return instant.isoformat(sep=" ", timespec=precision).removesuffix("+00:00")
