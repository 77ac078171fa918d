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

app = console.new_app("Plays the sensors of the registry: publishes what they would measure to an MQTT broker.")

_MOST_PER_SECOND = 1000  # payloads carry milliseconds: more readings would fall on the same times


@app.command()
def run(
    sensors: Annotated[int | None, option("--sensors", min=1, help="Play the first so many sensors.")] = None,
    sensor: Annotated[list[str] | None, option("--sensor", help="Play this sensor; may be repeated.")] = None,
    rate: Annotated[
        float | None, option("--rate", help="Readings a second and sensor; default: the registry's intervals.")
    ] = None,
    history: Annotated[str | None, option("--history", help="First fill the past, for example 24h.")] = None,
    history_interval: Annotated[str, option("--history-interval", help="Time between readings of the past.")] = "60s",
    once: Annotated[bool, option("--once", help="Stop when the past is filled.")] = False,  # noqa: FBT002
    duration: Annotated[str | None, option("--duration", help="Stop after so much live time, for example 10m.")] = None,
    batch: Annotated[int, option("--batch", min=1, max=10_000, help="Readings of a sensor in one message.")] = 1,
    form: Annotated[str, option("--form", help="wide: each type's own payload; narrow: {sensor, value}.")] = "wide",
    fault: Annotated[str | None, option("--faults", help="lost=0.01,late=0.05:90s,skew=SENSOR:+120s,… or all.")] = None,
    seed: Annotated[int | None, option("--seed", help="Same seed, same readings; default SIMULATOR_SEED or 1.")] = None,
) -> None:
    """Publish readings with QoS 1 until told to stop (Ctrl-C, SIGTERM, --duration, --once)."""
    mistakes = Mistakes()
    environment = mistakes.collect(settings.load)
    past = mistakes.collect(lambda: durations.parse(history) if history else 0.0, "--history: ")
    step = mistakes.collect(lambda: _positive(history_interval), "--history-interval: ")
    live = mistakes.collect(lambda: durations.parse(duration) if duration else float("inf"), "--duration: ")
    if rate is not None and not 0 < rate <= _MOST_PER_SECOND:
        mistakes.add(f"--rate {rate:g}: between 0 and {_MOST_PER_SECOND} readings a second; for more, add --sensors")
    if form not in {"wide", "narrow"}:
        mistakes.add(f"--form {form}: wide or narrow")
    if once and not history:
        mistakes.add("--once stops when the past is filled: say how much of it with --history 24h")
    if sensors is not None and sensor:
        mistakes.add("--sensors and --sensor: give one of them")
    registry = environment and mistakes.collect(lambda: registries.load(environment.registry))
    chosen = registry and mistakes.collect(lambda: schedule.choose(registry, sensors, sensor or []))
    spec = faults.Spec()
    if fault is not None and registry:
        known = [one.sensor_id for one in chosen or registry.sensors]
        spec = mistakes.collect(lambda: faults.parse(fault, known)) or spec
    seeded = seed if seed is not None else environment.simulator.seed if environment else 1
    players = chosen and mistakes.collect(lambda: schedule.players(chosen, seeded, rate))
    mistakes.check()
    assert environment
    assert players
    assert past is not None
    assert step is not None
    assert live is not None
    plan = runner.Plan(
        players=players,
        history=past,
        history_interval=step,
        duration=0.0 if once else live,
        batch=batch,
        form="narrow" if form == "narrow" else "wide",
        faults=spec,
        seed=seeded,
    )
    with stop_signals() as stopped:
        result = runner.run(plan, environment, stopped.is_set)
    print(f"published {result.published:,} messages of {len(players)} sensors; all acknowledged")
    if fault is not None:
        print("faults: " + ", ".join(f"{name} {count:,}" for name, count in sorted(result.tally.items())))


@app.command()
def registry(
    sensors: Annotated[int, option("--sensors", min=1, help="How many sensors to play it shall have.")],
) -> None:
    """Print a registry with so many sensors, made by repeating those of COLLECTOR_REGISTRY."""
    path = settings.load().registry
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SettingError(f"can't read the registry {path}: {error.strerror}. Set COLLECTOR_REGISTRY.") from error
    sys.stdout.write(schedule.enlarged(text, sensors, str(path)))


@app.command("demo")
def demo_(
    once: Annotated[bool, option("--once", help="One pass; status 0 only if all of it worked.")] = False,  # noqa: FBT002
    sensors: Annotated[int | None, option("--sensors", min=1, help="Play so many sensors.")] = None,
    edition: Annotated[Choice, option("--edition", help="The database: auto takes TimescaleDB if there.")] = "auto",
    broker: Annotated[
        Literal["auto", "mosquitto", "nats"], option("--broker", help="auto takes mosquitto if there.")
    ] = "auto",
    with_airflow: Annotated[  # noqa: FBT002
        bool, option("--airflow/--no-airflow", help="Have Airflow build the marts and scan the quality.")
    ] = True,
    directory: Annotated[str, option("--directory", help="Where everything it makes goes.")] = ".local",
) -> None:
    """Start database, broker, collector, sensors and Airflow on this machine, and show what SQL sees, until Ctrl-C."""
    with stop_signals(insist=False) as stopped:
        demo.run(demo.Options(Path(directory), once, sensors, edition, broker, with_airflow), stopped.is_set)


@app.command("airflow")
def airflow_(
    directory: Annotated[str, option("--directory", help="Where its settings, secrets and logs go.")] = ".local",
    port: Annotated[int, option("--port", min=1, max=65535, help="TCP port; taken: a free one.")] = airflow.PORT,
) -> None:
    """Run Airflow on this machine, for the warehouse that PG* name, until Ctrl-C."""
    with stop_signals(insist=False) as stopped:
        airflow.run(Path(directory) / "airflow", port, stopped.is_set)


@contextmanager
def stop_signals(*, insist: bool = True) -> Iterator[threading.Event]:
    """Give an event that SIGTERM, SIGINT and SIGHUP set.

    A second one ends the program at once, unless ``insist`` is False: where other programs are to be ended first.
    """
    stopped = threading.Event()

    def stop(_number: int, _frame: Any) -> None:
        if stopped.is_set() and insist:
            raise KeyboardInterrupt
        stopped.set()

    old = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield stopped
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _positive(text: str) -> float:
    if (found := durations.parse(text)) > 0:
        return found
    raise ValueError("must be more than nothing: write one like 60s")


def main() -> None:
    """Run the command."""
    console.run(app, "simulator")
