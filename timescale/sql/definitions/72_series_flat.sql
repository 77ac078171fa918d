-- A run of equal values is found by hours first, then by readings within the hour in which it began. The minutes of
-- four weeks, which show the usual length, are read only for runs that may be too long. "distinct on" removes no rows:
-- it keeps the planner from joining the real-time part of a continuous aggregate, which would read the minutes of all
-- series.
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
    cross join telemetry.threshold
    where hour.bucket > now() - threshold.usual_history
    group by newest.series_id
),

current_run as materialized (
    select
        newest.series_id,
        newest.sensor_id,
        newest.quantity,
        newest.kind,
        newest.interval_seconds,
        newest.flat_after_seconds,
        hours.hour_count,
        -- Where retention has dropped the raw readings, the hour is known.
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

long_run as materialized (
    select
        current_run.series_id,
        current_run.changed_at,
        current_run.interval_seconds,
        (
            select count(*)
            from telemetry.reading_1h as hour
            where
                hour.series_id = current_run.series_id
                and hour.bucket > now() - threshold.usual_history
                and hour.bucket < current_run.changed_at
        ) as hour_count,
        current_run.seconds,
        threshold.flat_times_usual,
        -- The longest earlier run in whole hours: if it is at least half as long as this run, the minutes are not read.
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
                        past.series_id = current_run.series_id
                        and past.bucket > now() - threshold.usual_history
                        and past.bucket < current_run.changed_at
                ) as hour
            ) as whole
        ) as whole_seconds
    from current_run
    cross join telemetry.threshold
    where
        current_run.kind = 'number'
        and current_run.hour_count >= threshold.flat_history_hours
        and current_run.seconds > current_run.flat_after_seconds
),

minutes as (
    select
        long_run.series_id,
        long_run.interval_seconds,
        long_run.flat_times_usual,
        threshold.flat_gap,
        past.bucket,
        past.minimum,
        past.maximum,
        past.sample_count,
        past.bucket >= long_run.changed_at as is_current
    from long_run
    cross join telemetry.threshold
    cross join lateral (
        select distinct on (minute.bucket)
            minute.bucket,
            minute.minimum,
            minute.maximum,
            minute.sample_count
        from telemetry.reading_1m as minute
        where
            minute.series_id = long_run.series_id
            and minute.bucket > now() - threshold.usual_history
            and (long_run.seconds <= long_run.flat_times_usual * long_run.whole_seconds) is not true
    ) as past
),

compared as (
    select
        *,
        (
            minimum = maximum
            and minimum = lag(maximum) over in_order
            and lag(bucket) over in_order >= bucket - flat_gap
        ) is not true as is_changed
    from minutes
    window in_order as (partition by series_id order by bucket)
),

with_change as (
    select
        *,
        max(bucket) filter (where is_changed) over (partition by series_id order by bucket) as changed_at
    from compared
),

runs as (
    select
        series_id,
        is_current,
        min(interval_seconds) as interval_seconds,
        min(flat_times_usual) as flat_times_usual,
        max(bucket) - changed_at as unchanged_for,
        count(*) as minutes,
        sum(sample_count) as readings
    from with_change
    group by series_id, is_current, changed_at
),

run_statistics as (
    select
        series_id,
        greatest(60, min(interval_seconds)) as resolution_seconds,
        min(flat_times_usual) as flat_times_usual,
        extract(epoch from max(unchanged_for) filter (where not is_current))::double precision as longest_seconds,
        count(*) filter (where not is_current) as run_count,
        sum(minutes) filter (where not is_current)::double precision as minutes,
        max(minutes) filter (where not is_current) as longest_minutes,
        max(readings) filter (where not is_current) as longest_readings,
        max(readings) filter (where is_current) as readings
    from runs
    group by series_id
),

-- The factor on the longest earlier run above which a run is too long: flat_times_usual, with two exceptions.
-- * 1 where the run has more than ten times as many readings as the longest earlier run. Readings now come much faster
--   than before and show more changes, so a run that is longer than any before is enough.
-- * 0 where equal values occur by chance, as with a noisy signal in coarse steps: the number of readings decides, not
--   time. Fewer than half of the minutes repeat the one before, and no run is longer than such a share p produces by
--   chance: the longest of n runs is about log(n) / -log(p); moving signals produce three times that.
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
            else flat_times_usual
        end as times
    from run_statistics
)

select
    current_run.series_id,
    current_run.sensor_id,
    current_run.quantity,
    current_run.seconds as measured_value,
    'at most '
    || greatest(
        current_run.flat_after_seconds,
        coalesce(usual.times * usual.seconds, long_run.flat_times_usual * long_run.whole_seconds)
    )
    || ' s without a change' as threshold,
    case
        when current_run.kind <> 'number' or current_run.seconds is null then null
        when current_run.seconds <= current_run.flat_after_seconds then false
        when long_run.hour_count >= threshold.flat_history_hours
            then
                current_run.seconds
                > coalesce(usual.times * usual.seconds, long_run.flat_times_usual * long_run.whole_seconds)
    end as failed,
    case
        when current_run.kind <> 'number' then 'true and false may stay the same'
        when current_run.seconds is null then 'no reading in four weeks'
        when
            current_run.seconds > current_run.flat_after_seconds
            and coalesce(long_run.hour_count, 0) < threshold.flat_history_hours
            then 'fewer than ' || threshold.flat_history_hours || ' hours of history to compare with'
    end as reason
from current_run
cross join telemetry.threshold
left join long_run on current_run.series_id = long_run.series_id
left join usual on current_run.series_id = usual.series_id;

comment on view quality.series_flat is
'One row per series in service: whether its value has stayed the same for longer than usual.';
