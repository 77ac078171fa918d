"""Benchmark: time and memory of the demonstration until build and scan succeed, and Airflow's overhead per build.

    python bench/airflow.py [--rounds 3]

Memory is the proportional set size of all processes of the demonstration, sampled once per second (Linux). Builds are
timed alternately as Airflow's run of build_marts and as a plain ``dbt build`` on the same database. Three rounds take
about ten minutes, more on a busy machine: the results contain the load averages before and after. They are written to
bench/results/airflow.json and printed.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import psutil
from rig import machine

from local_services.airflow import DBT_PROJECT, LocalAirflow
from local_services.child_process import installed_program

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "airflow.json"


def proportional_set_size(pid: int) -> float:
    """Return the proportional set size of a process and its descendants, in MB."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total / 1e6


class MemorySampler(threading.Thread):
    """Samples the memory of a process and its descendants until the process ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.samples: list[float] = []
        self._pid = pid
        self.start()

    def run(self) -> None:
        """Sample once per second."""
        while psutil.pid_exists(self._pid):
            self.samples.append(proportional_set_size(self._pid))
            time.sleep(1)


class DemoAirflow(LocalAirflow):
    """Client of the Airflow of the demonstration."""

    def __init__(self, directory: Path, url: str) -> None:
        super().__init__(directory, {}, int(url.rpartition(":")[2]))
        self._log_in()

    def build(self) -> float:
        """Run build_marts; return its duration in seconds."""
        run = self.trigger("build_marts")
        assert self.wait_for_run("build_marts", run, 1800) == []
        details = self.request(f"/api/v2/dags/build_marts/dagRuns/{urllib.parse.quote(run)}")
        end, start = (datetime.fromisoformat(details[name]) for name in ("end_date", "start_date"))
        return (end - start).total_seconds()

    def idle(self) -> None:
        """Wait until no run that a build triggers is active."""
        while any(
            self.request(f"/api/v2/dags/{dag}/dagRuns?state=running&state=queued")["total_entries"]
            for dag in ("build_marts", "scan_quality", "publish_catalog")
        ):
            time.sleep(1)


def plain_build(folder: Path) -> float:
    """Return the seconds of a plain ``dbt build`` on the demonstration's database."""
    places = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
    build = [installed_program("dbt"), "--no-version-check", "build", *places]
    environment = {"DBT_TARGET_PATH": str(folder / "target"), "DBT_LOG_PATH": str(folder / "logs"), "DO_NOT_TRACK": "1"}
    begin = time.perf_counter()
    subprocess.run(
        ["/bin/sh", "-c", '. "$0" && exec "$@"', str(folder / ".local" / "env"), *build],
        env={**os.environ, **environment}, check=True, capture_output=True,
    )  # fmt: skip
    return time.perf_counter() - begin


def main() -> int:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="builds per kind")
    rounds = parser.parse_args().rounds
    load = os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="warehouse-bench-"))
    folder.chmod(0o755)
    shutil.copy(ROOT / "sensors.json", folder)
    demo = subprocess.Popen([installed_program("simulator"), "demo"], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        memory = MemorySampler(demo.pid)
        output = ""
        assert demo.stdout
        for line in demo.stdout:
            output += line
            if "Running until" in line:
                break
        to_green = int(re.search(r"Everything is up after (\d+) s", output)[1])  # type: ignore[index]
        max_to_green = max(memory.samples)
        threading.Thread(target=demo.stdout.read, daemon=True).start()
        airflow = DemoAirflow(folder / ".local" / "airflow", re.search(r"http://[\d.:]+", output)[0])  # type: ignore[index]
        airflow.idle()
        plain_build(folder)  # dbt parses the project for the first time
        builds: dict[str, list[float]] = {"airflow": [], "dbt": []}
        for _ in range(rounds):
            builds["dbt"].append(plain_build(folder))
            airflow.idle()  # a scheduled run
            builds["airflow"].append(airflow.build())
            airflow.idle()
        time.sleep(5)
        idle = proportional_set_size(demo.pid)
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(120)
        shutil.rmtree(folder, ignore_errors=True)
    medians = {kind: statistics.median(seconds) for kind, seconds in builds.items()}
    result = {
        "machine": machine(),
        "load_average": [round(average, 1) for average in (load, os.getloadavg()[0])],
        "seconds_to_green": to_green,
        "largest_memory_to_green_mb": round(max_to_green),
        "largest_memory_mb": round(max(memory.samples)),
        "idle_memory_mb": round(idle),
        "build_seconds": {kind: [round(duration, 1) for duration in seconds] for kind, seconds in builds.items()},
        "airflow_build_times_dbt_build": round(medians["airflow"] / medians["dbt"], 2),
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
