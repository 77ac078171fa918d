select
    series_id,
    sensor_id,
    quantity,
    unit,
    minimum,
    maximum,
    interval_seconds,
    kind,
    registered_at,
    updated_at,
    retired_at
from {{ source('telemetry', 'series') }}
