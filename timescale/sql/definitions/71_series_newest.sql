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

comment on view quality.series_newest is
'One row a series in service: what the registry says of it, and its newest reading.';
