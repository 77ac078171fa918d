create or replace view quality.series_silent as
select
    series_id,
    sensor_id,
    quantity,
    greatest(silent_seconds, 0) as measured_value,
    'at most ' || allowed_seconds || ' s without a reading' as threshold,
    case when is_live then silent_seconds > allowed_seconds end as failed,
    case when not is_live then 'its readings are loaded from files' end as reason
from (
    select
        *,
        greatest(60, 3 * interval_seconds) as allowed_seconds
    from quality.series_newest
) as newest;

comment on view quality.series_silent is
'One row a series in service: whether its readings have stopped.';
