"""Airflow as a visitor of the demonstration meets it: one start, on simulated sensors, with everything green."""

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

# Whichever test is first waits for the start, a build and a scan.
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
OPEN = {
    "/api/v2/monitor/health",
    "/api/v2/version",
    "/auth/static",  # the login page
    "/auth/{rest_of_path:path}",
    "/static",  # the UI's shell, which holds nothing of the warehouse
    "/{rest_of_path:path}",
}
"""What anybody may see."""
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Running:
    """A demonstration with Airflow, and what it has said until it was up."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.directory = home / ".local" / "airflow"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "MQTT_", "COLLECTOR_"))}
        self.process = subprocess.Popen(
            [SIMULATOR, "demo"], cwd=home, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.said = ""
        assert self.process.stdout
        for line in self.process.stdout:
            self.said += line
            if "Running until Ctrl-C" in line:
                break
        assert self.process.poll() is None, self.said
        self.url = re.search(r"Airflow +(http://127\.0\.0\.1:\d+)", self.said)[1]

    def ask(self, path, body=None, token="", method=None):
        """Return the status and the text of an answer."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with _OPENER.open(request, timeout=30) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def login(self):
        """Return a token, for the password in the file that the demonstration names."""
        path = re.search(r"password +in (.+)", self.said)[1]
        password = json.loads(Path(path).read_text())["admin"]
        status, text = self.ask("/auth/token", {"username": "admin", "password": password})
        assert status == 201, text
        return json.loads(text)["access_token"]

    def processes(self):
        """Return all its processes."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self):
        """End it as Ctrl-C does; return its status and what it said last."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        text, _ = self.process.communicate(timeout=120)
        return self.process.returncode, text


@pytest.fixture(scope="module")
def running(servers):
    """The demonstration, up; one for all tests here."""
    home = servers.folder / "airflow-demo"
    home.mkdir()
    shutil.copy(ROOT / "sensors.json", home)
    running = Running(home)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def token(running):
    """A login."""
    return running.login()


def lives(process):
    """Return whether a process still runs; one that waits for init to bury it does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def newest(running, token, dag):
    """Return the state of the newest finished run of a DAG, and of its tasks."""
    _, text = running.ask(f"/api/v2/dags/{dag}/dagRuns?order_by=-run_after&state=success&state=failed", token=token)
    run = json.loads(text)["dag_runs"][0]
    _, text = running.ask(f"/api/v2/dags/{dag}/dagRuns/{run['dag_run_id']}/taskInstances?limit=100", token=token)
    tasks = json.loads(text)["task_instances"]
    return run["state"], {one["rendered_map_index"] or one["task_id"]: one["state"] for one in tasks}


def test_build_and_scan_are_green(running):
    """The demonstration says so, and where to look."""
    assert "build_marts: green" in running.said
    assert "scan_quality: green" in running.said


def test_every_model_and_every_contract_is_a_green_square(running, token):
    """The real scheduler has run a task for each model of the project and for each contract, by their names."""
    manifest = json.loads((running.directory / "manifest.json").read_text())
    models = {node["name"] for node in manifest["nodes"].values() if node["resource_type"] in ("model", "snapshot")}
    assert newest(running, token, "build_marts") == ("success", dict.fromkeys({"build", "marts", *models}, "success"))
    contracts = {path.stem for path in (ROOT / "quality" / "contracts").glob("*.yml")}
    assert newest(running, token, "scan_quality") == ("success", dict.fromkeys(contracts, "success"))


def test_all_dags_are_there_and_unpaused(running, token):
    """Whoever starts it need not switch anything on."""
    dags = json.loads(running.ask("/api/v2/dags", token=token)[1])["dags"]
    assert {dag["dag_id"]: dag["is_paused"] for dag in dags} == {path.stem: False for path in DAGS.glob("*.py")}
    assert json.loads(running.ask("/api/v2/importErrors", token=token)[1])["total_entries"] == 0


def test_all_of_it_is_healthy(running):
    """No part shows as missing on the front page."""
    health = json.loads(running.ask("/api/v2/monitor/health")[1])
    assert {name: part["status"] for name, part in health.items()} == dict.fromkeys(health, "healthy")


def test_strangers_see_nothing(running, tmp_path):
    """Without login no route of any part answers with more than the login page, the empty UI and its health."""
    shell = f". {running.directory}/env && exec {sys.executable} -c '{ROUTES}' {tmp_path}/routes.json"
    subprocess.run(["/bin/sh", "-c", shell], check=True, capture_output=True, timeout=120)
    routes = json.loads((tmp_path / "routes.json").read_text())
    assert len(routes) > 150
    assert any(path.startswith("/cosmos") for path, _ in routes)
    seen = set()
    for path, methods in routes:
        for method in methods:
            filled = re.sub(r"\{[^}]*\}", "x", path)
            status, _ = running.ask(filled, None if method == "GET" else {}, method=method)
            if status < 400:
                seen.add(path)
    # Logging in or out leads to the login page.
    assert seen - {"/api/v2/auth/login", "/api/v2/auth/logout"} == OPEN


def test_a_wrong_password_is_refused(running):
    """There is no other way in."""
    for password in ("admin", "", "x" * 24):
        assert running.ask("/auth/token", {"username": "admin", "password": password})[0] in (400, 401)


def test_secrets_are_for_their_owner_alone(running):
    """Nobody else on the machine can read the password, or what signs logins."""
    for name in ("passwords.json", "secrets.json", "env"):
        assert (running.directory / name).stat().st_mode & 0o077 == 0, name
    assert running.directory.stat().st_mode & 0o077 == 0


def test_nothing_listens_beyond_this_machine(running):
    """Every port of every process is on the loopback address."""
    ports = {
        one.laddr
        for process in running.processes()
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }
    assert len(ports) >= 3
    assert {address.ip for address in ports} <= {"127.0.0.1", "::1"}


def test_a_browser_shows_the_build(running, token, browser, tmp_path):
    """Headless Chromium, which reaches nothing but this machine, shows the grid of the build and its graph."""
    browser.cookie(running.url, "_token", token)
    page = browser.show(f"{running.url}/dags/build_marts", "fct_reading_hour", "analytics")
    assert "stg_telemetry__reading" in page
    click = "[...document.querySelectorAll('button')].find(one => (one.title || '').startsWith('Show Graph')).click()"
    browser.evaluate(click)
    browser.wait("document.querySelectorAll('.react-flow__node').length >= 34")
    assert browser.picture().startswith(b"\x89PNG")


def test_ctrl_c_leaves_nothing(running):
    """The last test here: all of it ends, with status 0, and no process stays behind."""
    processes = running.processes()
    assert len(processes) > 10
    status, text = running.stop()
    assert status == 0, text
    assert [one for one in processes if lives(one)] == []
