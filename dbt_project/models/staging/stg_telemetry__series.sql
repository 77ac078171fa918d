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
    retired_at,
    -- Retiring leaves updated_at as it was; greatest ignores nulls.
    greatest(updated_at, retired_at) as changed_at
from {{ source('telemetry', 'series') }}
