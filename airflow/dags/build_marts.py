"""Build the marts, and test them.

Every hour, five minutes past: `dbt build` over all that has changed, with every test and unit test. The task `build`
runs dbt, once; then each model and snapshot has a task that says how it and its tests came out. When all are green the
asset `warehouse_marts` is updated, which starts `scan_quality` and `publish_catalog`.

Hours that were missed are not made up for: a build takes all that has changed since the last one, however long ago.

## When it is red
* **A model**: its log names the statement or the tests that failed, with dbt's message. Models made from it are not
  shown (upstream failed). Mend the data or the model, then *clear* the task `build` with all that is downstream.
* **`build`**: dbt could not run: no database, a mistake in the project; or a test failed that belongs to no model. It
  is tried again twice, half a minute and a minute later; statements that ended with an error are tried again as well,
  tests that failed are not. Its log is dbt's own.
* **Killed** (memory, a restart): it is tried again, and nothing is half built, for each model is one transaction.
"""

import os
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from cosmos.config import ExecutionConfig, ProjectConfig, RenderConfig
from cosmos.constants import DbtResourceType, ExecutionMode, LoadMode, TestBehavior
from cosmos.converter import DbtToAirflowConverter

from warehouse import defaults
from warehouse.build import PROFILE, Build, Model


def model(**told: Any) -> Model:
    """Return the task of a model or snapshot, for Cosmos."""
    node = told["node"]
    return Model(task_id=node.name, unique_id=node.unique_id, build="build", dag=told["dag"], pool="default_pool")


with DAG(
    dag_id="build_marts",
    doc_md=__doc__,
    schedule=defaults.cron(os.environ.get("MARTS_SCHEDULE", "5 * * * *")),
    tags=["dbt", "marts"],
    default_args=defaults.defaults(owner="analytics", login="dbt"),
    **defaults.DAG_RULES,
) as dag:
    # Cosmos reads the project and makes the graph; what its tasks do is ours.
    DbtToAirflowConverter(
        dag=dag,
        project_config=ProjectConfig(
            dbt_project_path=defaults.DBT_PROJECT, manifest_path=defaults.MANIFEST, install_dbt_deps=False
        ),
        profile_config=PROFILE,
        execution_config=ExecutionConfig(execution_mode=ExecutionMode.LOCAL),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            test_behavior=TestBehavior.NONE,
            emit_datasets=False,
            exclude=["resource_type:exposure", "resource_type:operation"],
            node_converters={DbtResourceType.MODEL: model, DbtResourceType.SNAPSHOT: model},
        ),
    )
    models = list(dag.tasks)
    build = Build(
        task_id="build", shown=[one.unique_id for one in models], folder=defaults.HOME / "dbt", **defaults.WRITES
    )
    marts = EmptyOperator(task_id="marts", outlets=[defaults.MARTS], pool="default_pool")
    for one in models:
        if not one.upstream_task_ids:
            build >> one
        if not one.downstream_task_ids:
            one >> marts
