{#- The table is emptied and filled again. Replacing it would drop the views on it, fct_reading_minute among them, until
    they are built again. -#}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='append_new_columns',
    indexes=[{'columns': ['series_id', 'valid_from'], 'unique': true}],
    pre_hook="{% if is_incremental() %} delete from {{ this }} {% endif %}",
    post_hook="analyze {{ this }}",
) }}

-- Versions of the series, divided by the versions of their sensors: neither changes within a row.
with series as (
    select
        *,
        case
            when row_number() over (partition by series_id order by dbt_valid_from) = 1 then {{ beginning() }}
            else dbt_valid_from
        end as valid_from,
        coalesce(dbt_valid_to, {{ end() }}) as valid_to
    from {{ ref('snapshot_series') }}
)

select
    series.series_id,
    series.sensor_id,
    series.quantity,
    series.unit,
    series.quantity || ' ' || series.unit as quantity_key,
    series.minimum,
    series.maximum,
    series.interval_seconds,
    series.kind,
    sensor.sensor_version_key,
    sensor.type,
    sensor.site,
    sensor.area,
    sensor.since,
    series.registered_at,
    coalesce(series.retired_at, sensor.retired_at) as retired_at,
    greatest(series.valid_from, sensor.valid_from) as valid_from,
    least(series.valid_to, sensor.valid_to) as valid_to,
    least(series.valid_to, sensor.valid_to) = {{ end() }} as is_current
from series
inner join {{ ref('dim_sensor_history') }} as sensor
    on
        series.sensor_id = sensor.sensor_id
        and series.valid_from < sensor.valid_to
        and series.valid_to > sensor.valid_from
