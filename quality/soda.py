"""The only module that uses Soda's API (soda-core 4, soda-postgres): runs a contract on an existing connection.

Soda reports an invalid contract only in its log, and calls a contract without results passed; here only an evaluated
check can pass. Soda's telemetry is off: otherwise each scan waits for a server.
"""

import logging
import os
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.database import Connection
from quality.errors import ScanError
from quality.result import Status


@contextmanager
def _unchanged_environment() -> Iterator[None]:
    """Restore the environment afterwards: on import Soda reads a .env file, searched from its installation folder."""
    before = dict(os.environ)
    os.environ["SODA_CORE_TELEMETRY_ENABLED"] = "false"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        os.environ["SODA_CORE_TELEMETRY_ENABLED"] = "false"


try:
    with _unchanged_environment(), warnings.catch_warnings(action="ignore"):  # Soda's own deprecation warnings
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
        from soda_core.common.data_source_connection import DataSourceConnection
        from soda_core.common.yaml import ContractYamlSource
        from soda_core.contracts.contract_verification import (
            CheckCollectionStatus,
            CheckOutcome,
            CheckResult,
            ContractVerificationSession,
            Threshold,
        )
        from soda_postgres.common.data_sources.postgres_data_source import PostgresDataSourceImpl
        from soda_postgres.common.data_sources.postgres_data_source_connection import (
            PostgresDataSource,
            PostgresDataSourceConnection,
        )
except ModuleNotFoundError as error:
    raise ScanError(f"{error.name} is not installed: pip install 'sensor-warehouse[quality]' brings it.") from error

DATA_SOURCE = "warehouse"
"""First part of the ``dataset`` of every contract."""

_STATUSES: Mapping[CheckOutcome, Status] = {
    CheckOutcome.PASSED: "passed",
    CheckOutcome.FAILED: "failed",
    CheckOutcome.WARN: "warned",
}


_QUERY_MARKERS = {"schema": '"pg_catalog"."pg_attribute"'}
"""Text that identifies the query of a kind of check; all other checks without their own query share one query."""


@dataclass(frozen=True)
class Check:
    """One check of a contract and its result."""

    name: str
    kind: str
    column: str | None
    status: Status
    measured: float | None
    threshold: str | None
    only_warns: bool
    series_view: str | None
    """The view with the result of each series: attribute ``series`` of the check."""
    seconds: float | None


@dataclass(frozen=True)
class Verification:
    """Soda's results for a contract; with ``errors`` the ``checks`` are not reliable."""

    dataset: str
    checks: tuple[Check, ...]
    errors: tuple[str, ...]


class _TimedConnection(PostgresDataSourceConnection):  # type: ignore[misc]
    """Wraps an open connection and records the duration of each query."""

    def __init__(self, connection: Connection) -> None:
        DataSourceConnection.__init__(self, DATA_SOURCE, {}, connection)
        self.durations: list[tuple[str, float]] = []

    def execute_query(self, sql: str, log_query: bool = True) -> Any:  # noqa: FBT001, FBT002 - Soda's signature
        started = time.perf_counter()
        try:
            return super().execute_query(sql, log_query)
        finally:
            self.durations.append((_one_line(sql), time.perf_counter() - started))

    def seconds(self, part: str) -> float | None:
        """Return the duration of the first query that contains ``part``."""
        return next((seconds for sql, seconds in self.durations if part in sql), None)


def verify(path: Path, connection: Connection) -> Verification:
    """Run the contract in ``path`` in the current transaction of ``connection``, or a new one."""
    declared = _declared_checks(path)
    if isinstance(declared, str):
        return Verification("", (), (declared,))
    # Soda collects errors through its logger, which an earlier logging configuration may have disabled.
    logger = logging.getLogger("soda")
    logger.disabled, logger.propagate = False, True
    logger.setLevel(logging.ERROR)
    timed = _TimedConnection(connection)
    placeholder = {"host": "-", "user": "-", "password": "-", "database": "-"}  # required, never used
    source = PostgresDataSourceImpl(PostgresDataSource(name=DATA_SOURCE, connection=placeholder), timed)
    try:
        with warnings.catch_warnings(action="ignore"):
            session = ContractVerificationSession.execute(
                [ContractYamlSource.from_file_path(str(path))],
                variables={"DATABASE": connection.info.dbname},
                data_source_impls=[source],
            )
    except Exception as error:  # noqa: BLE001 - any exception means that there is no result
        return Verification("", (), (_short(error),))
    (result,) = session.contract_verification_results
    errors = [_short(message) for message in result.get_errors()]
    checks = tuple(_check(check_result, timed) for check_result in result.check_results)
    if not checks:
        errors.append("no check was evaluated")
    elif len(checks) != len(declared):
        errors.append(f"{len(declared)} checks are declared, {len(checks)} were evaluated")
    names = Counter((check.column, check.name) for check in checks)
    duplicates = [name for name, count in names.items() if count > 1]
    errors += [f"more than one check of {column or 'the table'} is called {name}" for column, name in duplicates]
    if result.status is CheckCollectionStatus.ERROR and not errors:
        errors.append("Soda reports an error without a message")
    dataset = ".".join([*result.contract.dataset_prefix[1:], result.contract.dataset_name])
    return Verification(dataset, checks, tuple(dict.fromkeys(errors)))


def _declared_checks(path: Path) -> list[Any] | str:
    """Return the checks that the file declares, or an error message: Soda does not report every invalid file."""
    try:
        content = YAML(typ="safe").load(path)
    except (OSError, YAMLError) as error:
        return f"{path} can't be read: {_short(error)}"
    if not isinstance(content, dict):
        return f"{path} is not a contract: it is not a YAML mapping"
    holders = [content, *(column for column in content.get("columns") or () if isinstance(column, dict))]
    return [check for holder in holders for check in holder.get("checks") or ()]


def _check(result: CheckResult, connection: _TimedConnection) -> Check:
    check = result.check
    definition = YAML(typ="safe").load(check.definition)
    holders = [definition, *definition.get("columns", ())]
    bodies = [body for holder in holders for body in holder.get("checks", ()) if isinstance(body, dict)]
    query = next((body["query"] for body in bodies if "query" in body), None)
    value = result.threshold_value
    return Check(
        name=check.name,
        kind=check.type,
        column=check.column_name,
        status=_STATUSES.get(result.outcome, "not evaluated"),
        measured=None if value is None else float(value),
        threshold=_threshold_text(check.type, check.threshold, check.warn_threshold),
        only_warns=check.threshold is not None and check.threshold.level == "warn",
        series_view=(check.attributes or {}).get("series"),
        seconds=connection.seconds(
            _one_line(query) if query else _QUERY_MARKERS.get(check.type, "_soda_filtered_dataset")
        ),
    )


def _threshold_text(kind: str, threshold: Threshold | None, warn: Threshold | None) -> str | None:
    if kind == "schema":
        return "columns as declared"
    texts = [
        _bounds(bound) + (" (warns)" if bound.level == "warn" else "")
        for bound in (threshold, warn)
        if bound is not None
    ]
    return "; ".join(texts) or None


def _bounds(threshold: Threshold) -> str:
    bounds = {
        "=": threshold.must_be,
        "≠": threshold.must_not_be,
        ">": threshold.must_be_greater_than,
        "≥": threshold.must_be_greater_than_or_equal,
        "<": threshold.must_be_less_than,
        "≤": threshold.must_be_less_than_or_equal,
    }
    return " and ".join(f"{sign} {bound:g}" for sign, bound in bounds.items() if bound is not None)


def _one_line(sql: str) -> str:
    return " ".join(sql.split())


def _short(message: object) -> str:
    """Return the first 500 characters of a message in one line; the type of an exception without message."""
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    return " ".join(lines)[:500] if lines else type(message).__name__
