-- The distance of each hourly mean from the median of its site, in the oldest of four weeks and now. The sensor itself
-- is included in the median: with three or more sensors, one that drifts hardly changes it.
create or replace view quality.series_drift as
with newest as materialized (
    select
        *,
        min(series_id) over (partition by site, quantity, unit) as neighbours
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
        newest.neighbours,
        hour.bucket,
        hour.mean
    from newest
    inner join telemetry.reading_1h as hour on newest.series_id = hour.series_id
    cross join telemetry.threshold
    where hour.bucket > now() - threshold.usual_history and hour.bucket >= newest.updated_at
),

site_median as (
    select
        neighbours,
        bucket,
        percentile_cont(0.5) within group (order by mean) as median
    from hours
    group by neighbours, bucket
    having count(*) >= 3
),

distance as (
    select
        hours.series_id,
        hours.mean - site_median.median as distance,
        hours.bucket > now() - interval '24 hours' as is_now,
        hours.bucket < min(hours.bucket) over (partition by hours.series_id) + interval '7 days' as is_oldest_week,
        min(hours.bucket) over (partition by hours.series_id) < now() - interval '8 days' as is_known
    from hours
    inner join site_median on hours.neighbours = site_median.neighbours and hours.bucket = site_median.bucket
),

by_series as (
    select
        series_id,
        percentile_cont(0.5) within group (order by distance) filter (where is_now) as now_distance,
        percentile_cont(0.5) within group (order by distance) filter (where is_oldest_week) as old_distance,
        array_agg(distance) filter (where is_oldest_week) as old_distances
    from distance
    where is_known and (is_now or is_oldest_week)
    group by series_id
    having count(*) filter (where is_now) >= 12 and count(*) filter (where is_oldest_week) >= 24
),

judged as (
    select
        newest.series_id,
        newest.sensor_id,
        newest.quantity,
        newest.unit,
        abs(by_series.now_distance - by_series.old_distance) as change,
        greatest(
            6 * 1.4826 * (
                select percentile_cont(0.5) within group (order by abs(distance - by_series.old_distance))
                from unnest(by_series.old_distances) as distance
            ),
            0.02 * (newest.maximum - newest.minimum)
        ) as allowed
    from newest
    left join by_series on newest.series_id = by_series.series_id
)

select
    series_id,
    sensor_id,
    quantity,
    change as measured_value,
    'at most ' || round(allowed::numeric, 4) || ' ' || unit || ' nearer to or farther from the median of its site'
        as threshold,
    case when allowed > 0 then change > allowed end as failed,
    case
        when change is null or allowed > 0 is not true then 'fewer than eight days of three or more sensors'
    end as reason
from judged;

comment on view quality.series_drift is
'One row per series in service whose site measures the same quantity: how far it has drifted away from its neighbours.';
