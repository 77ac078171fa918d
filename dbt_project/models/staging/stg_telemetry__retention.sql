select
    keep_days,
    dropped_before
from {{ source('telemetry', 'retention') }}
