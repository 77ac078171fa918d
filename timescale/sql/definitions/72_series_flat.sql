-- A run of equal values is found by hours, then to the reading within the hour in which it began. Only of runs that may
-- be too long, the minutes of four weeks tell what is usual. "distinct on" removes nothing: it keeps the planner from
-- joining the real-time part of a continuous aggregate, for which it would read the minutes of all series.
create or replace view quality.series_flat as
with newest as materialized (
    select * from quality.series_newest
),

hours as (
    select
        newest.series_id,
        min(hour.bucket) as first_hour,
        count(*) as hour_count,
        max(hour.bucket) filter (
            where hour.minimum <> newest.last_value or hour.maximum <> newest.last_value
        ) as changed_hour
    from newest
    inner join telemetry.reading_1h as hour on newest.series_id = hour.series_id
    where hour.bucket > now() - interval '28 days'
    group by newest.series_id
),

run as materialized (
    select
        newest.series_id,
        newest.sensor_id,
        newest.quantity,
        newest.kind,
        newest.interval_seconds,
        hours.hour_count,
        -- Of raw readings that retention has dropped, the hour is known.
        coalesce(changed.time, hours.changed_hour) as changed_at,
        extract(
            epoch from newest.last_time - coalesce(changed.time, hours.changed_hour, hours.first_hour)
        )::double precision as seconds
    from newest
    left join hours on newest.series_id = hours.series_id
    left join lateral (
        select reading.time
        from telemetry.reading
        where
            reading.series_id = newest.series_id
            and reading.time >= hours.changed_hour
            and reading.time < hours.changed_hour + interval '1 hour'
            and reading.value <> newest.last_value
        order by reading.time desc
        limit 1
    ) as changed on true
),

suspect as materialized (
    select
        series_id,
        changed_at,
        interval_seconds,
        (
            select count(*)
            from telemetry.reading_1h as hour
            where
                hour.series_id = run.series_id
                and hour.bucket > now() - interval '28 days'
                and hour.bucket < run.changed_at
        ) as hour_count,
        seconds,
        -- Whole hours of one value: where these are half as long as the run, no minutes need be read.
        (
            select extract(epoch from max(whole.bucket - whole.changed_at))::double precision
            from (
                select
                    hour.bucket,
                    max(hour.bucket) filter (where hour.is_changed) over (order by hour.bucket) as changed_at
                from (
                    select
                        past.bucket,
                        (
                            past.minimum = past.maximum
                            and past.minimum = lag(past.maximum) over (order by past.bucket)
                        ) is not true as is_changed
                    from telemetry.reading_1h as past
                    where
                        past.series_id = run.series_id
                        and past.bucket > now() - interval '28 days'
                        and past.bucket < run.changed_at
                ) as hour
            ) as whole
        ) as whole_seconds
    from run
    where kind = 'number' and hour_count >= 24 and seconds > greatest(600, 6 * interval_seconds)
),

minutes as (
    select
        suspect.series_id,
        suspect.interval_seconds,
        past.bucket,
        past.minimum,
        past.maximum,
        past.sample_count,
        past.bucket >= suspect.changed_at as is_now
    from suspect
    cross join lateral (
        select distinct on (minute.bucket)
            minute.bucket,
            minute.minimum,
            minute.maximum,
            minute.sample_count
        from telemetry.reading_1m as minute
        where
            minute.series_id = suspect.series_id
            and minute.bucket > now() - interval '28 days'
            and (suspect.seconds <= 2 * suspect.whole_seconds) is not true
    ) as past
),

compared as (
    select
        *,
        (
            minimum = maximum
            and minimum = lag(maximum) over one
            and lag(bucket) over one >= bucket - interval '24 hours'
        ) is not true as is_changed
    from minutes
    window one as (partition by series_id order by bucket)
),

still as (
    select
        *,
        max(bucket) filter (where is_changed) over (partition by series_id order by bucket) as changed_at
    from compared
),

runs as (
    select
        series_id,
        is_now,
        min(interval_seconds) as interval_seconds,
        max(bucket) - changed_at as unchanged_for,
        count(*) as minutes,
        sum(sample_count) as readings
    from still
    group by series_id, is_now, changed_at
),

known as (
    select
        series_id,
        greatest(60, min(interval_seconds)) as resolution_seconds,
        extract(epoch from max(unchanged_for) filter (where not is_now))::double precision as longest_seconds,
        count(*) filter (where not is_now) as run_count,
        sum(minutes) filter (where not is_now)::double precision as minutes,
        max(minutes) filter (where not is_now) as longest_minutes,
        max(readings) filter (where not is_now) as longest_readings,
        max(readings) filter (where is_now) as readings
    from runs
    group by series_id
),

-- How many times the longest run before is too long. Twice, as a rule. Readings that come much faster than they used to
-- show more changes: what stands still for longer than ever, in more than ten times as many readings, needs no twice.
-- And where repeats are chance, as of a noisy signal in coarse steps, it is readings that count, and no time at all:
-- fewer than half of the minutes repeat the one before, and no run is longer than some that such a share p makes by
-- chance (the longest of n is about log(n) / -log(p); signals that move make three times that).
usual as (
    select
        series_id,
        longest_seconds + resolution_seconds as seconds,
        case
            when
                2 * run_count > minutes
                and longest_minutes <= 3 * ln(nullif(run_count, 0)) / -ln(nullif(1 - run_count / minutes, 0))
                and readings > 2 * longest_readings
                then 0
            when readings > 10 * longest_readings then 1
            else 2
        end as times
    from known
)

select
    run.series_id,
    run.sensor_id,
    run.quantity,
    run.seconds as measured_value,
    'at most '
    || greatest(600, 6 * run.interval_seconds, coalesce(usual.times * usual.seconds, 2 * suspect.whole_seconds))
    || ' s without a change' as threshold,
    case
        when run.kind <> 'number' or run.seconds is null then null
        when run.seconds <= greatest(600, 6 * run.interval_seconds) then false
        when suspect.hour_count >= 24
            then run.seconds > coalesce(usual.times * usual.seconds, 2 * suspect.whole_seconds)
    end as failed,
    case
        when run.kind <> 'number' then 'true and false may stand still'
        when run.seconds is null then 'no reading in four weeks'
        when run.seconds > greatest(600, 6 * run.interval_seconds) and coalesce(suspect.hour_count, 0) < 24
            then 'fewer than 24 hours of history to compare with'
    end as reason
from run
left join suspect on run.series_id = suspect.series_id
left join usual on run.series_id = usual.series_id;

comment on view quality.series_flat is
'One row a series in service: whether its value stands still for longer than is usual.';
