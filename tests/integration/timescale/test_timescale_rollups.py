"""Means per minute, hour and day: exact whatever the order, age and number of writers."""

import random
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from fix_database import Database

from core.database import connect

Reading = tuple[datetime, int, float]
LEVELS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
CHUNKS_OF_MINUTES = """
    select format('%I.%I', chunk.chunk_schema, chunk.chunk_name)
    from timescaledb_information.chunks as chunk
    join timescaledb_information.continuous_aggregates as means
        on chunk.hypertable_name = means.materialization_hypertable_name
    where means.view_name = 'reading_1m' order by chunk.range_start
"""
COLUMNS = "bucket, series_id, mean, minimum, maximum, first_value, last_value, sum_value, sample_count"


def copy(connection, readings: Iterable[Reading]) -> None:
    """Insert readings the way the collector does."""
    with connection.cursor().copy("copy telemetry.reading (time, series_id, value, received_at) from stdin") as into:
        for time, series, value in readings:
            into.write_row((time, series, value, time))


def expected(readings: Iterable[Reading], width: timedelta) -> list[tuple]:
    """Compute a level from all readings, by brute force."""
    buckets: dict[tuple[int, datetime], list[tuple[datetime, float]]] = {}
    for when, series, value in readings:
        buckets.setdefault((series, EPOCH + (when - EPOCH) // width * width), []).append((when, value))
    rows = []
    for (series, bucket), samples in sorted(buckets.items()):
        values = [value for _, value in sorted(samples)]
        mean = pytest.approx(sum(values) / len(values))
        total = pytest.approx(sum(values))
        rows.append((bucket, series, mean, min(values), max(values), values[0], values[-1], total, len(values)))
    return rows


def found(database: Database, level: str) -> list[tuple]:
    """Read a level from the database."""
    with database.connect() as connection:
        return connection.execute(
            f"select {COLUMNS} from telemetry.reading_{level} order by series_id, bucket"
        ).fetchall()


def some_readings(seed: int, count: int = 1500) -> list[Reading]:
    """Three series over a few days of the past and up to now, in random order."""
    chance = random.Random(seed)
    end = datetime.now(tz=UTC)
    spans = [timedelta(minutes=30), timedelta(days=3), timedelta(days=60)]
    times = {(end - chance.random() * chance.choice(spans), chance.randint(1, 3)) for _ in range(count)}
    readings = [(time, series, chance.gauss(20, 5)) for time, series in times]
    chance.shuffle(readings)
    return readings


@pytest.mark.parametrize("seed", range(3))
def test_every_level_equals_brute_force_after_shuffled_batches(database, seed):
    """Late and unordered readings in several batches give the means of all readings."""
    readings = some_readings(seed)
    cuts = sorted(random.Random(seed).sample(range(len(readings)), 5))
    with database.connect() as connection:
        for start, end in zip([0, *cuts], [*cuts, len(readings)], strict=True):
            copy(connection, readings[start:end])
            database.refresh()
    for level, width in LEVELS.items():
        assert found(database, level) == expected(readings, width)


def test_two_writers_at_once_neither_deadlock_nor_lose(database):
    """Two sessions that insert into the same buckets at the same time give the means of all readings."""
    readings = some_readings(7)
    failures: list[Exception] = []
    together = threading.Barrier(2)

    def write(part: list[Reading]) -> None:
        try:
            with database.connect() as connection:
                for start in range(0, len(part), 200):
                    together.wait()
                    copy(connection, part[start : start + 200])
        except Exception as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)
            together.abort()

    half = len(readings) // 2
    threads = [threading.Thread(target=write, args=(part,)) for part in (readings[:half], readings[half : 2 * half])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    database.refresh()
    for level, width in LEVELS.items():
        assert found(database, level) == expected(readings[: 2 * half], width)


def test_a_reading_rolled_back_leaves_no_trace(database):
    """What is not committed is in no mean."""
    with database.connect(autocommit=False) as connection:
        copy(connection, [(datetime.now(tz=UTC), 1, 5.0)])
        connection.rollback()
    assert [found(database, level) for level in LEVELS] == [[], [], []]


def test_the_newest_reading_is_in_all_levels_at_once(database):
    """No refresh stands between an insert and its means when it is less than ten minutes late."""
    now = datetime.now(tz=UTC)
    database.refresh()
    with database.connect() as connection:
        copy(connection, [(now - timedelta(minutes=9), 1, 1.0), (now, 1, 3.0)])
    assert [sum(row[-1] for row in found(database, level)) for level in LEVELS] == [2, 2, 2]


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_the_job_brings_two_year_old_readings_into_every_level(database):
    """Readings two years late, next to ones already there, reach all levels by one run of the scheduled job."""
    old = datetime.now(tz=UTC) - timedelta(days=730)
    early, late = (old, 1, 10.0), (old + timedelta(microseconds=1), 1, 30.0)
    run_job = """
        select job_id, schedule_interval from timescaledb_information.jobs where proc_name = 'refresh_rollups'
    """
    with database.connect() as connection:
        job, interval = connection.execute(run_job).fetchone()
        copy(connection, [early])
        connection.execute("call public.run_job(%s)", (job,))
        copy(connection, [late])
        connection.execute("call public.run_job(%s)", (job,))
    assert interval <= timedelta(minutes=1)
    for level, width in LEVELS.items():
        assert found(database, level) == expected([early, late], width)


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_late_readings_reach_the_levels_through_the_columnstore(database):
    """After the policy has compressed a day, late readings are in its means, and those that come twice are not."""
    readings = [reading for reading in some_readings(11) if reading[0] < datetime.now(tz=UTC) - timedelta(days=1)]
    with database.connect() as connection:
        copy(connection, readings[::2])
        database.refresh()
        ((job,),) = connection.execute(
            "select job_id from timescaledb_information.jobs where proc_name = 'policy_compression'"
        ).fetchall()
        connection.execute(f"call public.run_job({job})")
        in_columns = connection.execute(
            "select bool_and(is_compressed) from timescaledb_information.chunks "
            "where hypertable_name = 'reading' and range_end < now() - interval '7 days'"
        )
        assert in_columns.fetchall() == [(True,)]
        copy(connection, readings[1::2])
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into telemetry.reading (time, series_id, value, received_at) values (%s, %s, %s, now()) "
                "on conflict do nothing",
                readings[:200],
            )
            assert cursor.rowcount == 0
    database.refresh()
    for level, width in LEVELS.items():
        assert found(database, level) == expected(readings, width)


def test_values_that_would_overflow_a_sum_are_refused(database):
    """NaN, the infinities and absurdly large values can't enter: one of them would fail every refresh."""
    import psycopg

    with database.connect() as connection:
        for value in (float("nan"), float("inf"), float("-inf"), 1.7e308):
            with pytest.raises(psycopg.errors.CheckViolation):
                copy(connection, [(datetime.now(tz=UTC), 1, value)])


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_the_scheduler_itself_reaches_late_readings(durable_server):
    """With the database's own scheduler at work, late readings appear in every level without anybody asking."""
    old = datetime.now(tz=UTC) - timedelta(days=400)
    with connect() as connection:
        # The product's interval is 30 seconds; here a second, so that the test needn't wait for it.
        connection.execute(
            "select public.alter_job(job_id, schedule_interval => interval '1 second') "
            "from timescaledb_information.jobs where proc_name = 'refresh_rollups'"
        )
        copy(connection, [(old, 1, 1.0)])
        # Materialized once, the bucket is no longer computed when asked: what comes late now needs a refresh.
        connection.execute("call telemetry.refresh_rollups()")
        copy(connection, [(old + timedelta(microseconds=1), 1, 1.0)])
        deadline = time.monotonic() + 60
        seen: dict[str, int] = {}
        while set(seen.values()) != {2} and time.monotonic() < deadline:
            time.sleep(0.1)
            for level in LEVELS:
                query = f"select sum(sample_count)::int from telemetry.reading_{level}"
                (seen[level],) = connection.execute(query).fetchone()
        assert seen == dict.fromkeys(LEVELS, 2)


def test_refresh_goes_on_after_a_crash(database):
    """What a killed refresh left half done is done by the next one, though readings have changed there since."""
    if database.edition != "timescaledb":
        pytest.skip("only TimescaleDB refreshes; on postgresql the means are written with their readings")
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    readings = [(begin + timedelta(seconds=10 * n), 1, float(n)) for n in range(1000)]
    with database.connect() as connection:
        copy(connection, readings[:500])
        database.refresh()
        # The traces of a server killed between a refresh's two transactions: the range is marked as being refreshed.
        connection.execute("""
            insert into _timescaledb_catalog.continuous_aggs_materialization_ranges
            select mat_hypertable_id, _timescaledb_functions.to_unix_microseconds(%s),
                _timescaledb_functions.to_unix_microseconds(%s)
            from _timescaledb_catalog.continuous_agg where user_view_name = 'reading_1m'
        """, (begin, begin + timedelta(minutes=90)))  # fmt: skip
        copy(connection, readings[500:])
        database.refresh()
    for level, width in LEVELS.items():
        assert found(database, level) == expected(readings, width)


@pytest.mark.parametrize("edition", ["timescaledb"])
def test_old_minutes_lie_in_the_order_of_their_series_and_stay_exact(database):
    """The job rewrites all chunks of minutes but the last few by series; late readings reach those too."""
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    readings = [(begin + timedelta(hours=hour), series, 1.0 * hour) for hour in range(24 * 6) for series in range(1, 6)]
    late = [(begin + timedelta(hours=30, seconds=7), 3, 50.0)]
    with database.connect() as connection:
        copy(connection, readings)
        database.refresh()
        ((job,),) = connection.execute(
            "select job_id from timescaledb_information.jobs where proc_name = 'policy_reorder'"
        ).fetchall()
        for _ in range(7):
            connection.execute(f"call public.run_job({job})")
        in_order = []
        for (chunk,) in connection.execute(CHUNKS_OF_MINUTES).fetchall():
            stored = connection.execute(f"select series_id from {chunk} order by ctid").fetchall()
            in_order.append(stored == sorted(stored))
        assert (in_order[:3], in_order[-1]) == ([True] * 3, False)
        copy(connection, late)
        database.refresh()
    assert found(database, "1m") == expected(readings + late, LEVELS["1m"])


@pytest.mark.parametrize("edition", ["postgresql"])
def test_minutes_of_one_series_lie_close_together(database):
    """Written minute by minute over many series, an hour of one series lies on few pages."""
    with database.connect() as connection:
        connection.execute(
            "insert into telemetry.reading select time, series_id, 1, time "
            "from generate_series('2026-03-01 00:00+00'::timestamptz, '2026-03-01 00:59+00', '1 minute') as time "
            "cross join generate_series(1, 200) as series_id"
        )
        # As they come in: the statement above has stored them series by series.
        connection.execute("create temporary table stored as table telemetry.rollup_1m")
        connection.execute("truncate telemetry.rollup_1m")
        connection.execute("insert into telemetry.rollup_1m select * from stored order by bucket, series_id")
        ((minutes, pages),) = connection.execute(
            "select count(*), count(distinct (tableoid, (ctid::text::point)[0])) "
            "from telemetry.rollup_1m where series_id = 7"
        ).fetchall()
    assert (minutes, pages <= minutes / 3) == (60, True)
