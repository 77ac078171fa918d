"""Benchmark: accuracy of anomaly detection on labelled public series, through database and marts.

    python bench/anomaly.py FOLDER [--edition postgresql|timescaledb]

FOLDER is a copy of github.com/numenta/NAB (Numenta Anomaly Benchmark, MIT License): data/real*/*.csv and
labels/combined_windows.json. Each file becomes a sensor. Reported per file: how many labelled windows have an hour
within an anomaly (gaps are not counted), and the share of all other hours that an anomaly overlaps. Results are written
to bench/results/anomaly.json. The labels cover few of the events in a file, and the windows always cover a tenth of it,
so results for files of two weeks have little significance.
"""

import argparse
import csv
import json
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from marts import RESULTS, Bench, start_bench
from rig import machine

HOUR = timedelta(hours=1)
Window = tuple[datetime, datetime]


def instant(text: str) -> datetime:
    """Parse a time of the files, which have no time zone."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def readings(file: Path) -> dict[datetime, float]:
    """Return the readings of a file; the last one of equal times."""
    with file.open() as lines:
        return {instant(row["timestamp"]): float(row["value"]) for row in csv.DictReader(lines)}


def load(bench: Bench, name: str, file: Path) -> None:
    """Load a file as a sensor without plausible range; its interval is the median time between readings."""
    values = readings(file)
    interval = statistics.median((b - a).total_seconds() for a, b in pairwise(sorted(values)))
    since = datetime(2000, 1, 1, tzinfo=UTC)
    bench.connection.execute(
        "insert into telemetry.sensor (sensor_id, type, site, area, topic, since, registered_at, updated_at) "
        "values (%s, 'file', 'nab', 'nab', 't', %s, %s, %s)",
        [name, since, since, since],
    )
    row = bench.connection.execute(
        "insert into telemetry.series (sensor_id, quantity, unit, interval_seconds, registered_at, updated_at) "
        "values (%s, 'value', '1', %s, %s, %s) returning series_id",
        [name, interval, since, since],
    ).fetchone()
    assert row is not None
    with bench.connection.cursor().copy(
        "copy telemetry.reading (time, series_id, value, received_at) from stdin"
    ) as into:
        for time, value in values.items():
            into.write_row((time, row[0], value, time))


def evaluate(bench: Bench, name: str, windows: list[Window]) -> dict[str, float | int]:
    """Return the counts of detected windows and of flagged other hours."""
    hours = bench.connection.execute(
        "select bucket, exists (select from marts.fct_anomaly as anomaly where anomaly.series_id = hour.series_id "
        "and anomaly.kind <> 'gap' and hour.bucket between anomaly.started_at and anomaly.ended_at), "
        "exists (select from marts.fct_anomaly as anomaly where anomaly.series_id = hour.series_id "
        "and anomaly.kind <> 'gap' and hour.bucket >= anomaly.started_at and hour.bucket < anomaly.ended_at) "
        "from marts.fct_reading_hour as hour where sensor_id = %s",
        [name],
    ).fetchall()
    detected = sum(any(flagged and a - HOUR < hour <= b for hour, _, flagged in hours) for a, b in windows)
    others = [touched for hour, touched, _ in hours if not any(a - HOUR < hour <= b for a, b in windows)]
    return {
        "hours": len(hours),
        "windows": len(windows),
        "found": detected,
        "other_hours": len(others),
        "flagged": sum(others),
    }


def files(folder: Path) -> Iterator[tuple[str, Path, list[Window]]]:
    """Yield name, file and labelled windows of each real series."""
    labels = json.loads((folder / "labels" / "combined_windows.json").read_text())
    for file in sorted(folder.glob("data/real*/*.csv")):
        name = f"{file.parent.name}/{file.name}"
        yield name, file, [(instant(a), instant(b)) for a, b in labels.get(name, [])]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--edition", choices=["timescaledb", "postgresql"], default="postgresql")
    options = parser.parse_args()
    results = {}
    with start_bench(options.edition, 0) as bench:
        series = list(files(options.folder))
        for name, file, _ in series:
            load(bench, name, file)
        bench.refresh()
        bench.build()
        for name, _, windows in series:
            results[name] = result = evaluate(bench, name, windows)
            share = 100 * result["flagged"] / result["other_hours"]
            days = result["hours"] / 24
            print(f"{name:55} {days:4.0f} days  {result['found']}/{result['windows']}  {share:5.2f} % of other hours")
    total = {key: sum(result[key] for result in results.values()) for key in next(iter(results.values()))}
    print(f"{'all':55} {total['hours'] / 24:4.0f} days  {total['found']}/{total['windows']}  "
          f"{100 * total['flagged'] / total['other_hours']:5.2f} % of other hours")  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "anomaly.json").write_text(json.dumps({**machine(), "series": results, "all": total}, indent=2) + "\n")


if __name__ == "__main__":
    main()
