{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ forget_anomaly_hours() }}",
    indexes=[
        {'columns': ['series_id', 'started_at'], 'unique': true},
        {'columns': ['series_id', 'bucket']},
    ],
) }}

-- Gaps that have ended, by the hour in which they did: from when the next reading was due to when it came. Most hours
-- show by the count of their readings that there is no gap in them; only the others are looked at reading by reading.
with
hourly as (
    select
        hour.bucket,
        hour.series_id,
        hour.unit,
        coalesce(hour.first_time, hour.bucket) as first_time,
        coalesce(hour.last_time, hour.bucket + interval '1 hour') as last_time,
        hour.sample_count,
        version.interval_seconds * interval '1 second' as due_after,
        3600 / version.interval_seconds as due_count,
        greatest({{ var('gap_after_intervals') }} * version.interval_seconds, 300) as limit_seconds
    {%- if is_incremental() %}
    from anomaly_from
    cross join lateral (
        select *
        from {{ ref('fct_reading_hour') }}
        where
            series_id = anomaly_from.series_id
            and bucket >= coalesce((
                select max(bucket)
                from {{ ref('fct_reading_hour') }}
                where series_id = anomaly_from.series_id and bucket < anomaly_from.since
            ), anomaly_from.since)
        offset 0
    ) as hour
    {%- else %}
    from {{ ref('fct_reading_hour') }} as hour
    {%- endif %}
    inner join {{ ref('int_series_history') }} as version
        on
            hour.series_id = version.series_id
            and hour.bucket >= version.valid_from
            and hour.bucket < version.valid_to
),

followed as (
    select
        *,
        lag(last_time) over (partition by series_id order by bucket) as time_before
    from hourly
),

sparse as materialized (
    select *
    from followed
    where
        sample_count < due_count * (1 - limit_seconds / 7200)
        and last_time - first_time > limit_seconds * interval '1 second'
),

gap as (
    select
        bucket,
        series_id,
        unit,
        time_before + due_after as started_at,
        first_time as ended_at
    from followed
    where first_time - time_before > limit_seconds * interval '1 second'
    union all
    select
        inside.bucket,
        inside.series_id,
        inside.unit,
        inside.time_before + inside.due_after as started_at,
        inside.time as ended_at
    from (
        select
            sparse.bucket,
            sparse.series_id,
            sparse.unit,
            sparse.limit_seconds,
            sparse.due_after,
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
inner join anomaly_from on gap.series_id = anomaly_from.series_id and gap.bucket >= anomaly_from.since
{%- endif %}
