{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ delete_changed_anomaly_hours() }}",
    indexes=[
        {'columns': ['series_id', 'started_at'], 'unique': true},
        {'columns': ['series_id', 'bucket']},
    ],
) }}

-- Gaps that have ended, in the hour in which they ended: from the time at which the next reading was expected to the
-- time of that reading. The count of readings shows for most hours that they contain no gap; only the other hours are
-- searched reading by reading.
with
hourly as (
    select
        hour.bucket,
        hour.series_id,
        hour.unit,
        coalesce(hour.first_time, hour.bucket) as first_time,
        coalesce(hour.last_time, hour.bucket + interval '1 hour') as last_time,
        hour.sample_count,
        version.interval_seconds * interval '1 second' as interval_length,
        3600 / version.interval_seconds as hourly_count,
        {{ gap_seconds('version.interval_seconds') }} as limit_seconds
    {%- if is_incremental() %}
    from anomaly_start
    cross join lateral (
        select *
        from {{ ref('fct_reading_hour') }}
        where
            series_id = anomaly_start.series_id
            and bucket >= coalesce((
                select max(bucket)
                from {{ ref('fct_reading_hour') }}
                where series_id = anomaly_start.series_id and bucket < anomaly_start.since
            ), anomaly_start.since)
        offset 0
    ) as hour
    {%- else %}
    from {{ ref('fct_reading_hour') }} as hour
    {%- endif %}
    {{ join_version('hour', 'bucket') }}
),

with_time_before as (
    select
        *,
        lag(last_time) over (partition by series_id order by bucket) as time_before
    from hourly
),

sparse as materialized (
    select *
    from with_time_before
    where
        sample_count < hourly_count * (1 - limit_seconds / 7200)
        and last_time - first_time > limit_seconds * interval '1 second'
),

gap as (
    select
        bucket,
        series_id,
        unit,
        time_before + interval_length as started_at,
        first_time as ended_at
    from with_time_before
    where first_time - time_before > limit_seconds * interval '1 second'
    union all
    select
        inside.bucket,
        inside.series_id,
        inside.unit,
        inside.time_before + inside.interval_length as started_at,
        inside.time as ended_at
    from (
        select
            sparse.bucket,
            sparse.series_id,
            sparse.unit,
            sparse.limit_seconds,
            sparse.interval_length,
            reading.time,
            lag(reading.time) over (partition by sparse.series_id, sparse.bucket order by reading.time) as time_before
        from sparse
        cross join lateral (
            select time
            from {{ ref('stg_telemetry__reading') }}
            where
                series_id = sparse.series_id
                and time >= sparse.bucket
                and time < sparse.bucket + interval '1 hour'
            offset 0
        ) as reading
    ) as inside
    where inside.time - inside.time_before > inside.limit_seconds * interval '1 second'
)

select gap.*
from gap
{%- if is_incremental() %}
inner join anomaly_start on gap.series_id = anomaly_start.series_id and gap.bucket >= anomaly_start.since
{%- endif %}
