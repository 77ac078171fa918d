"""The text of ``quality report``: last results, trends and open incidents."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from core.database import Connection, wrapped_errors
from quality.result import number, table

TREND = 12
"""Number of scans in a trend, the newest last."""

_SYMBOLS = {"passed": "·", "failed": "F", "warned": "W", "nothing to check": "-"}


@dataclass(frozen=True)
class Line:
    """One check of a table or of one series: its last result and trend."""

    contract: str
    column: str | None
    check: str
    sensor: str | None
    """The sensor and its quantity; None: a check of the table."""
    outcome: str
    measured: float | None
    threshold: str | None
    checked_at: datetime
    trend: str
    """One symbol per scan, the newest last: · passed, F failed, W warned, ? not evaluated,
    - nothing to check, blank: not checked."""


@dataclass(frozen=True)
class Incident:
    """An open incident."""

    title: str
    opened_at: datetime
    measured: str | None


@dataclass(frozen=True)
class Report:
    """The last result of every check, and the open incidents."""

    lines: tuple[Line, ...]
    incidents: tuple[Incident, ...]

    def text(self) -> str:
        """Return the report as text: every check of a table, and the series with a failure in their trend."""
        if not self.lines:
            return "Nothing has been scanned yet: `quality scan`."
        rows: list[Sequence[str]] = [("contract", "check", "last scan (UTC)", "outcome", "measured", "trend")]
        for line in self.lines:
            if line.sensor is None:
                check = f"{line.column}: {line.check}" if line.column else line.check
                rows.append((line.contract, check, *_figures(line)))
            elif line.trend.strip("· ?-"):
                rows.append(("", f"  {line.sensor}", *_figures(line)))
        parts = [
            table(rows),
            "trend: newest scan last; · passed, F failed, W warned, ? not evaluated, - nothing to check",
        ]
        if self.incidents:
            open_rows: list[Sequence[str]] = [("open", "since (UTC)", "measured")]
            open_rows += [
                (incident.title, _instant(incident.opened_at), incident.measured or "") for incident in self.incidents
            ]
            parts.append(table(open_rows))
        else:
            parts.append("No open incidents.")
        return "\n\n".join(parts)


def read(connection: Connection, names: Sequence[str]) -> Report:
    """Read the last results of the contracts ``names`` and all open incidents."""
    with wrapped_errors("report"), connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_RESULTS, {"names": list(names), "trend": TREND}).fetchall()
        incidents = cursor.execute(_INCIDENTS).fetchall()
    return Report(tuple(lines(rows)), tuple(Incident(**row) for row in incidents))


def lines(rows: Sequence[dict[str, Any]]) -> list[Line]:
    """Return one line per check of the last scan of each contract; ``rows`` in the order of :data:`_RESULTS`.

    ``number`` of a row is the position of its scan in its contract, counted from the newest, which is 1.
    """
    results_by_check: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = {}
    for row in rows:
        check = row["contract"], row["column_name"], row["check_name"], row["series_id"]
        results_by_check.setdefault(check, {})[row["number"]] = row
    return [_line(by_scan) for by_scan in results_by_check.values() if 1 in by_scan]


def _line(by_scan: dict[int, dict[str, Any]]) -> Line:
    last = by_scan[1]
    symbols = [_SYMBOLS.get(by_scan[n]["outcome"], "?") if n in by_scan else " " for n in range(TREND, 0, -1)]
    return Line(
        contract=last["contract"],
        column=last["column_name"],
        check=last["check_name"],
        sensor=None if last["series_id"] is None else f"{last['sensor_id']} {last['quantity'] or ''}".strip(),
        outcome=last["outcome"],
        measured=last["measured_value"],
        threshold=last["threshold"],
        checked_at=last["checked_at"],
        trend="".join(symbols).lstrip(),
    )


def _figures(line: Line) -> tuple[str, str, str, str]:
    return _instant(line.checked_at), line.outcome, number(line.measured), line.trend


def _instant(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M}"


# The recursion finds the scans of each contract by the index, one per step, newest first.
_RESULTS = """
    with recursive scans as (
        select
            named.contract,
            1 as number,
            (
                select max(result.checked_at) from quality.check_result as result
                where result.contract = named.contract
            ) as checked_at
        from unnest(%(names)s::text[]) as named (contract)
        union all
        select
            scans.contract,
            scans.number + 1,
            (
                select max(result.checked_at) from quality.check_result as result
                where result.contract = scans.contract and result.checked_at < scans.checked_at
            )
        from scans
        where scans.number < %(trend)s and scans.checked_at is not null
    )
    select
        result.contract,
        result.column_name,
        result.check_name,
        result.sensor_id,
        result.series_id,
        series.quantity,
        result.outcome,
        result.measured_value,
        result.threshold,
        result.checked_at,
        scans.number
    from scans
    inner join quality.check_result as result
        on scans.contract = result.contract and scans.checked_at = result.checked_at
    left join telemetry.series on result.series_id = series.series_id
    order by result.contract, scans.number, result.id
"""
_INCIDENTS = """
    select title, opened_at, measured_value as measured from quality.incident where closed_at is null order by opened_at
"""
