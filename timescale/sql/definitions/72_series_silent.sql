create or replace view quality.series_silent as
select
    series_id,
    sensor_id,
    quantity,
    greatest(silent_seconds, 0) as measured_value,
    'at most ' || silent_after_seconds || ' s without a reading' as threshold,
    case when is_live then silent_seconds > silent_after_seconds end as failed,
    case when not is_live then 'its readings are loaded from files' end as reason
from quality.series_newest;

comment on view quality.series_silent is
'One row per series in service: whether it has sent no reading for too long.';
