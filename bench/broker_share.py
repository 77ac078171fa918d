"""Benchmark: delay and completeness of readings when one of three collectors of a share group is lost.

    python bench/broker_share.py [--edition postgresql|timescaledb] [--rate 1000] [--seconds 20] [--rounds 3]
                                 [--mosquitto PATH]

Three collectors of one share group receive RATE messages per second at QoS 1. One collector gets SIGKILL or SIGSTOP;
the load continues for SECONDS. The delay of a reading is the time from its publication to its arrival at the collector
that stored it. Readings that the lost collector had received, or that the broker assigned to it, wait for another one.
For comparison, mosquitto without takeover: how many of 1,000 messages it assigns to the disconnected one of two
members. Results are written to bench/results/broker_share.json and printed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from broker_kill import Device, Reader, version
from rig import Rig, machine, start_rig

from core.settings import MqttSettings, load
from local_services.broker import LocalBroker, executable
from simulator.publisher import Publisher

RESULTS = Path(__file__).parent / "results"
MEMBERS = ("a", "b", "c")
LOST = "b"
_WAITED = """
select
    count(*), count(*) filter (where waited > 1), coalesce(max(waited), 0),
    coalesce(max(waited) filter (where time > %(lost)s + interval '10 s'), 0)
from (select time, extract(epoch from received_at - time)::float8 as waited from telemetry.reading) as delays
"""


@contextmanager
def members(rig: Rig, group: str) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Run three collectors until the block ends; enters it when all have subscribed."""
    program = str(Path(sys.executable).parent / "collector")
    running = {
        name: subprocess.Popen(
            [program, "run"],
            env={**rig.environment, "COLLECTOR_CLIENT_ID": f"{group}-{name}", "COLLECTOR_SHARE_GROUP": group},
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in MEMBERS
    }
    try:
        for process in running.values():
            assert process.stderr
            for line in process.stderr:
                if '"subscribed"' in line:
                    break
            threading.Thread(target=process.stderr.read, daemon=True).start()
        yield running
    finally:
        for process in running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in running.values():
            process.wait(60)


def lose_collector(edition: str, signal_: signal.Signals, rate: int, seconds: int) -> dict[str, Any]:
    """Send ``signal_`` to one of three collectors under load; return delays and accounting."""
    with start_rig(edition, "mosquitto") as rig, rig.connect() as connection:
        os.environ.update(rig.broker.environment())
        with members(rig, "bench") as running, Publisher(load(MqttSettings), report=lambda _: None) as publisher:
            publisher.connect()
            started, number, lost = time.monotonic(), 0, None
            while (passed := time.monotonic() - started) < 5 + seconds:
                if lost is None and passed > 5:
                    lost = datetime.now(UTC)
                    running[LOST].send_signal(signal_)
                for _ in range(int(passed * rate) - number):
                    now = datetime.now(UTC).isoformat(timespec="microseconds")
                    publisher.publish(f"bench/t{number % 100}", f'{{"timestamp":"{now}","temperature":20}}'.encode())
                    number += 1
                publisher.process_network(0.002)
            assert publisher.drain()
            deadline = time.monotonic() + 60
            stored_count = "select coalesce(sum(stored), 0) from telemetry.intake"
            while connection.execute(stored_count).fetchone() != (number,) and time.monotonic() < deadline:
                time.sleep(0.1)
            stored, late, longest, longest_after = connection.execute(_WAITED, {"lost": lost}).fetchone() or (
                0,
                0,
                0.0,
                0.0,
            )
            accounts = connection.execute("select balanced, duplicate from telemetry.accounting").fetchone()
            balanced, duplicate = accounts or (False, 0)
    return {
        "acknowledged": publisher.acknowledged,
        "stored": stored,
        "duplicate": duplicate,
        "balanced": balanced,
        "waited_over_a_second": late,
        "longest_wait_seconds": round(longest, 2),
        "longest_wait_seconds_of_what_came_10_s_later": round(longest_after, 2),
    }


def without_takeover() -> dict[str, int]:
    """Return how mosquitto distributes 1,000 messages when one of two members is disconnected."""
    with tempfile.TemporaryDirectory() as directory, LocalBroker(Path(directory) / "b", "mosquitto") as broker:
        readers = [Reader(broker, name) for name in MEMBERS[:2]]
        for reader in readers:
            reader.connect("$share/group/sensors/#")
        readers[1].connection.close()
        device = Device(broker, 1)
        device.publish(*range(1000))
        readers[0].receive_rest(1)
        return {
            "to_the_living": len(readers[0].received),
            "kept_for_the_one_that_is_gone": 1000 - len(readers[0].received),
        }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edition", choices=["timescaledb", "postgresql"], default="postgresql")
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mosquitto", type=Path)
    options = parser.parse_args()
    if options.mosquitto:
        os.environ["PATH"] = f"{options.mosquitto.parent}:{os.environ['PATH']}"
    program = executable("mosquitto")
    if program is None:
        sys.exit("mosquitto is not installed")
    results: dict[str, Any] = {
        "measured": datetime.now(UTC).date().isoformat(),
        **machine(),
        "broker": version(program),
        "edition": options.edition,
        "rate": options.rate,
        "mosquitto_alone": without_takeover(),
    }
    for signal_ in (signal.SIGKILL, signal.SIGSTOP):
        results[signal_.name] = []
        for _ in range(options.rounds):
            results[signal_.name].append(lose_collector(options.edition, signal_, options.rate, options.seconds))
            print(signal_.name, results[signal_.name][-1], file=sys.stderr, flush=True)
    print(json.dumps(results, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "broker_share.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
