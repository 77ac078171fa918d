-- Messages are counted in the minute in which they are written, so only the latest hours can change.
{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{% if is_incremental() %}delete from {{ this }} where bucket >= {{ changed_from('hour') }}{% endif %}",
) }}

select
    date_trunc('hour', bucket, 'UTC') as bucket,
    source,
    sum(messages)::bigint as messages,
    sum(decoded)::bigint as decoded,
    sum(ignored)::bigint as ignored,
    sum(quarantined_messages)::bigint as quarantined_messages,
    sum(readings)::bigint as readings,
    sum(stored)::bigint as stored,
    sum(duplicate)::bigint as duplicate,
    sum(replaced)::bigint as replaced,
    sum(quarantined_readings)::bigint as quarantined_readings,
    bool_and(
        messages = decoded + ignored + quarantined_messages
        and readings = stored + duplicate + replaced + quarantined_readings
    ) as balanced,
    count(distinct bucket)::integer as active_minutes,
    count(distinct collector)::integer as collectors
from {{ ref('stg_telemetry__intake') }}
where bucket >= {{ changed_from('hour') }}
group by 1, 2
