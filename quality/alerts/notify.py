"""Tells people of what is not as it should be, once, and of its recovery, once: whoever sees it calls this."""

import structlog

from core.database import connect
from core.errors import WarehouseError
from core.settings import load
from quality.alerts import incidents
from quality.alerts.event import Event
from quality.alerts.notifiers import configured
from quality.settings import QualitySettings

__all__ = ["Event", "tell"]

log = structlog.get_logger()


def tell(event: Event) -> None:
    """Note ``event`` in quality.incident and tell people if it is news; never raises.

    A key that is open already is no news, nor is the recovery of one that isn't. Where the database can't be reached,
    nobody knows what was told: then a failure is told each time, a recovery not at all.
    """
    try:
        notifiers = configured(load(QualitySettings))
    except WarehouseError as error:
        log.warning("nobody was told", error=str(error), **event.document())
        return
    try:
        with connect(application_name="quality-notify") as connection:
            incidents.require(connection)
            incidents.note(connection, [event], [notifier.name for notifier in notifiers])
            incidents.tell(connection, notifiers, None)
    except WarehouseError as error:
        log.warning("told without noting it", error=str(error))
        if event.state == "open":
            for notifier in notifiers:
                incidents.attempt(notifier, [event])
