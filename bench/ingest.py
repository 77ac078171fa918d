"""Benchmark: ingest rate relative to the limits of database and broker alone, measured in the same run.

    python bench/ingest.py [--edition timescaledb|postgresql] [--only throughput,latency,outage,growth] [--rounds 5]

Results are written to bench/results/ingest-<edition>.json and printed as a table.
"""

import argparse
import json
import math
import statistics
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from fast_publisher import FastPublisher, publish_packets
from rig import (
    SENSORS,
    Rig,
    batch_messages,
    machine,
    single_messages,
    start_rig,
    stock_subscriber,
    wait_for,
)

from collector.message import Decoded, Message
from collector.store.batch import HEADER, POSTGRES_EPOCH, ROW, TRAILER, Batch
from collector.store.writer import Writer

RESULTS = Path(__file__).parent / "results"
COPY_ROWS = 20_000
DAY = timedelta(days=1)


def clock(begin: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> Callable[[], datetime]:
    """Return a function that returns another day on each call, so that no reading of a run is a duplicate."""
    days = iter(range(100_000))
    return lambda: begin + next(days) * DAY


def copy_ceiling(bench: Rig, begin: datetime, rows: int) -> float:
    """Return rows per second of a plain binary COPY, in batches of 20,000, into a table with the primary key only."""
    first = (begin - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) - POSTGRES_EPOCH
    bodies = [
        b"".join(
            ROW.pack(4, 8, first + n // SENSORS * 1_000_000, 4, n % SENSORS, 8, 15 + n % 1000 / 100, 8, first)
            for n in range(start, start + COPY_ROWS)
        )
        for start in range(0, rows, COPY_ROWS)
    ]
    with bench.connect() as connection:
        connection.execute("drop schema if exists ceiling cascade")
        bench.create_ceiling(connection)
        started = time.perf_counter()
        for body in bodies:
            with connection.cursor().copy("copy ceiling.reading from stdin (format binary)") as copy:
                copy.write(HEADER + body + TRAILER)
        taken = time.perf_counter() - started
        connection.execute("drop schema ceiling cascade")
    return rows / taken


def stock(environment: dict[str, str], packets: list[bytes]) -> float:
    """Return messages per second of a plain paho-mqtt subscriber during publishing."""
    with stock_subscriber(environment, len(packets)) as process:
        publisher = FastPublisher(environment)
        started = time.time()
        publisher.send(packets)
        assert process.stdout
        ended = float(process.stdout.readline())
        publisher.close()
    return len(packets) / (ended - started)


def collect(bench: Rig, packets: list[bytes], readings: int) -> float:
    """Return messages per second from the first publish to the last commit, with one collector process."""
    with bench.connect() as connection, bench.collector():
        before = connection.execute("select coalesce(sum(readings), 0) from telemetry.intake").fetchone()
        assert before
        publisher = FastPublisher(bench.environment)
        started = time.time()
        publisher.send(packets)
        wait_for(connection, int(before[0]) + readings)
        ended = time.time()
        publisher.close()
    return len(packets) / (ended - started)


def throughput(bench: Rig, rounds: int) -> dict[str, Any]:
    """Measure both message sizes and both limits alternately, ``rounds`` times."""
    day = clock()
    results: dict[str, list[float]] = {"copy": [], "stock": [], "single": [], "fifty": []}
    for _ in range(rounds):
        single = publish_packets(single_messages(day(), 150_000))
        fifty = publish_packets(batch_messages(day(), 12_000, 50))
        results["copy"].append(copy_ceiling(bench, day(), 600_000))
        results["stock"].append(stock(bench.environment, single))
        results["single"].append(collect(bench, single, len(single)))
        results["fifty"].append(50 * collect(bench, fifty, 50 * len(fifty)))
    medians = {name: round(statistics.median(values)) for name, values in results.items()}
    return {
        "copy_with_primary_key_rows_per_second": medians["copy"],
        "stock_paho_messages_per_second": medians["stock"],
        "collector_single_messages_per_second": medians["single"],
        "collector_fifty_readings_per_second": medians["fifty"],
        "single_over_stock": ratio(results["single"], results["stock"]),
        "fifty_over_copy": ratio(results["fifty"], results["copy"]),
        "rounds": {name: [round(value) for value in values] for name, values in results.items()},
    }


def ratio(over: list[float], under: list[float]) -> float:
    """Return the median of the ratios per round: the speed of the machine drifts, but little within a round."""
    return round(statistics.median(a / b for a, b in zip(over, under, strict=True)), 2)


def latency(bench: Rig, seconds: float, rate: float = 2_000) -> dict[str, Any]:
    """Measure publish → visible in reading_1m for ten probes per second, at ``rate`` messages per second."""
    begin = datetime.now(tz=UTC) - timedelta(hours=1)
    packets = publish_packets(single_messages(begin, int(rate * seconds)))
    delays: list[float] = []
    query = """
        select m.last_value from telemetry.reading_1m as m
        where m.series_id = %s and m.bucket = date_trunc('minute', %s::timestamptz)
    """
    with bench.connect() as connection, bench.collector():
        row = connection.execute("select series_id from telemetry.series where sensor_id = 't0'").fetchone()
        assert row
        load = FastPublisher(bench.environment)
        probe = FastPublisher(bench.environment)

        thread = threading.Thread(target=load.send, args=(packets, rate))
        thread.start()
        number = 0
        while thread.is_alive():
            number += 1
            instant = datetime.now(tz=UTC)
            payload = f'{{"timestamp":"{instant.isoformat()}","temperature":{number}}}'.encode()
            started = time.perf_counter()
            probe.send(publish_packets([("bench/t0", payload)]))
            while True:
                last_value = connection.execute(query, (row[0], instant)).fetchone()
                if last_value and last_value[0] == number:
                    break
                if time.perf_counter() - started > 30:
                    raise TimeoutError("a probe did not become visible within 30 s")
            delays.append(time.perf_counter() - started)
            time.sleep(max(0.0, 0.1 - delays[-1]))
        thread.join()
        load.close()
        probe.close()
    delays.sort()
    return {
        "messages_per_second": rate,
        "probes": len(delays),
        "median_ms": round(1000 * statistics.median(delays), 1),
        "p99_ms": round(1000 * delays[math.ceil(0.99 * len(delays)) - 1], 1),
        "worst_ms": round(1000 * delays[-1], 1),
    }


def outage(bench: Rig, seconds: float, rate: float = 2_000) -> dict[str, Any]:
    """Stop the database for ``seconds`` at ``rate`` messages per second; then count the stored readings."""
    packets = publish_packets(single_messages(datetime(2025, 1, 1, tzinfo=UTC), int(rate * (seconds + 10))))
    with bench.connect() as connection:
        before = connection.execute("select coalesce(sum(stored), 0) from telemetry.intake").fetchone()
    assert before
    with bench.collector() as process:
        publisher = FastPublisher(bench.environment)
        load = threading.Thread(target=publisher.send, args=(packets, rate))
        load.start()
        time.sleep(5)
        bench.server.stop()
        peak, collector = 0, psutil.Process(process.pid)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            peak = max(peak, collector.memory_info().rss)
            time.sleep(0.5)
        bench.server.start()
        load.join()
        back = time.monotonic()
        with bench.connect() as connection:
            wait_for(connection, int(before[0]) + len(packets))
            caught_up = time.monotonic() - back
            peak = max(peak, collector.memory_info().rss)
            row = connection.execute("select stored, balanced from telemetry.accounting").fetchone()
            assert row
        publisher.close()
    return {
        "seconds_away": seconds,
        "messages_per_second": rate,
        "messages": len(packets),
        "missing": len(packets) - (row[0] - int(before[0])),
        "balanced": row[1],
        "peak_resident_mb": round(peak / 1e6),
        "caught_up_after_seconds": round(caught_up, 1),
    }


def growth(bench: Rig, small: int, large: int) -> dict[str, Any]:
    """Compare the write time per reading with ``small`` and with ``large`` rows in the table."""
    series = 200
    batches = 25

    def fill(start: int, stop: int) -> None:
        with bench.connect() as connection:
            for first in range(start, stop, 2_000_000):
                connection.execute(
                    "insert into telemetry.reading select timestamptz '2025-06-01Z' + n / %s * interval '1 second', "
                    "1 + n %% %s, 20 + random(), now() from generate_series(%s::bigint, %s::bigint) as n",
                    (series, series, first, min(first + 2_000_000, stop) - 1),
                )
            connection.execute("vacuum analyze telemetry.reading")
            if bench.server.edition == "timescaledb":
                connection.execute("call telemetry.refresh_rollups()")
            connection.execute("checkpoint")

    def cost(after: int) -> float:
        """Return µs per reading for ``batches`` batches of 20,000 readings after row ``after``."""
        writer = Writer("bench", "growth")
        taken = []
        for number in range(batches):
            begin = after + number * COPY_ROWS
            messages = [Message("t", b"", 1_760_000_000_000_000, False, n) for n in range(begin, begin + COPY_ROWS, 50)]
            batch = Batch.of(messages, decode)
            started = time.perf_counter()
            writer.write(batch, decode)
            taken.append(time.perf_counter() - started)
        writer.close()
        return 1e6 * statistics.median(taken) / COPY_ROWS

    epoch = datetime(2025, 6, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)

    def decode(message: Message) -> Decoded:
        first = epoch // timedelta(microseconds=1)
        rows = range(message.delivery, message.delivery + 50)
        return Decoded([(1 + n % series, first + n // series * 1_000_000, 20.5) for n in rows], [])

    fill(0, small)
    at_small = cost(small)
    written = small + batches * COPY_ROWS
    fill(written, large)
    at_large = cost(large)
    return {
        "rows": [small, large],
        "microseconds_per_reading": [round(at_small, 2), round(at_large, 2)],
        "ratio": round(at_large / at_small, 2),
    }


def main() -> None:
    """Run the selected parts and record the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edition", default="auto", choices=["auto", "timescaledb", "postgresql"])
    parser.add_argument("--only", default="throughput,latency,outage,growth", help="parts, separated by commas")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of throughput; the medians are reported")
    parser.add_argument("--quick", action="store_true", help="a short run of two minutes; records nothing")
    arguments = parser.parse_args()
    quick = arguments.quick
    parts: dict[str, Callable[[Rig], dict[str, Any]]] = {
        "throughput": lambda bench: throughput(bench, 1 if quick else arguments.rounds),
        "latency": lambda bench: latency(bench, 5 if quick else 60),
        "outage": lambda bench: outage(bench, 10 if quick else 300),
        "growth": lambda bench: growth(bench, 1_000_000, 3_000_000 if quick else 50_000_000),
    }
    for name in arguments.only.split(","):
        # Each part starts new servers, so that it is not slowed down by the data of another.
        with start_rig(arguments.edition) as bench:
            edition = bench.server.edition
            about = {
                "edition": edition,
                "database": str(bench.server.binaries).split(" (")[0],
                "broker": bench.broker.kind,
            }
            result = parts[name](bench)
        print(f"\n{name} ({about['database']}, {about['broker']})")
        for key, value in result.items():
            if key != "rounds":
                print(f"  {key:>40}  {value}")
        if not quick:
            path = RESULTS / f"ingest-{edition}.json"
            results = json.loads(path.read_text()) if path.exists() else {}
            results.update({"about": {**about, **machine(), "date": f"{datetime.now(tz=UTC):%Y-%m-%d}"}, name: result})
            path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
