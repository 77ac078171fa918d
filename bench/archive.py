"""How small the archive is, and how fast it keeps what comes, against a stock subscriber in the same run.

    python bench/archive.py [--only size,throughput] [--rounds 5] [--quick]

Size: an hour of the simulator's messages, one reading each, every one as it would arrive: the file's bytes a message.
Throughput: messages a second from the first publish until all are safe on the disk. Results go to
bench/results/archive.json and, as a table, to the terminal.
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

from blast import Blaster, publish_packets
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
"""Messages that one write to the spool brings."""


def arrivals(sensors: int | None, seconds: float) -> list[Message]:
    """Return what ``sensors`` sensors (None: those of sensors.json) publish in ``seconds``, in order of arrival.

    Each comes about a millisecond after its reading (log-normal, median 1 ms, 95 % between 0.4 and 2.7 ms): what a
    broker and a subscriber on one network take, and the noise that the times of arrival must be stored with.
    """
    text = SENSORS_JSON.read_bytes()
    known = registries.parse(text if sensors is None else schedule.enlarged(text, sensors).encode())
    players = schedule.players(schedule.choose(known, None, []), 1, None)
    noise = random.Random(1)
    begin = BEGIN.timestamp()
    found = [
        (round(one.due * 1e6) + round(1_000 * noise.lognormvariate(0, 0.5)), one.topic, one.payload)
        for one in schedule.messages(schedule.live(players, begin, begin + seconds), "wide", 1)
    ]
    found.sort()
    return [Message(topic, payload, received) for received, topic, payload in found]


def size(seconds: float) -> dict[str, Any]:
    """Return bytes a message in a finished file, for a small and a larger registry."""
    return {name: kept(arrivals(sensors, seconds)) for name, sensors in (("sensors_json", None), ("sensors_200", 200))}


def kept(messages: list[Message]) -> dict[str, Any]:
    """Write ``messages``, which are in order of arrival, to an archive; return what they take there."""
    with tempfile.TemporaryDirectory(prefix="warehouse-bench-") as folder:
        directory = Path(folder)
        complete: list[Segment] = []
        spool = Spool(directory / ".spool", 10**12, complete.append)
        begun = time.perf_counter()
        for start in range(0, len(messages), WRITES):
            spool.append(messages[start : start + WRITES])
        spooled = time.perf_counter() - begun
        spool.close()
        begun = time.perf_counter()
        for segment in complete:
            finish(segment, LocalDirectory(directory))
        finished = time.perf_counter() - begun
        files = list(directory.glob("date=*/**/*.parquet"))
        assert list(Archive(files).messages()) == messages, "the archive gave back something else"
        total = sum(path.stat().st_size for path in files)
    payloads = sum(len(one.payload) + len(one.topic) for one in messages)
    return {
        "messages": len(messages),
        "files": len(files),
        "bytes_a_message": round(total / len(messages), 2),
        "topic_and_payload_bytes_a_message": round(payloads / len(messages), 1),
        "spooled_messages_per_second": round(len(messages) / spooled),
        "finished_messages_per_second": round(len(messages) / finished),
    }


def archive(environment: dict[str, str], packets: list[bytes]) -> float:
    """Return messages a second from the first publish until all are safe, with one archiver process."""
    environment = {**environment, "COLLECTOR_CLIENT_ID": f"bench-{time.time_ns()}", "COLLECTOR_SUMMARY_SECONDS": "0.05"}
    program = Path(sys.executable).parent / "collector"
    process = subprocess.Popen([program, "archive"], env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        for line in process.stderr:
            if '"subscribed"' in line:
                break
        blaster = Blaster(environment)
        begun = time.time()
        blaster.send(packets)
        ended = begun
        for line in process.stderr:
            found = json.loads(line)
            ended = datetime.fromisoformat(found["timestamp"]).timestamp()
            if found.get("total_messages", 0) >= len(packets):
                break
        blaster.close()
    finally:
        process.terminate()
        process.communicate(timeout=120)
        forget_session({**environment, "COLLECTOR_CLIENT_ID": environment["COLLECTOR_CLIENT_ID"] + "-archive"})
    return len(packets) / (ended - begun)


def throughput(rounds: int, count: int) -> dict[str, Any]:
    """Measure the archiver and the stock subscriber, one after the other, ``rounds`` times.

    Every round finishes files while messages arrive: a file ends after 8 MB.
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
    """Run what was asked for and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="size,throughput", help="parts, with commas between")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of throughput; medians are given")
    parser.add_argument("--quick", action="store_true", help="a look in a minute; records nothing")
    arguments = parser.parse_args()
    quick = arguments.quick
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "size": lambda: size(300 if quick else 3600),
        "throughput": lambda: throughput(1 if quick else arguments.rounds, 50_000 if quick else 150_000),
    }
    for name in arguments.only.split(","):
        found = parts[name]()
        print(f"\n{name}")
        for key, value in found.items():
            if key != "rounds":
                print(f"  {key:>40}  {value}")
        if not quick:
            path = RESULTS / "archive.json"
            results = json.loads(path.read_text()) if path.exists() else {}
            results.update({"about": {**machine(), "date": f"{datetime.now(tz=UTC):%Y-%m-%d}"}, name: found})
            path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
