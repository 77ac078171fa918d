"""Raw readings are dropped only when they are archived, in the means, and scanned; the reasons are shown."""

import re
import sys
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from fix_database import Database
from test_timescale_retention import MIDNIGHT
from test_timescale_rollups import LEVELS, expected, means

from collector.message import Decoded, Message
from collector.store.arrived import SLOTS
from collector.store.batch import Batch
from collector.store.superseded import microseconds
from collector.store.writer import Writer
from quality.scan import scan
from timescale import cli
from timescale.migrate import migrate
from timescale.retention import Retention

DAY = MIDNIGHT - timedelta(days=40)
"""The day of most readings in these tests: older than a retention of 30 days."""
STAMP = f"{DAY:%Y-%m-%d}"


def slots(messages: int, only: int | None = None) -> list[int]:
    """Return ``messages`` by slot, spread evenly or all in one."""
    if only is not None:
        return [messages if slot == only else 0 for slot in range(SLOTS)]
    return [messages // SLOTS + (slot < messages % SLOTS) for slot in range(SLOTS)]


class Warehouse:
    """A database with readings, archive records and scans."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.readings: list[tuple[datetime, int, float]] = []

    def execute(self, statement: str, *values: object) -> list[tuple]:
        """Run a statement; return its rows, if it has any."""
        with self.database.connect() as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def collect(self, start: datetime, count: int, *, received: datetime | None = None, source: str = "mqtt") -> None:
        """Store one reading per minute from ``start`` on; they arrive at their time, or all at ``received``."""
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
        """Add messages of one reading each to the accounts."""
        self.execute(
            "insert into telemetry.intake as existing (bucket, source, collector, messages, decoded, readings, stored, "
            "duplicate) values (date_trunc('minute', %s::timestamptz), %s, 'c', %s, %s, %s, %s, %s) "
            "on conflict (bucket, source, collector) do update set messages = existing.messages + excluded.messages, "
            "decoded = existing.decoded + excluded.decoded, readings = existing.readings + excluded.readings, "
            "stored = existing.stored + excluded.stored, duplicate = existing.duplicate + excluded.duplicate",
            at, source, messages, messages, messages, messages - duplicate, duplicate,
        )  # fmt: skip
        new = messages - duplicate
        self.execute(
            "insert into telemetry.arrived as existing "
            "select date_trunc('hour', %s::timestamptz), %s, 'c', number - 1, messages "
            "from unnest(%s::bigint[]) with ordinality as slots (messages, number) where messages > 0 "
            "on conflict (hour, source, collector, slot) do update "
            "set messages = existing.messages + excluded.messages",
            at, source, slots(new),
        )  # fmt: skip

    def archive(self, hour: datetime, messages: int, surplus: int | None = None) -> None:
        """Record the number of archived messages of an hour; all in the slot ``surplus``, or spread evenly."""
        self.execute(
            "insert into telemetry.archived values (date_trunc('hour', %s::timestamptz), %s, 1, 1, now(), %s) "
            "on conflict (hour) do update set messages = excluded.messages, slots = excluded.slots",
            hour, messages, slots(messages, surplus),
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
        """Refresh the means."""
        self.database.refresh()

    def closed_gates(self, day: datetime = DAY) -> list[str]:
        """Return the gates that block a day."""
        ((reasons,),) = self.execute("select waits_for from telemetry.retention_gate() where begins = %s", day)
        return [reason.split(":")[0] for reason in reasons]

    def apply(self) -> None:
        """Run the procedure of the scheduled job."""
        self.execute("call telemetry.apply_retention()")

    def raw_readings(self) -> int:
        """Return the number of raw readings."""
        return self.execute("select count(*) from telemetry.reading")[0][0]


@pytest.fixture
def warehouse(database):
    """A database that keeps raw readings for 30 days, with the default gates."""
    warehouse = Warehouse(database)
    with database.connect() as connection:
        Retention(30).store(connection)
    return warehouse


@pytest.fixture
def ready(warehouse):
    """A day whose gates are all open."""
    warehouse.collect(DAY + timedelta(hours=12), 60)
    warehouse.refresh()
    warehouse.archive(DAY + timedelta(hours=12), 60)
    warehouse.scan(DAY + timedelta(days=1, hours=4))
    assert warehouse.closed_gates() == []
    return warehouse


def test_readings_with_open_gates_are_dropped_and_means_stay(ready):
    """Raw readings that are archived, in the means and scanned are dropped; all levels of means stay exact."""
    ready.apply()
    assert ready.raw_readings() == 0
    ready.refresh()
    for level, width in LEVELS.items():
        assert means(ready.database, level) == expected(ready.readings, width)


def test_unarchived_readings_are_kept(ready):
    """One message missing in the archive blocks its day; the reason has number and day."""
    ready.archive(DAY + timedelta(hours=12), 59)
    ready.apply()
    assert ready.raw_readings() == 60
    assert ready.execute("select waits_for from telemetry.retention_gate()") == [
        ([f"archive: it lacks 1 messages of {STAMP}"],)
    ]


@pytest.mark.parametrize(("sources", "closed"), [("mqtt", []), ("mqtt,kafka", ["archive"])])
def test_only_configured_sources_must_be_archived(warehouse, monkeypatch, sources, closed):
    """Messages of Kafka must be archived only if the setting names Kafka."""
    for name, value in (("DAYS", "30"), ("ARCHIVED", sources), ("SCANNED", "no")):
        monkeypatch.setenv(f"TIMESCALE_RETENTION_{name}", value)
    migrate()
    warehouse.collect(DAY + timedelta(hours=12), 5, source="kafka")
    warehouse.refresh()
    assert warehouse.closed_gates() == closed


def test_readings_from_files_need_no_archive(warehouse):
    """Readings of `collector load` do not pass the archiver; only means and scan block them."""
    warehouse.collect(DAY + timedelta(hours=12), 5, source="file")
    warehouse.refresh()
    assert warehouse.closed_gates() == ["scan"]


def test_duplicates_need_not_be_archived(ready):
    """A collector killed after its commit receives messages again that the archiver receives once."""
    ready.account(DAY + timedelta(hours=12), "mqtt", 40, duplicate=40)
    assert ready.closed_gates() == []


def test_redelivery_does_not_open_the_gate_on_an_empty_archive(ready):
    """Messages of many readings that arrive twice reduce no number: readings are not subtracted from messages."""
    ready.execute("delete from telemetry.archived")
    ready.execute("update telemetry.intake set readings = readings + 600, duplicate = duplicate + 600")
    assert ready.closed_gates() == ["archive"]


def test_other_messages_do_not_stand_for_missing_ones(ready):
    """An archive with as many messages, but other ones, keeps the gate closed."""
    ready.archive(DAY + timedelta(hours=12), 1000, surplus=3)
    assert ready.execute("select waits_for from telemetry.retention_gate()") == [
        ([f"archive: it lacks 59 messages of {STAMP}"],)
    ]


@pytest.mark.parametrize("late", ["archiver", "collector"])
@pytest.mark.parametrize("complete", [True, False])
def test_an_outage_of_three_days_is_compensated_by_a_complete_archive_only(ready, late, complete):
    """After three days without one of them all messages follow; an archive that lost a day of them stays closed."""
    hours = [DAY - timedelta(days=1) + timedelta(hours=number) for number in range(24 * 4)]
    end = hours[-1] + timedelta(hours=1)
    missing = 0 if complete else 24
    if late == "archiver":
        ready.execute("delete from telemetry.archived")
        for hour in hours:
            ready.account(hour, "mqtt", SLOTS)
        ready.archive(end, 60 + SLOTS * (len(hours) - missing))
    else:
        for hour in hours[missing:]:
            ready.archive(hour, SLOTS + (60 if hour == DAY + timedelta(hours=12) else 0))
        ready.account(end, "mqtt", SLOTS * len(hours))
    # Live again, with a tenth more than becomes readings.
    for number in range(1, 60):
        ready.account(end + timedelta(hours=number), "mqtt", SLOTS)
        ready.archive(end + timedelta(hours=number), SLOTS + 6)
    assert ready.closed_gates() == ([] if complete else ["archive"])


@pytest.mark.parametrize("late", ["archiver", "collector"])
def test_an_outage_over_midnight_is_compensated(ready, late):
    """After an outage of collector or archiver over midnight, their counts per day differ but their sums agree."""
    evening, morning = DAY + timedelta(hours=23, minutes=50), DAY + timedelta(days=1, hours=1)
    counted, archived = (evening, morning) if late == "archiver" else (morning, evening)
    ready.account(counted, "mqtt", 500)
    assert ready.closed_gates() == (["archive"] if late == "archiver" else [])
    ready.archive(archived, 500)
    assert ready.closed_gates() == []


def test_readings_missing_in_the_means_are_kept(ready):
    """A late reading blocks its day until the means contain it."""
    if ready.database.edition == "postgresql":
        ready.execute("delete from telemetry.rollup_1h")  # its trigger is always current
    else:
        ready.execute("insert into telemetry.reading values (%s, 1, 1, %s)", DAY + timedelta(hours=20), DAY)
    assert ready.closed_gates() == ["means"]
    if ready.database.edition == "timescaledb":
        ready.refresh()
        assert ready.closed_gates() == []


def test_unscanned_readings_are_kept(ready):
    """A scan before the last change does not count, nor a failed attempt to scan."""
    ready.execute("delete from quality.check_result")
    ready.scan(DAY + timedelta(days=1, hours=2))
    ready.scan(DAY + timedelta(days=1, hours=5), "not evaluated: no database")
    ready.apply()
    assert (ready.raw_readings(), ready.closed_gates()) == (60, ["scan"])
    ready.scan(DAY + timedelta(days=1, hours=5), "failed")
    ready.apply()
    assert ready.raw_readings() == 0


def test_backfilled_readings_close_the_gates(ready, monkeypatch):
    """Readings that arrive a month late must be archived, in the means and scanned, whatever the state of their day."""
    arrival = DAY + timedelta(days=35, hours=8)
    ready.collect(DAY + timedelta(hours=18), 30, received=arrival)
    closed = ["archive", "scan"] if ready.database.edition == "postgresql" else ["archive", "means", "scan"]
    assert ready.closed_gates() == closed
    ready.apply()  # refreshes the means first
    assert ready.closed_gates() == ["archive", "scan"]
    ready.archive(arrival, 30)
    assert ready.closed_gates() == ["scan"]
    ready.scan(arrival - timedelta(hours=1))
    assert ready.closed_gates() == ["scan"]
    ready.scan(arrival + timedelta(hours=1))
    ready.apply()
    assert ready.raw_readings() == 0
    for level, width in LEVELS.items():
        assert means(ready.database, level) == expected(ready.readings, width)


def test_a_closed_gate_blocks_newer_days(ready):
    """Days are dropped in order, so that one time marks the begin of raw readings."""
    ready.collect(DAY - timedelta(days=3) + timedelta(hours=12), 5)
    ready.refresh()
    ready.apply()
    assert ready.raw_readings() == 65
    ready.archive(DAY - timedelta(days=3), 5)
    ready.apply()
    assert ready.raw_readings() == 0


def test_readings_that_no_gate_has_seen_are_kept(ready):
    """Readings stored in a dropped day are never deleted: they are listed, change no mean, and block no other day."""
    next_day = DAY + timedelta(days=1, hours=12)
    ready.collect(next_day, 5)
    ready.refresh()
    ready.apply()
    late = DAY + timedelta(hours=12, seconds=30)
    ready.execute(
        "insert into telemetry.sensor (sensor_id, type, site, area, topic, since) "
        "values ('s', 'k', 'a', 'b', 't', '2020-01-01'); "
        "insert into telemetry.series (sensor_id, quantity, unit, interval_seconds) values ('s', 'q', '1', 60)"
    )
    ready.execute("insert into telemetry.reading select %s, series_id, 5, now() from telemetry.series", late)
    ready.archive(next_day, 5)
    ready.scan(next_day + timedelta(days=1))
    for _ in range(2):
        ready.refresh()
        ready.apply()
    assert ready.execute("select time from telemetry.reading") == [(late,)]
    assert ready.execute("select dropped_readings from telemetry.retention") == [(65,)]
    assert ready.execute("select begins, readings, is_dropped from telemetry.retention_gate()") == [(DAY, 1, True)]
    assert ready.execute("select overdue_seconds > 0 from telemetry.retention_overdue") == [(True,)]
    for level in LEVELS:
        ((count,),) = ready.execute(f"select sum(sample_count) from telemetry.reading_{level}")
        assert count >= 65


def test_readings_stored_after_the_gate_are_not_deleted(ready):
    """If a day has other readings than its gate has counted, it is kept, and the next run checks it again."""
    with pytest.raises(psycopg.errors.SerializationFailure, match="the gates saw 59 readings, now there are 60"):
        ready.execute("call telemetry.drop_span(%s, %s, 59)", DAY, DAY + timedelta(days=1))
    assert ready.raw_readings() == 60


@pytest.mark.parametrize("setting", ["retention", "dropped"])
def test_a_collector_refuses_old_readings_in_its_transaction(ready, setting):
    """A collector that decoded before the retention changed stores nothing that the gates do not see."""
    if setting == "dropped":
        ready.apply()
        ready.execute("update telemetry.retention set keep_days = null")
    day = DAY + timedelta(hours=6)
    new = datetime.now(UTC)
    times = {b"old": [day], b"new": [new], b"both": [day + timedelta(seconds=1), new + timedelta(seconds=1)]}

    def decode(message: Message) -> Decoded:
        return Decoded([(1, microseconds(time), 1.0) for time in times[message.payload]], [])

    messages = [Message("t", payload, microseconds(new), retained=False) for payload in times]
    writer = Writer("mqtt", "test")
    before = ready.raw_readings()
    accounts = writer.write(Batch.of(messages, decode), decode)
    writer.close()
    assert (accounts.stored, accounts.quarantined_readings, accounts.balanced) == (2, 2, True)
    assert ready.raw_readings() == before + 2
    rows = ready.execute("select reason, payload, readings, detail from telemetry.quarantine order by id")
    assert [row[:3] for row in rows] == [("time_too_old", b"old", 1), ("time_too_old", b"both", 1)]
    assert f"{STAMP}T06:00:00" in rows[0][3]
    assert rows[0][3].endswith("where retention begins")


def test_a_change_of_the_retention_waits_for_open_transactions(ready):
    """A collector that has read the earlier retention commits before the new one is in force."""
    with ready.database.connect(autocommit=False) as collector, ready.database.connect(autocommit=False) as owner:
        collector.execute("insert into telemetry.reading values (%s, 1, 1, now())", (DAY - timedelta(days=9),))
        owner.execute("set local lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            Retention(20).store(owner)
        owner.rollback()
        collector.rollback()
        Retention(20).store(owner)


def test_stored_readings_are_reconciled_with_the_table(ready):
    """The readings that the accounts count are kept or dropped; one that is in neither is reported by the contract."""

    def missing() -> tuple[int, ...]:
        return ready.execute("select stored, kept, dropped, missing from quality.stored_readings")[0]

    now = datetime.now(tz=UTC)
    for age in (timedelta(days=3), timedelta(hours=5), timedelta(minutes=1)):
        ready.collect(now - age, 1, received=now)
    ready.refresh()
    assert missing() == (63, 63, 0, 0)
    ready.apply()
    ready.refresh()
    assert missing() == (63, 3, 60, 0)
    ready.account(now, "mqtt", 2)
    assert missing() == (65, 3, 60, 2)
    (result,) = [result for result in scan(["intake"]).results if "neither in the table" in result.check]
    assert (result.status, result.measured) == ("failed", 1)


def test_status_and_retention_show_the_reasons(ready, monkeypatch, capsys):
    """`timescale status` shows day and reason; `timescale retention` drops readings and shows the remaining ones."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["timescale", *arguments])
        with pytest.raises(SystemExit):
            cli.main()
        return capsys.readouterr().out

    monkeypatch.setenv("COLUMNS", "200")
    ready.collect(DAY + timedelta(days=2, hours=12), 5)
    ready.refresh()
    later = f"{DAY + timedelta(days=2):%Y-%m-%d}"
    output = run("status")
    assert "for 30 days, and until they are in the archive (mqtt) and in the means and scanned" in output
    assert re.search(rf"{STAMP} +60 readings  dropped by the next run", output)
    assert re.search(rf"{later} +5 readings  archive: it lacks 5 messages of {later}", output)
    assert f"{later}              5 readings  archive" in run("retention", "--dry-run")
    assert ready.raw_readings() == 65
    output = run("retention")
    assert f"dropped 60 readings of {STAMP} to {STAMP}" in output
    assert f"{later}              5 readings  archive" in output
    assert ready.raw_readings() == 5
    (overdue,) = ready.execute("select overdue_seconds from telemetry.retention_overdue")[0]
    assert overdue == (MIDNIGHT - timedelta(days=31) - (DAY + timedelta(days=3))).total_seconds()


@pytest.mark.parametrize(
    ("name", "value"), [("TIMESCALE_RETENTION_ARCHIVED", "file"), ("TIMESCALE_RETENTION_SCANNED", "1")]
)
def test_invalid_gate_settings_are_refused(name, value, monkeypatch, capsys):
    """An unknown source or an invalid value is reported before any change."""
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["timescale", "migrate"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert f"  {name}: " in capsys.readouterr().err


def test_one_run_drops_all_expired_days(warehouse):
    """One run drops all days with open gates, and no reading younger than the retention."""
    now = datetime.now(tz=UTC)
    for days in (31.5, 33, 34, 39):
        warehouse.collect(now - timedelta(days=days), 1, source="file")
    warehouse.scan(now)
    warehouse.collect(now - timedelta(days=20), 1, source="file")
    warehouse.apply()
    assert {reading_time for (reading_time,) in warehouse.execute("select time from telemetry.reading")} >= {
        now - timedelta(days=20)
    }
    assert warehouse.raw_readings() <= 2
