-- depends_on: {{ source('mqtt', 'sensor_messages') }}
select
    bucket,
    series_id,
    mean,
    minimum,
    maximum,
    first_value,
    last_value,
    sum_value,
    sample_count
from {{ source('telemetry', 'reading_1h') }}
