with quantities as (
    select
        sensor_id,
        string_agg(quantity, ', ' order by quantity) as quantities,
        count(*) as series_count
    from {{ ref('int_series_history') }}
    where is_current and retired_at is null
    group by sensor_id
)

select
    sensor.sensor_id,
    sensor.sensor_version_key,
    sensor.type,
    sensor.site,
    sensor.area,
    sensor.latitude,
    sensor.longitude,
    sensor.topic,
    sensor.device,
    sensor.is_discovered,
    sensor.timezone,
    sensor.since,
    sensor.description,
    coalesce(quantities.quantities, '') as quantities,
    coalesce(quantities.series_count, 0) as series_count,
    sensor.registered_at,
    sensor.retired_at,
    sensor.retired_at is null as is_in_service,
    sensor.valid_from as unchanged_since
from {{ ref('dim_sensor_history') }} as sensor
left join quantities on sensor.sensor_id = quantities.sensor_id
where sensor.is_current
