"""Build the marts, and test them.

Every hour, five minutes past: `dbt build` processes all changes, with every test and unit test. The task `build` runs
dbt once; then each model and snapshot has a task that shows its result and those of its tests. When all are green, the
asset `warehouse_marts` is updated, which starts `scan_quality` and `publish_catalog`.

Missed hours are not run again: a build processes all changes since the last build, however long ago.

## When it is red
* **A model**: its log names the failed statement or tests, with dbt's message. Its downstream models are not built
  (upstream failed). Fix the data or the model, then *clear* the task `build` with all downstream tasks.
* **`build`**: dbt could not run (no database, an error in the project), or a test that belongs to no model failed. It
  is retried twice, after half a minute and a minute; statements that ended with an error are retried too, failed tests
  are not. Its log is dbt's log.
* **Killed** (memory, a restart): it is retried; nothing is half built, because each model is one transaction.
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


def model_task(**arguments: Any) -> Model:
    """Return the task of a model or snapshot, for Cosmos."""
    node = arguments["node"]
    return Model(task_id=node.name, unique_id=node.unique_id, build="build", dag=arguments["dag"], pool="default_pool")


with DAG(
    dag_id="build_marts",
    doc_md=__doc__,
    schedule=defaults.cron(os.environ.get("MARTS_SCHEDULE", "5 * * * *")),
    tags=["dbt", "marts"],
    default_args=defaults.task_defaults(owner="analytics", login="dbt"),
    **defaults.DAG_DEFAULTS,
) as dag:
    # Cosmos reads the project and builds the graph; model_task defines the tasks.
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
            node_converters={DbtResourceType.MODEL: model_task, DbtResourceType.SNAPSHOT: model_task},
        ),
    )
    models = list(dag.tasks)
    build = Build(
        task_id="build",
        models_with_task=[model.unique_id for model in models],
        folder=defaults.AIRFLOW_HOME / "dbt",
        **defaults.WRITES,
    )
    marts = EmptyOperator(task_id="marts", outlets=[defaults.MARTS], pool="default_pool")
    for model in models:
        if not model.upstream_task_ids:
            build >> model
        if not model.downstream_task_ids:
            model >> marts
