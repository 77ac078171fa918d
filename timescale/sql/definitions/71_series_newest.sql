-- The facts by which the quality scans judge series, one row per series in service; docs/decisions/0010-quality.md
-- explains the rules. Ranges and intervals come from the registry; now() is the start of the scan's transaction.
create or replace view quality.series_newest as
with limits as (
    select
        series.series_id,
        greatest(threshold.silent_minimum_seconds, threshold.silent_intervals * series.interval_seconds)
            as silent_after_seconds,
        greatest(threshold.flat_minimum_seconds, threshold.flat_intervals * series.interval_seconds)
            as flat_after_seconds
    from telemetry.series
    cross join telemetry.threshold
)

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
    newest.time is null or coalesce(live.last_arrived_at >= newest.time - interval '2 days', false) as is_live,
    limits.silent_after_seconds,
    limits.flat_after_seconds
from telemetry.series
inner join telemetry.sensor on series.sensor_id = sensor.sensor_id
inner join limits on series.series_id = limits.series_id
left join lateral (
    select
        reading.time,
        reading.value
    from telemetry.reading
    where reading.series_id = series.series_id
    order by reading.time desc
    limit 1
) as newest on true
-- Marked once a day. A series that was live before its readings were loaded from files is not live any more.
left join telemetry.live_series as live on series.series_id = live.series_id
where series.retired_at is null and sensor.retired_at is null;

comment on view quality.series_newest is
'One row per series in service: its entry in the registry, its newest reading, and when it counts as silent or flat.';
