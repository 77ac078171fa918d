"""Records an alert as an incident and notifies people once on failure and once on recovery."""

import structlog

from core.database import connect
from core.errors import WarehouseError
from core.settings import load
from quality.alerts import incidents
from quality.alerts.alert import Alert
from quality.alerts.notifiers import configured
from quality.settings import QualitySettings

__all__ = ["Alert", "notify"]

log = structlog.get_logger()


def notify(alert: Alert) -> None:
    """Record ``alert`` in quality.incident and notify people if its state is new; never raises.

    A failure whose incident is already open, and a recovery without an open incident, send no notification. If the
    database can't be reached, earlier notifications are unknown: every failure is then sent, recoveries are not.
    """
    try:
        notifiers = configured(load(QualitySettings))
    except WarehouseError as error:
        log.warning("notification failed", error=str(error), **alert.document())
        return
    try:
        with connect(application_name="quality-notify") as connection:
            incidents.require_schema(connection)
            incidents.record(connection, [alert], [notifier.name for notifier in notifiers])
            incidents.send_pending(connection, notifiers, None)
    except WarehouseError as error:
        log.warning("notified, but the incident could not be recorded", error=str(error))
        if alert.state == "open":
            for notifier in notifiers:
                incidents.try_send(notifier, [alert])
