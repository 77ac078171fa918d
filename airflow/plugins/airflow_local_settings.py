"""Imports what tasks need once, in the process that theirs are made from: they have it at once, and share its memory.

Airflow reads a module of this name before a component starts. Without it each task of a build computes for three
seconds before it does anything, to import Airflow's own runner and Cosmos, or Soda, or dbt.
"""

import contextlib
import importlib
import sys

_COSMOS = ("cosmos.config", "cosmos.converter", "cosmos.operators.local")
_RUNNER = "airflow.sdk.execution_time.task_runner"
_NEEDED = {
    "scheduler": (_RUNNER, *_COSMOS, "dbt.cli.main", "dbt.adapters.postgres", "quality.scan", "quality.alerts.notify"),
    "dag-processor": _COSMOS,
}
"""What the tasks and the DAGs import, by the component that makes their processes."""

for _name in _NEEDED.get(sys.argv[1] if len(sys.argv) > 1 else "", ()):
    # What can't be imported is told where it is needed.
    with contextlib.suppress(Exception):
        importlib.import_module(_name)

__all__: list[str] = []
"""Nothing here is a setting."""
