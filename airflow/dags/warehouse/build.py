"""``dbt build`` as tasks: one that runs it, and one a model that says how the model and its tests came out.

dbt takes longer to start than to build, so it is started once. A task a model that starts dbt anew (Cosmos' ordinary
mode) takes ten times as long; Cosmos' watcher mode starts it once as well, but never tries it again as a whole, and two
tasks a model that poll cost more than the build (docs/decisions/0011-airflow.md).
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

KEY = "verdicts"

PROFILE = ProfileConfig(
    profile_name="sensor_warehouse",
    target_name="warehouse",
    profiles_yml_filepath=defaults.DBT_PROJECT / "profiles.yml",
)


class Build(DbtBuildLocalOperator):
    """Runs ``dbt build``, unit tests included, and keeps what it said about each model for :class:`Model`.

    It fails where dbt could not run, and is tried again then; also when a statement ended with an error, which may have
    been the database's, while tries are left. Models and tests that failed are red in their own tasks.
    """

    def __init__(self, *, shown: Sequence[str], folder: Path, **more: Any) -> None:
        super().__init__(
            project_dir=str(defaults.DBT_PROJECT),
            profile_config=PROFILE,
            invocation_mode=InvocationMode.DBT_RUNNER,
            install_deps=False,
            emit_datasets=False,
            should_store_compiled_sql=False,
            no_version_check=True,
            # What dbt has parsed stays from run to run; the project's folder is left as it is.
            env={"DBT_TARGET_PATH": str(folder / "target"), "DBT_LOG_PATH": str(folder / "logs")},
            append_env=True,
            **more,
        )
        self.shown = list(shown)
        self.folder = folder
        self._ran: list[build_results.Ran] = []

    def execute(self, context: Context, **_: Any) -> None:
        """Run it; the verdicts are this task's XCom :data:`KEY`."""
        super().execute(context)
        tries = context["ti"]
        errors = [str(one) for one in self._ran if one.status == "error"]
        if errors and tries.try_number <= tries.max_tries:
            raise AirflowException("statements ended with an error: " + "; ".join(errors))
        found = build_results.verdicts(self._ran)
        tries.xcom_push(key=KEY, value=found)
        renew(self.folder / "target" / "manifest.json", defaults.MANIFEST)
        # What no task stands for must not go unseen.
        shown = {*self.shown}
        hidden = [line for name, one in found.items() if name not in shown and not one["good"] for line in one["said"]]
        if hidden:
            raise AirflowFailException("failed: " + "; ".join(hidden))

    def handle_exception_dbt_runner(self, result: Any) -> None:
        """Take dbt's result; raise where there is none."""
        if result.exception is not None:
            raise AirflowException(f"dbt could not run: {result.exception}") from result.exception
        self._ran = [build_results.ran(one) for one in result.result]

    def calculate_openlineage_events_completes(self, *_: Any) -> bool:
        """Make no OpenLineage events: nobody is there to take them."""
        return False


class Model(BaseOperator):
    """Green when the model was built and all its tests passed, in the run of :class:`Build` before it."""

    ui_color = "#8194E0"

    def __init__(self, *, unique_id: str, build: str, **more: Any) -> None:
        super().__init__(**more)
        self.unique_id = unique_id
        self.build = build

    def execute(self, context: Context) -> None:
        """Look up the verdict; a model about which nothing was said is not good."""
        found = context["ti"].xcom_pull(task_ids=self.build, key=KEY) or {}
        said = found.get(self.unique_id)
        if said is None:
            raise AirflowFailException(f"dbt said nothing about {self.unique_id}")
        self.log.info("\n".join(said["said"]))
        if not said["good"]:
            bad = [line for line in said["said"] if line.split(": ", 2)[1] not in build_results.GOOD]
            raise AirflowFailException("; ".join(bad))


def renew(made: Path, used: Path) -> None:
    """Let the tasks be made from the manifest ``made`` if its models differ from those of ``used``."""
    text = made.read_text()
    if not used.exists() or build_results.graph(json.loads(used.read_text())) != build_results.graph(json.loads(text)):
        part = used.with_suffix(".part")
        part.write_text(text)
        part.replace(used)
