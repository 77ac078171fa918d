"""What the tests of the DAGs do inside Airflow, in a process of its own: where it lives is told before it is imported.

``python inside_airflow.py bag`` describes all DAGs; ``ready`` says what their tasks have yet to import; ``run`` runs
those that a JSON list on standard input names: ``{"dag": …, "before": SQL, "only": [model, …]}``. The answer is JSON,
in the file ``answer.json`` of AIRFLOW_HOME.
"""

import json
import os
import sys
import warnings
from datetime import timedelta
from pathlib import Path

HEAVY = ("cosmos", "dbt", "quality", "soda_core", "soda_postgres")


def told(task):
    """Return what the rules are about."""
    return {
        "owner": task.owner,
        "retries": task.retries,
        "retry_delay": task.retry_delay.total_seconds(),
        "backoff": task.retry_exponential_backoff,
        "longest_delay": task.max_retry_delay and task.max_retry_delay.total_seconds(),
        "timeout": task.execution_timeout and task.execution_timeout.total_seconds(),
        "pool": task.pool,
        "pool_slots": task.pool_slots,
        "on_failure": called_by(task.on_failure_callback),
        "on_success": called_by(task.on_success_callback),
        "upstream": sorted(task.upstream_task_ids),
        "unique_id": getattr(task, "unique_id", None),
        "mapped": task.is_mapped,
    }


def called_by(callbacks):
    """Return the names of callbacks; a mapped task has one, others a list."""
    return [one.__name__ for one in ([callbacks] if callable(callbacks) else callbacks)]


def assets(timetable):
    """Return what a DAG waits for."""
    condition = timetable.asset_condition
    return [one.name for one in condition.objects] if condition else []


def load():
    """Read the DAGs as Airflow does."""
    from airflow.dag_processing.dagbag import BundleDagBag

    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    return BundleDagBag(folder, bundle_path=folder, bundle_name="dags-folder")


def bag():
    """Describe all DAGs."""
    found = load()
    return {
        "errors": found.import_errors,
        "warnings": found.captured_warnings,
        "dags": {
            dag.dag_id: {
                "file": Path(dag.fileloc).stem,
                "tags": sorted(dag.tags),
                "doc_md": dag.doc_md,
                "catchup": dag.catchup,
                "max_active_runs": dag.max_active_runs,
                "schedule": type(dag.timetable).__name__,
                "assets": assets(dag.timetable),
                "tasks": {task.task_id: told(task) for task in dag.tasks},
                "outlets": sorted(asset.name for task in dag.tasks for asset in task.outlets),
            }
            for dag in found.dags.values()
        },
    }


def ready():
    """Return which heavy modules the DAGs and their tasks import that the scheduler has not imported for them."""
    sys.argv = ["airflow", "scheduler"]
    sys.path.append(os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"])
    import airflow_local_settings  # noqa: F401

    before = set(sys.modules)
    errors = load().import_errors
    import quality.scan  # noqa: F401

    # Plugins are Airflow's own to load, wherever it needs them.
    late = [
        name
        for name in set(sys.modules) - before
        if name.split(".")[0] in HEAVY and not name.startswith(("cosmos.plugin", "cosmos.listeners"))
    ]
    return {"errors": errors, "late": sorted(late), "early": sorted(before)}


def trim(only):
    """Leave nothing but the models ``only`` in what the tasks are made from: a whole build takes half a minute."""
    path = Path(os.environ["MARTS_MANIFEST"])
    manifest = json.loads(path.read_text())
    manifest["nodes"] = {name: node for name, node in manifest["nodes"].items() if node["name"] in only}
    path.write_text(json.dumps(manifest))


def run():
    """Run DAGs for real, one after the other, in this process."""
    from airflow.utils.db import initdb

    initdb()
    answers = []
    for wanted in json.load(sys.stdin):
        if wanted.get("before"):
            import psycopg

            with psycopg.connect(autocommit=True) as connection:
                connection.execute(wanted["before"])
        if only := wanted.get("only"):
            trim(only)
        dag = load().dags[wanted["dag"]]
        if only:
            dag.get_task("build").select = " ".join(only)
        for task in dag.tasks:
            task.retry_delay = timedelta(0)
        done = dag.test()
        tasks = done.get_task_instances()
        answers.append({
            "state": str(done.state),
            "tasks": {one.rendered_map_index or one.task_id: str(one.state) for one in tasks},
            "tries": {one.rendered_map_index or one.task_id: one.try_number for one in tasks},
        })  # fmt: skip
    return {"runs": answers}


if __name__ == "__main__":
    warnings.simplefilter("default")
    answer = {"bag": bag, "ready": ready, "run": run}[sys.argv[1]]()
    Path(os.environ["AIRFLOW_HOME"], "answer.json").write_text(json.dumps(answer, default=str))
