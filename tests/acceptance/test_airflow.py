"""Airflow of the demonstration: one start on simulated sensors, after which every task has succeeded."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from local_services.airflow_settings import DAGS

# The first test waits for the start, a build and a scan.
pytestmark = pytest.mark.timeout(1200)

ROOT = Path(__file__).parents[2]
SIMULATOR = Path(sysconfig.get_path("scripts")) / "simulator"
# Lists the routes of everything that the API server serves, what plugins add included.
ROUTES = """
import json, sys
from airflow.api_fastapi.app import create_app

def walk(routes, prefix=""):
    for route in routes:
        path = prefix + getattr(route, "path", "")
        inner = getattr(route, "routes", None) or getattr(getattr(route, "app", None), "routes", None)
        if inner:
            yield from walk(inner, path)
        else:
            yield path, sorted(set(getattr(route, "methods", None) or ["GET"]) - {"HEAD", "OPTIONS"})

with open(sys.argv[1], "w") as file:
    json.dump(list(walk(create_app().routes)), file)
"""
PUBLIC = {
    "/api/v2/monitor/health",
    "/api/v2/version",
    "/auth/static",  # the login page
    "/auth/{rest_of_path:path}",
    "/static",  # the empty page of the UI, without data of the warehouse
    "/{rest_of_path:path}",
}
"""Routes that answer without login."""
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Demonstration:
    """A running demonstration with Airflow, and its output until it was ready."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.directory = home / ".local" / "airflow"
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PG", "MQTT_", "COLLECTOR_"))
        }
        self.process = subprocess.Popen(
            [SIMULATOR, "demo"], cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.output = ""
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line
            if "Running until Ctrl-C" in line:
                break
        else:  # it closed its output: it has ended, or is about to
            with self.process.stdout:
                raise AssertionError(f"exit status {self.process.wait(60)}: {self.output}")
        self.url = re.search(r"Airflow +(http://127\.0\.0\.1:\d+)", self.output)[1]

    def request(self, path, body=None, token="", method=None):
        """Return the status and the text of a response."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = None if body is None else json.dumps(body).encode()
        http_request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with _OPENER.open(http_request, timeout=30) as response:
                return response.status, response.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def login(self):
        """Log in with the password in the file that the demonstration prints; return the token."""
        path = re.search(r"password +in (.+)", self.output)[1]
        password = json.loads(Path(path).read_text())["admin"]
        status, text = self.request("/auth/token", {"username": "admin", "password": password})
        assert status == 201, text
        return json.loads(text)["access_token"]

    def processes(self):
        """Return all child processes."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self):
        """Stop it with SIGINT, as Ctrl-C does; return its exit status and last output."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        text, _ = self.process.communicate(timeout=120)
        return self.process.returncode, text


@pytest.fixture(scope="module")
def running(servers):
    """The running demonstration, shared by all tests of this module."""
    home = servers.folder / "airflow-demo"
    home.mkdir()
    shutil.copy(ROOT / "sensors.json", home)
    demonstration = Demonstration(home)
    yield demonstration
    demonstration.stop()


@pytest.fixture(scope="module")
def token(running):
    """A token of the administrator."""
    return running.login()


def is_running(process):
    """Return whether a process still runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def newest(running, token, dag):
    """Return the state of the newest finished run of a DAG, and the states of its tasks."""
    _, text = running.request(f"/api/v2/dags/{dag}/dagRuns?order_by=-run_after&state=success&state=failed", token=token)
    run = json.loads(text)["dag_runs"][0]
    _, text = running.request(f"/api/v2/dags/{dag}/dagRuns/{run['dag_run_id']}/taskInstances?limit=100", token=token)
    tasks = json.loads(text)["task_instances"]
    return run["state"], {task["rendered_map_index"] or task["task_id"]: task["state"] for task in tasks}


def test_build_and_scan_are_green(running):
    """The output reports a successful build and scan."""
    assert "build_marts: succeeded" in running.output
    assert "scan_quality: succeeded" in running.output


def test_every_model_and_contract_has_a_successful_task(running, token):
    """The scheduler has run one task per model of the project and one per contract, named after them."""
    manifest = json.loads((running.directory / "manifest.json").read_text())
    models = {node["name"] for node in manifest["nodes"].values() if node["resource_type"] in ("model", "snapshot")}
    assert newest(running, token, "build_marts") == ("success", dict.fromkeys({"build", "marts", *models}, "success"))
    contracts = {path.stem for path in (ROOT / "quality" / "contracts").glob("*.yml")}
    assert newest(running, token, "scan_quality") == ("success", dict.fromkeys(contracts, "success"))


def test_all_dags_are_loaded_and_unpaused(running, token):
    """No DAG has to be enabled by hand."""
    dags = json.loads(running.request("/api/v2/dags", token=token)[1])["dags"]
    assert {dag["dag_id"]: dag["is_paused"] for dag in dags} == {path.stem: False for path in DAGS.glob("*.py")}
    assert json.loads(running.request("/api/v2/importErrors", token=token)[1])["total_entries"] == 0


def test_every_component_is_healthy(running):
    """The health endpoint reports no missing component."""
    health = json.loads(running.request("/api/v2/monitor/health")[1])
    assert {name: part["status"] for name, part in health.items()} == dict.fromkeys(health, "healthy")


def test_only_public_routes_answer_without_login(running, tmp_path):
    """Without login only the login page, the empty UI, version and health answer."""
    shell = f". {running.directory}/env && exec {sys.executable} -c '{ROUTES}' {tmp_path}/routes.json"
    subprocess.run(["/bin/sh", "-c", shell], check=True, capture_output=True, timeout=120)
    routes = json.loads((tmp_path / "routes.json").read_text())
    assert len(routes) > 150
    assert any(path.startswith("/cosmos") for path, _ in routes)
    answered = set()
    for path, methods in routes:
        for method in methods:
            filled = re.sub(r"\{[^}]*\}", "x", path)
            status, _ = running.request(filled, None if method == "GET" else {}, method=method)
            if status < 400:
                answered.add(path)
    # Logging in or out leads to the login page.
    assert answered - {"/api/v2/auth/login", "/api/v2/auth/logout"} == PUBLIC


def test_a_wrong_password_is_refused(running):
    """The default and empty passwords are refused."""
    for password in ("admin", "", "x" * 24):
        assert running.request("/auth/token", {"username": "admin", "password": password})[0] in (400, 401)


def test_only_the_owner_can_read_secrets(running):
    """Other users of the machine can't read the password or the signing keys."""
    for name in ("passwords.json", "secrets.json", "env"):
        assert (running.directory / name).stat().st_mode & 0o077 == 0, name
    assert running.directory.stat().st_mode & 0o077 == 0


def test_all_ports_are_on_the_loopback_address(running):
    """Every port of every process is on the loopback address."""
    ports = {
        connection.laddr
        for process in running.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len(ports) >= 3
    assert {address.ip for address in ports} <= {"127.0.0.1", "::1"}


def test_a_browser_shows_the_build(running, token, browser, tmp_path):
    """Headless Chromium, which can reach only this machine, shows the grid of the build and its graph."""
    browser.cookie(running.url, "_token", token)
    page = browser.show(f"{running.url}/dags/build_marts", "fct_reading_hour", "analytics")
    assert "stg_telemetry__reading" in page
    click = (
        "[...document.querySelectorAll('button')].find(button => (button.title || '').startsWith('Show Graph')).click()"
    )
    browser.evaluate(click)
    browser.wait("document.querySelectorAll('.react-flow__node').length >= 34")
    assert browser.picture().startswith(b"\x89PNG")


def test_ctrl_c_ends_every_process(running):
    """The last test of this module: the demonstration ends with status 0 and leaves no process."""
    processes = running.processes()
    assert len(processes) > 10
    status, text = running.stop()
    assert status == 0, text
    assert [process for process in processes if is_running(process)] == []
