-- Where the readings are that the accounts count as stored. Counting all raw readings takes too long for a scan every
-- quarter of an hour, so closed days and hours are counted by their means; quality.closed_hour and quality.closed_day
-- compare these with the raw readings. Hours with late readings of the last ten minutes, which the next refresh may not
-- have seen, and those that are not closed are counted from the raw readings.
create or replace view quality.stored_readings as
with bounds as (
    select
        date_trunc('hour', now(), 'UTC') - threshold.closed_after as open_from,
        date_bin(
            interval '24 hours', date_trunc('hour', now(), 'UTC') - threshold.closed_after,
            timestamptz '2000-01-01 00:00:00+00'
        ) as today,
        coalesce(retention.dropped_before, '-infinity') as dropped_before
    from telemetry.threshold
    cross join telemetry.retention
),

unsettled as materialized (
    select
        late.series_id,
        late.bucket
    from quality.unsettled_hour as late
    cross join bounds
    where late.bucket < bounds.open_from and late.bucket >= bounds.dropped_before
),

unsettled_day as materialized (
    select distinct
        series_id,
        date_bin(interval '24 hours', bucket, timestamptz '2000-01-01 00:00:00+00') as bucket
    from unsettled
),

kept as (
    select coalesce(sum(days.sample_count), 0) as readings
    from telemetry.reading_1d as days
    cross join bounds
    where
        days.bucket >= bounds.dropped_before and days.bucket < bounds.today
        and (days.series_id, days.bucket) not in (
            select
                unsettled_day.series_id,
                unsettled_day.bucket
            from unsettled_day
        )
    union all
    select coalesce(sum(hours.sample_count), 0)
    from telemetry.reading_1h as hours
    cross join bounds
    where
        hours.bucket >= bounds.today and hours.bucket < bounds.open_from
        and (hours.series_id, hours.bucket) not in (
            select
                unsettled.series_id,
                unsettled.bucket
            from unsettled
        )
    union all
    select count(*)
    from unsettled_day
    inner join telemetry.reading
        on
            unsettled_day.series_id = reading.series_id
            and unsettled_day.bucket <= reading.time
            and unsettled_day.bucket + interval '24 hours' > reading.time
    cross join bounds
    where unsettled_day.bucket < bounds.today
    union all
    select count(*)
    from unsettled
    inner join telemetry.reading
        on
            unsettled.series_id = reading.series_id
            and unsettled.bucket <= reading.time
            and unsettled.bucket + interval '1 hour' > reading.time
    cross join bounds
    where unsettled.bucket >= bounds.today
    union all
    select count(*)
    from telemetry.reading
    where reading.time >= (select bounds.open_from from bounds)
),

totals as (
    select
        (select coalesce(sum(intake.stored), 0)::bigint from telemetry.intake) as stored,
        (select sum(kept.readings) from kept)::bigint as kept,
        retention.dropped_readings as dropped
    from telemetry.retention
)

select
    stored,
    kept,
    dropped,
    stored - kept - dropped as missing
from totals;

comment on view quality.stored_readings is
'One row: whether the readings that the accounts count as stored are in the table, or were dropped by the retention.';
comment on column quality.stored_readings.stored is 'Readings stored according to telemetry.intake.';
comment on column quality.stored_readings.kept is 'Raw readings in telemetry.reading; of closed hours by their means.';
comment on column quality.stored_readings.dropped is 'Raw readings that retention has dropped.';
comment on column quality.stored_readings.missing is
'Readings stored but in neither; negative: readings that no account counts.';
