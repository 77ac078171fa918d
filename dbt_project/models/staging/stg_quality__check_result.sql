select
    id,
    scan_id,
    checked_at,
    contract,
    dataset,
    column_name,
    check_name,
    check_type,
    outcome,
    measured_value,
    threshold,
    sensor_id,
    series_id,
    duration_seconds
from {{ source('quality', 'check_result') }}
