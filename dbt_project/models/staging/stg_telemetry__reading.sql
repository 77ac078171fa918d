-- depends_on: {{ source('mqtt', 'sensor_messages') }}
select
    time,
    series_id,
    value,
    received_at
from {{ source('telemetry', 'reading') }}
