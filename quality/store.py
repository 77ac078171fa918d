"""Stores the results of a scan with the incidents it opens and closes, in one transaction."""

from collections.abc import Sequence

from core.database import Connection, wrapped_errors
from quality.alerts import incidents
from quality.result import CONTRACT, Scan, contract_error, key_prefix


def save(connection: Connection, scan: Scan, notifiers: Sequence[str], link: str | None, keep_days: int) -> None:
    """Store one row per result and update the incidents; ``connection`` must be in autocommit mode.

    New incidents and recoveries are marked as pending for ``notifiers`` (names). Results older than ``keep_days`` days
    are deleted; 0 keeps all.
    """
    alerts = [alert for result in scan.results if (alert := result.alert(scan.checked_at, link)) is not None]
    failed = {result.contract for result in scan.results if result.kind == CONTRACT}
    scanned = sorted({result.contract for result in scan.results} - failed)
    recovered = [contract_error(contract, "").recovery(scan.checked_at, link) for contract in scanned]
    with wrapped_errors("results"), connection.transaction():
        with connection.cursor().copy(_COPY) as copy:
            for result in scan.results:
                copy.write_row((
                    scan.scan_id, scan.checked_at, result.contract, result.dataset, result.column, result.check,
                    result.kind, result.outcome, result.measured, result.threshold, result.sensor_id, result.series_id,
                    result.seconds,
                ))  # fmt: skip
        incidents.record(connection, [*alerts, *recovered], notifiers)
        for contract in scanned:
            checked = [result.key for result in scan.results if result.contract == contract]
            incidents.close_unchecked(connection, key_prefix(contract), checked, scan.checked_at, notifiers)
        if keep_days:
            connection.execute(_DELETE_OLD, {"days": keep_days})


_COPY = """
    copy quality.check_result (
        scan_id, checked_at, contract, dataset, column_name, check_name, check_type, outcome, measured_value, threshold,
        sensor_id, series_id, duration_seconds
    ) from stdin
"""
_DELETE_OLD = "delete from quality.check_result where checked_at < now() - %(days)s * interval '1 day'"
