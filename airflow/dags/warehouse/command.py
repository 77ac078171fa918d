"""Runs console commands in separate processes: DAGs use them as a user would and import none of their modules."""

import os
import subprocess
import sys
from pathlib import Path

from airflow.sdk.exceptions import AirflowException

from warehouse import defaults


def run_script(script: Path, **environment: str) -> None:
    """Run a Python script of the repository; see :func:`run`."""
    run([sys.executable, str(script)], **environment)


def run_console_command(name: str, *arguments: str) -> None:
    """Run a console command that is installed next to this Python; see :func:`run`."""
    run([str(Path(sys.executable).parent / name), *arguments])


def run(command: list[str], **environment: str) -> None:
    """Run ``command`` in the repository and copy its output to the task's log; raise if its status is not 0."""
    with subprocess.Popen(
        command, cwd=defaults.ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout
        last_line = ""
        for line in process.stdout:
            print(line, end="")
            last_line = line.strip() or last_line
    if process.returncode:
        raise AirflowException(f"{Path(command[0]).name} ended with status {process.returncode}: {last_line}")
