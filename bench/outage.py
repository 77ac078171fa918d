"""Benchmark: means per minute after an outage of the collector, against the truth.

    python bench/outage.py [--minutes 10] [--nodes 20] [--interval 10] [--edition postgresql]

ESPHome nodes publish a number without a time every INTERVAL seconds, a sine of the minute. `collector archive` runs all
the time; `collector run` is stopped for MINUTES. Reported, for the minutes of the outage: the means that are missing or
differ from those of the published values, after the reconnect and after `collector load --arrival-unknown` of the
archive; and the same with COLLECTOR_ARRIVAL_LIMIT_SECONDS=0, which stores everything with the time of its arrival. Both
collectors run side by side, with a database each. Everything stays on 127.0.0.1. Results are written to
bench/results/outage.json.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import psycopg
from rig import machine

from local_services.broker import LocalBroker
from local_services.database_server import LocalServer

RESULTS = Path(__file__).parent / "results"
PROGRAMS = Path(sys.executable).parent
MARGIN = 40.0
"""Seconds of live traffic before and after the outage."""
Means = dict[tuple[int, int], float]
"""Mean by node and minute since 1970."""


def registry(nodes: int) -> bytes:
    """Return a registry of ``nodes`` ESPHome nodes."""
    quantities = {"temperature": {"unit": "Cel", "interval_seconds": 10}}
    return json.dumps(
        {
            "subscribe": ["esphome/#"],
            "types": {"esphome": {"format": "value", "quantities": quantities}},
            "sensors": [
                {
                    "sensor_id": f"n{node}",
                    "type": "esphome",
                    "site": "bench",
                    "area": "a",
                    "topic": f"esphome/n{node}/sensor/{{quantity}}/state",
                }
                for node in range(nodes)
            ],
        }
    ).encode()


class Side:
    """A collector and its database."""

    def __init__(self, stack: ExitStack, directory: Path, edition: Any, environment: dict[str, str]) -> None:
        server = LocalServer(directory, edition=edition, port=0)
        server.start()
        stack.callback(server.stop)
        self.environment = {**environment, **server.environment(), "COLLECTOR_CLIENT_ID": f"bench-{directory.name}"}
        self.run("timescale", "migrate")

    def run(self, program: str, *arguments: str) -> str:
        """Run a command that ends; return its output."""
        command = [str(PROGRAMS / program), *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        e = self.environment
        login = {"host": e["PGHOST"], "port": e["PGPORT"], "user": e["PGUSER"], "password": e["PGPASSWORD"]}
        with psycopg.connect(**login, dbname=e["PGDATABASE"]) as connection:  # type: ignore[arg-type]
            return connection.execute(text).fetchall()  # type: ignore[arg-type]

    def means(self) -> Means:
        """Return the means per minute."""
        rows = self.query(
            "select substr(s.sensor_id, 2)::int, floor(extract(epoch from r.time) / 60)::int, avg(r.value)"
            " from telemetry.reading as r inner join telemetry.series as s using (series_id) group by 1, 2"
        )
        return {(node, minute): mean for node, minute, mean in rows}


def start(environment: dict[str, str], *command: str) -> subprocess.Popen[bytes]:
    """Start a program that runs until it is stopped."""
    return subprocess.Popen([str(PROGRAMS / "collector"), *command], env=environment, stderr=subprocess.DEVNULL)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a program in an orderly way."""
    process.terminate()
    process.wait(60)


class Nodes:
    """The nodes and the truth."""

    def __init__(self, environment: dict[str, str], nodes: int, interval: float) -> None:
        self.published: dict[tuple[int, int], list[float]] = defaultdict(list)
        self._nodes, self._interval = nodes, interval
        self._client = client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        client.username_pw_set(environment["MQTT_USERNAME"], environment["MQTT_PASSWORD"])
        client.connect(environment["MQTT_HOST"], int(environment["MQTT_PORT"]))
        client.loop_start()
        self._next = time.time()

    def publish_for(self, seconds: float) -> None:
        """Publish for ``seconds``, each node every interval."""
        end = time.time() + seconds
        step = self._interval / self._nodes
        node = 0
        while self._next < end:
            time.sleep(max(0.0, self._next - time.time()))
            now = time.time()
            value = round(20 + 5 * math.sin(now / 60) + node, 3)
            if 0.5 < now % 60 < 59.5:
                self._client.publish(f"esphome/n{node}/sensor/temperature/state", str(value), qos=1)
                self.published[node, int(now // 60)].append(value)
            node = (node + 1) % self._nodes
            self._next += step


def compare(means: Means, truth: Means, minutes: range) -> dict[str, Any]:
    """Compare ``means`` with the ``truth`` in ``minutes``."""
    expected = {key: mean for key, mean in truth.items() if key[1] in minutes}
    errors = [abs(means[key] - mean) for key, mean in expected.items() if key in means]
    return {
        "means": len(expected),
        "missing": len(expected) - len(errors),
        "wrong": sum(error > 1e-6 for error in errors),
        "largest_error": round(max(errors, default=0.0), 3),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--interval", type=float, default=10)
    parser.add_argument("--edition", default="postgresql")
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="warehouse-bench-")))
        directory.chmod(0o755)
        broker = stack.enter_context(LocalBroker(directory / "broker"))
        (directory / "sensors.json").write_bytes(registry(options.nodes))
        environment = {
            **os.environ,
            **broker.environment(),
            "COLLECTOR_REGISTRY": str(directory / "sensors.json"),
            "ARCHIVE_DIRECTORY": str(directory / "archive"),
        }
        limited = Side(stack, directory / "limited", options.edition, environment)
        unlimited = Side(stack, directory / "unlimited", options.edition, environment)
        unlimited.environment["COLLECTOR_ARRIVAL_LIMIT_SECONDS"] = "0"
        archiver = start(limited.environment, "archive")
        collectors = [start(side.environment, "run") for side in (limited, unlimited)]
        time.sleep(10)
        nodes = Nodes(environment, options.nodes, options.interval)
        nodes.publish_for(MARGIN)
        for collector in collectors:
            stop(collector)
        begin = time.time()
        nodes.publish_for(options.minutes * 60)
        minutes = range(int(begin // 60), int(time.time() // 60) + 1)
        collectors = [start(side.environment, "run") for side in (limited, unlimited)]
        nodes.publish_for(MARGIN)
        time.sleep(5)
        for process in (*collectors, archiver):
            stop(process)
        truth = {key: sum(values) / len(values) for key, values in nodes.published.items()}
        report: dict[str, Any] = {
            "measured": datetime.now(UTC).date().isoformat(),
            **machine(),
            **vars(options),
            "limit_0": compare(unlimited.means(), truth, minutes),
            "limit_30": compare(limited.means(), truth, minutes),
            "quarantined": limited.query("select count(*) from telemetry.quarantine where reason = 'arrival_unknown'")[
                0
            ][0],
        }
        limited.run("collector", "load", "--arrival-unknown", str(directory / "archive"))
        report["limit_30_archive_loaded"] = compare(limited.means(), truth, minutes)
        report["open_after_load"] = limited.query(
            "select count(*) from telemetry.quarantine where replayed_at is null"
        )[0][0]
        report["balanced"] = limited.query("select balanced from telemetry.accounting")[0][0]
    print(json.dumps(report, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "outage.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
