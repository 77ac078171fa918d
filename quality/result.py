"""Results of one scan and their overall outcome. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from quality.alerts.alert import Alert

NOTHING: Literal["nothing to check"] = "nothing to check"
"""Status of checks that would pass because the database has no readings, and outcome of their scan."""

Status = Literal["passed", "failed", "warned", "not evaluated", "nothing to check"]
Outcome = Literal["passed", "failed", "warned", "error", "nothing to check"]

EXIT_STATUS: dict[Outcome, int] = {"passed": 0, "failed": 1, "warned": 2, "error": 3, NOTHING: 4}
"""Exit status of ``quality scan``."""

CONTRACT = "contract"
"""Kind of the single result of a contract that could not be scanned."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one check of a table or of one series: a row of quality.check_result."""

    contract: str
    dataset: str
    """The table or view, with its schema."""
    check: str
    """Name of the check; with the column it is unique in its contract and identifies its trend and incidents."""
    kind: str
    status: Status
    reason: str | None = None
    """Why it was not evaluated."""
    column: str | None = None
    measured: float | None = None
    threshold: str | None = None
    sensor_id: str | None = None
    series_id: int | None = None
    quantity: str | None = None
    is_summary: bool = False
    """Whether results of single series follow that contain the same in detail."""
    seconds: float | None = None
    """Duration of its query; checks that share a query have the same value."""

    @property
    def outcome(self) -> str:
        """The outcome as stored in quality.check_result."""
        return f"not evaluated: {self.reason or 'no value'}" if self.status == "not evaluated" else self.status

    @property
    def is_error(self) -> bool:
        """Whether the check could not be evaluated; for a single series that is no error (too little history, say)."""
        return self.status == "not evaluated" and self.series_id is None

    @property
    def key(self) -> str:
        """Identifies the check across scans; begins with :func:`key_prefix` of its contract."""
        parts = [self.column, self.check, None if self.series_id is None else str(self.series_id)]
        return key_prefix(self.contract) + "/".join(part for part in parts if part is not None)

    @property
    def title(self) -> str:
        """Text that names the table or series and the check."""
        if self.sensor_id:
            return f"{self.sensor_id} {self.quantity}: {self.check}"
        return f"{self.contract}.{self.column}: {self.check}" if self.column else f"{self.contract}: {self.check}"

    def alert(self, at: datetime, link: str | None) -> Alert | None:
        """Return its alert; None: a summary of other results, nothing to check, or a series that was not evaluated."""
        if self.is_summary or self.status == NOTHING or (self.status == "not evaluated" and not self.is_error):
            return None
        if self.status == "passed":
            return self.recovery(at, link)
        return Alert(
            key=self.key,
            title=self.title,
            check=self.check,
            measured=self.reason if self.is_error else self.measured,
            threshold=self.threshold,
            sensor=self.sensor_id,
            link=link,
            at=at,
        )

    def recovery(self, at: datetime, link: str | None) -> Alert:
        """Return the alert that the check passes again."""
        return Alert(
            key=self.key,
            title=self.title,
            state="recovered",
            check=self.check,
            measured=self.measured,
            threshold=self.threshold,
            sensor=self.sensor_id,
            link=link,
            at=at,
        )


@dataclass(frozen=True)
class Scan:
    """All results of one scan."""

    scan_id: UUID
    checked_at: datetime
    results: tuple[Result, ...]
    seconds: float

    @property
    def outcome(self) -> Outcome:
        """The worst of error (a check was not evaluated), failed, warned, nothing to check and passed."""
        return _overall(self.results)

    @property
    def exit_status(self) -> int:
        """0: passed, 1: failed, 2: warned, 3: a check could not be evaluated, 4: there are no readings to check."""
        return EXIT_STATUS[self.outcome]

    def text(self, *, show_all: bool = False) -> str:
        """Return the results as a table: one line per contract, and its checks and series that did not pass.

        With ``show_all``, or if only one contract was scanned, every check is shown.
        """
        contracts = list(dict.fromkeys(result.contract for result in self.results))
        rows = [_HEADINGS]
        for contract in contracts:
            own = [result for result in self.results if result.contract == contract]
            check_counts = Counter(result.status for result in own if result.series_id is None)
            rows.append((contract, "", _counts(check_counts), _overall(own), "", ""))
            for result in own:
                shown = show_all or len(contracts) == 1 or result.status not in ("passed", NOTHING)
                if result.series_id is None and shown:
                    rows.append(("", result.column or "", result.check, *_figures(result)))
                elif result.status in ("failed", "warned"):
                    rows.append(("", "", f"  {result.sensor_id} {result.quantity}", *_figures(result)))
        return f"{table(rows)}\n\n{self.summary()}"

    def summary(self) -> str:
        """Return the summary in one line."""
        checks = Counter(result.status for result in self.results if result.series_id is None)
        series = Counter(result.status for result in self.results if result.series_id is not None)
        parts = [f"{_counts(checks)} checks", *([f"{_counts(series)} of single series"] if series else [])]
        return f"{self.outcome.upper()}: {'; '.join(parts)}; {self.seconds:.1f} s"


def key_prefix(contract: str) -> str:
    """Return the common prefix of the keys of a contract's checks."""
    return f"quality:{contract}/"


def contract_error(contract: str, reason: str, dataset: str = "") -> Result:
    """Return the single result of a contract that could not be scanned or has no evaluated check."""
    return Result(
        contract=contract, dataset=dataset, check="can be scanned", kind=CONTRACT, status="not evaluated", reason=reason
    )


def number(value: float | None) -> str:
    """Return a number as text."""
    return "" if value is None else f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"  # noqa: PLR2004


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return ``rows`` as aligned columns; the first row has the headings."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])


_HEADINGS = ("contract", "column", "check", "outcome", "measured", "threshold")


def _figures(result: Result) -> tuple[str, str, str]:
    return result.outcome, number(result.measured), result.threshold or ""


def _overall(results: Sequence[Result]) -> Outcome:
    statuses = {result.status for result in results}
    if not results or any(result.is_error for result in results):
        return "error"
    worst: tuple[Outcome, ...] = ("failed", "warned", NOTHING)
    return next((status for status in worst if status in statuses), "passed")


def _counts(counts: Counter[Status]) -> str:
    order: Iterable[Status] = ("passed", "failed", "warned", "not evaluated", NOTHING)
    return ", ".join(f"{counts[status]} {status}" for status in order if counts[status]) or "no"
