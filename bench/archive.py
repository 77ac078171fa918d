"""Benchmark: size of archived messages, and throughput of the archiver relative to a plain paho-mqtt subscriber.

    python bench/archive.py [--only size,throughput] [--rounds 5] [--quick]

Size: bytes per message in the file of an hour of simulated messages with one reading each, with realistic arrival
times. Throughput: messages per second from the first publish until all are durable on the disk. Results are written to
bench/results/archive.json and printed as a table.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fast_publisher import FastPublisher, publish_packets
from ingest import ratio, stock
from rig import forget_session, machine, registry, single_messages

from collector.archive.finisher import finish
from collector.archive.object_store import LocalDirectory
from collector.archive.spool import Segment, Spool
from collector.files.archive_file import Archive
from collector.message import Message
from collector.registry import sensors_file as registries
from local_services.broker import LocalBroker
from simulator import schedule

RESULTS = Path(__file__).parent / "results"
SENSORS_JSON = Path(__file__).parents[1] / "sensors.json"
BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
WRITES = 500
"""Messages per write to the spool."""


def arrivals(sensors: int | None, seconds: float) -> list[Message]:
    """Return the messages of ``sensors`` sensors (None: those of sensors.json) in ``seconds``, in order of arrival.

    Each arrives about a millisecond after its reading (log-normal, median 1 ms, 95 % between 0.4 and 2.7 ms): the delay
    of broker and subscriber in one network, and the noise of arrival times that affects the size.
    """
    text = SENSORS_JSON.read_bytes()
    known = registries.parse(text if sensors is None else schedule.enlarge_registry(text, sensors).encode())
    devices = schedule.make_devices(schedule.select_sensors(known, None, []), 1, None)
    noise = random.Random(1)
    begin = BEGIN.timestamp()
    arrived = [
        (
            round(message.publish_time * 1e6) + round(1_000 * noise.lognormvariate(0, 0.5)),
            message.topic,
            message.payload,
        )
        for message in schedule.messages(schedule.live(devices, begin, begin + seconds), "wide", 1)
    ]
    arrived.sort()
    return [Message(topic, payload, received) for received, topic, payload in arrived]


def size(seconds: float) -> dict[str, Any]:
    """Return bytes per message in a finished file, for a small and a larger registry."""
    return {
        name: archived_size(arrivals(sensors, seconds))
        for name, sensors in (("sensors_json", None), ("sensors_200", 200))
    }


def archived_size(messages: list[Message]) -> dict[str, Any]:
    """Write ``messages``, in order of arrival, to an archive; return their size and the rates."""
    with tempfile.TemporaryDirectory(prefix="warehouse-bench-") as folder:
        directory = Path(folder)
        complete: list[Segment] = []
        spool = Spool(directory / ".spool", 10**12, complete.append)
        started = time.perf_counter()
        for start in range(0, len(messages), WRITES):
            spool.append(messages[start : start + WRITES])
        spooled = time.perf_counter() - started
        spool.close()
        started = time.perf_counter()
        for segment in complete:
            finish(segment, LocalDirectory(directory))
        finished = time.perf_counter() - started
        files = list(directory.glob("date=*/**/*.parquet"))
        assert list(Archive(files).messages()) == messages, "the archive returned other messages"
        total = sum(path.stat().st_size for path in files)
    payloads = sum(len(message.payload) + len(message.topic) for message in messages)
    return {
        "messages": len(messages),
        "files": len(files),
        "bytes_a_message": round(total / len(messages), 2),
        "topic_and_payload_bytes_a_message": round(payloads / len(messages), 1),
        "spooled_messages_per_second": round(len(messages) / spooled),
        "finished_messages_per_second": round(len(messages) / finished),
    }


def archive(environment: dict[str, str], packets: list[bytes]) -> float:
    """Return messages per second from the first publish until all are durable, with one archiver process."""
    environment = {**environment, "COLLECTOR_CLIENT_ID": f"bench-{time.time_ns()}", "COLLECTOR_SUMMARY_SECONDS": "0.05"}
    program = Path(sys.executable).parent / "collector"
    process = subprocess.Popen([program, "archive"], env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        for line in process.stderr:
            if '"subscribed"' in line:
                break
        publisher = FastPublisher(environment)
        started = time.time()
        publisher.send(packets)
        ended = started
        for line in process.stderr:
            entry = json.loads(line)
            ended = datetime.fromisoformat(entry["timestamp"]).timestamp()
            if entry.get("total_messages", 0) >= len(packets):
                break
        publisher.close()
    finally:
        process.terminate()
        process.communicate(timeout=120)
        forget_session({**environment, "COLLECTOR_CLIENT_ID": environment["COLLECTOR_CLIENT_ID"] + "-archive"})
    return len(packets) / (ended - started)


def throughput(rounds: int, count: int) -> dict[str, Any]:
    """Measure the plain subscriber and the archiver alternately, ``rounds`` times.

    Files are completed every 8 MB, so each round also finishes files while messages arrive.
    """
    results: dict[str, list[float]] = {"stock": [], "archive": []}
    with tempfile.TemporaryDirectory(prefix="warehouse-bench-") as folder:
        directory = Path(folder)
        directory.chmod(0o755)
        (directory / "sensors.json").write_bytes(registry())
        with LocalBroker(directory / "broker") as broker:
            environment = {
                **os.environ,
                **broker.environment(),
                "COLLECTOR_REGISTRY": str(directory / "sensors.json"),
                "ARCHIVE_DIRECTORY": str(directory / "archive"),
                "ARCHIVE_FILE_MEGABYTES": "8",
            }
            for number in range(rounds):
                packets = publish_packets(single_messages(BEGIN + timedelta(days=number), count))
                results["stock"].append(stock(environment, packets))
                results["archive"].append(archive(environment, packets))
            kind = broker.kind
    return {
        "broker": kind,
        "stock_paho_messages_per_second": round(statistics.median(results["stock"])),
        "archive_messages_per_second": round(statistics.median(results["archive"])),
        "archive_over_stock": ratio(results["archive"], results["stock"]),
        "rounds": {name: [round(value) for value in values] for name, values in results.items()},
    }


def main() -> None:
    """Run the selected parts and record the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="size,throughput", help="parts, separated by commas")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of throughput; the medians are reported")
    parser.add_argument("--quick", action="store_true", help="a short run of a minute; records nothing")
    arguments = parser.parse_args()
    quick = arguments.quick
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "size": lambda: size(300 if quick else 3600),
        "throughput": lambda: throughput(1 if quick else arguments.rounds, 50_000 if quick else 150_000),
    }
    for name in arguments.only.split(","):
        result = parts[name]()
        print(f"\n{name}")
        for key, value in result.items():
            if key != "rounds":
                print(f"  {key:>40}  {value}")
        if not quick:
            path = RESULTS / "archive.json"
            results = json.loads(path.read_text()) if path.exists() else {}
            results.update({"about": {**machine(), "date": f"{datetime.now(tz=UTC):%Y-%m-%d}"}, name: result})
            path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
