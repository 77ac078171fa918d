"""A separate project with services of docker-compose.yml, in a temporary folder, on free ports."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
SENSORS = 100
CORE = ["mosquitto", "timescaledb", "migrate", "collector", "archiver", "access", "catalog"]
"""Services that ingest and serve readings; without Airflow, which takes minutes, and without monitoring."""


def started() -> dict[str, bool]:
    """Return the services that `docker compose up` starts, and whether each keeps running (one-shots end)."""
    services = YAML(typ="safe").load(ROOT / "docker-compose.yml")["services"]
    return {name: service["restart"] != "no" for name, service in services.items() if "profiles" not in service}


def missing(services: list[str]) -> str | None:
    """Return what is missing to run ``services``: the engine, Compose, or images; None: nothing."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    for command, reason in (
        (["docker", "version"], "no Docker engine answers"),
        (["docker", "compose", "version"], "Docker's Compose (version 2) is not installed"),
    ):
        if subprocess.run(command, check=False, capture_output=True, timeout=60).returncode:
            return reason
    definitions = YAML(typ="safe").load(ROOT / "docker-compose.yml")["services"]
    images = sorted({definitions[name]["image"].replace("${IMAGE_PREFIX:-}", "") for name in services})
    absent = [
        image
        for image in images
        if subprocess.run(
            ["docker", "image", "inspect", image], check=False, capture_output=True, timeout=60
        ).returncode
    ]
    return f"no image {', '.join(absent)}: docker compose pull, docker compose build" if absent else None


class Stack:
    """Some services of docker-compose.yml; on exit all containers and volumes are removed."""

    def __init__(self, folder: Path, services: list[str]) -> None:
        self.folder = folder
        self.services = services
        self.name = f"warehouse-test-{os.getpid()}"
        for part in ("docker-compose.yml", ".env.example"):
            shutil.copy(ROOT / part, folder)
        shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("certs", "authority"))
        (folder / "sensors.json").write_text(json.dumps(registry()))
        folder.chmod(0o755)  # services read the registry as another user
        subprocess.run(["sh", folder / "deploy" / "secrets.sh"], check=True, capture_output=True, timeout=60)
        ports = re.findall(r"\$\{([A-Z_]*PORT):-", (folder / "docker-compose.yml").read_text())
        with (folder / ".env").open("a") as env:
            env.writelines(f"{port}={number}\n" for port, number in zip(ports, free_ports(len(ports)), strict=True))

    def compose(self, *arguments: str, timeout: float = 600) -> str:
        """Run a command of Compose and return its output; raises with its error output."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "MQTT_"))}
        process = subprocess.run(
            ["docker", "compose", "--project-name", self.name, "--profile", "demo", *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if process.returncode:
            raise RuntimeError(f"docker compose {' '.join(arguments)}: {process.stderr[-3000:]}{self._logs()}")
        return process.stdout

    def up(self, *options: str) -> None:
        """Start the services with the existing images."""
        self.compose("up", "--detach", "--no-build", "--pull", "never", *options, *self.services)

    def wait_healthy(self, seconds: float = 180) -> None:
        """Return when every container with a health check is healthy (`up --wait` fails for one-shots)."""
        wait_for(
            lambda: not {"starting", "unhealthy"} & set(self.compose("ps", "--format", "{{.Health}}").split()),
            "every service's health",
            seconds,
        )

    def query(self, query: str) -> list[list[str]]:
        """Return the rows of a query, as text."""
        output = self.compose(
            "exec", "-T", "timescaledb", "sh", "-c",
            'PGPASSWORD=$POSTGRES_PASSWORD exec psql -h 127.0.0.1 -U postgres -d "$POSTGRES_DB" -AtX -v ON_ERROR_STOP=1'
            ' -c "$0"', query,
        )  # fmt: skip
        return [line.split("|") for line in output.splitlines()]

    def wait_for_readings(self, expected: int = -2, seconds: float = 180) -> int:
        """Return the number of stored readings when it is ``expected`` or has not changed for eight seconds."""
        deadline, unchanged, stored = time.monotonic() + seconds, 0, -1
        while stored != expected and unchanged < 8 and time.monotonic() < deadline:
            time.sleep(1)
            last, stored = stored, int(self.query("select count(*) from telemetry.reading")[0][0])
            unchanged = unchanged + 1 if stored == last else 0
        return stored

    def simulate(self, seconds: int, per_second: int = 1000) -> subprocess.Popen[str]:
        """Start a simulator for ``seconds``; at its end it prints the number of acknowledged messages."""
        return subprocess.Popen(
            ["docker", "compose", "--project-name", self.name, "--profile", "demo", "run", "--rm", "-T", "--no-deps",
             "simulator", "simulator", "run", "--rate", str(per_second / SENSORS), "--duration", f"{seconds}s"],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def containers(self, service: str) -> list[str]:
        """Return the running containers of a service."""
        return self.compose("ps", "--quiet", service).split()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # `down` does not remove containers that `run` started.
        label = f"label=com.docker.compose.project={self.name}"
        for container in _docker("ps", "--all", "--quiet", "--filter", label).split():
            _docker("rm", "--force", container)
        self.compose("down", "--volumes", "--timeout", "5")

    def _logs(self) -> str:
        process = subprocess.run(
            ["docker", "compose", "--project-name", self.name, "logs", "--no-color", "--tail", "15"],
            cwd=self.folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return f"\n{process.stdout[-6000:]}"


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, timeout=120).stdout


def published(simulator: "subprocess.Popen[str]") -> int:
    """Wait for the end of a simulator; return the number of published messages, which were all acknowledged."""
    output, errors = simulator.communicate(timeout=600)
    match = re.search(r"published ([\d,]+) messages of \d+ sensors; all acknowledged", output)
    if simulator.returncode or not match:
        raise RuntimeError(f"the simulator ended with {simulator.returncode}: {output[-500:]}{errors[-1000:]}")
    return int(match[1].replace(",", ""))


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> float:
    """Wait for ``condition`` and return the seconds it took."""
    started_at = time.monotonic()
    while not condition():
        if time.monotonic() - started_at > seconds:
            raise TimeoutError(f"{what}: timeout after {seconds:g} s")
        time.sleep(0.2)
    return time.monotonic() - started_at


def registry() -> dict[str, object]:
    """Return a registry of SENSORS thermometers: one message is one reading."""
    return {
        "subscribe": ["sensors/#"],
        "types": {"thermometer": {"quantities": {"temperature": {"unit": "Cel", "interval_seconds": 1}}}},
        "sensors": [
            {"sensor_id": f"t{n}", "type": "thermometer", "site": "s", "area": "a", "topic": f"sensors/s/a/t{n}"}
            for n in range(SENSORS)
        ],
    }


def free_ports(count: int) -> list[int]:
    """Return free ports on 127.0.0.1."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report if docker compose could not be tested."""
    if (reason := missing(CORE)) is not None:
        terminalreporter.write_line(f"NOT TESTED: docker compose: {reason}", red=True, bold=True)
