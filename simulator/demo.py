"""The demonstration: database, broker, collector, simulated sensors, HTTP and Airflow on this machine.

All its files are in one directory (``.local``). Each program that it starts has its own session, so that Ctrl-C reaches
only the demonstration, which then stops the programs in reverse order.
"""

import contextlib
import fcntl
import os
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from collector.registry import sensors_file as registries
from core import database
from core.database import Connection
from core.errors import WarehouseError
from local_services.access_server import LocalAccess
from local_services.airflow import LocalAirflow
from local_services.broker import LocalBroker, write_private
from local_services.child_process import Child, StoppedError
from local_services.database_server import LocalServer
from local_services.postgres_binaries import Choice
from simulator import demo_summary, runner, schedule
from simulator.payloads import message
from simulator.publisher import Publisher
from simulator.schedule import Device
from simulator.settings import load as load_settings

HISTORY_SECONDS = 24 * 3600.0
EXAMPLE = Path("docs/examples/ambient_temperature.csv")
"""A real data set, loaded if the file exists and its sensor is in the registry."""
_EXAMPLE_SENSOR = "office-1"
_LINE_SECONDS = 10.0
_TIMEOUT = 120.0
_AIRFLOW_TIMEOUT = 600.0
_REMOVED_PREFIXES = (
    "PG",
    "MQTT_",
    "COLLECTOR_",
    "TIMESCALE_",
    "QUALITY_",
    "ACCESS_",
    "ARCHIVE_",
    "AIRFLOW",
    "DBT_",
    "MARTS_",
    "CATALOG_",
)

TRY = (
    "select sensor_id, quantity, bucket, round(mean::numeric, 2) as mean from telemetry.reading_1m "
    "join telemetry.series using (series_id) order by bucket desc, sensor_id limit 10"
)


class DemoError(WarehouseError):
    """A step of the demonstration failed."""


@dataclass(frozen=True)
class Options:
    """Options of the demonstration; ``sensors`` None: those of the registry."""

    directory: Path = Path(".local")
    once: bool = False
    sensors: int | None = None
    edition: Choice = "auto"
    broker: Literal["auto", "mosquitto", "nats"] = "auto"
    airflow: bool = True
    """Whether Airflow builds and scans the marts."""


class Demo:
    """Starts all programs, prints a summary, stops all programs; ``stopped`` returns True when it must end."""

    def __init__(self, options: Options, stopped: Callable[[], bool]) -> None:
        settings = load_settings()
        self._options = options
        self._stopped = stopped
        self._seed = settings.simulator.seed
        self._directory = options.directory.absolute()
        self._registry = settings.registry.absolute()
        self._read_registry(self._registry)  # reports its mistakes before any program is started
        self._stack = contextlib.ExitStack()
        self._environment: dict[str, str] = {}

    def run(self) -> None:
        """Run all steps; raises :class:`DemoError` if a step fails or the summary has problems."""
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        start = time.monotonic()
        with self._stack:
            self._lock()
            server, broker = self._start_servers()
            devices = self._make_devices()
            starting = self._start_airflow() if self._options.airflow else None
            self._run_program("timescale", "migrate")
            collector = self._start("collector", "run")
            access, http_server = self._start_http()
            connection = self._stack.enter_context(_Closing(database.connect(application_name="demo")))
            publisher = self._stack.enter_context(Publisher(load_settings().mqtt))
            load_start = datetime.now(UTC)
            self._load_history(connection, publisher, devices, collector)
            self._load_example()
            live = self._start_live(connection, devices, collector)
            self._wait_until(access.is_ready, "the HTTP interface", http_server, pause=0.1)
            delay = demo_summary.measure_delay(connection, publisher, devices[0])
            minute = load_start.replace(second=0, microsecond=0)
            broker_name = f"{broker.kind} on 127.0.0.1:{broker.port}"
            edition = f"{server.binaries} on 127.0.0.1:{server.port}"
            result = demo_summary.summarise(connection, devices, minute, delay, edition, broker_name)
            print(f"\n{result.text()}\n\nReady after {time.monotonic() - start:.0f} s. {self._usage(server, access)}")
            if problems := result.problems():
                raise DemoError("problems in the summary: " + "; ".join(problems))
            airflow = self._build_and_scan(starting, start, live, collector, http_server) if starting else None
            if self._options.once:
                self._stop_sensors(live, collector)
                return
            print("\nRunning until Ctrl-C.", flush=True)
            self._supervise(connection, collector, live, http_server, *([airflow] if airflow else []))
            self._print_line("stopping …")
            self._stop_sensors(live, collector)

    def _lock(self) -> None:
        lock = self._stack.enter_context((self._directory / "demo.lock").open("a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DemoError(
                f"a demonstration already runs in {self._directory}: stop it with Ctrl-C, or use another --directory"
            ) from error

    def _start_servers(self) -> tuple[LocalServer, LocalBroker]:
        server = LocalServer(self._directory / "postgres", self._options.edition)
        self._print_line(f"database: {server.binaries} …")
        server.start()
        self._stack.callback(server.stop)
        broker = LocalBroker(self._directory / "broker", self._options.broker, port=1883)
        broker.start()
        self._stack.callback(broker.stop)
        self._print_line(f"database on 127.0.0.1:{server.port}, {broker.kind} on 127.0.0.1:{broker.port}")
        local = {**server.environment(), **broker.environment()}
        self._write_environment(local)
        # Settings of the user's real database and broker must not affect the demonstration.
        unrelated = {name: value for name, value in os.environ.items() if not name.startswith(_REMOVED_PREFIXES)}
        self._environment = {**unrelated, **local, "COLLECTOR_REGISTRY": str(self._registry)}
        os.environ.clear()
        os.environ.update(self._environment)
        return server, broker

    def _write_environment(self, variables: Mapping[str, str]) -> None:
        """Write ``variables`` to the file ``env``, for shells."""
        lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        write_private(self._directory / "env", lines)

    def _start_http(self) -> tuple[LocalAccess, Child]:
        """Start the HTTP interface, and write its URL and a token to the file ``env``."""
        access = LocalAccess.prepare(self._directory, self._environment)
        servers = {name: value for name, value in self._environment.items() if name.startswith(("PG", "MQTT_"))}
        self._write_environment({**servers, **access.variables})
        self._environment |= access.settings
        return access, self._start("access", "serve")

    def _start_airflow(self) -> Future[LocalAirflow]:
        """Start Airflow in a thread, because it takes as long as all other steps; it cannot run tasks yet."""
        # Its DAGs must only work on the archive of the demonstration, whatever a .env says.
        environment = {**self._environment, "ARCHIVE_DIRECTORY": str(self._directory / "archive")}
        ended = threading.Event()
        airflow = LocalAirflow(
            self._directory / "airflow", environment, stopped=lambda: self._stopped() or ended.is_set()
        )
        self._stack.callback(airflow.stop)
        starter = self._stack.enter_context(ThreadPoolExecutor(1))
        self._stack.callback(ended.set)

        def start() -> LocalAirflow:
            airflow.start()
            return airflow

        return starter.submit(start)

    def _build_and_scan(self, starting: Future[LocalAirflow], start: float, *children: Child) -> LocalAirflow:
        """Build the marts and scan all contracts with Airflow, and return it; raises if a run fails."""
        print(flush=True)
        self._print_line("Airflow …")
        airflow = self._wait_for_airflow(starting, *children)
        self._print_line(f"Airflow on {airflow.url}; building the marts …")
        airflow.create_pools()
        build = airflow.trigger("build_marts")
        self._require_success(airflow, "build_marts", build, *children)
        self._require_success(
            airflow, "scan_quality", airflow.run_triggered_by(build, "scan_quality", _AIRFLOW_TIMEOUT), *children
        )
        print(f"\n{airflow.usage()}\n\nEverything is up after {time.monotonic() - start:.0f} s.", flush=True)
        return airflow

    def _wait_for_airflow(self, starting: Future[LocalAirflow], *children: Child) -> LocalAirflow:
        while not starting.done():
            for child in children:
                child.check()
            time.sleep(0.1)
        return starting.result()

    def _require_success(self, airflow: LocalAirflow, dag: str, run: str, *children: Child) -> None:
        failed = airflow.wait_for_run(dag, run, _AIRFLOW_TIMEOUT, *children)
        self._print_line(f"{dag}: {'failed: ' + ', '.join(failed) if failed else 'succeeded'}")
        if failed:
            raise DemoError(f"{dag} failed: {', '.join(failed)}; see {airflow.url}/dags/{dag}")

    def _read_registry(self, path: Path) -> list[Device]:
        sensors = schedule.select_sensors(registries.load(path), None, [])
        return schedule.make_devices(sensors, self._seed, None)

    def _make_devices(self) -> list[Device]:
        """Return the simulated devices; for a given number of sensors, generate a registry for them."""
        if self._options.sensors is not None:
            text = schedule.enlarge_registry(self._registry.read_bytes(), self._options.sensors, str(self._registry))
            self._registry = self._directory / "sensors.json"
            self._registry.write_text(text)
            self._environment["COLLECTOR_REGISTRY"] = os.environ["COLLECTOR_REGISTRY"] = str(self._registry)
        return self._read_registry(self._registry)

    def _load_history(
        self, connection: Connection, publisher: Publisher, devices: list[Device], collector: Child
    ) -> None:
        """Publish a day of history and wait until SQL returns it."""
        # A broker drops messages without subscribers: publish one reading repeatedly until it is stored. The collector
        # ignores duplicates.
        first = devices[0].sample(round(time.time() * 1000) / 1000)
        probe = message([first])

        def collector_is_connected() -> bool:
            publisher.publish(probe.topic, probe.payload, self._stopped)
            publisher.drain(5)
            return demo_summary.stored(connection, devices[0], first.seconds)

        self._wait_until(collector_is_connected, "the collector", collector, pause=0.1)
        self._print_line(f"24 h of history of {len(devices)} sensors …")
        end, step = time.time(), 60.0
        plan = runner.Plan(
            devices=devices, history=HISTORY_SECONDS, history_interval=step, duration=0.0, seed=self._seed
        )
        runner.run(plan, load_settings(), self._stopped)
        last = list(schedule.history(devices, end - step, end, step))[-len(devices) :]
        self._wait_until(
            lambda: all(
                demo_summary.stored(connection, device, sample.seconds)
                for device, sample in zip(devices, last, strict=True)
            ),
            "the history in SQL", collector,
        )  # fmt: skip

    def _load_example(self) -> None:
        known = {sensor.sensor_id for sensor in registries.load(self._registry).sensors}
        if not EXAMPLE.exists() or _EXAMPLE_SENSOR not in known:
            return
        self._print_line(f"loading {EXAMPLE} …")
        path = str(EXAMPLE.absolute())
        self._run_program("collector", "load", path, "--sensor", _EXAMPLE_SENSOR, "--column", "temperature=value")

    def _start_live(self, connection: Connection, devices: list[Device], collector: Child) -> Child:
        """Start the simulator and return it when SQL returns a live reading of each sensor."""
        self._print_line("live readings …")
        # Not earlier: readings of the history may be more recent than its start, and would count as live.
        since = datetime.now(UTC)
        live = self._start("simulator", "run", *self._live_options(devices))
        self._wait_until(
            lambda: self._has_live_readings(connection, devices, since),
            "live readings of every sensor",
            collector,
            live,
        )
        return live

    def _has_live_readings(self, connection: Connection, devices: list[Device], since: datetime) -> bool:
        row = connection.execute(
            "select count(distinct series_id) from telemetry.reading where time >= %s", (since,)
        ).fetchone()
        return row is not None and row[0] >= sum(len(device.signals) for device in devices)

    def _supervise(self, connection: Connection, *children: Child | LocalAirflow) -> None:
        """Print a line every few seconds until ``stopped``; raises if one of ``children`` ends."""
        before = demo_summary.accounts(connection)
        while True:
            end = time.monotonic() + _LINE_SECONDS
            while time.monotonic() < end:
                if self._stopped():
                    return
                for child in children:
                    child.check()
                time.sleep(0.1)
            now = demo_summary.accounts(connection)
            rate = (now.stored - before.stored) / _LINE_SECONDS
            state = "balanced" if now.balanced else "NOT BALANCED"
            self._print_line(f"{now.stored:,} readings stored, {rate:,.1f} per second; accounts {state}")
            before = now

    def _stop_sensors(self, live: Child, collector: Child) -> None:
        """Stop the simulator, then the collector, which first writes all received messages."""
        for child in (live, collector):
            if status := child.stop():
                raise DemoError(f"{child.name} ended with status {status}; see {self._directory}/{child.name}.log")

    def _wait_until(self, condition: Callable[[], bool], awaited: str, *children: Child, pause: float = 0.05) -> None:
        deadline = time.monotonic() + _TIMEOUT
        while not condition():
            if self._stopped():
                raise StoppedError
            for child in children:
                child.check()
            if time.monotonic() > deadline:
                raise DemoError(
                    f"timeout of {_TIMEOUT:g} s while waiting for {awaited}; the logs are in {self._directory}"
                )
            time.sleep(pause)

    def _start(self, name: str, *arguments: str) -> Child:
        child = Child(name, list(arguments), self._environment, self._directory / f"{name}.log")
        self._stack.callback(child.stop)
        return child

    def _run_program(self, name: str, *arguments: str) -> None:
        self._start_named(name, *arguments).wait(self._stopped)

    def _start_named(self, name: str, *arguments: str) -> Child:
        child = Child(name, list(arguments), self._environment, self._directory / f"{name}-{arguments[0]}.log")
        self._stack.callback(child.stop)
        return child

    def _live_options(self, devices: list[Device]) -> list[str]:
        options = [] if self._options.sensors is None else ["--sensors", str(self._options.sensors)]
        # A demonstration must be short: slow sensors send every second here.
        is_slow = max(device.interval for device in devices) > _LINE_SECONDS
        return [*options, *(["--rate", "1"] if is_slow else [])]

    def _usage(self, server: LocalServer, access: LocalAccess) -> str:
        """Return an example query with the system's psql, the bundled one, or Python."""
        path = self._directory / "env"
        environment = shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))
        bundled = server.binaries.bin_dir / "psql"
        psql = "psql" if shutil.which("psql") else shlex.quote(str(bundled)) if bundled.exists() else None
        if psql:
            command = f'{psql} -c "{TRY}"'
        else:
            code = f'import psycopg; print(*psycopg.connect().execute("{TRY}"), sep="\\n")'
            command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}"
        return f"Try:\n\n  . {environment} && {command}\n\n{access.usage(environment)}"

    def _print_line(self, line: str) -> None:
        print(f"{datetime.now(UTC):%H:%M:%S}  {line}", flush=True)


class _Closing:
    """Closes a connection without the commit of psycopg's context manager, which fails if the server has ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def run(options: Options, stopped: Callable[[], bool]) -> None:
    """Run the demonstration until its end or ``stopped``; no process remains."""
    with contextlib.suppress(StoppedError):
        Demo(options, stopped).run()
        return
    if options.once:
        raise DemoError("stopped before the end")
