{{ config(materialized='view') }}

select
    minute.bucket,
    version.series_id,
    version.sensor_id,
    version.sensor_version_key,
    version.quantity,
    version.unit,
    version.quantity_key,
    version.type,
    version.site,
    version.area,
    minute.mean,
    minute.minimum,
    minute.maximum,
    minute.first_value,
    minute.last_value,
    minute.sum_value,
    minute.sample_count
from {{ ref('int_series_history') }} as version
-- A plain join with the real-time part of a continuous aggregate reads the minutes of all series; with a lateral
-- subquery the conditions on series and time use the index. "distinct on" removes no rows: it keeps the planner from
-- turning the subquery into a join.
cross join lateral (
    select distinct on (bucket)
        bucket,
        mean,
        minimum,
        maximum,
        first_value,
        last_value,
        sum_value,
        sample_count
    from {{ ref('stg_telemetry__reading_1m') }}
    where series_id = version.series_id and bucket >= version.valid_from and bucket < version.valid_to
) as minute
