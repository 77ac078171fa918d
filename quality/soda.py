"""The one module that touches Soda's API (soda-core 4, soda-postgres): runs a contract on a connection of ours.

Soda tells by its log whether a contract is in error, and calls one without a result passed; here nothing counts as
passed but what was evaluated. It keeps its telemetry to itself: each scan would wait for a server otherwise.
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
from quality.result import Word


@contextmanager
def _kept_environment() -> Iterator[None]:
    """Leave the environment as it is: on its import Soda reads a .env file, found by where Soda is installed."""
    before = dict(os.environ)
    os.environ["SODA_CORE_TELEMETRY_ENABLED"] = "false"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        os.environ["SODA_CORE_TELEMETRY_ENABLED"] = "false"


try:
    with _kept_environment(), warnings.catch_warnings(action="ignore"):  # it warns of parts of itself
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

_WORDS: Mapping[CheckOutcome, Word] = {
    CheckOutcome.PASSED: "passed",
    CheckOutcome.FAILED: "failed",
    CheckOutcome.WARN: "warned",
}


_ANSWERED_BY = {"schema": '"pg_catalog"."pg_attribute"'}
"""What stands in the query that answers a kind of check; one query answers all others that bring none of their own."""


@dataclass(frozen=True)
class Check:
    """One check of a contract and what came of it."""

    name: str
    kind: str
    column: str | None
    word: Word
    measured: float | None
    threshold: str | None
    only_warns: bool
    series_view: str | None
    """The view that says the same of each series: attribute ``series`` of the check."""
    seconds: float | None


@dataclass(frozen=True)
class Verified:
    """What Soda made of a contract; with ``errors`` nothing in ``checks`` may be trusted."""

    dataset: str
    checks: tuple[Check, ...]
    errors: tuple[str, ...]


class _Timed(PostgresDataSourceConnection):  # type: ignore[misc]
    """A connection that is open already, and remembers how long each query took."""

    def __init__(self, connection: Connection) -> None:
        DataSourceConnection.__init__(self, DATA_SOURCE, {}, connection)
        self.taken: list[tuple[str, float]] = []

    def execute_query(self, sql: str, log_query: bool = True) -> Any:  # noqa: FBT001, FBT002 - Soda's signature
        begun = time.perf_counter()
        try:
            return super().execute_query(sql, log_query)
        finally:
            self.taken.append((_squeezed(sql), time.perf_counter() - begun))

    def seconds(self, part: str) -> float | None:
        """Return how long the first query took that ``part`` stands in."""
        return next((seconds for sql, seconds in self.taken if part in sql), None)


def verify(path: Path, connection: Connection) -> Verified:
    """Run the contract in ``path``, in the transaction that ``connection`` is in or begins."""
    declared = _declared(path)
    if isinstance(declared, str):
        return Verified("", (), (declared,))
    # An error that isn't logged would be none: whoever configured logging before us may have switched loggers off.
    logger = logging.getLogger("soda")
    logger.disabled, logger.propagate = False, True
    logger.setLevel(logging.ERROR)
    timed = _Timed(connection)
    nowhere = {"host": "-", "user": "-", "password": "-", "database": "-"}  # asked for, never used
    source = PostgresDataSourceImpl(PostgresDataSource(name=DATA_SOURCE, connection=nowhere), timed)
    try:
        with warnings.catch_warnings(action="ignore"):
            session = ContractVerificationSession.execute(
                [ContractYamlSource.from_file_path(str(path))],
                variables={"DATABASE": connection.info.dbname},
                data_source_impls=[source],
            )
    except Exception as error:  # noqa: BLE001 - of whatever kind, it means that there is no result
        return Verified("", (), (_line(error),))
    (result,) = session.contract_verification_results
    errors = [_line(message) for message in result.get_errors()]
    checks = tuple(_check(one, timed) for one in result.check_results)
    if not checks:
        errors.append("no check was evaluated")
    elif len(checks) != len(declared):
        errors.append(f"{len(declared)} checks stand in it, {len(checks)} were evaluated")
    twice = [name for name, number in Counter((one.column, one.name) for one in checks).items() if number > 1]
    errors += [f"more than one check of {column or 'the table'} is called {name}" for column, name in twice]
    if result.status is CheckCollectionStatus.ERROR and not errors:
        errors.append("Soda calls it an error and says no more")
    dataset = ".".join([*result.contract.dataset_prefix[1:], result.contract.dataset_name])
    return Verified(dataset, checks, tuple(dict.fromkeys(errors)))


def _declared(path: Path) -> list[Any] | str:
    """Return the checks that the file declares, or what is wrong with it: not all that is is an error to Soda."""
    try:
        content = YAML(typ="safe").load(path)
    except (OSError, YAMLError) as error:
        return f"{path} can't be read: {_line(error)}"
    if not isinstance(content, dict):
        return f"{path} is no contract: it holds no mapping"
    holders = [content, *(one for one in content.get("columns") or () if isinstance(one, dict))]
    return [check for holder in holders for check in holder.get("checks") or ()]


def _check(one: CheckResult, timed: _Timed) -> Check:
    check = one.check
    definition = YAML(typ="safe").load(check.definition)
    holders = [definition, *definition.get("columns", ())]
    bodies = [body for holder in holders for body in holder.get("checks", ()) if isinstance(body, dict)]
    query = next((body["query"] for body in bodies if "query" in body), None)
    value = one.threshold_value
    return Check(
        name=check.name,
        kind=check.type,
        column=check.column_name,
        word=_WORDS.get(one.outcome, "not evaluated"),
        measured=None if value is None else float(value),
        threshold=_words(check.type, check.threshold, check.warn_threshold),
        only_warns=check.threshold is not None and check.threshold.level == "warn",
        series_view=(check.attributes or {}).get("series"),
        seconds=timed.seconds(_squeezed(query) if query else _ANSWERED_BY.get(check.type, "_soda_filtered_dataset")),
    )


def _words(kind: str, threshold: Threshold | None, warn: Threshold | None) -> str | None:
    if kind == "schema":
        return "columns as declared"
    said = [_bounds(one) + (" (warns)" if one.level == "warn" else "") for one in (threshold, warn) if one is not None]
    return "; ".join(said) or None


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


def _squeezed(sql: str) -> str:
    return " ".join(sql.split())


def _line(message: object) -> str:
    """Return the first lines of a message as one; an exception that says nothing goes by its kind."""
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    return " ".join(lines)[:500] if lines else type(message).__name__
