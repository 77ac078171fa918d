"""Fixtures: a registry for tests, and the collector as a separate process."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).parent / "collector"


def registry_text(prefix: str, sensors: int = 4, **more) -> bytes:
    """Return a registry of thermometers ``t0``, ``t1``, … with topics ``<prefix>/t0`` and so on."""
    kinds = {
        "thermometer": {
            "quantities": {
                "temperature": {"unit": "Cel", "interval_seconds": 1},
                "humidity": {"unit": "%", "interval_seconds": 1},
            }
        }
    }
    entries = [
        {"sensor_id": f"t{n}", "type": "thermometer", "site": "here", "area": "lab", "topic": f"{prefix}/t{n}"}
        for n in range(sensors)
    ]
    return json.dumps({"subscribe": [f"{prefix}/#"], "types": kinds, "sensors": entries, **more}).encode()


class RunningCollector:
    """``collector run``, or another command with the same logging, in a separate process, and its log lines."""

    def __init__(
        self, environment: dict[str, str], command: tuple[str, ...] = ("run",), program: Path = PROGRAM
    ) -> None:
        self.lines: list[dict] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [program, *command], env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr or ():
            with self._changed:
                try:
                    self.lines.append(json.loads(line))
                except ValueError:
                    self.lines.append({"event": line.strip()})
                self._changed.notify_all()

    def wait_for(self, event: str, timeout: float = 30, count: int = 1) -> dict:
        """Return the ``count``-th log line whose event is ``event``, waiting up to ``timeout`` seconds."""

        def matching() -> list[dict]:
            return [line for line in self.lines if line["event"] == event]

        with self._changed:
            if not self._changed.wait_for(lambda: len(matching()) >= count, timeout):
                raise AssertionError(f"no {event!r} after {timeout} s; the last lines are {self.lines[-5:]}")
            return matching()[count - 1]

    def stop(self, timeout: float = 60) -> int:
        """Send SIGTERM; return the exit status."""
        self.process.terminate()
        status = self.process.wait(timeout)
        self._reader.join(5)
        return status

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        self.process.wait()
        self._reader.join(5)


class Collectors:
    """Starts collectors for one test and kills those that are left."""

    def __init__(self, directory: Path, name: str) -> None:
        self.registry = directory / "sensors.json"
        self.registry.write_bytes(registry_text(name))
        self._name = name
        self._running: list[RunningCollector] = []

    def start(
        self, environment: dict[str, str], *command: str, subscribed: bool = True, **settings: str
    ) -> RunningCollector:
        """Start ``collector run``, or ``command``, with the broker and database of ``environment``."""
        running = RunningCollector(
            {
                **environment,
                "COLLECTOR_REGISTRY": str(self.registry),
                "COLLECTOR_CLIENT_ID": self._name,
                "COLLECTOR_SUMMARY_SECONDS": "1",
                **settings,
            },
            command or ("run",),
        )
        self._running.append(running)
        if subscribed:
            running.wait_for("subscribed")
        return running

    def close(self) -> None:
        """Kill the collectors that are left."""
        for running in self._running:
            if running.process.poll() is None:
                running.kill()
            if running.process.stderr:
                running.process.stderr.close()


@pytest.fixture
def collectors(tmp_path, unique) -> Iterator[Collectors]:
    """Start collectors whose sensors publish on ``<unique>/t0`` to ``<unique>/t3``."""
    running = Collectors(tmp_path, unique)
    yield running
    running.close()


def until(true, timeout: float = 30, what: str = "") -> None:
    """Wait until ``true()``; fail with ``what`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, what or "the condition did not become true in time"
        time.sleep(0.05)
