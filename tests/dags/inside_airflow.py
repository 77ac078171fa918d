"""Commands that the tests of the DAGs run in a separate process, because Airflow reads its settings when imported.

``python inside_airflow.py bag`` describes all DAGs; ``preloaded`` lists the modules that the scheduler imports for the
tasks and those it misses; ``run`` runs the DAGs of a JSON list on standard input:
``{"dag": …, "before": SQL, "only": [model, …]}``. The result is JSON, in the file ``answer.json`` of AIRFLOW_HOME.
"""

import json
import os
import sys
import warnings
from datetime import timedelta
from pathlib import Path

HEAVY = ("cosmos", "dbt", "quality", "soda_core", "soda_postgres")


def describe(task):
    """Return the attributes that the policy tests check."""
    return {
        "owner": task.owner,
        "retries": task.retries,
        "retry_delay": task.retry_delay.total_seconds(),
        "backoff": task.retry_exponential_backoff,
        "longest_delay": task.max_retry_delay and task.max_retry_delay.total_seconds(),
        "timeout": task.execution_timeout and task.execution_timeout.total_seconds(),
        "pool": task.pool,
        "pool_slots": task.pool_slots,
        "on_failure": names_of(task.on_failure_callback),
        "on_success": names_of(task.on_success_callback),
        "upstream": sorted(task.upstream_task_ids),
        "unique_id": getattr(task, "unique_id", None),
        "mapped": task.is_mapped,
    }


def names_of(callbacks):
    """Return the names of callbacks; a mapped task has a single one, other tasks a list."""
    return [callback.__name__ for callback in ([callbacks] if callable(callbacks) else callbacks)]


def assets(timetable):
    """Return the assets that trigger a DAG."""
    condition = timetable.asset_condition
    return [asset.name for asset in condition.objects] if condition else []


def load():
    """Load the DAGs as Airflow does."""
    from airflow.dag_processing.dagbag import BundleDagBag

    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    return BundleDagBag(folder, bundle_path=folder, bundle_name="dags-folder")


def bag():
    """Describe all DAGs."""
    dag_bag = load()
    return {
        "errors": dag_bag.import_errors,
        "warnings": dag_bag.captured_warnings,
        "dags": {
            dag.dag_id: {
                "file": Path(dag.fileloc).stem,
                "tags": sorted(dag.tags),
                "doc_md": dag.doc_md,
                "catchup": dag.catchup,
                "max_active_runs": dag.max_active_runs,
                "schedule": type(dag.timetable).__name__,
                "assets": assets(dag.timetable),
                "tasks": {task.task_id: describe(task) for task in dag.tasks},
                "outlets": sorted(asset.name for task in dag.tasks for asset in task.outlets),
            }
            for dag in dag_bag.dags.values()
        },
    }


def preloaded():
    """Return the modules that the scheduler imports before forking, and the heavy ones that tasks still import."""
    sys.argv = ["airflow", "scheduler"]
    sys.path.append(os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"])
    import airflow_local_settings  # noqa: F401

    before = set(sys.modules)
    errors = load().import_errors
    import quality.scan  # noqa: F401

    # Airflow itself loads plugins wherever it needs them.
    late = [
        name
        for name in set(sys.modules) - before
        if name.split(".")[0] in HEAVY and not name.startswith(("cosmos.plugin", "cosmos.listeners"))
    ]
    return {"errors": errors, "late": sorted(late), "early": sorted(before)}


def trim(only):
    """Reduce the manifest of the tasks to the models ``only``: a full build takes half a minute."""
    path = Path(os.environ["MARTS_MANIFEST"])
    manifest = json.loads(path.read_text())
    manifest["nodes"] = {name: node for name, node in manifest["nodes"].items() if node["name"] in only}
    path.write_text(json.dumps(manifest))


def run():
    """Run DAGs one after the other in this process."""
    from airflow.utils.db import initdb

    initdb()
    runs = []
    for request in json.load(sys.stdin):
        if request.get("before"):
            import psycopg

            with psycopg.connect(autocommit=True) as connection:
                connection.execute(request["before"])
        if only := request.get("only"):
            trim(only)
        dag = load().dags[request["dag"]]
        if only:
            build = dag.get_task("build")
            build.select = " ".join(only)
            build.indirect_selection = "buildable"  # no tests that also need other models
        for task in dag.tasks:
            task.retry_delay = timedelta(0)
        dag_run = dag.test()
        tasks = dag_run.get_task_instances()
        runs.append({
            "state": str(dag_run.state),
            "tasks": {task.rendered_map_index or task.task_id: str(task.state) for task in tasks},
            "tries": {task.rendered_map_index or task.task_id: task.try_number for task in tasks},
        })  # fmt: skip
    return {"runs": runs}


if __name__ == "__main__":
    warnings.simplefilter("default")
    answer = {"bag": bag, "preloaded": preloaded, "run": run}[sys.argv[1]]()
    Path(os.environ["AIRFLOW_HOME"], "answer.json").write_text(json.dumps(answer, default=str))
