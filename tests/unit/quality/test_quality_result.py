"""What results come to: outcomes, exit statuses, keys, tables, news."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from quality.report import lines
from quality.result import Result, Scan, contract_error, prefix

AT = datetime(2026, 5, 3, 4, 5, tzinfo=UTC)


def result(word: str = "passed", **more) -> Result:
    """Return a result of a table; with ``series_id`` of a series."""
    return Result(
        **{
            "contract": "reading",
            "dataset": "telemetry.reading",
            "check": "c",
            "kind": "metric",
            "word": word,
            **({"sensor_id": "t1", "quantity": "temperature"} if "series_id" in more else {}),
            **more,
        }
    )


def scan(*results: Result) -> Scan:
    """Return a scan that found these."""
    return Scan(UUID(int=1), AT, results, 1.25)


@pytest.mark.parametrize(
    ("results", "outcome", "status"),
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
        "a series of which nothing is known",
        "a series",
        "a contract",
        "nothing",
    ],
)
def test_a_scan_is_as_good_as_its_worst_result(results, outcome, status):
    """What could not be evaluated is worst, and nothing at all is no pass."""
    assert (scan(*results).outcome, scan(*results).exit_status) == (outcome, status)


def test_keys_tell_checks_apart_and_stay():
    """A check has the same key in every scan, whatever it measures; those of a contract begin alike."""
    keys = [
        result(measured=1.0).key, result("failed", measured=2.0).key, result(column="time").key,
        result(series_id=7).key, result(series_id=8).key, result(contract="reading_1m").key,
    ]  # fmt: skip
    assert keys[0] == keys[1]
    assert len(set(keys)) == 5
    assert [key.startswith(prefix("reading")) for key in keys] == [True] * 5 + [False]


def test_outcomes_are_those_that_the_marts_count():
    """Passed and failed as they are; what has no value says why."""
    outcomes = [result(word).outcome for word in ("passed", "failed", "warned", "not evaluated")]
    assert outcomes == ["passed", "failed", "warned", "not evaluated: no value"]
    assert contract_error("reading", "gone").outcome == "not evaluated: gone"


def test_what_is_told_of_a_result():
    """A failure opens, a pass recovers; what sums up others, or says nothing of a series, is no news."""
    opened = result("failed", series_id=7, measured=0.25, threshold="at most 0.05").event(AT, "http://x")
    assert (opened.state, opened.title, opened.sensor, opened.measured) == ("open", "t1 temperature: c", "t1", 0.25)
    assert (opened.threshold, opened.link, opened.at) == ("at most 0.05", "http://x", AT)
    assert result(series_id=7).event(AT, None).state == "recovered"
    assert result(series_id=7).event(AT, None).key == opened.key
    assert result("failed", sums_up=True).event(AT, None) is None
    assert result("not evaluated", series_id=7).event(AT, None) is None
    assert contract_error("reading", "gone").event(AT, None).measured == "gone"


def test_the_table_shows_what_is_not_as_it_should_be():
    """A line a contract, and under it the checks and series that failed; of one contract alone every check."""
    found = scan(
        result("failed", sums_up=True, measured=1, threshold="= 0"),
        result("failed", series_id=7, measured=1234.5678, threshold="at most 180 s"),
        result(series_id=8),
        result(contract="intake", check="fine"),
    )
    text = found.text()
    rows = [line.split() for line in text.splitlines()]
    assert ["reading", "1", "failed", "failed"] in rows
    assert ["t1", "temperature", "failed", "1,234.57", "at", "most", "180", "s"] in rows
    assert ["intake", "1", "passed", "passed"] in rows
    assert "fine" not in text
    assert "fine" in found.text(everything=True)
    assert "fine" in scan(result(check="fine")).text()
    assert text.splitlines()[-1] == ("FAILED: 1 passed, 1 failed checks; 1 passed, 1 failed of single series; 1.2 s")


def row(number: int, outcome: str, **more) -> dict:
    """Return a row as the report reads them."""
    return {
        "contract": "reading", "column_name": None, "check_name": "c", "sensor_id": None, "series_id": None,
        "quantity": None, "outcome": outcome, "measured_value": 1.0, "threshold": "= 0", "checked_at": AT,
        "number": number, **more,
    }  # fmt: skip


def test_a_trend_goes_from_old_to_new():
    """One sign a scan, the newest last; a scan that lacks the check leaves a gap, one that never had it nothing."""
    (line,) = lines([row(1, "failed"), row(2, "warned"), row(4, "not evaluated: gone"), row(5, "passed")])
    assert line.trend == "·? WF"
    assert (line.outcome, line.check, line.sensor) == ("failed", "c", None)


def test_the_report_has_what_the_last_scan_had():
    """A check that was taken out of its contract is gone; each series is a line of its own."""
    found = lines([
        row(1, "passed", series_id=1, sensor_id="t1", quantity="temperature"),
        row(1, "passed", series_id=2, sensor_id="t2", quantity="temperature"),
        row(2, "failed", check_name="old"),
        row(2, "failed", series_id=1, sensor_id="t1", quantity="temperature"),
    ])  # fmt: skip
    assert [(line.sensor, line.trend) for line in found] == [("t1 temperature", "F·"), ("t2 temperature", "·")]
