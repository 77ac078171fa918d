"""Scan the quality of every source and mart.

Every 15 minutes, and after each update of the asset of `build_marts`: each contract of `quality/contracts/` is a task.
The results are stored in `quality.check_result`, one row per check. The scan notifies people once when a check fails,
and once when it recovers (docs/quality.md).

Missed scans are not run again: they would measure the present again.

## When it is red
* **A contract, after one try**: a check failed. The log has all its checks with measured value and threshold;
  `quality report` has the trend. Fix the sensor or the data: the next scan turns green.
* **A contract, after three tries**: it could not be scanned: no database, an error in the contract, or no check was
  evaluated. The end of the log says which. Until this is fixed, nothing is known about its table.
"""

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from airflow.sdk import DAG, AssetOrTimeSchedule, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from quality.contracts import names
from warehouse import defaults
from warehouse.alerts import CheckFailedError

with DAG(
    dag_id="scan_quality",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(timetable=defaults.cron("*/15 * * * *"), assets=[defaults.MARTS]),
    tags=["quality"],
    # Higher than the catalog, which waits for the same asset and the same pool.
    default_args=defaults.task_defaults(priority_weight=10, login="quality"),
    **defaults.DAG_DEFAULTS,
) as dag:

    @task(map_index_template="{{ task.op_kwargs['contract'] }}")
    def scan(contract: str) -> None:
        """Scan one contract; all tasks of a run share one scan id."""
        from quality.scan import scan as run_scan  # noqa: PLC0415 - Soda takes seconds to import

        context: Any = get_current_context()
        result = run_scan([contract], scan_id=uuid5(NAMESPACE_URL, context["run_id"]), link=context["ti"].log_url)
        print(result.text())
        if result.outcome == "error":
            raise AirflowException(f"{contract} could not be scanned")
        if result.outcome == "nothing to check":
            raise AirflowSkipException(f"{contract}: there are no readings to check")
        if result.outcome == "failed":
            raise CheckFailedError(f"{contract}: a check failed")

    if not (contracts := names()):
        raise LookupError("no contracts: a scan without checks must not pass")  # an import error in the UI
    scan.expand(contract=contracts)
