"""Scan the quality of every table that people rely on.

Every 15 minutes, and whenever `build_marts` has updated its asset: each contract of `quality/contracts/` is a task.
What is measured is stored in `quality.check_result`, one row a check; of a failed check the scan itself tells people,
once, and once more when it has recovered (docs/quality.md).

Scans that were missed are not made up for: they would measure the present again.

## When it is red
* **A contract, after one try**: a check failed. The log has all its checks, what was measured and the threshold;
  `quality report` has the trend. Mend the sensor or the data: the next scan is green by itself.
* **A contract, after three tries**: it could not be scanned: no database, a mistake in the contract, or one that
  evaluates nothing. The end of the log says which. Nothing is known about its table until then.
"""

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from airflow.sdk import DAG, AssetOrTimeSchedule, get_current_context, task
from airflow.sdk.exceptions import AirflowException

from quality.contracts import names
from warehouse import defaults
from warehouse.alerts import CheckFailedError

with DAG(
    dag_id="scan_quality",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(timetable=defaults.cron("*/15 * * * *"), assets=[defaults.MARTS]),
    tags=["quality"],
    # Before the catalog, which waits for the same asset and the same pool.
    default_args=defaults.defaults(priority_weight=10, login="quality"),
    **defaults.DAG_RULES,
) as dag:

    @task(map_index_template="{{ task.op_kwargs['contract'] }}")
    def scan(contract: str) -> None:
        """Scan one contract; all tasks of a run are one scan."""
        from quality.scan import scan as run  # noqa: PLC0415 - Soda takes seconds to import

        context: Any = get_current_context()
        done = run([contract], scan_id=uuid5(NAMESPACE_URL, context["run_id"]), link=context["ti"].log_url)
        print(done.text())
        if done.outcome == "error":
            raise AirflowException(f"{contract} could not be scanned")
        if done.outcome == "failed":
            raise CheckFailedError(f"{contract}: a check failed")

    if not (contracts := names()):
        raise LookupError("no contracts: nothing checked must not look like nothing wrong")  # an import error in the UI
    scan.expand(contract=contracts)
