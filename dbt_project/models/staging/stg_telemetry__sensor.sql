select
    sensor_id,
    type,
    site,
    area,
    latitude,
    longitude,
    topic,
    device,
    discovered,
    timezone,
    since,
    description,
    registered_at,
    updated_at,
    retired_at,
    -- Retiring leaves updated_at as it was; greatest ignores nulls.
    greatest(updated_at, retired_at) as changed_at
from {{ source('telemetry', 'sensor') }}
