select
    time,
    series_id,
    value,
    received_at
from {{ source('telemetry', 'reading') }}
