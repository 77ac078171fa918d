"""Tells people that a task has failed for good, and that it works again, through :mod:`quality.alerts.notify`."""

from typing import Any

from airflow.sdk.exceptions import AirflowFailException


class CheckFailedError(AirflowFailException):
    """A check of a contract failed: whoever is to know of it was told by the scan itself."""


def failed(context: Any) -> None:
    """Tell that the task has failed; each task once, until it works again."""
    error = context.get("exception")
    if not isinstance(error, CheckFailedError):
        _tell(context, "open", str(error) if error else "killed")


def recovered(context: Any) -> None:
    """Tell that the task works again, where it was told that it had failed."""
    _tell(context, "recovered", None)


def _tell(context: Any, state: Any, what: str | None) -> None:
    from quality.alerts.event import Event  # noqa: PLC0415 - the scheduler reads this file as well, and tells nobody
    from quality.alerts.notify import tell  # noqa: PLC0415
    from warehouse import defaults  # noqa: PLC0415 - which imports this module

    defaults.act_as("quality")  # incidents are the scans', whoever the task was
    task = context["ti"]
    # A mapped task goes by what it is mapped over, not by its place: that moves when a contract is added.
    name = ".".join(filter(None, [task.dag_id, task.task_id, getattr(task, "rendered_map_index", None)]))
    verb = "works again" if state == "recovered" else "has failed"
    tell(Event(key=f"airflow.{name}", title=f"{name} {verb}", state=state, measured=what, link=task.log_url))
