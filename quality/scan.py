"""A scan: runs contracts on one database, stores results and incidents, sends notifications."""

import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg import IsolationLevel, sql
from psycopg.rows import dict_row

from core.database import Connection, connect, reason
from core.settings import load
from quality import contracts, soda, store
from quality.alerts import incidents
from quality.alerts.notifiers import configured
from quality.errors import ScanError
from quality.result import NOTHING, Result, Scan, Status, contract_error
from quality.settings import QualitySettings

__all__ = ["Scan", "scan"]


def scan(names: Sequence[str] | None = None, scan_id: UUID | None = None, *, link: str | None = None) -> Scan:
    """Run the contracts ``names`` (None: all) on the database of the ``PG*`` settings and return their results.

    Results go to quality.check_result under ``scan_id`` (None: a new one), incidents to quality.incident; notifications
    of new failures and recoveries contain ``link`` (None: QUALITY_LINK). A contract that can't be scanned is a result
    too (``outcome`` is "error"). Raises :class:`WarehouseError` if nothing could be scanned or stored: wrong settings
    or names, an unreachable database.
    """
    settings = load(QualitySettings)
    paths = contracts.paths(names)
    notifiers = configured(settings)
    checked_at, started = datetime.now(UTC), time.perf_counter()
    with connect(application_name="quality-scan") as connection:
        incidents.require_schema(connection)
    with connect(autocommit=False, application_name="quality-scan") as connection:
        _configure(connection, settings)
        results = tuple(result for path in paths for result in _run_contract(path, connection))
        if connection.execute(_IS_EMPTY).fetchall() == [(True,)]:
            results = tuple(
                replace(result, status=NOTHING) if result.status == "passed" else result for result in results
            )
    result = Scan(scan_id or uuid.uuid4(), checked_at, results, time.perf_counter() - started)
    with connect(application_name="quality-scan") as connection:
        store.save(
            connection, result, [notifier.name for notifier in notifiers], link or settings.link, settings.keep_days
        )
        incidents.send_pending(connection, notifiers, settings.remind_hours)
    return result


_IS_EMPTY = """
    select not exists (select from telemetry.reading) and not exists (select from telemetry.intake)
"""
"""Checks that pass on a database without readings have checked nothing."""


def _configure(connection: Connection, settings: QualitySettings) -> None:
    """Make ``connection`` read-only, with one snapshot per transaction and a statement timeout."""
    for name, value in (
        ("statement_timeout", f"{settings.query_seconds * 1000:.0f}"),
        ("quality.drift_quantities", re.sub(r"\s", "", settings.drift_quantities)),
        ("work_mem", "64MB"),
        # JIT compilation takes longer than these queries.
        ("jit", "off"),
    ):
        connection.execute("select pg_catalog.set_config(%s, %s, false)", (name, value))
    connection.commit()
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True


def _run_contract(path: Path, connection: Connection) -> list[Result]:
    """Return the results of one contract; if it can't be scanned, one result with the reason."""
    contract = path.stem
    verification = soda.verify(path, connection)
    errors, results = verification.errors, []
    if not errors:
        try:
            results = list(_contract_results(contract, verification.dataset, verification.checks, connection))
        except psycopg.Error as error:
            errors = (reason(error),)
    if connection.closed:
        raise ScanError(f"the connection to the database was lost during the scan: {'; '.join(errors)}")
    connection.rollback()
    return [contract_error(contract, "; ".join(errors), verification.dataset)] if errors else results


def _contract_results(
    contract: str, dataset: str, checks: Sequence[soda.Check], connection: Connection
) -> Iterator[Result]:
    for check in checks:
        result = Result(
            contract=contract,
            dataset=dataset,
            check=check.name,
            kind=check.kind,
            status=check.status,
            column=check.column,
            measured=check.measured,
            threshold=check.threshold,
            is_summary=check.series_view is not None,
            seconds=check.seconds,
        )
        yield result
        if check.series_view is not None:
            yield from _series_results(
                result, check.series_view, "warned" if check.only_warns else "failed", connection
            )


def _series_results(summary: Result, view: str, failure: Status, connection: Connection) -> Iterator[Result]:
    """Yield the result of each series in ``view``, from the same snapshot as the check that summarizes them."""
    started = time.perf_counter()
    with connection.cursor(row_factory=dict_row) as cursor:
        query = sql.SQL("select * from {} order by sensor_id, quantity").format(sql.Identifier(*view.split(".")))
        rows = cursor.execute(query).fetchall()
    seconds = time.perf_counter() - started
    for row in rows:
        yield replace(
            summary,
            is_summary=False,
            status="not evaluated" if row["failed"] is None else failure if row["failed"] else "passed",
            reason=row["reason"],
            measured=row["measured_value"],
            threshold=row["threshold"],
            sensor_id=row["sensor_id"],
            series_id=row["series_id"],
            quantity=row["quantity"],
            seconds=seconds,
        )
