-- depends_on: {{ source('mqtt', 'sensor_messages') }}
select
    id,
    received_at,
    quarantined_at,
    source,
    topic,
    payload,
    retained,
    reason,
    detail,
    readings,
    replayed_at,
    discarded_at
from {{ source('telemetry', 'quarantine') }}
