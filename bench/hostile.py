"""Benchmark: collector and HTTP interface under hostile traffic; memory, delay of honest sensors, accounts.

    python bench/hostile.py [--minutes 10] [--rate 500] [--edition timescaledb] [--seed 1]

100 honest thermometers publish a reading per second each. At the same time one malicious login publishes RATE messages
per second: mutations of the samples of every format, messages of invented devices, of units and quantities that were
never seen before (up to 60 kB long), births of invented Sparkplug nodes, and retained messages; and an HTTP client
posts readings of invented devices and sends requests with invented methods, paths, cursors and tokens. Reported: the
resident memory of collector and HTTP interface at the end against that after the first minute, the delay of the honest
readings from publish to SQL, whether both processes live, and whether the accounts balance. The exit status is 1 if
memory grew by more than a tenth after the first minute, the 99th percentile of the delay exceeds a second, a process
ended, or the accounts don't balance. Everything stays on 127.0.0.1. Results: bench/results/hostile-EDITION.json.
"""

import argparse
import http.client
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import paho.mqtt.client as mqtt
import psutil
import psycopg
from fuzz import Sample, registry_of, samples
from mutate import Mutator
from rig import SENSORS, Rig, machine, registry, start_rig

from collector.formats.sparkplug.payload import Payload
from local_services.access_server import LocalAccess

RESULTS = Path(__file__).parent / "results"
WARM_UP = 60.0
"""Seconds after which memory must be flat."""
LARGEST_GROWTH = 1.1
LARGEST_DELAY = 1.0
"""Seconds; the 99th percentile."""


def mixed_registry(collected: list[Sample]) -> bytes:
    """Return a registry of the honest sensors and of patterns for the samples' topics, which discover devices."""
    honest, hostile = orjson.loads(registry()), orjson.loads(registry_of(collected))
    return orjson.dumps(
        {
            "subscribe": ["#"],
            "types": {**hostile["types"], **honest["types"]},
            "sensors": [*honest["sensors"], *hostile["sensors"]],
        }
    )


def client(environment: dict[str, str]) -> mqtt.Client:
    """Return a connected publisher."""
    publisher = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
    publisher.username_pw_set(environment["MQTT_USERNAME"], environment["MQTT_PASSWORD"])
    publisher.connect(environment["MQTT_HOST"], int(environment["MQTT_PORT"]))
    publisher.loop_start()
    return publisher


class Honest(threading.Thread):
    """Publishes SENSORS readings per second; the time of each is the moment of its publication."""

    def __init__(self, environment: dict[str, str], stopped: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client, self._stopped = client(environment), stopped
        self.published: dict[tuple[str, int], float] = {}
        """Moment of publication, by sensor and by time in milliseconds since 1970."""

    def run(self) -> None:
        """Publish until stopped."""
        begin = time.time()
        number = 0
        while not self._stopped.wait(max(0.0, begin + number / SENSORS - time.time())):
            sensor, now = f"t{number % SENSORS}", time.time()
            milliseconds = int(now * 1000)
            text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
            self.published[sensor, milliseconds] = now
            self._client.publish(f"bench/{sensor}", json.dumps({"timestamp": text, "temperature": 20.5}), qos=1)
            number += 1


class Hostile(threading.Thread):
    """One malicious login."""

    def __init__(self, environment: dict[str, str], rate: int, seed: int, stopped: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client, self._rate, self._stopped = client(environment), rate, stopped
        self._samples = samples()
        self._mutator, self._random = Mutator(seed, self._samples), random.Random(seed)
        self.count = 0

    def run(self) -> None:
        """Publish until stopped."""
        begin = time.time()
        while not self._stopped.wait(max(0.0, begin + self.count / self._rate - time.time())):
            topic, payload, retained = self._message()
            try:
                self._client.publish(topic, payload, qos=1, retain=retained)
            except ValueError:  # no topic by the protocol's rules
                continue
            self.count += 1

    def _message(self) -> tuple[str, bytes, bool]:
        choice, name = self._random.random(), f"{self._random.getrandbits(48):x}"
        sample = self._random.choice(self._samples)
        if choice < 0.6:
            mutated = self._mutator.message(sample, 0)
            return mutated.topic, mutated.payload, mutated.retained
        if choice < 0.75:  # an invented device of a pattern
            first, *rest = sample.topic.split("/")
            return "/".join([first, name, *rest[1:]]), sample.payload, False
        if choice < 0.9:  # a unit and a quantity that nobody has seen
            text = name * self._random.choice((1, 10, 5_000))
            item = {"timestamp": datetime.now(UTC).isoformat(), "temperature": 1, "unit": text, text: 1}
            return f"bench/t{self._random.randrange(SENSORS)}", orjson.dumps(item), False
        if choice < 0.98:
            return f"spBv1.0/g{name}/NBIRTH/n{name}", birth(name, self._random.choice((1, 50, 2_000))), False
        return f"hostile/{self._random.randrange(40)}", name.encode() * 1_000, True


def birth(name: str, metrics: int) -> bytes:
    """Return the birth of an invented Sparkplug node."""
    payload = Payload(timestamp=int(time.time() * 1000), seq=0)
    payload.metrics.add(name="bdSeq", long_value=1, datatype=4)
    for number in range(metrics):
        payload.metrics.add(name=f"{name}/{number}", alias=number, datatype=9, float_value=1.5)
    wire: bytes = payload.SerializeToString()
    return wire


class HostileHttp(threading.Thread):
    """A client of the HTTP interface that has a token and abuses it."""

    def __init__(self, access: LocalAccess, seed: int, stopped: threading.Event) -> None:
        super().__init__(daemon=True)
        self._access, self._random, self._stopped = access, random.Random(seed), stopped
        self.statuses: dict[int, int] = {}

    def run(self) -> None:
        """Send requests until stopped."""
        while not self._stopped.wait(0.02):
            method, path, body, token = self._request()
            connection = http.client.HTTPConnection("127.0.0.1", self._access.port, timeout=10)
            try:
                headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
                connection.request(method, path, body, headers)
                status = connection.getresponse().status
            except (OSError, http.client.HTTPException):
                status = 0
            finally:
                connection.close()
            self.statuses[status] = self.statuses.get(status, 0) + 1

    def _request(self) -> tuple[str, str, bytes | None, str]:
        name, choice, token = f"{self._random.getrandbits(64):x}", self._random.random(), self._access.token
        if choice < 0.3:
            items = [
                {"device_id": f"{name}{number}", "timestamp": "2026-03-01T12:00:00Z", "temperature": 1}
                for number in range(100)
            ]
            return "POST", "/readings", orjson.dumps(items), token
        if choice < 0.5:
            return name.upper(), f"/{name}", None, token
        if choice < 0.8:
            return "GET", f"/readings?cursor={name}&sensor_id={name}%00", None, token
        return "GET", "/readings", None, name


class Delays(threading.Thread):
    """Watches the database for honest readings."""

    def __init__(self, connection: psycopg.Connection[Any], honest: Honest, stopped: threading.Event) -> None:
        super().__init__(daemon=True)
        self._connection, self._honest, self._stopped = connection, honest, stopped
        self.delays: list[float] = []
        self._seen: set[tuple[str, int]] = set()

    def run(self) -> None:
        """Look until stopped."""
        while not self._stopped.wait(0.05):
            self.look()

    def look(self) -> None:
        """Note the readings that are visible for the first time."""
        rows = self._connection.execute(
            "select s.sensor_id, (extract(epoch from r.time) * 1000)::bigint from telemetry.reading as r"
            " inner join telemetry.series as s using (series_id)"
            " where r.time > now() - interval '15 seconds' and s.sensor_id ~ '^t[0-9]+$'"
        ).fetchall()
        now = time.time()
        for row in rows:
            published = None if row in self._seen else self._honest.published.get(row)
            if published is not None:
                self._seen.add(row)
                self.delays.append(now - published)


@contextmanager
def access_server(rig: Rig) -> Iterator[tuple[LocalAccess, subprocess.Popen[bytes]]]:
    """Run ``access serve`` until the block ends."""
    access = LocalAccess.prepare(rig.directory, rig.environment)
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "access"), "serve"],
        env={**rig.environment, **access.settings, "ACCESS_PUBLISH_TOPIC": "a/{device_id}"},
        cwd=rig.directory,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not access.is_ready():
            time.sleep(0.2)
        yield access, process
    finally:
        process.terminate()
        process.wait(60)


def percentile(values: list[float], share: float) -> float:
    """Return the smallest of ``values`` that is at least as large as ``share`` of them."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("inf")


def watch_memory(processes: dict[str, int], seconds: float) -> dict[str, list[float]]:
    """Return the resident memory of processes in MB, once per second."""
    memory: dict[str, list[float]] = {name: [] for name in processes}
    begin = time.time()
    while (elapsed := time.time() - begin) < seconds:
        for name, pid in processes.items():
            with_children = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            memory[name].append(sum(process.memory_info().rss for process in with_children) / 1e6)
        if int(elapsed) % 30 == 0:
            sizes = ", ".join(f"{name} {values[-1]:.0f} MB" for name, values in memory.items())
            print(f"{elapsed:.0f} of {seconds:.0f} s: {sizes}", file=sys.stderr, flush=True)
        time.sleep(1)
    return memory


def summary(values: list[float]) -> dict[str, float]:
    """Return the memory after the first minute and at the end, each the largest of ten seconds."""
    warm = max(values[int(WARM_UP) - 10 : int(WARM_UP)] or values)
    last = max(values[-10:])
    return {"after_a_minute": round(warm, 1), "at_the_end": round(last, 1), "growth": round(last / warm, 3)}


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--edition", default="timescaledb")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    stopped = threading.Event()
    with start_rig(options.edition) as rig:
        Path(rig.environment["COLLECTOR_REGISTRY"]).write_bytes(mixed_registry(samples()))
        with rig.collector() as collector, access_server(rig) as (access, server):
            honest = Honest(rig.environment, stopped)
            hostile = Hostile(rig.environment, options.rate, options.seed, stopped)
            requests = HostileHttp(access, options.seed, stopped)
            delays = Delays(rig.connect(), honest, stopped)
            threads = (honest, hostile, requests, delays)
            for thread in threads:
                thread.start()
            memory = watch_memory({"collector": collector.pid, "access": server.pid}, options.minutes * 60)
            stopped.set()
            for thread in threads:
                thread.join(30)
            time.sleep(5)
            delays.look()
            alive = {"collector": collector.poll() is None, "access": server.poll() is None}
        with rig.connect() as connection:
            balanced, messages = (
                connection.execute("select balanced, messages from telemetry.accounting").fetchone() or ()
            )
            quarantine = dict(
                connection.execute(
                    "select reason, count(*) from telemetry.quarantine group by 1 order by 2 desc"
                ).fetchall()
            )
    report = {
        "about": {**machine(), "measured": datetime.now(UTC).date().isoformat(), **vars(options)},
        "hostile_messages": hostile.count,
        "messages": int(messages),
        "http_statuses": {str(status): number for status, number in sorted(requests.statuses.items())},
        "honest_readings": len(honest.published),
        "honest_not_stored": len(honest.published) - len(delays.delays),
        "delay_seconds": {
            name: round(percentile(delays.delays, share), 3)
            for name, share in (("p50", 0.5), ("p99", 0.99), ("largest", 1.0))
        },
        "memory_megabytes": {name: summary(values) for name, values in memory.items()},
        "alive": alive,
        "balanced": balanced,
        "quarantine_rows": quarantine,
    }
    text = json.dumps(report, indent=2)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"hostile-{options.edition}.json").write_text(text + "\n")
    flat = all(summary(values)["growth"] <= LARGEST_GROWTH for values in memory.values())
    is_prompt = percentile(delays.delays, 0.99) <= LARGEST_DELAY and report["honest_not_stored"] == 0
    return 0 if flat and is_prompt and all(alive.values()) and balanced else 1


if __name__ == "__main__":
    sys.exit(main())
