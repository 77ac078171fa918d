select
    series_id,
    bucket,
    noted_at
from {{ source('telemetry', 'late_hour') }}
