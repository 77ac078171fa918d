-- depends_on: {{ source('mqtt', 'sensor_messages') }}
select
    bucket,
    source,
    collector,
    messages,
    decoded,
    ignored,
    quarantined_messages,
    readings,
    stored,
    duplicate,
    replaced,
    quarantined_readings
from {{ source('telemetry', 'intake') }}
