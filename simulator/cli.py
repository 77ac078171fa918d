"""Console command ``simulator``."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from collector.registry import sensors_file as registries
from core import console, durations
from core.console import option
from core.errors import SettingError
from core.settings import Mistakes
from local_services import airflow
from local_services.postgres_binaries import Choice
from simulator import demo, faults, runner, schedule, settings

app = console.new_app("Simulates the sensors of the registry: publishes readings to an MQTT broker.")

_MAX_RATE = 1000  # timestamps have milliseconds: at a higher rate several readings would have the same time


@app.command()
def run(
    sensors: Annotated[int | None, option("--sensors", min=1, help="Simulate the first N sensors.")] = None,
    sensor: Annotated[list[str] | None, option("--sensor", help="Simulate this sensor; may be repeated.")] = None,
    rate: Annotated[
        float | None, option("--rate", help="Readings per second and sensor; default: the registry's intervals.")
    ] = None,
    history: Annotated[str | None, option("--history", help="First publish the past, for example 24h.")] = None,
    history_interval: Annotated[str, option("--history-interval", help="Time between readings of the past.")] = "60s",
    once: Annotated[bool, option("--once", help="Stop after the past.")] = False,  # noqa: FBT002
    duration: Annotated[str | None, option("--duration", help="Stop after this time, for example 10m.")] = None,
    batch: Annotated[int, option("--batch", min=1, max=10_000, help="Readings of a sensor per message.")] = 1,
    form: Annotated[str, option("--form", help="wide: payload by sensor type; narrow: {sensor, value}.")] = "wide",
    fault: Annotated[str | None, option("--faults", help="lost=0.01,late=0.05:90s,skew=SENSOR:+120s,… or all.")] = None,
    seed: Annotated[
        int | None, option("--seed", help="The same seed gives the same readings; default: SIMULATOR_SEED.")
    ] = None,
) -> None:
    """Publish readings with QoS 1 until it is stopped (Ctrl-C, SIGTERM, --duration, --once)."""
    mistakes = Mistakes()
    environment = mistakes.collect(settings.load)
    past = mistakes.collect(lambda: durations.parse(history) if history else 0.0, "--history: ")
    step = mistakes.collect(lambda: _positive(history_interval), "--history-interval: ")
    live = mistakes.collect(lambda: durations.parse(duration) if duration else float("inf"), "--duration: ")
    if rate is not None and not 0 < rate <= _MAX_RATE:
        mistakes.add(f"--rate {rate:g}: between 0 and {_MAX_RATE} readings per second; for more, use --sensors")
    if form not in {"wide", "narrow"}:
        mistakes.add(f"--form {form}: wide or narrow")
    if once and not history:
        mistakes.add("--once stops after the past: give its length, for example --history 24h")
    if sensors is not None and sensor:
        mistakes.add("--sensors and --sensor: use one of them")
    registry = environment and mistakes.collect(lambda: registries.load(environment.registry))
    selected = registry and mistakes.collect(lambda: schedule.select_sensors(registry, sensors, sensor or []))
    spec = faults.FaultSpec()
    if fault is not None and registry:
        sensor_ids = [known.sensor_id for known in selected or registry.sensors]
        spec = mistakes.collect(lambda: faults.parse(fault, sensor_ids)) or spec
    used_seed = seed if seed is not None else environment.simulator.seed if environment else 1
    devices = selected and mistakes.collect(lambda: schedule.make_devices(selected, used_seed, rate))
    mistakes.check()
    assert environment
    assert devices
    assert past is not None
    assert step is not None
    assert live is not None
    plan = runner.Plan(
        devices=devices,
        history=past,
        history_interval=step,
        duration=0.0 if once else live,
        batch=batch,
        form="narrow" if form == "narrow" else "wide",
        faults=spec,
        seed=used_seed,
    )
    with stop_signals() as stopped:
        result = runner.run(plan, environment, stopped.is_set)
    print(f"published {result.published:,} messages of {len(devices)} sensors; all acknowledged")
    if fault is not None:
        print("faults: " + ", ".join(f"{name} {count:,}" for name, count in sorted(result.tally.items())))


@app.command()
def registry(
    sensors: Annotated[int, option("--sensors", min=1, help="Number of sensors in the generated registry.")],
) -> None:
    """Print a registry with N sensors: those of COLLECTOR_REGISTRY, repeated."""
    path = settings.load().registry
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SettingError(f"can't read the registry {path}: {error.strerror}. Set COLLECTOR_REGISTRY.") from error
    sys.stdout.write(schedule.enlarge_registry(text, sensors, str(path)))


@app.command("demo")
def demo_(
    once: Annotated[bool, option("--once", help="One pass; status 0 only if all steps worked.")] = False,  # noqa: FBT002
    sensors: Annotated[int | None, option("--sensors", min=1, help="Number of simulated sensors.")] = None,
    edition: Annotated[Choice, option("--edition", help="auto: TimescaleDB if it is installed.")] = "auto",
    broker: Annotated[
        Literal["auto", "mosquitto", "nats"], option("--broker", help="auto: mosquitto if it is installed.")
    ] = "auto",
    with_airflow: Annotated[  # noqa: FBT002
        bool, option("--airflow/--no-airflow", help="Build and scan the marts with Airflow.")
    ] = True,
    directory: Annotated[str, option("--directory", help="Directory for all its files.")] = ".local",
) -> None:
    """Start database, broker, collector, simulated sensors and Airflow on this machine, until Ctrl-C."""
    with stop_signals(second_ends=False) as stopped:
        demo.run(demo.Options(Path(directory), once, sensors, edition, broker, with_airflow), stopped.is_set)


@app.command("airflow")
def airflow_(
    directory: Annotated[str, option("--directory", help="Directory for its settings, secrets and logs.")] = ".local",
    port: Annotated[
        int, option("--port", min=1, max=65535, help="TCP port; a free one if it is taken.")
    ] = airflow.PORT,
) -> None:
    """Run Airflow on this machine for the warehouse of the PG* settings, until Ctrl-C."""
    with stop_signals(second_ends=False) as stopped:
        airflow.run(Path(directory) / "airflow", port, stopped.is_set)


@contextmanager
def stop_signals(*, second_ends: bool = True) -> Iterator[threading.Event]:
    """Yield an event that SIGTERM, SIGINT and SIGHUP set.

    A second signal ends the program immediately, unless ``second_ends`` is False: when child processes must be stopped
    first.
    """
    stopped = threading.Event()

    def stop(_number: int, _frame: Any) -> None:
        if stopped.is_set() and second_ends:
            raise KeyboardInterrupt
        stopped.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield stopped
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _positive(text: str) -> float:
    if (seconds := durations.parse(text)) > 0:
        return seconds
    raise ValueError("must be greater than zero, for example 60s")


def main() -> None:
    """Run the command."""
    console.run(app, "simulator")
