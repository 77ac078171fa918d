"""Raw readings go only when they are in the archive, in the means, and scanned; what holds them back is told."""

import re
import sys
from datetime import UTC, datetime, timedelta

import pytest
from fix_database import Database
from test_timescale_retention import MIDNIGHT
from test_timescale_rollups import LEVELS, expected, found

from timescale import cli
from timescale.migrate import migrate
from timescale.retention import Retention

DAY = MIDNIGHT - timedelta(days=40)
"""The day of most readings here: old enough to go where readings are kept for 30 days."""
STAMP = f"{DAY:%Y-%m-%d}"


class Warehouse:
    """A database as collector, archive and scans leave it behind."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.readings: list[tuple[datetime, int, float]] = []

    def execute(self, statement: str, *values: object) -> list[tuple]:
        """Run a statement; return its rows, if it has any."""
        with self.database.connect() as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def collect(self, start: datetime, count: int, *, received: datetime | None = None, source: str = "mqtt") -> None:
        """Store a reading a minute from ``start`` on; they arrive with their time, or all at ``received``."""
        times = [start + timedelta(minutes=n) for n in range(count)]
        with self.database.connect() as connection:
            into = "copy telemetry.reading (time, series_id, value, received_at) from stdin"
            with connection.cursor().copy(into) as copy:
                for time in times:
                    copy.write_row((time, 1, 1.0, received or time))
        self.readings += [(time, 1, 1.0) for time in times]
        self.account(received or start, source, count)
        if received:
            self.execute(
                "insert into telemetry.late_hour select 1, date_trunc('hour', %s::timestamptz), %s "
                "on conflict (series_id, bucket) do update set noted_at = excluded.noted_at",
                start, received,
            )  # fmt: skip

    def account(self, at: datetime, source: str, messages: int, duplicate: int = 0) -> None:
        """Have the accounts hold messages of one reading each."""
        self.execute(
            "insert into telemetry.intake as kept (bucket, source, collector, messages, decoded, readings, stored, "
            "duplicate) values (date_trunc('minute', %s::timestamptz), %s, 'c', %s, %s, %s, %s, %s) "
            "on conflict (bucket, source, collector) do update set messages = kept.messages + excluded.messages, "
            "decoded = kept.decoded + excluded.decoded, readings = kept.readings + excluded.readings, "
            "stored = kept.stored + excluded.stored, duplicate = kept.duplicate + excluded.duplicate",
            at, source, messages, messages, messages, messages - duplicate, duplicate,
        )  # fmt: skip

    def archive(self, hour: datetime, messages: int) -> None:
        """Record so many messages of an hour in the archive."""
        self.execute(
            "insert into telemetry.archived values (date_trunc('hour', %s::timestamptz), %s, 1, 1, now()) "
            "on conflict (hour) do update set messages = excluded.messages",
            hour, messages,
        )  # fmt: skip

    def scan(self, at: datetime, outcome: str = "passed") -> None:
        """Store the result of a scan."""
        self.execute(
            "insert into quality.check_result "
            "(scan_id, checked_at, contract, dataset, check_name, check_type, outcome) "
            "values (gen_random_uuid(), %s, 'reading', 'telemetry.reading', 'x', 'schema', %s)",
            at, outcome,
        )  # fmt: skip

    def refresh(self) -> None:
        """Bring the means up to date."""
        self.database.refresh()

    def waits(self, day: datetime = DAY) -> list[str]:
        """Return the gates that hold a day back."""
        ((reasons,),) = self.execute("select waits_for from telemetry.retention_gate() where begins = %s", day)
        return [reason.split(":")[0] for reason in reasons]

    def apply(self) -> None:
        """Run what the scheduled job runs."""
        self.execute("call telemetry.apply_retention()")

    def raw(self) -> int:
        """Return how many raw readings there are."""
        return self.execute("select count(*) from telemetry.reading")[0][0]


@pytest.fixture
def warehouse(database):
    """A database that keeps raw readings for 30 days, with the gates of a fresh installation."""
    warehouse = Warehouse(database)
    with database.connect() as connection:
        Retention(30).store(connection)
    return warehouse


@pytest.fixture
def ready(warehouse):
    """A day of which everything has happened that must."""
    warehouse.collect(DAY + timedelta(hours=12), 60)
    warehouse.refresh()
    warehouse.archive(DAY + timedelta(hours=12), 60)
    warehouse.scan(DAY + timedelta(days=1, hours=4))
    assert warehouse.waits() == []
    return warehouse


def test_what_waits_for_nothing_goes_and_its_means_stay(ready):
    """Archived, in the means and scanned: the raw readings go, every level keeps what was in them."""
    ready.apply()
    assert ready.raw() == 0
    ready.refresh()
    for level, width in LEVELS.items():
        assert found(ready.database, level) == expected(ready.readings, width)


def test_nothing_goes_that_is_not_in_the_archive(ready):
    """One message that the archive lacks holds its day, and says how many of which day."""
    ready.archive(DAY + timedelta(hours=12), 59)
    ready.apply()
    assert ready.raw() == 60
    assert ready.execute("select waits_for from telemetry.retention_gate()") == [
        ([f"archive: it lacks 1 messages of {STAMP}"],)
    ]


@pytest.mark.parametrize(("sources", "held"), [("mqtt", []), ("mqtt,kafka", ["archive"])])
def test_the_setting_says_whose_messages_must_be_archived(warehouse, monkeypatch, sources, held):
    """What came by Kafka is asked of the archive only where the setting says so."""
    for name, value in (("DAYS", "30"), ("ARCHIVED", sources), ("SCANNED", "no")):
        monkeypatch.setenv(f"TIMESCALE_RETENTION_{name}", value)
    migrate()
    warehouse.collect(DAY + timedelta(hours=12), 5, source="kafka")
    warehouse.refresh()
    assert warehouse.waits() == held


def test_what_came_from_files_is_in_files(warehouse):
    """Readings that `collector load` brought never passed the archiver, and wait for means and scan alone."""
    warehouse.collect(DAY + timedelta(hours=12), 5, source="file")
    warehouse.refresh()
    assert warehouse.waits() == ["scan"]


def test_what_came_twice_is_not_asked_of_the_archive(ready):
    """A collector that was killed after its commit gets messages again that the archiver gets once."""
    ready.account(DAY + timedelta(hours=12), "mqtt", 40, duplicate=40)
    assert ready.waits() == []


@pytest.mark.parametrize("late", ["archiver", "collector"])
def test_an_outage_over_midnight_is_evened_out(ready, late):
    """Where collector or archiver was away over midnight, one has messages on the next day that the other has not."""
    evening, morning = DAY + timedelta(hours=23, minutes=50), DAY + timedelta(days=1, hours=1)
    counted, kept = (evening, morning) if late == "archiver" else (morning, evening)
    ready.account(counted, "mqtt", 500)
    assert ready.waits() == (["archive"] if late == "archiver" else [])
    ready.archive(kept, 500)
    assert ready.waits() == []


def test_nothing_goes_that_is_not_in_the_means(ready):
    """A reading that came late opens the question again, until the means have it."""
    if ready.database.edition == "postgresql":
        ready.execute("delete from telemetry.rollup_1h")  # its trigger is never behind
    else:
        ready.execute("insert into telemetry.reading values (%s, 1, 1, %s)", DAY + timedelta(hours=20), DAY)
    assert ready.waits() == ["means"]
    if ready.database.edition == "timescaledb":
        ready.refresh()
        assert ready.waits() == []


def test_nothing_goes_that_was_not_scanned(ready):
    """A scan before the last change does not count, nor one that could not be made."""
    ready.execute("delete from quality.check_result")
    ready.scan(DAY + timedelta(days=1, hours=2))
    ready.scan(DAY + timedelta(days=1, hours=5), "not evaluated: no database")
    ready.apply()
    assert (ready.raw(), ready.waits()) == (60, ["scan"])
    ready.scan(DAY + timedelta(days=1, hours=5), "failed")
    ready.apply()
    assert ready.raw() == 0


def test_backfilled_readings_open_the_gates_again(ready, monkeypatch):
    """Readings that come a month late wait for archive, means and scan, whatever had happened to their day before."""
    came = DAY + timedelta(days=35, hours=8)
    ready.collect(DAY + timedelta(hours=18), 30, received=came)
    held = ["archive", "scan"] if ready.database.edition == "postgresql" else ["archive", "means", "scan"]
    assert ready.waits() == held
    ready.apply()  # brings the means up to date first
    assert ready.waits() == ["archive", "scan"]
    ready.archive(came, 30)
    assert ready.waits() == ["scan"]
    ready.scan(came - timedelta(hours=1))
    assert ready.waits() == ["scan"]
    ready.scan(came + timedelta(hours=1))
    ready.apply()
    assert ready.raw() == 0
    for level, width in LEVELS.items():
        assert found(ready.database, level) == expected(ready.readings, width)


def test_what_is_held_holds_what_is_newer(ready):
    """Days go in their order, so that one instant says where raw readings begin."""
    ready.collect(DAY - timedelta(days=3) + timedelta(hours=12), 5)
    ready.refresh()
    ready.apply()
    assert ready.raw() == 65
    ready.archive(DAY - timedelta(days=3), 5)
    ready.apply()
    assert ready.raw() == 0


def test_late_data_for_dropped_days_empties_no_mean(ready):
    """A reading that reaches a dropped day past the collector changes no mean to less, and goes with the next run."""
    ready.apply()
    ready.execute("insert into telemetry.reading values (%s, 1, 5, now())", DAY + timedelta(hours=12, seconds=30))
    for _ in range(2):
        ready.refresh()
        ready.apply()
    for level in LEVELS:
        ((count,),) = ready.execute(f"select sum(sample_count) from telemetry.reading_{level}")
        assert count >= 60
    assert ready.raw() == 0


def test_status_and_retention_say_what_holds(ready, monkeypatch, capsys):
    """`timescale status` names day and reason; `timescale retention` drops, and says what it left."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["timescale", *arguments])
        with pytest.raises(SystemExit):
            cli.main()
        return capsys.readouterr().out

    monkeypatch.setenv("COLUMNS", "200")
    ready.collect(DAY + timedelta(days=2, hours=12), 5)
    ready.refresh()
    later = f"{DAY + timedelta(days=2):%Y-%m-%d}"
    told = run("status")
    assert "for 30 days, and until they are in the archive (mqtt) and in the means and scanned" in told
    assert re.search(rf"{STAMP} +60 readings  goes with the next run", told)
    assert re.search(rf"{later} +5 readings  archive: it lacks 5 messages of {later}", told)
    assert f"{later}              5 readings  archive" in run("retention", "--dry-run")
    assert ready.raw() == 65
    told = run("retention")
    assert f"dropped 60 readings of {STAMP} to {STAMP}" in told
    assert f"{later}              5 readings  archive" in told
    assert ready.raw() == 5
    (overdue,) = ready.execute("select overdue_seconds from telemetry.retention_overdue")[0]
    assert overdue == (MIDNIGHT - timedelta(days=31) - (DAY + timedelta(days=3))).total_seconds()


@pytest.mark.parametrize(
    ("name", "value"), [("TIMESCALE_RETENTION_ARCHIVED", "file"), ("TIMESCALE_RETENTION_SCANNED", "1")]
)
def test_a_wrong_gate_is_refused(name, value, monkeypatch, capsys):
    """A source that no archive holds, or an answer that is none, is named before anything is done."""
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["timescale", "migrate"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert f"  {name}: " in capsys.readouterr().err


def test_a_year_that_may_go_is_no_year_of_runs(warehouse):
    """All that waits for nothing goes in one run, and with it nothing that is younger than the retention."""
    now = datetime.now(tz=UTC)
    for days in (31.5, 33, 34, 39):
        warehouse.collect(now - timedelta(days=days), 1, source="file")
    warehouse.scan(now)
    warehouse.collect(now - timedelta(days=20), 1, source="file")
    warehouse.apply()
    assert {when for (when,) in warehouse.execute("select time from telemetry.reading")} >= {now - timedelta(days=20)}
    assert warehouse.raw() <= 2
