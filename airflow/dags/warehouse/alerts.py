"""Callbacks that notify people, through :mod:`quality.alerts.notify`, when a task fails permanently or recovers."""

from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from warehouse import login


class CheckFailedError(AirflowFailException):
    """A check of a contract failed; the scan has already sent the notification."""


def notify_failure(context: Any) -> None:
    """Report that the task has failed; once per task until it recovers."""
    error = context.get("exception")
    if not isinstance(error, CheckFailedError):
        _notify(context, "open", str(error) if error else "killed")


def notify_recovery(context: Any) -> None:
    """Report that the task works again, if its failure was reported."""
    _notify(context, "recovered", None)


def _notify(context: Any, state: Any, measured: str | None) -> None:
    from quality.alerts.alert import Alert  # noqa: PLC0415 - the scheduler imports this file too and never notifies
    from quality.alerts.notify import notify  # noqa: PLC0415

    login.act_as("quality")  # the login that may write incidents, whichever login the task itself used
    task = context["ti"]
    # A mapped task is identified by its mapped value: its index changes when a contract is added.
    name = ".".join(filter(None, [task.dag_id, task.task_id, getattr(task, "rendered_map_index", None)]))
    verb = "works again" if state == "recovered" else "has failed"
    notify(Alert(key=f"airflow.{name}", title=f"{name} {verb}", state=state, measured=measured, link=task.log_url))
