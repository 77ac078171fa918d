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
    cross join telemetry.threshold
    where hour.bucket > now() - threshold.usual_history and hour.bucket >= newest.updated_at
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

comment on view quality.series_drift is
'One row a series in service of a quantity that neighbours share: how far it has moved off from them.';
