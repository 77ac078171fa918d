-- The number of readings that each level has in the same time. An hour is compared closed_after its end (three hours),
-- since collectors do not note readings that are up to two hours late. Where later readings were noted within the last
-- ten minutes, the next refresh may not have run yet: these hours of a series, and their days, are left out of all
-- levels.
create or replace view quality.unsettled_hour as
select
    series_id,
    bucket
from telemetry.late_hour
where noted_at > now() - interval '10 minutes';

create or replace view quality.closed_hour as
with unsettled as materialized (
    select * from quality.unsettled_hour
),

counted as (
    select
        'raw' as level,
        date_bin(interval '1 hour', reading.time, timestamptz '2000-01-01 00:00:00+00') as bucket,
        reading.series_id,
        count(*) as samples
    from telemetry.reading
    cross join telemetry.threshold
    where
        reading.time >= date_trunc('hour', now(), 'UTC') - interval '9 hours'
        and reading.time < date_trunc('hour', now(), 'UTC') - threshold.closed_after
    group by 2, 3
    union all
    select
        'minute' as level,
        date_bin(interval '1 hour', minute.bucket, timestamptz '2000-01-01 00:00:00+00') as bucket,
        minute.series_id,
        sum(minute.sample_count) as samples
    from telemetry.reading_1m as minute
    cross join telemetry.threshold
    where
        minute.bucket >= date_trunc('hour', now(), 'UTC') - interval '9 hours'
        and minute.bucket < date_trunc('hour', now(), 'UTC') - threshold.closed_after
    group by 2, 3
    union all
    select
        'hour' as level,
        hour.bucket,
        hour.series_id,
        hour.sample_count as samples
    from telemetry.reading_1h as hour
    cross join telemetry.threshold
    where
        hour.bucket >= date_trunc('hour', now(), 'UTC') - interval '9 hours'
        and hour.bucket < date_trunc('hour', now(), 'UTC') - threshold.closed_after
)

select
    bucket,
    coalesce(sum(samples) filter (where level = 'raw'), 0)::bigint as raw_count,
    coalesce(sum(samples) filter (where level = 'minute'), 0)::bigint as minute_count,
    coalesce(sum(samples) filter (where level = 'hour'), 0)::bigint as hour_count
from counted
where
    (series_id, bucket) not in (
        select
            unsettled.series_id,
            unsettled.bucket
        from unsettled
    )
group by 1;

-- The latest 200 older hours that got late readings within the last day.
create or replace view quality.changed_hour as
with changed as materialized (
    select
        late.series_id,
        late.bucket,
        late.noted_at
    from telemetry.late_hour as late
    cross join telemetry.retention
    cross join telemetry.threshold
    where
        late.noted_at between now() - interval '1 day' and now() - interval '10 minutes'
        and late.bucket < date_trunc('hour', now(), 'UTC') - threshold.closed_after
        and (retention.dropped_before is null or late.bucket >= retention.dropped_before)
    order by 3 desc, 1 asc, 2 asc
    limit 200
)

select
    changed.series_id,
    changed.bucket,
    (
        select count(*)
        from telemetry.reading
        where
            reading.series_id = changed.series_id
            and reading.time >= changed.bucket
            and reading.time < changed.bucket + interval '1 hour'
    ) as raw_count,
    (
        select coalesce(sum(minute.sample_count), 0)::bigint
        from telemetry.reading_1m as minute
        where
            minute.series_id = changed.series_id
            and minute.bucket >= changed.bucket
            and minute.bucket < changed.bucket + interval '1 hour'
    ) as minute_count,
    (
        select coalesce(sum(hour.sample_count), 0)::bigint
        from telemetry.reading_1h as hour
        where hour.series_id = changed.series_id and hour.bucket = changed.bucket
    ) as hour_count
from changed;

create or replace view quality.closed_day as
with unsettled as materialized (
    select distinct
        series_id,
        date_bin(interval '24 hours', bucket, timestamptz '2000-01-01 00:00:00+00') as bucket
    from quality.unsettled_hour
),

counted as (
    select
        'hour' as level,
        date_bin(interval '24 hours', hour.bucket, timestamptz '2000-01-01 00:00:00+00') as bucket,
        hour.series_id,
        sum(hour.sample_count) as samples
    from telemetry.reading_1h as hour
    cross join telemetry.threshold
    where
        hour.bucket >= date_trunc('day', now(), 'UTC') - interval '30 days'
        and hour.bucket < date_trunc('day', now() - threshold.closed_after, 'UTC')
    group by 2, 3
    union all
    select
        'day' as level,
        day.bucket,
        day.series_id,
        day.sample_count as samples
    from telemetry.reading_1d as day
    cross join telemetry.threshold
    where
        day.bucket >= date_trunc('day', now(), 'UTC') - interval '30 days'
        and day.bucket < date_trunc('day', now() - threshold.closed_after, 'UTC')
)

select
    bucket,
    coalesce(sum(samples) filter (where level = 'hour'), 0)::bigint as hour_count,
    coalesce(sum(samples) filter (where level = 'day'), 0)::bigint as day_count
from counted
where
    (series_id, bucket) not in (
        select
            unsettled.series_id,
            unsettled.bucket
        from unsettled
    )
group by 1;

comment on view quality.unsettled_hour is
'One row per series and hour with late readings within the last ten minutes: the levels may not agree yet.';
comment on view quality.closed_hour is
'One row per hour, the latest six that ended at least three hours ago: number of readings in each level.';
comment on view quality.changed_hour is
'One row per series and hour that got late readings within the last day: number of readings in each level.';
comment on view quality.closed_day is
'One row per day (UTC) of the last thirty that ended at least three hours ago: number of readings in each level.';
