"""Keeps what a scan found, with the incidents it opens and closes, in one transaction."""

from collections.abc import Sequence

from core.database import Connection, wrapped
from quality.alerts import incidents
from quality.result import CONTRACT, Scan, contract_error, prefix


def keep(connection: Connection, scan: Scan, notifiers: Sequence[str], link: str | None, keep_days: int) -> None:
    """Store one row a result and note what has become of incidents; ``connection`` commits by itself.

    ``notifiers`` are the names of those that are to tell what is new. Results older than ``keep_days`` days go, where
    that is not 0.
    """
    events = [event for result in scan.results if (event := result.event(scan.checked_at, link)) is not None]
    broken = {result.contract for result in scan.results if result.kind == CONTRACT}
    sound = sorted({result.contract for result in scan.results} - broken)
    recovered = [contract_error(contract, "").recovery(scan.checked_at, link) for contract in sound]
    with wrapped("results"), connection.transaction():
        with connection.cursor().copy(_COPY) as copy:
            for result in scan.results:
                copy.write_row((
                    scan.scan_id, scan.checked_at, result.contract, result.dataset, result.column, result.check,
                    result.kind, result.outcome, result.measured, result.threshold, result.sensor_id, result.series_id,
                    result.seconds,
                ))  # fmt: skip
        incidents.note(connection, [*events, *recovered], notifiers)
        for contract in sound:
            checked = [result.key for result in scan.results if result.contract == contract]
            incidents.close_unchecked(connection, prefix(contract), checked, scan.checked_at, notifiers)
        if keep_days:
            connection.execute(_FORGET, {"days": keep_days})


_COPY = """
    copy quality.check_result (
        scan_id, checked_at, contract, dataset, column_name, check_name, check_type, outcome, measured_value, threshold,
        sensor_id, series_id, duration_seconds
    ) from stdin
"""
_FORGET = "delete from quality.check_result where checked_at < now() - %(days)s * interval '1 day'"
