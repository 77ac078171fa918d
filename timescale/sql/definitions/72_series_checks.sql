-- What the quality scans judge series by, one row a series in service; docs/decisions/0010-quality.md says why so.
-- Ranges and intervals are those of the registry; now() is the start of the scan's transaction.
create or replace view quality.series_newest as
select
    series.series_id,
    series.sensor_id,
    series.quantity,
    series.unit,
    series.kind,
    series.minimum,
    series.maximum,
    series.interval_seconds,
    series.updated_at,
    sensor.site,
    newest.time as last_time,
    newest.value as last_value,
    extract(epoch from now() - coalesce(newest.time, greatest(sensor.since, series.registered_at)))::double precision
        as silent_seconds,
    newest.time is null or timely.is_live is not null as is_live
from telemetry.series
inner join telemetry.sensor on series.sensor_id = sensor.sensor_id
left join lateral (
    select
        reading.time,
        reading.value
    from telemetry.reading
    where reading.series_id = series.series_id
    order by reading.time desc
    limit 1
) as newest on true
left join lateral (
    select true as is_live
    from telemetry.reading
    where
        reading.series_id = series.series_id
        and reading.time > newest.time - interval '1 day'
        and reading.received_at <= reading.time + greatest(300, 3 * series.interval_seconds) * interval '1 second'
    order by reading.time desc
    limit 1
) as timely on true
where series.retired_at is null and sensor.retired_at is null;

create or replace view quality.series_silent as
select
    series_id,
    sensor_id,
    quantity,
    greatest(silent_seconds, 0) as measured_value,
    'at most ' || allowed_seconds || ' s without a reading' as threshold,
    case when is_live then silent_seconds > allowed_seconds end as failed,
    case when not is_live then 'its readings are loaded from files' end as reason
from (
    select
        *,
        greatest(60, 3 * interval_seconds) as allowed_seconds
    from quality.series_newest
) as newest;

create or replace view quality.series_out_of_range as
select
    newest.series_id,
    newest.sensor_id,
    newest.quantity,
    recent.share as measured_value,
    'at most 0.05 of the readings of ' || recent.seconds || ' s outside '
    || coalesce(newest.minimum::text, '-∞') || ' … ' || coalesce(newest.maximum::text, '∞') as threshold,
    case when newest.minimum is not null or newest.maximum is not null then recent.share > 0.05 end as failed,
    case
        when newest.minimum is null and newest.maximum is null then 'the registry gives no range'
        when recent.share is null then 'no recent reading'
    end as reason
from (
    select
        *,
        greatest(1800, 6 * interval_seconds) as window_seconds
    from quality.series_newest
) as newest
cross join lateral (
    select
        newest.window_seconds as seconds,
        count(*) filter (where reading.value < newest.minimum or reading.value > newest.maximum)
        / nullif(count(*), 0)::double precision as share
    from telemetry.reading
    where
        reading.series_id = newest.series_id
        and reading.time > now() - newest.window_seconds * interval '1 second'
) as recent;

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

-- The distance of each hourly mean from the median of its site: where it was in the oldest week of four, and where it
-- is now.
-- The sensor itself counts in the median, so that of three or more sensors one that drifts hardly moves it.
create or replace view quality.series_drift as
with newest as materialized (
    select
        *,
        min(series_id) over (partition by site, quantity, unit) as team
    from quality.series_newest
    where
        kind = 'number'
        and quantity = any(string_to_array(
            coalesce(nullif(current_setting('quality.drift_quantities', true), ''), 'temperature,humidity,pressure'),
            ','
        ))
),

hours as materialized (
    select
        newest.series_id,
        newest.team,
        hour.bucket,
        hour.mean
    from newest
    inner join telemetry.reading_1h as hour on newest.series_id = hour.series_id
    where hour.bucket > now() - interval '28 days' and hour.bucket >= newest.updated_at
),

middle as (
    select
        team,
        bucket,
        percentile_cont(0.5) within group (order by mean) as median
    from hours
    group by team, bucket
    having count(*) >= 3
),

distance as (
    select
        hours.series_id,
        hours.mean - middle.median as distance,
        hours.bucket > now() - interval '24 hours' as is_now,
        hours.bucket < min(hours.bucket) over (partition by hours.series_id) + interval '7 days' as is_then,
        min(hours.bucket) over (partition by hours.series_id) < now() - interval '8 days' as is_known
    from hours
    inner join middle on hours.team = middle.team and hours.bucket = middle.bucket
),

then_and_now as (
    select
        series_id,
        percentile_cont(0.5) within group (order by distance) filter (where is_now) as now_distance,
        percentile_cont(0.5) within group (order by distance) filter (where is_then) as then_distance,
        array_agg(distance) filter (where is_then) as then_distances
    from distance
    where is_known and (is_now or is_then)
    group by series_id
    having count(*) filter (where is_now) >= 12 and count(*) filter (where is_then) >= 24
),

judged as (
    select
        newest.series_id,
        newest.sensor_id,
        newest.quantity,
        newest.unit,
        abs(then_and_now.now_distance - then_and_now.then_distance) as moved,
        greatest(
            6 * 1.4826 * (
                select percentile_cont(0.5) within group (order by abs(one - then_and_now.then_distance))
                from unnest(then_and_now.then_distances) as one
            ),
            0.02 * (newest.maximum - newest.minimum)
        ) as allowed
    from newest
    left join then_and_now on newest.series_id = then_and_now.series_id
)

select
    series_id,
    sensor_id,
    quantity,
    moved as measured_value,
    'at most ' || round(allowed::numeric, 4) || ' ' || unit || ' nearer to or farther from the median of its site'
        as threshold,
    case when allowed > 0 then moved > allowed end as failed,
    case when moved is null or allowed > 0 is not true then 'no eight days of three or more sensors to compare' end
        as reason
from judged;

do $$
declare
    item record;
begin
    for item in
        select *
        from (values
            (
                'series_newest',
                'One row a series in service: what the registry says of it, and its newest reading.'
            ),
            ('series_silent', 'One row a series in service: whether its readings have stopped.'),
            ('series_out_of_range', 'One row a series in service: how many of its latest readings are implausible.'),
            ('series_flat', 'One row a series in service: whether its value stands still for longer than is usual.'),
            (
                'series_drift',
                'One row a series in service of a quantity that neighbours share: how far it has moved off from them.'
            )
        ) as views (name, meaning)
    loop
        execute format('comment on view quality.%I is %L', item.name, item.meaning);
    end loop;
    for item in
        select
            class.relname as view_name,
            columns.*
        from (values
            ('series_id', 'Number of the series in telemetry.series.'),
            ('sensor_id', 'The sensor that measures.'),
            ('quantity', 'What is measured, such as temperature.'),
            ('unit', 'UCUM code of the unit of its values.'),
            ('kind', 'number, or boolean: true and false stored as 1 and 0.'),
            ('minimum', 'Least plausible value.'),
            ('maximum', 'Greatest plausible value.'),
            ('interval_seconds', 'Expected time between readings, in seconds.'),
            ('updated_at', 'When its entry in the registry last changed.'),
            ('site', 'Where the sensor is.'),
            ('last_time', 'When its newest reading was measured; null: it has none.'),
            ('last_value', 'Value of its newest reading.'),
            ('silent_seconds', 'Seconds since its newest reading, or since it was registered where it has none.'),
            (
                'is_live',
                'Whether a reading of the last day that it has readings of came in time; false: they are loaded from files.'
            ),
            ('measured_value', 'What was measured; in seconds, as a share, or in the unit of the series.'),
            ('threshold', 'What would be well, in words.'),
            ('failed', 'Whether it is not well; null: it can not be told.'),
            ('reason', 'Why it can not be told.')
        ) as columns (name, meaning)
        inner join pg_catalog.pg_attribute as attribute on columns.name = attribute.attname
        inner join pg_catalog.pg_class as class on attribute.attrelid = class.oid
        where class.relnamespace = 'quality'::regnamespace and class.relkind = 'v' and class.relname like 'series\_%'
    loop
        execute format('comment on column quality.%I.%I is %L', item.view_name, item.name, item.meaning);
    end loop;
end
$$;
