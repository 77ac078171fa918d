"""What one scan found: values, and what they come to. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from quality.alerts.event import Event

Word = Literal["passed", "failed", "warned", "not evaluated"]
Outcome = Literal["passed", "failed", "warned", "error"]

EXIT_STATUS: dict[Outcome, int] = {"passed": 0, "failed": 1, "warned": 2, "error": 3}
"""What ``quality scan`` ends with."""

CONTRACT = "contract"
"""Kind of the one check of a contract that couldn't be scanned."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one check found, about a table or about one series: a row of quality.check_result."""

    contract: str
    dataset: str
    """The table or view, with its schema."""
    check: str
    """Name of the check; with the column it is unique in its contract and says what trend and incidents belong to."""
    kind: str
    word: Word
    reason: str | None = None
    """Why it was not evaluated."""
    column: str | None = None
    measured: float | None = None
    threshold: str | None = None
    sensor_id: str | None = None
    series_id: int | None = None
    quantity: str | None = None
    sums_up: bool = False
    """Whether results of single series follow that say the same in detail."""
    seconds: float | None = None
    """How long its query took; checks that one query answers share it."""

    @property
    def outcome(self) -> str:
        """The outcome as quality.check_result has it."""
        return f"not evaluated: {self.reason or 'no value'}" if self.word == "not evaluated" else self.word

    @property
    def is_error(self) -> bool:
        """Whether the check could not be made; of a single series, that may be as it should be."""
        return self.word == "not evaluated" and self.series_id is None

    @property
    def key(self) -> str:
        """The same for the same check in every scan; begins with :func:`prefix` of its contract."""
        parts = [self.column, self.check, None if self.series_id is None else str(self.series_id)]
        return prefix(self.contract) + "/".join(part for part in parts if part is not None)

    @property
    def title(self) -> str:
        """What it is about, for people."""
        about = f"{self.contract}.{self.column}" if self.column else self.contract
        return f"{self.sensor_id} {self.quantity}: {self.check}" if self.sensor_id else f"{about}: {self.check}"

    def event(self, at: datetime, link: str | None) -> Event | None:
        """Return what is to be told of it; None: nothing, since it sums up others or says nothing."""
        if self.sums_up or (self.word == "not evaluated" and not self.is_error):
            return None
        if self.word == "passed":
            return self.recovery(at, link)
        return Event(
            key=self.key,
            title=self.title,
            check=self.check,
            measured=self.reason if self.is_error else self.measured,
            threshold=self.threshold,
            sensor=self.sensor_id,
            link=link,
            at=at,
        )

    def recovery(self, at: datetime, link: str | None) -> Event:
        """Return the news that it is as it should be again."""
        return Event(
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
    """All that one scan found."""

    scan_id: UUID
    checked_at: datetime
    results: tuple[Result, ...]
    seconds: float

    @property
    def outcome(self) -> Outcome:
        """What it comes to; a check that could not be made is worse than one that failed, that worse than a warning."""
        return _worst(self.results)

    @property
    def exit_status(self) -> int:
        """0: passed, 1: failed, 2: warned, 3: a check could not be made."""
        return EXIT_STATUS[self.outcome]

    def text(self, *, everything: bool = False) -> str:
        """Return it as a table for people: a line a contract, its checks and series that are not as they should be.

        With ``everything``, or of one contract alone, every check is shown.
        """
        contracts = list(dict.fromkeys(result.contract for result in self.results))
        rows = [_HEADINGS]
        for contract in contracts:
            mine = [result for result in self.results if result.contract == contract]
            tables = Counter(result.word for result in mine if result.series_id is None)
            rows.append((contract, "", _counts(tables), _worst(mine), "", ""))
            for result in mine:
                shown = everything or len(contracts) == 1 or result.word != "passed"
                if result.series_id is None and shown:
                    rows.append(("", result.column or "", result.check, *_figures(result)))
                elif result.word in ("failed", "warned"):
                    rows.append(("", "", f"  {result.sensor_id} {result.quantity}", *_figures(result)))
        return f"{table(rows)}\n\n{self.summary()}"

    def summary(self) -> str:
        """Return it in a line."""
        checks = Counter(result.word for result in self.results if result.series_id is None)
        series = Counter(result.word for result in self.results if result.series_id is not None)
        parts = [f"{_counts(checks)} checks", *([f"{_counts(series)} of single series"] if series else [])]
        return f"{self.outcome.upper()}: {'; '.join(parts)}; {self.seconds:.1f} s"


def prefix(contract: str) -> str:
    """Return what the keys of a contract's checks begin with."""
    return f"quality:{contract}/"


def contract_error(contract: str, reason: str, dataset: str = "") -> Result:
    """Return the result of a contract that could not be scanned, or of which no check was evaluated."""
    return Result(
        contract=contract, dataset=dataset, check="can be scanned", kind=CONTRACT, word="not evaluated", reason=reason
    )


def number(value: float | None) -> str:
    """Return a number for people."""
    return "" if value is None else f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"  # noqa: PLR2004


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return ``rows``, the first of them headings, in columns."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])


_HEADINGS = ("contract", "column", "check", "outcome", "measured", "threshold")


def _figures(result: Result) -> tuple[str, str, str]:
    return result.outcome, number(result.measured), result.threshold or ""


def _worst(results: Sequence[Result]) -> Outcome:
    words = {result.word for result in results}
    if not results or any(result.is_error for result in results):
        return "error"
    return "failed" if "failed" in words else "warned" if "warned" in words else "passed"


def _counts(words: Counter[Word]) -> str:
    named: Iterable[Word] = ("passed", "failed", "warned", "not evaluated")
    return ", ".join(f"{words[word]} {word}" for word in named if words[word]) or "no"
