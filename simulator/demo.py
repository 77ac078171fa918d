"""The demonstration: database, broker, collector, sensors, HTTP and Airflow on this machine, and what SQL sees of it.

Everything it makes is under one directory (``.local``). Each program it starts is in a session of its own, so that
Ctrl-C reaches only the demonstration, which then ends them in reverse order.
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
from simulator.schedule import Player
from simulator.settings import load as load_settings

HISTORY_SECONDS = 24 * 3600.0
EXAMPLE = Path("docs/examples/ambient_temperature.csv")
"""A real data set, loaded if it is there and its sensor is in the registry."""
_EXAMPLE_SENSOR = "office-1"
_LINE_SECONDS = 10.0
_PATIENCE = 120.0
_AIRFLOW_PATIENCE = 600.0
_OWN_SETTINGS = (
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
    """A step of the demonstration did not work."""


@dataclass(frozen=True)
class Options:
    """How to demonstrate. ``sensors`` None: those of the registry."""

    directory: Path = Path(".local")
    once: bool = False
    sensors: int | None = None
    edition: Choice = "auto"
    broker: Literal["auto", "mosquitto", "nats"] = "auto"
    airflow: bool = True
    """Whether the marts are built and scanned as well, by Airflow."""


class Demo:
    """Starts everything, shows it, ends everything; ``stopped`` tells when somebody wants it to end."""

    def __init__(self, options: Options, stopped: Callable[[], bool]) -> None:
        settings = load_settings()
        self._options = options
        self._stopped = stopped
        self._seed = settings.simulator.seed
        self._directory = options.directory.absolute()
        self._registry = settings.registry.absolute()
        self._read_registry(self._registry)  # mistakes in it are to be told before anything is started
        self._stack = contextlib.ExitStack()
        self._environment: dict[str, str] = {}

    def run(self) -> None:
        """Demonstrate; raises :class:`DemoError` where a step failed or the summary is not as it should be."""
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        begin = time.monotonic()
        with self._stack:
            self._lock()
            server, broker = self._start_servers()
            players = self._players()
            starting = self._begin_airflow() if self._options.airflow else None
            self._call("timescale", "migrate")
            collector = self._start("collector", "run")
            access, serving = self._serve()
            connection = self._stack.enter_context(_Closing(database.connect(application_name="demo")))
            publisher = self._stack.enter_context(Publisher(load_settings().mqtt))
            begin_filling = datetime.now(UTC)
            self._fill(connection, publisher, players, collector)
            self._load_example()
            live = self._go_live(connection, players, collector)
            self._until(access.is_ready, "the HTTP interface", serving, pause=0.1)
            delay = demo_summary.measure_delay(connection, publisher, players[0])
            minute = begin_filling.replace(second=0, microsecond=0)
            where = f"{broker.kind} on 127.0.0.1:{broker.port}"
            edition = f"{server.binaries} on 127.0.0.1:{server.port}"
            result = demo_summary.summarise(connection, players, minute, delay, edition, where)
            print(
                f"\n{result.text()}\n\nReady after {time.monotonic() - begin:.0f} s. {self._invitation(server, access)}"
            )
            if complaints := result.complaints():
                raise DemoError("not as it should be: " + "; ".join(complaints))
            airflow = self._build_and_scan(starting, begin, live, collector, serving) if starting else None
            if self._options.once:
                self._end(live, collector)
                return
            print("\nRunning until Ctrl-C.", flush=True)
            self._watch(connection, collector, live, serving, *([airflow] if airflow else []))
            self._say("ending …")
            self._end(live, collector)

    def _lock(self) -> None:
        lock = self._stack.enter_context((self._directory / "demo.lock").open("a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DemoError(
                f"a demonstration already runs in {self._directory}: end it with Ctrl-C, or use another --directory"
            ) from error

    def _start_servers(self) -> tuple[LocalServer, LocalBroker]:
        server = LocalServer(self._directory / "postgres", self._options.edition)
        self._say(f"database: {server.binaries} …")
        server.start()
        self._stack.callback(server.stop)
        broker = LocalBroker(self._directory / "broker", self._options.broker, port=1883)
        broker.start()
        self._stack.callback(broker.stop)
        self._say(f"database on 127.0.0.1:{server.port}, {broker.kind} on 127.0.0.1:{broker.port}")
        own = {**server.environment(), **broker.environment()}
        self._leave(own)
        # What the user has set for the real database and broker must not reach this one.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_SETTINGS)}
        self._environment = {**kept, **own, "COLLECTOR_REGISTRY": str(self._registry)}
        os.environ.clear()
        os.environ.update(self._environment)
        return server, broker

    def _leave(self, variables: Mapping[str, str]) -> None:
        """Leave ``variables`` where a shell finds them."""
        lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        write_private(self._directory / "env", lines)

    def _serve(self) -> tuple[LocalAccess, Child]:
        """Start the HTTP interface, and leave its address and a token for it where a shell finds them."""
        access = LocalAccess.prepare(self._directory, self._environment)
        servers = {name: value for name, value in self._environment.items() if name.startswith(("PG", "MQTT_"))}
        self._leave({**servers, **access.variables})
        self._environment |= access.settings
        return access, self._start("access", "serve")

    def _begin_airflow(self) -> Future[LocalAirflow]:
        """Start Airflow, which takes as long as all else, and return it when it runs; it does nothing by itself yet."""
        # No archive but one of the demonstration's own is to be kept in order by it, whatever a .env says.
        told = {**self._environment, "ARCHIVE_DIRECTORY": str(self._directory / "archive")}
        over = threading.Event()
        airflow = LocalAirflow(self._directory / "airflow", told, stopped=lambda: self._stopped() or over.is_set())
        self._stack.callback(airflow.stop)
        starter = self._stack.enter_context(ThreadPoolExecutor(1))
        self._stack.callback(over.set)

        def start() -> LocalAirflow:
            airflow.start()
            return airflow

        return starter.submit(start)

    def _build_and_scan(self, starting: Future[LocalAirflow], begin: float, *children: Child) -> LocalAirflow:
        """Have Airflow build the marts and scan all contracts, and return it; raises where one is red."""
        print(flush=True)
        self._say("Airflow …")
        airflow = self._started(starting, *children)
        self._say(f"Airflow on {airflow.url}; building the marts …")
        airflow.create_pools()
        build = airflow.trigger("build_marts")
        self._green(airflow, "build_marts", build, *children)
        self._green(
            airflow, "scan_quality", airflow.run_triggered_by(build, "scan_quality", _AIRFLOW_PATIENCE), *children
        )
        print(f"\n{airflow.usage()}\n\nEverything is up after {time.monotonic() - begin:.0f} s.", flush=True)
        return airflow

    def _started(self, starting: Future[LocalAirflow], *children: Child) -> LocalAirflow:
        while not starting.done():
            for child in children:
                child.check()
            time.sleep(0.1)
        return starting.result()

    def _green(self, airflow: LocalAirflow, dag: str, run: str, *children: Child) -> None:
        red = airflow.wait_for_run(dag, run, _AIRFLOW_PATIENCE, *children)
        self._say(f"{dag}: {'red: ' + ', '.join(red) if red else 'green'}")
        if red:
            raise DemoError(f"not as it should be: {dag} failed at {', '.join(red)}; see {airflow.url}/dags/{dag}")

    def _read_registry(self, path: Path) -> list[Player]:
        sensors = schedule.choose(registries.load(path), None, [])
        return schedule.players(sensors, self._seed, None)

    def _players(self) -> list[Player]:
        """Return what is played; a wanted number of sensors makes a registry of its own."""
        if self._options.sensors is not None:
            text = schedule.enlarged(self._registry.read_bytes(), self._options.sensors, str(self._registry))
            self._registry = self._directory / "sensors.json"
            self._registry.write_text(text)
            self._environment["COLLECTOR_REGISTRY"] = os.environ["COLLECTOR_REGISTRY"] = str(self._registry)
        return self._read_registry(self._registry)

    def _fill(self, connection: Connection, publisher: Publisher, players: list[Player], collector: Child) -> None:
        """Publish a day of history and wait until it is in SQL."""
        # A broker throws away what nobody has subscribed to yet: one reading again and again, until it is stored. That
        # the same message twice changes nothing is the collector's promise.
        first = players[0].sample(round(time.time() * 1000) / 1000)
        probe = message([first])

        def known() -> bool:
            publisher.publish(probe.topic, probe.payload, self._stopped)
            publisher.drain(5)
            return demo_summary.stored(connection, players[0], first.seconds)

        self._until(known, "the collector", collector, pause=0.1)
        self._say(f"24 h of history of {len(players)} sensors …")
        end, step = time.time(), 60.0
        plan = runner.Plan(
            players=players, history=HISTORY_SECONDS, history_interval=step, duration=0.0, seed=self._seed
        )
        runner.run(plan, load_settings(), self._stopped)
        last = list(schedule.history(players, end - step, end, step))[-len(players) :]
        self._until(
            lambda: all(
                demo_summary.stored(connection, player, sample.seconds)
                for player, sample in zip(players, last, strict=True)
            ),
            "the history in SQL", collector,
        )  # fmt: skip

    def _load_example(self) -> None:
        known = {sensor.sensor_id for sensor in registries.load(self._registry).sensors}
        if not EXAMPLE.exists() or _EXAMPLE_SENSOR not in known:
            return
        self._say(f"loading {EXAMPLE} …")
        path = str(EXAMPLE.absolute())
        self._call("collector", "load", path, "--sensor", _EXAMPLE_SENSOR, "--column", "temperature=value")

    def _go_live(self, connection: Connection, players: list[Player], collector: Child) -> Child:
        """Start the sensors and return them when each has a reading in SQL that is not of the history."""
        self._say("live readings …")
        # Not earlier: the history may reach over a full minute after it has begun, and would be taken for live.
        since = datetime.now(UTC)
        live = self._start("simulator", "run", *self._live_options(players))
        self._until(lambda: self._alive(connection, players, since), "live readings of every sensor", collector, live)
        return live

    def _alive(self, connection: Connection, players: list[Player], since: datetime) -> bool:
        row = connection.execute(
            "select count(distinct series_id) from telemetry.reading where time >= %s", (since,)
        ).fetchone()
        return row is not None and row[0] >= sum(len(player.signals) for player in players)

    def _watch(self, connection: Connection, *children: Child | LocalAirflow) -> None:
        """Print a line now and then until somebody ends it; raises when one of ``children`` has ended."""
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
            self._say(f"{now.stored:,} readings stored, {rate:,.1f} a second; accounts {state}")
            before = now

    def _end(self, live: Child, collector: Child) -> None:
        """End the sensors, then the collector, which must first have written all it took."""
        for child in (live, collector):
            if status := child.stop():
                raise DemoError(f"{child.name} ended with status {status}; see {self._directory}/{child.name}.log")

    def _until(self, condition: Callable[[], bool], what: str, *children: Child, pause: float = 0.05) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if self._stopped():
                raise StoppedError
            for child in children:
                child.check()
            if time.monotonic() > deadline:
                raise DemoError(f"waited {_PATIENCE:g} s for {what}; the logs are in {self._directory}")
            time.sleep(pause)

    def _start(self, name: str, *arguments: str) -> Child:
        child = Child(name, list(arguments), self._environment, self._directory / f"{name}.log")
        self._stack.callback(child.stop)
        return child

    def _call(self, name: str, *arguments: str) -> None:
        self._start_named(name, *arguments).wait(self._stopped)

    def _start_named(self, name: str, *arguments: str) -> Child:
        child = Child(name, list(arguments), self._environment, self._directory / f"{name}-{arguments[0]}.log")
        self._stack.callback(child.stop)
        return child

    def _live_options(self, players: list[Player]) -> list[str]:
        options = [] if self._options.sensors is None else ["--sensors", str(self._options.sensors)]
        # Nobody waits half an hour for a demonstration: sensors that are slow by nature report every second here.
        slow = max(player.interval for player in players) > _LINE_SECONDS
        return [*options, *(["--rate", "1"] if slow else [])]

    def _invitation(self, server: LocalServer, access: LocalAccess) -> str:
        """Return how to look for oneself: with the psql of the system, or the bundled one, or Python."""
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

    def _say(self, line: str) -> None:
        print(f"{datetime.now(UTC):%H:%M:%S}  {line}", flush=True)


class _Closing:
    """Closes a connection without psycopg's commit on leaving, which fails where the server has gone."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def run(options: Options, stopped: Callable[[], bool]) -> None:
    """Run the demonstration; returns when it is over or ``stopped``, with no process left in either case."""
    with contextlib.suppress(StoppedError):
        Demo(options, stopped).run()
        return
    if options.once:
        raise DemoError("ended before it was done")
