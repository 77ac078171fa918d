"""Results of a scan: overall outcome, exit status, keys, tables, alerts, trends."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from quality.report import lines
from quality.result import Result, Scan, contract_error, key_prefix

AT = datetime(2026, 5, 3, 4, 5, tzinfo=UTC)


def result(status: str = "passed", **more) -> Result:
    """Return a result of a table; of a series if ``series_id`` is given."""
    return Result(
        **{
            "contract": "reading",
            "dataset": "telemetry.reading",
            "check": "c",
            "kind": "metric",
            "status": status,
            **({"sensor_id": "t1", "quantity": "temperature"} if "series_id" in more else {}),
            **more,
        }
    )


def scan(*results: Result) -> Scan:
    """Return a scan with these results."""
    return Scan(UUID(int=1), AT, results, 1.25)


@pytest.mark.parametrize(
    ("results", "outcome", "exit_status"),
    [
        ([result()], "passed", 0),
        ([result(), result("warned")], "warned", 2),
        ([result("warned"), result("failed")], "failed", 1),
        ([result("failed"), result("not evaluated")], "error", 3),
        ([result(), result("not evaluated", series_id=1)], "passed", 0),
        ([result(), result("failed", series_id=1)], "failed", 1),
        ([result("failed"), contract_error("intake", "no such column")], "error", 3),
        ([], "error", 3),
    ],
    ids=[
        "all passed",
        "a warning",
        "a failure",
        "no value",
        "a series not evaluated",
        "a series",
        "a contract",
        "no result",
    ],
)
def test_outcome_of_a_scan_is_its_worst_result(results, outcome, exit_status):
    """Not evaluated is worse than failed, and a scan without results does not pass."""
    assert (scan(*results).outcome, scan(*results).exit_status) == (outcome, exit_status)


def test_keys_are_unique_and_stable():
    """A check has the same key in every scan, whatever it measures; keys of one contract share a prefix."""
    keys = [
        result(measured=1.0).key, result("failed", measured=2.0).key, result(column="time").key,
        result(series_id=7).key, result(series_id=8).key, result(contract="reading_1m").key,
    ]  # fmt: skip
    assert keys[0] == keys[1]
    assert len(set(keys)) == 5
    assert [key.startswith(key_prefix("reading")) for key in keys] == [True] * 5 + [False]


def test_stored_outcomes_are_those_that_the_marts_count():
    """Passed and failed are stored unchanged; a result without a value has the reason."""
    outcomes = [result(status).outcome for status in ("passed", "failed", "warned", "not evaluated")]
    assert outcomes == ["passed", "failed", "warned", "not evaluated: no value"]
    assert contract_error("reading", "gone").outcome == "not evaluated: gone"


def test_alerts_of_results():
    """A failure opens an alert, a pass recovers it; a summary and a series not evaluated have none."""
    opened = result("failed", series_id=7, measured=0.25, threshold="at most 0.05").alert(AT, "http://x")
    assert (opened.state, opened.title, opened.sensor, opened.measured) == ("open", "t1 temperature: c", "t1", 0.25)
    assert (opened.threshold, opened.link, opened.at) == ("at most 0.05", "http://x", AT)
    assert result(series_id=7).alert(AT, None).state == "recovered"
    assert result(series_id=7).alert(AT, None).key == opened.key
    assert result("failed", is_summary=True).alert(AT, None) is None
    assert result("not evaluated", series_id=7).alert(AT, None) is None
    assert contract_error("reading", "gone").alert(AT, None).measured == "gone"


def test_table_shows_failures():
    """One line per contract, and below it the failed checks and series; for a single contract every check."""
    scanned = scan(
        result("failed", is_summary=True, measured=1, threshold="= 0"),
        result("failed", series_id=7, measured=1234.5678, threshold="at most 180 s"),
        result(series_id=8),
        result(contract="intake", check="fine"),
    )
    text = scanned.text()
    rows = [line.split() for line in text.splitlines()]
    assert ["reading", "1", "failed", "failed"] in rows
    assert ["t1", "temperature", "failed", "1,234.57", "at", "most", "180", "s"] in rows
    assert ["intake", "1", "passed", "passed"] in rows
    assert "fine" not in text
    assert "fine" in scanned.text(show_all=True)
    assert "fine" in scan(result(check="fine")).text()
    assert text.splitlines()[-1] == ("FAILED: 1 passed, 1 failed checks; 1 passed, 1 failed of single series; 1.2 s")


def row(number: int, outcome: str, **more) -> dict:
    """Return a row as the report reads it from the database."""
    return {
        "contract": "reading", "column_name": None, "check_name": "c", "sensor_id": None, "series_id": None,
        "quantity": None, "outcome": outcome, "measured_value": 1.0, "threshold": "= 0", "checked_at": AT,
        "number": number, **more,
    }  # fmt: skip


def test_trend_has_one_symbol_per_scan():
    """The newest is last; a scan without the check leaves a blank, scans before its first result add nothing."""
    (line,) = lines([row(1, "failed"), row(2, "warned"), row(4, "not evaluated: gone"), row(5, "passed")])
    assert line.trend == "·? WF"
    assert (line.outcome, line.check, line.sensor) == ("failed", "c", None)


def test_report_has_the_checks_of_the_last_scan():
    """A check that was removed from its contract is not shown; each series has a separate line."""
    shown = lines([
        row(1, "passed", series_id=1, sensor_id="t1", quantity="temperature"),
        row(1, "passed", series_id=2, sensor_id="t2", quantity="temperature"),
        row(2, "failed", check_name="old"),
        row(2, "failed", series_id=1, sensor_id="t1", quantity="temperature"),
    ])  # fmt: skip
    assert [(line.sensor, line.trend) for line in shown] == [("t1 temperature", "F·"), ("t2 temperature", "·")]
