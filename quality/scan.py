"""A scan: contracts run on one database, results and incidents stored, people told of what is new."""

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
from quality.result import Result, Scan, Word, contract_error
from quality.settings import QualitySettings

__all__ = ["Scan", "scan"]


def scan(names: Sequence[str] | None = None, scan_id: UUID | None = None, *, link: str | None = None) -> Scan:
    """Run the contracts ``names`` (None: all) on the database that ``PG*`` name, and return what they found.

    Results go to quality.check_result under ``scan_id`` (None: a new one), incidents to quality.incident; people are
    told of what is new, with ``link`` (None: QUALITY_LINK) as the address to look at. A contract that can't be scanned
    is a result too (``outcome`` is "error"). Raises :class:`WarehouseError` where nothing could be scanned or stored:
    wrong settings or names, a database that is away.
    """
    settings = load(QualitySettings)
    chosen = contracts.chosen(names)
    notifiers = configured(settings)
    checked_at, begun = datetime.now(UTC), time.perf_counter()
    with connect(application_name="quality-scan") as connection:
        incidents.require(connection)
    with connect(autocommit=False, application_name="quality-scan") as connection:
        _prepare(connection, settings)
        results = tuple(result for path in chosen for result in _run(path, connection))
    found = Scan(scan_id or uuid.uuid4(), checked_at, results, time.perf_counter() - begun)
    with connect(application_name="quality-scan") as connection:
        store.keep(connection, found, [one.name for one in notifiers], link or settings.link, settings.keep_days)
        incidents.tell(connection, notifiers, settings.remind_hours)
    return found


def _prepare(connection: Connection, settings: QualitySettings) -> None:
    """Have ``connection`` read only, see one state of the database in each transaction, and wait for ever for none."""
    for name, value in (
        ("statement_timeout", f"{settings.query_seconds * 1000:.0f}"),
        ("quality.drift_quantities", re.sub(r"\s", "", settings.drift_quantities)),
        ("work_mem", "64MB"),
        # Compiling takes longer than these queries do.
        ("jit", "off"),
    ):
        connection.execute("select pg_catalog.set_config(%s, %s, false)", (name, value))
    connection.commit()
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True


def _run(path: Path, connection: Connection) -> list[Result]:
    """Return what one contract finds; whatever keeps it from being scanned is one result that says so."""
    contract = path.stem
    verified = soda.verify(path, connection)
    errors, results = verified.errors, []
    if not errors:
        try:
            results = list(_results(contract, verified.dataset, verified.checks, connection))
        except psycopg.Error as error:
            errors = (reason(error),)
    if connection.closed:
        raise ScanError(f"the database went away during the scan: {'; '.join(errors)}")
    connection.rollback()
    return [contract_error(contract, "; ".join(errors), verified.dataset)] if errors else results


def _results(contract: str, dataset: str, checks: Sequence[soda.Check], connection: Connection) -> Iterator[Result]:
    for check in checks:
        result = Result(
            contract=contract,
            dataset=dataset,
            check=check.name,
            kind=check.kind,
            word=check.word,
            column=check.column,
            measured=check.measured,
            threshold=check.threshold,
            sums_up=check.series_view is not None,
            seconds=check.seconds,
        )
        yield result
        if check.series_view is not None:
            yield from _series(result, check.series_view, "warned" if check.only_warns else "failed", connection)


def _series(summary: Result, view: str, bad: Word, connection: Connection) -> Iterator[Result]:
    """Yield what ``view`` says of each series, by the same state of the database as the check that sums it up."""
    begun = time.perf_counter()
    with connection.cursor(row_factory=dict_row) as cursor:
        query = sql.SQL("select * from {} order by sensor_id, quantity").format(sql.Identifier(*view.split(".")))
        rows = cursor.execute(query).fetchall()
    seconds = time.perf_counter() - begun
    for row in rows:
        yield replace(
            summary,
            sums_up=False,
            word="not evaluated" if row["failed"] is None else bad if row["failed"] else "passed",
            reason=row["reason"],
            measured=row["measured_value"],
            threshold=row["threshold"],
            sensor_id=row["sensor_id"],
            series_id=row["series_id"],
            quantity=row["quantity"],
            seconds=seconds,
        )
