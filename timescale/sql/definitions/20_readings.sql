create or replace view telemetry.readings as
select
    reading.time,
    series.sensor_id,
    series.quantity,
    series.unit,
    sensor.site,
    sensor.area,
    reading.value,
    reading.received_at,
    reading.series_id
from telemetry.reading
inner join telemetry.series on reading.series_id = series.series_id
inner join telemetry.sensor on series.sensor_id = sensor.sensor_id;

-- The parameters are from_time and to_time because "from" and "to" are reserved words.
create or replace function telemetry.window_means(from_time timestamptz, to_time timestamptz, width interval)
returns table (
    bucket timestamptz,
    series_id integer,
    sensor_id text,
    quantity text,
    unit text,
    average double precision,
    minimum double precision,
    maximum double precision,
    sample_count bigint
)
language sql
stable
parallel safe
set search_path = pg_catalog
as $$
    select
        windows.bucket,
        windows.series_id,
        series.sensor_id,
        series.quantity,
        series.unit,
        windows.sum_value / windows.sample_count,
        windows.minimum,
        windows.maximum,
        windows.sample_count
    from (
        select
            date_bin(width, reading.time, from_time) as bucket,
            reading.series_id,
            sum(reading.value) as sum_value,
            min(reading.value) as minimum,
            max(reading.value) as maximum,
            count(*) as sample_count
        from telemetry.reading
        where reading.time >= from_time and reading.time < to_time
        group by 1, 2
    ) as windows
    inner join telemetry.series on windows.series_id = series.series_id
    order by windows.bucket, windows.series_id
$$;

comment on table telemetry.reading is 'One row per series and timestamp: the raw readings as received.';
comment on column telemetry.reading.time is 'Time of measurement.';
comment on column telemetry.reading.series_id is 'The measured series: a row of telemetry.series (no foreign key).';
comment on column telemetry.reading.value is 'The measured value in the unit of its series; true is 1, false is 0.';
comment on column telemetry.reading.received_at is
'When the collector received it: in whole seconds after the first time in its message.';

comment on view telemetry.readings is 'One row per reading, with the names of sensor, quantity, unit, site and area.';
comment on column telemetry.readings.time is 'Time of measurement.';
comment on column telemetry.readings.sensor_id is 'The sensor that measured.';
comment on column telemetry.readings.quantity is 'The measured quantity, such as temperature.';
comment on column telemetry.readings.unit is 'UCUM code of the unit.';
comment on column telemetry.readings.site is 'Site of the sensor.';
comment on column telemetry.readings.area is 'Area of the sensor within the site.';
comment on column telemetry.readings.value is 'The measured value; true is 1, false is 0.';
comment on column telemetry.readings.received_at is
'When the collector received it: in whole seconds after the first time in its message.';
comment on column telemetry.readings.series_id is 'Number of the sensor and quantity in telemetry.series.';

comment on function telemetry.window_means(timestamptz, timestamptz, interval) is
'Mean and range of the readings from from_time to before to_time, one row per series and window of the given width.';
