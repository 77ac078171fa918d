"""The demonstration as a visitor runs it (``make demo`` calls just this command)."""

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


def have(edition):
    """Return whether the edition can be had here."""
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
            not have(edition) or executable(broker) is None, reason=f"{edition} or {broker} is not installed"
        ),
    )
    for edition, broker in (("timescaledb", "mosquitto"), ("postgresql", "nats"))
]


@pytest.fixture
def home(server_folder):
    """Make a working directory with the product's registry and example, and nothing else."""
    shutil.copy(ROOT / "sensors.json", server_folder)
    if (ROOT / "docs" / "examples").exists():
        shutil.copytree(ROOT / "docs" / "examples", server_folder / "docs" / "examples")
    return server_folder


def environment(home):
    """Return an environment whose processes can be found again, with settings that must not reach the demo."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "MQTT_", "COLLECTOR_"))}
    return {**kept, MARK: str(home), "PGHOST": "192.0.2.1", "MQTT_HOST": "192.0.2.1", "MQTT_PORT": "7"}


def left(home):
    """Return the processes of a demo in ``home`` that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(home) in " ".join(process.cmdline()) or process.environ().get(MARK) == str(home):
                found.append((process.pid, process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def exported(path):
    """Return the variables that a shell has after reading ``path``."""
    shown = subprocess.run(
        ["/bin/sh", "-c", f". {path} && env"], env={}, check=True, capture_output=True, text=True
    ).stdout
    return dict(line.split("=", 1) for line in shown.splitlines() if line.startswith(("PG", "MQTT_", "ACCESS_")))


@pytest.mark.parametrize(("edition", "broker"), COMBINATIONS)
def test_once_shows_everything(home, edition, broker):
    """One pass ends with status 0 and a true summary, leaves .local/env and no process."""
    done = subprocess.run(
        [SIMULATOR, "demo", "--no-airflow", "--once", "--edition", edition, "--broker", broker],
        cwd=home, env=environment(home), check=False, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert left(home) == []
    assert "Accounts    balanced" in done.stdout
    assert int(re.search(r"Readings +([\d,]+) stored", done.stdout)[1].replace(",", "")) >= 8640
    assert re.search(r"Delay +\d+ ms from publish to SQL", done.stdout)
    assert f"Broker      {broker} on" in done.stdout
    for sensor in ("thermostat-1", "thermostat-2", "barometer-1", "hygrometer-1", "heart-rate-1", "motor-1"):
        assert re.search(rf"^  {sensor} +\w+ +\d{{4}}-\d\d-\d\d \d\d:\d\d +[\d.]+ ", done.stdout, re.MULTILINE), sensor
    path = home / ".local" / "env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(exported(path)) == {
        "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE",
        "MQTT_HOST", "MQTT_PORT", "MQTT_USERNAME", "MQTT_PASSWORD", "ACCESS_URL", "ACCESS_TOKEN",
    }  # fmt: skip


def lines_until(process, text):
    """Read the demo's output up to a line with ``text``."""
    read = []
    for line in process.stdout:
        read.append(line)
        if text in line:
            return read
    pytest.fail("".join(read) + process.stderr.read())


@pytest.fixture
def endless(home):
    """Start a demo of two sensors that runs until it is told to stop; wait for its summary."""
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


def test_ctrl_c_ends_everything(home, endless):
    """While the demo runs SQL and HTTP answer at the addresses in .local/env; Ctrl-C ends all of it with status 0."""
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
    served = httpx.get(f"{variables['ACCESS_URL']}/readings", headers=token, params={"limit": 1}, trust_env=False)
    assert served.status_code == 200
    assert served.json()["items"]
    os.killpg(endless.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
    out, error = endless.communicate(timeout=60)
    assert (endless.returncode, error) == (0, ""), out + error
    assert left(home) == []


def test_ctrl_c_while_airflow_starts_leaves_nothing(home):
    """Airflow starts beside the history that is filled in; whoever ends the demo then ends both."""
    process = subprocess.Popen(
        [SIMULATOR, "demo"], cwd=home, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    lines_until(process, "of history of")
    assert any("airflow" in " ".join(command) for _, command in left(home))
    os.killpg(process.pid, signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, ""), out + error
    assert left(home) == []


def test_dead_collector_ends_the_demo(home, endless):
    """When a program of the demo dies, the demo says which, ends the rest and fails."""
    (collector,) = [pid for pid, command in left(home) if any(part.endswith("/collector") for part in command)]
    os.kill(collector, signal.SIGKILL)
    out, error = endless.communicate(timeout=60)
    assert endless.returncode == 1, out
    assert "collector ended with status -9" in error
    assert "Traceback" not in error
    assert left(home) == []


def test_second_demo_in_the_same_place_is_refused(home, endless):
    """Two demos never share a directory; the first goes on."""
    done = subprocess.run(
        [SIMULATOR, "demo", "--no-airflow", "--once"],
        cwd=home, env=environment(home), check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "already runs" in done.stderr
    assert endless.poll() is None
