"""The rules that every DAG and every task of them keeps; tests/dags/test_policy.py holds that they do.

Nothing heavy is imported here: every task's process reads this.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, CronTriggerTimetable

from warehouse import alerts

ROOT = Path(__file__).resolve().parents[3]
"""The repository: commands run from here, so that they read the same ``.env`` as a user's do."""

DBT_PROJECT = ROOT / "dbt_project"

HOME = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()

MANIFEST = Path(os.environ.get("MARTS_MANIFEST") or HOME / "manifest.json")
"""What the tasks of build_marts are made from; ``dbt parse`` writes it, and every build renews it."""

CATALOG = Path(os.environ.get("CATALOG_FILE") or ROOT / ".local" / "catalog.html")

MARTS = Asset("warehouse_marts", uri="x-warehouse://marts")
"""Updated when a build has ended with every model and every test green."""

POOL = "warehouse"
SLOTS = 4
"""Slots of the pool. What writes takes all of them, what only reads takes one: no scan sees a half-built mart."""

WRITES: dict[str, Any] = {"pool": POOL, "pool_slots": SLOTS}
READS: dict[str, Any] = {"pool": POOL, "pool_slots": 1}


def cron(expression: str) -> CronTriggerTimetable:
    """Return the schedule of a cron expression, in UTC.

    A DAG that is new waits for its first time: by itself, Airflow would run it at once where one has just passed.
    """
    return CronTriggerTimetable(expression, timezone="UTC", run_immediately=timedelta(0))


def act_as(login: str) -> None:
    """Have this task's process be ``login`` at the database, where its password is given (``PG_<LOGIN>_PASSWORD``).

    Elsewhere it stays who PGUSER says: Airflow beside a warehouse of one's own needs no logins.
    """
    if password := os.environ.get(f"PG_{login.upper()}_PASSWORD"):
        os.environ.update(PGUSER=login, PGPASSWORD=password)


def defaults(**more: Any) -> dict[str, Any]:
    """Return a DAG's ``default_args``; ``more`` goes over them. ``login`` is who its tasks are at the database."""
    login = more.pop("login", None)
    return {
        **({"pre_execute": lambda _: act_as(login)} if login else {}),
        "owner": "platform",
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(minutes=30),
        "on_failure_callback": alerts.failed,
        "on_success_callback": alerts.recovered,
        **READS,
        **more,
    }


DAG_RULES: dict[str, Any] = {
    # What was missed while Airflow was away needs no run of its own: every DAG here brings the present up to date.
    "catchup": False,
    "max_active_runs": 1,
}
