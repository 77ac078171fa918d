"""Means per minute, hour and day are exact, whatever the order and age of readings and the number of writers."""

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
    """Insert readings as the collector does."""
    with connection.cursor().copy("copy telemetry.reading (time, series_id, value, received_at) from stdin") as into:
        for time, series, value in readings:
            into.write_row((time, series, value, time))


def expected(readings: Iterable[Reading], width: timedelta) -> list[tuple]:
    """Compute a level from all readings."""
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


def means(database: Database, level: str) -> list[tuple]:
    """Return a level from the database."""
    with database.connect() as connection:
        return connection.execute(
            f"select {COLUMNS} from telemetry.reading_{level} order by series_id, bucket"
        ).fetchall()


def some_readings(seed: int, count: int = 1500) -> list[Reading]:
    """Return random readings of three series of the last 60 days, in random order."""
    randomness = random.Random(seed)
    end = datetime.now(tz=UTC)
    ages = [timedelta(minutes=30), timedelta(days=3), timedelta(days=60)]
    times = {(end - randomness.random() * randomness.choice(ages), randomness.randint(1, 3)) for _ in range(count)}
    readings = [(time, series, randomness.gauss(20, 5)) for time, series in times]
    randomness.shuffle(readings)
    return readings


@pytest.mark.parametrize("seed", range(3))
def test_levels_are_exact_after_shuffled_batches(database, seed):
    """After late and unordered readings in several batches, all levels equal the means of all readings."""
    readings = some_readings(seed)
    cuts = sorted(random.Random(seed).sample(range(len(readings)), 5))
    with database.connect() as connection:
        for start, end in zip([0, *cuts], [*cuts, len(readings)], strict=True):
            copy(connection, readings[start:end])
            database.refresh()
    for level, width in LEVELS.items():
        assert means(database, level) == expected(readings, width)


def test_concurrent_writers_neither_deadlock_nor_lose(database):
    """After concurrent inserts into the same buckets, all levels equal the means of all readings."""
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
        assert means(database, level) == expected(readings[: 2 * half], width)


def test_a_rolled_back_reading_is_in_no_mean(database):
    """Readings of a rolled-back transaction are in no level."""
    with database.connect(autocommit=False) as connection:
        copy(connection, [(datetime.now(tz=UTC), 1, 5.0)])
        connection.rollback()
    assert [means(database, level) for level in LEVELS] == [[], [], []]


def test_new_readings_are_in_all_levels_immediately(database):
    """Readings less than ten minutes late are in all levels without a refresh."""
    now = datetime.now(tz=UTC)
    database.refresh()
    with database.connect() as connection:
        copy(connection, [(now - timedelta(minutes=9), 1, 1.0), (now, 1, 3.0)])
    assert [sum(row[-1] for row in means(database, level)) for level in LEVELS] == [2, 2, 2]


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_the_job_brings_two_year_old_readings_into_every_level(database):
    """One run of the scheduled job adds readings two years late to all levels, also next to existing ones."""
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
        assert means(database, level) == expected([early, late], width)


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_late_readings_reach_the_levels_through_the_columnstore(database):
    """After the policy has compressed a day, late readings are in its means, and duplicates are not."""
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
        assert means(database, level) == expected(readings, width)


def test_values_that_would_overflow_a_sum_are_refused(database):
    """NaN, infinities and extremely large values are refused: one of them would fail every refresh."""
    import psycopg

    with database.connect() as connection:
        for value in (float("nan"), float("inf"), float("-inf"), 1.7e308):
            with pytest.raises(psycopg.errors.CheckViolation):
                copy(connection, [(datetime.now(tz=UTC), 1, value)])


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_the_scheduler_itself_reaches_late_readings(durable_server):
    """With the database's scheduler running, late readings appear in every level automatically."""
    old = datetime.now(tz=UTC) - timedelta(days=400)
    with connect() as connection:
        # The product's interval is 30 seconds; one second makes the test faster.
        connection.execute(
            "select public.alter_job(job_id, schedule_interval => interval '1 second') "
            "from timescaledb_information.jobs where proc_name = 'refresh_rollups'"
        )
        copy(connection, [(old, 1, 1.0)])
        # A materialized bucket is not computed at query time: later readings need a refresh.
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


def test_refresh_continues_after_a_crash(database):
    """The next refresh completes a killed one, also if readings have been added since."""
    if database.edition != "timescaledb":
        pytest.skip("only TimescaleDB refreshes; on postgresql the means are written with the readings")
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    readings = [(begin + timedelta(seconds=10 * n), 1, float(n)) for n in range(1000)]
    with database.connect() as connection:
        copy(connection, readings[:500])
        database.refresh()
        # The state after a kill between the two transactions of a refresh: the range is marked as being refreshed.
        connection.execute("""
            insert into _timescaledb_catalog.continuous_aggs_materialization_ranges
            select mat_hypertable_id, _timescaledb_functions.to_unix_microseconds(%s),
                _timescaledb_functions.to_unix_microseconds(%s)
            from _timescaledb_catalog.continuous_agg where user_view_name = 'reading_1m'
        """, (begin, begin + timedelta(minutes=90)))  # fmt: skip
        copy(connection, readings[500:])
        database.refresh()
    for level, width in LEVELS.items():
        assert means(database, level) == expected(readings, width)


@pytest.mark.parametrize("edition", ["timescaledb"])
def test_old_minutes_are_ordered_by_series_and_exact(database):
    """The job orders all chunks of minutes except the newest by series; late readings reach them too."""
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
    assert means(database, "1m") == expected(readings + late, LEVELS["1m"])


@pytest.mark.parametrize("edition", ["postgresql"])
def test_minutes_of_a_series_are_on_few_pages(database):
    """An hour of one series, written minute by minute with many others, is on few pages."""
    with database.connect() as connection:
        connection.execute(
            "insert into telemetry.reading select time, series_id, 1, time "
            "from generate_series('2026-03-01 00:00+00'::timestamptz, '2026-03-01 00:59+00', '1 minute') as time "
            "cross join generate_series(1, 200) as series_id"
        )
        # In order of arrival: the statement above has stored them series by series.
        connection.execute("create temporary table stored as table telemetry.rollup_1m")
        connection.execute("truncate telemetry.rollup_1m")
        connection.execute("insert into telemetry.rollup_1m select * from stored order by bucket, series_id")
        ((minutes, pages),) = connection.execute(
            "select count(*), count(distinct (tableoid, (ctid::text::point)[0])) "
            "from telemetry.rollup_1m where series_id = 7"
        ).fetchall()
    assert (minutes, pages <= minutes / 3) == (60, True)
