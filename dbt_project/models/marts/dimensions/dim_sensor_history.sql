-- A sensor's first version is valid from 1900-01-01: readings may be older than its registration.
select
    dbt_scd_id as sensor_version_key,
    sensor_id,
    type,
    site,
    area,
    latitude,
    longitude,
    topic,
    device,
    -- Null in versions that are older than this column.
    coalesce(discovered, false) as is_discovered,
    timezone,
    since,
    description,
    registered_at,
    retired_at,
    case
        when row_number() over (partition by sensor_id order by dbt_valid_from) = 1 then {{ beginning() }}
        else dbt_valid_from
    end as valid_from,
    coalesce(dbt_valid_to, {{ end() }}) as valid_to,
    dbt_valid_to is null as is_current
from {{ ref('snapshot_sensor') }}
