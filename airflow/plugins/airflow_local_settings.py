"""Imports the modules that tasks need once, in the process that is forked for each task, which then shares its memory.

Airflow imports a module of this name before a component starts. Without it each task of a build spends three seconds
importing Airflow's task runner and Cosmos, Soda or dbt before it does any work.
"""

import contextlib
import importlib
import sys

_COSMOS = ("cosmos.config", "cosmos.converter", "cosmos.operators.local")
_RUNNER = "airflow.sdk.execution_time.task_runner"
_PRELOADED = {
    "scheduler": (_RUNNER, *_COSMOS, "dbt.cli.main", "dbt.adapters.postgres", "quality.scan", "quality.alerts.notify"),
    "dag-processor": _COSMOS,
}
"""Modules that tasks and DAGs import, by the component that forks their processes."""

for _name in _PRELOADED.get(sys.argv[1] if len(sys.argv) > 1 else "", ()):
    # A failed import is reported by the task that needs the module.
    with contextlib.suppress(Exception):
        importlib.import_module(_name)

__all__: list[str] = []
"""This module defines no setting."""
