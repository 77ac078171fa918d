"""The demonstration, run by the command of ``make demo``."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sysconfig
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from core.errors import SettingError
from local_services.broker import executable
from local_services.postgres_binaries import find_binaries

ROOT = Path(__file__).parents[2]
SIMULATOR = Path(sysconfig.get_path("scripts")) / "simulator"
MARK = "DEMO_TEST_MARK"


def is_installed(edition):
    """Return whether the edition is installed."""
    try:
        find_binaries(edition)
    except SettingError:
        return False
    return True


COMBINATIONS = [
    pytest.param(
        edition,
        broker,
        marks=pytest.mark.skipif(
            not is_installed(edition) or executable(broker) is None, reason=f"{edition} or {broker} is not installed"
        ),
    )
    for edition, broker in (("timescaledb", "mosquitto"), ("postgresql", "nats"))
]


@pytest.fixture
def home(server_folder):
    """A working directory with only the registry and the example files."""
    shutil.copy(ROOT / "sensors.json", server_folder)
    if (ROOT / "docs" / "examples").exists():
        shutil.copytree(ROOT / "docs" / "examples", server_folder / "docs" / "examples")
    return server_folder


def environment(home):
    """Return an environment with a marker to find its processes, and settings that the demo must ignore."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PG", "MQTT_", "COLLECTOR_"))
    }
    return {**inherited, MARK: str(home), "PGHOST": "192.0.2.1", "MQTT_HOST": "192.0.2.1", "MQTT_PORT": "7"}


def running_processes(home):
    """Return the running processes of a demo in ``home``."""
    processes = []
    for process in psutil.process_iter():
        try:
            if str(home) in " ".join(process.cmdline()) or process.environ().get(MARK) == str(home):
                processes.append((process.pid, process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return processes


def exported(path):
    """Return the variables of a shell after sourcing ``path``."""
    output = subprocess.run(
        ["/bin/sh", "-c", f". {path} && env"], env={}, check=True, capture_output=True, text=True
    ).stdout
    return dict(line.split("=", 1) for line in output.splitlines() if line.startswith(("PG", "MQTT_", "ACCESS_")))


@pytest.mark.parametrize(("edition", "broker"), COMBINATIONS)
def test_once_shows_everything(home, edition, broker):
    """One pass ends with status 0 and a correct summary, and leaves .local/env and no process."""
    process = subprocess.run(
        [SIMULATOR, "demo", "--no-airflow", "--once", "--edition", edition, "--broker", broker],
        cwd=home, env=environment(home), check=False, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    assert running_processes(home) == []
    assert "Accounts    balanced" in process.stdout
    assert int(re.search(r"Readings +([\d,]+) stored", process.stdout)[1].replace(",", "")) >= 8640
    assert re.search(r"Delay +\d+ ms from publish to SQL", process.stdout)
    assert f"Broker      {broker} on" in process.stdout
    for sensor in ("thermostat-1", "thermostat-2", "barometer-1", "hygrometer-1", "heart-rate-1", "motor-1"):
        assert re.search(rf"^  {sensor} +\w+ +\d{{4}}-\d\d-\d\d \d\d:\d\d +[\d.]+ ", process.stdout, re.MULTILINE), (
            sensor
        )
    path = home / ".local" / "env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(exported(path)) == {
        "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE",
        "MQTT_HOST", "MQTT_PORT", "MQTT_USERNAME", "MQTT_PASSWORD", "ACCESS_URL", "ACCESS_TOKEN",
    }  # fmt: skip


def lines_until(process, text):
    """Read the demo's output up to a line with ``text``."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    pytest.fail("".join(lines) + process.stderr.read())


@pytest.fixture
def running_demo(home):
    """Start a demo of two sensors without --once and wait for its summary."""
    process = subprocess.Popen(
        [SIMULATOR, "demo", "--no-airflow", "--sensors", "2"],
        cwd=home, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        lines_until(process, "Running until Ctrl-C")
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def test_ctrl_c_stops_every_process(home, running_demo):
    """While the demo runs, SQL and HTTP answer at the addresses in .local/env; Ctrl-C stops it with status 0."""
    variables = exported(home / ".local" / "env")
    with psycopg.connect(
        host=variables["PGHOST"], port=variables["PGPORT"], user=variables["PGUSER"],
        password=variables["PGPASSWORD"], dbname=variables["PGDATABASE"],
    ) as connection:  # fmt: skip
        (sensors,) = connection.execute(
            "select count(distinct series_id) from telemetry.reading_1m where bucket > now() - interval '1 hour'"
        ).fetchone()
    assert sensors == 2
    token = {"Authorization": f"Bearer {variables['ACCESS_TOKEN']}"}
    response = httpx.get(f"{variables['ACCESS_URL']}/readings", headers=token, params={"limit": 1}, trust_env=False)
    assert response.status_code == 200
    assert response.json()["items"]
    os.killpg(running_demo.pid, signal.SIGINT)  # like a terminal, which signals the foreground process group
    out, error = running_demo.communicate(timeout=60)
    assert (running_demo.returncode, error) == (0, ""), out + error
    assert running_processes(home) == []


def test_ctrl_c_during_the_start_of_airflow(home):
    """Airflow starts while the history is loaded; Ctrl-C at that time leaves no process."""
    process = subprocess.Popen(
        [SIMULATOR, "demo"], cwd=home, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    lines_until(process, "of history of")
    assert any("airflow" in " ".join(command) for _, command in running_processes(home))
    os.killpg(process.pid, signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, ""), out + error
    assert running_processes(home) == []


def test_killed_collector_ends_the_demo(home, running_demo):
    """If a program of the demo ends, the demo names it, stops the others and fails."""
    (collector,) = [
        pid for pid, command in running_processes(home) if any(part.endswith("/collector") for part in command)
    ]
    os.kill(collector, signal.SIGKILL)
    out, error = running_demo.communicate(timeout=60)
    assert running_demo.returncode == 1, out
    assert "collector ended with status -9" in error
    assert "Traceback" not in error
    assert running_processes(home) == []


def test_second_demo_in_the_same_directory_is_refused(home, running_demo):
    """A second demo in the same directory fails; the first continues."""
    process = subprocess.run(
        [SIMULATOR, "demo", "--no-airflow", "--once"],
        cwd=home, env=environment(home), check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert process.returncode == 1
    assert "already runs" in process.stderr
    assert running_demo.poll() is None
