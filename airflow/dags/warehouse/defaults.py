"""Paths, pool and default arguments of every DAG and task; tests/dags/test_policy.py checks that they are used.

Imports nothing heavy: the process of every task reads this module.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, CronTriggerTimetable

from warehouse import alerts
from warehouse.login import act_as

ROOT = Path(__file__).resolve().parents[3]
"""The repository: commands run from here, so that they read the same ``.env`` as a user's commands."""

DBT_PROJECT = ROOT / "dbt_project"

AIRFLOW_HOME = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()

MANIFEST = Path(os.environ.get("MARTS_MANIFEST") or AIRFLOW_HOME / "manifest.json")
"""Source of the tasks of build_marts; written by ``dbt parse`` and updated after every build."""

CATALOG = Path(os.environ.get("CATALOG_FILE") or ROOT / ".local" / "catalog.html")

MARTS = Asset("warehouse_marts", uri="x-warehouse://marts")
"""Updated after a build in which every model and every test succeeded."""

POOL = "warehouse"
SLOTS = 4
"""Slots of the pool. A writing task takes all of them, a reading task one: no scan sees a half-built mart."""

WRITES: dict[str, Any] = {"pool": POOL, "pool_slots": SLOTS}
READS: dict[str, Any] = {"pool": POOL, "pool_slots": 1}


def cron(expression: str) -> CronTriggerTimetable:
    """Return the schedule of a cron expression, in UTC.

    A new DAG waits for its first scheduled time; Airflow's default runs it at once if that time has just passed.
    """
    return CronTriggerTimetable(expression, timezone="UTC", run_immediately=timedelta(0))


def task_defaults(*, login: str | None = None, **overrides: Any) -> dict[str, Any]:
    """Return the ``default_args`` of a DAG; ``login`` is the service login of its tasks (see :func:`act_as`)."""
    return {
        **({"pre_execute": lambda _: act_as(login)} if login else {}),
        "owner": "platform",
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(minutes=30),
        "on_failure_callback": alerts.notify_failure,
        "on_success_callback": alerts.notify_recovery,
        **READS,
        **overrides,
    }


DAG_DEFAULTS: dict[str, Any] = {
    # Runs missed while Airflow was stopped are not caught up: every DAG here processes everything outstanding.
    "catchup": False,
    "max_active_runs": 1,
}
