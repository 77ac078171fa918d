"""Console commands in processes of their own: DAGs call them as people do, and import none of them."""

import os
import subprocess
import sys
from pathlib import Path

from airflow.sdk.exceptions import AirflowException

from warehouse import defaults


def python(script: Path, **environment: str) -> None:
    """Run a script of the repository; see :func:`run`."""
    run([sys.executable, str(script)], **environment)


def console(name: str, *arguments: str) -> None:
    """Run a console command that is installed beside this Python; see :func:`run`."""
    run([str(Path(sys.executable).parent / name), *arguments])


def run(command: list[str], **environment: str) -> None:
    """Run ``command`` in the repository with what it says in the task's log; raise where its status is not 0."""
    with subprocess.Popen(
        command, cwd=defaults.ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout
        last = ""
        for line in process.stdout:
            print(line, end="")
            last = line.strip() or last
    if process.returncode:
        raise AirflowException(f"{Path(command[0]).name} ended with status {process.returncode}: {last}")
