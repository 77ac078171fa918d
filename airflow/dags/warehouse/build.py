"""``dbt build`` as tasks: one task runs it, and one task per model reports the result of the model and its tests.

dbt takes longer to start than to build, so it is started once. One dbt process per model (Cosmos' ordinary mode) takes
ten times as long; Cosmos' watcher mode also starts dbt once, but never retries the whole build, and its two polling
tasks per model cost more than the build (docs/decisions/0011-airflow.md).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from cosmos.config import ProfileConfig
from cosmos.constants import InvocationMode
from cosmos.operators.local import DbtBuildLocalOperator

from warehouse import build_results, defaults
from warehouse.build_results import NodeResult

XCOM_KEY = "results_by_model"

PROFILE = ProfileConfig(
    profile_name="sensor_warehouse",
    target_name="warehouse",
    profiles_yml_filepath=defaults.DBT_PROJECT / "profiles.yml",
)


class Build(DbtBuildLocalOperator):
    """Runs ``dbt build``, unit tests included, and stores the results of each model for :class:`Model`.

    It fails, and is retried, if dbt could not run. While retries are left it also fails if a statement ended with an
    error, which may be a temporary error of the database. Failed models and tests are red in the tasks of their models.
    """

    def __init__(self, *, models_with_task: Sequence[str], folder: Path, **arguments: Any) -> None:
        super().__init__(
            project_dir=str(defaults.DBT_PROJECT),
            profile_config=PROFILE,
            invocation_mode=InvocationMode.DBT_RUNNER,
            install_deps=False,
            emit_datasets=False,
            should_store_compiled_sql=False,
            no_version_check=True,
            # dbt reuses its parsed project from run to run, and writes nothing to the project's folder.
            env={"DBT_TARGET_PATH": str(folder / "target"), "DBT_LOG_PATH": str(folder / "logs")},
            append_env=True,
            **arguments,
        )
        self.models_with_task = list(models_with_task)
        self.folder = folder
        self._results: list[NodeResult] = []

    def execute(self, context: Context, **_: Any) -> None:
        """Run dbt; the results by model are this task's XCom :data:`XCOM_KEY`."""
        super().execute(context)
        task = context["ti"]
        errors = [str(node) for node in self._results if node.status == "error"]
        if errors and task.try_number <= task.max_tries:
            raise AirflowException("statements ended with an error: " + "; ".join(errors))
        manifest = self.folder / "target" / "manifest.json"
        ephemeral = build_results.ephemeral_models(json.loads(manifest.read_text()))
        models = build_results.results_by_model([*ephemeral, *self._results])
        task.xcom_push(key=XCOM_KEY, value=models)
        update_manifest(manifest, defaults.MANIFEST)
        # A failure without a task to show it fails the build.
        hidden = [
            line
            for name, model in models.items()
            if name not in self.models_with_task and not model["ok"]
            for line in model["lines"]
        ]
        if hidden:
            raise AirflowFailException("failed: " + "; ".join(hidden))

    def handle_exception_dbt_runner(self, result: Any) -> None:
        """Store the results of dbt; raise if it has none."""
        if result.exception is not None:
            raise AirflowException(f"dbt could not run: {result.exception}") from result.exception
        self._results = [build_results.node_result(node) for node in result.result]

    def calculate_openlineage_events_completes(self, *_: Any) -> bool:
        """Create no OpenLineage events: there is no consumer."""
        return False


class Model(BaseOperator):
    """Succeeds if the model was built and all its tests passed in the preceding run of :class:`Build`."""

    ui_color = "#8194E0"

    def __init__(self, *, unique_id: str, build: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.unique_id = unique_id
        self.build = build

    def execute(self, context: Context) -> None:
        """Read the result of the model; fail if there is none."""
        models = context["ti"].xcom_pull(task_ids=self.build, key=XCOM_KEY) or {}
        model = models.get(self.unique_id)
        if model is None:
            raise AirflowFailException(f"dbt reported no result for {self.unique_id}")
        self.log.info("\n".join(model["lines"]))
        if not model["ok"]:
            failed = [line for line in model["lines"] if line.split(": ", 2)[1] not in build_results.OK_STATUSES]
            raise AirflowFailException("; ".join(failed))


def update_manifest(new: Path, current: Path) -> None:
    """Replace the manifest ``current``, source of the tasks, by ``new`` if their models differ."""
    text = new.read_text()
    graph = build_results.model_graph
    if not current.exists() or graph(json.loads(current.read_text())) != graph(json.loads(text)):
        part = current.with_suffix(".part")
        part.write_text(text)
        part.replace(current)
