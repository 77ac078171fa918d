select
    sensor_id,
    type,
    site,
    area,
    latitude,
    longitude,
    topic,
    timezone,
    since,
    description,
    registered_at,
    updated_at,
    retired_at
from {{ source('telemetry', 'sensor') }}
