"""Shared by the benchmarks: database, broker, collector, prepared messages, and a plain paho-mqtt subscriber."""

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import psycopg

from local_services.broker import BrokerSettings, LocalBroker
from local_services.database_server import LocalServer
from timescale import migrate

SENSORS = 100
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def registry() -> bytes:
    """Return a registry of SENSORS thermometers, one topic each."""
    return json.dumps(
        {
            "subscribe": ["bench/#"],
            "types": {"thermometer": {"quantities": {"temperature": {"unit": "Cel", "interval_seconds": 1}}}},
            "sensors": [
                {"sensor_id": f"t{n}", "type": "thermometer", "site": "bench", "area": "a", "topic": f"bench/t{n}"}
                for n in range(SENSORS)
            ],
        }
    ).encode()


def instants(begin: datetime, count: int) -> Iterator[tuple[int, str]]:
    """Yield (sensor, ISO 8601 time with milliseconds) for ``count`` readings, SENSORS per second."""
    for index in range(count):
        second, sensor = divmod(index, SENSORS)
        instant = begin + timedelta(seconds=second, milliseconds=sensor)
        yield sensor, instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def single_messages(begin: datetime, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield ``count`` messages of one reading each, as the device types of the registry send them."""
    for index, (sensor, instant) in enumerate(instants(begin, count)):
        value = 15 + index % 1000 / 100
        yield (
            f"bench/t{sensor}",
            f'{{"device_id":"t{sensor}","timestamp":"{instant}","temperature":{value},"tag":"Thermometer"}}'.encode(),
        )


def batch_messages(begin: datetime, count: int, size: int = 50) -> Iterator[tuple[str, bytes]]:
    """Yield ``count`` messages of ``size`` readings each."""
    for index in range(count):
        block, sensor = divmod(index, SENSORS)
        first = begin + timedelta(seconds=block * size)
        items = ",".join(
            f'{{"timestamp":"{(first + timedelta(seconds=k)):%Y-%m-%dT%H:%M:%SZ}","temperature":{15 + k / 10}}}'
            for k in range(size)
        )
        yield f"bench/t{sensor}", f"[{items}]".encode()


@dataclass
class Rig:
    """Running servers and their settings."""

    server: LocalServer
    broker: LocalBroker
    environment: dict[str, str]
    directory: Path

    def connect(self) -> psycopg.Connection[Any]:
        """Return a connection to the database."""
        environment = self.environment
        return psycopg.connect(
            host=environment["PGHOST"],
            port=environment["PGPORT"],
            user=environment["PGUSER"],
            password=environment["PGPASSWORD"],
            dbname=environment["PGDATABASE"],
            autocommit=True,
        )

    def create_ceiling(self, connection: psycopg.Connection[Any]) -> None:
        """Create the schema ``ceiling`` with a table like telemetry.reading, for a plain COPY."""
        connection.execute("create schema ceiling")
        connection.execute(
            "create table ceiling.reading (time timestamptz not null, series_id integer not null, "
            "value double precision not null, received_at timestamptz not null, primary key (series_id, time))"
        )
        if self.server.edition == "timescaledb":
            connection.execute(
                "select public.create_hypertable('ceiling.reading', public.by_range('time', interval '1 day'), "
                "create_default_indexes => false)"
            )

    @contextmanager
    def collector(self, **settings: str) -> Iterator[subprocess.Popen[str]]:
        """Run ``collector run`` until the block ends; enters it when the collector has subscribed."""
        environment = {**self.environment, "COLLECTOR_CLIENT_ID": f"bench-{time.time_ns()}", **settings}
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "collector"), "run"], env=environment, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr
        for line in process.stderr:
            if '"subscribed"' in line:
                break
        rest: list[str] = []
        drain = threading.Thread(target=lambda: rest.extend(process.stderr or ()), daemon=True)
        drain.start()
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)
            forget_session(environment)


def forget_session(environment: Mapping[str, str]) -> None:
    """End the session of a collector: otherwise the broker keeps queueing for it and slows down with every round."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, environment["COLLECTOR_CLIENT_ID"], protocol=mqtt.MQTTv311)
    client.username_pw_set(environment["MQTT_USERNAME"], environment["MQTT_PASSWORD"])
    client.on_connect = lambda *_: client.disconnect()
    client.connect(environment["MQTT_HOST"], int(environment["MQTT_PORT"]))
    client.loop_forever()


@contextmanager
def start_rig(edition: str, broker: str = "auto", settings: BrokerSettings | None = None) -> Iterator[Rig]:
    """Start a migrated database and a broker in a temporary directory with the registry."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="warehouse-bench-")))
        directory.chmod(0o755)
        server = LocalServer(directory / "postgres", edition=edition, port=0)  # type: ignore[arg-type]
        server.start()
        stack.callback(server.stop)
        local = LocalBroker(directory / "broker", kind=broker, settings=settings)  # type: ignore[arg-type]
        local.start()
        stack.callback(local.stop)
        path = directory / "sensors.json"
        path.write_bytes(registry())
        environment = {
            **os.environ,
            **server.environment(),
            **local.environment(),
            "COLLECTOR_REGISTRY": str(path),
        }
        os.environ.update(server.environment())
        migrate.migrate()
        yield Rig(server, local, environment, directory)


def wait_for(connection: psycopg.Connection[Any], readings: int, timeout: float = 300) -> None:
    """Wait until ``readings`` readings in total are committed."""
    deadline = time.monotonic() + timeout
    while True:
        row = connection.execute("select coalesce(sum(readings), 0) from telemetry.intake").fetchone()
        assert row
        if row[0] >= readings:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{row[0]} of {readings} readings after {timeout} s")
        time.sleep(0.02)


_STOCK = """
import os, sys, time
import paho.mqtt.client as mqtt
host, port, user, password = (os.environ["MQTT_" + name] for name in ("HOST", "PORT", "USERNAME", "PASSWORD"))
expected, received = int(sys.argv[1]), 0
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "stock-%d" % time.time_ns(), protocol=mqtt.MQTTv311)
client.username_pw_set(user, password)
def on_message(client, userdata, message):
    global received
    received += 1
    if received == expected:
        print(time.time(), flush=True)
client.on_connect = lambda client, *rest: client.subscribe("bench/#", 1)
client.on_subscribe = lambda *rest: print("ready", flush=True)
client.on_message = on_message
client.connect(host, int(port))
client.loop_forever()
"""


@contextmanager
def stock_subscriber(environment: Mapping[str, str], expected: int) -> Iterator[subprocess.Popen[str]]:
    """Run a paho-mqtt subscriber as in its documentation, which discards what it receives.

    It prints the time (seconds since 1970) at which it has received ``expected`` messages.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _STOCK, str(expected)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def machine() -> dict[str, str]:
    """Return the description of the machine for the results."""
    return {"cores": str(os.cpu_count()), "machine": platform.machine(), "python": platform.python_version()}
