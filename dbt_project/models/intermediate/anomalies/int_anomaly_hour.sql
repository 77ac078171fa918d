{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ delete_changed_anomaly_hours() }} set local work_mem = '128MB'",
    indexes=[{'columns': ['series_id', 'bucket'], 'unique': true}],
    post_hook="analyze {{ this }}",
) }}

-- The figures by which hours are compared, computed from the hour and the 24 hours before. An hour in which the unit
-- changed has no mean. offset 0 keeps the planner from reading the whole history: it reads one series after the other.
with
hourly as (
    {%- if is_incremental() %}
    select
        context.bucket,
        context.series_id,
        context.unit,
        context.mean,
        null::double precision as minimum,
        context.maximum,
        context.unchanged_since
    from anomaly_start
    cross join lateral (
        select *
        from {{ this }}
        where
            series_id = anomaly_start.series_id
            and bucket >= anomaly_start.since - interval '{{ threshold("flat_gap") }}'
            and bucket < anomaly_start.since
        offset 0
    ) as context
    union all
    {%- endif %}
    select
        hour.bucket,
        hour.series_id,
        hour.unit,
        hour.mean,
        hour.minimum,
        hour.maximum,
        null::timestamptz as unchanged_since
    {%- if is_incremental() %}
    from anomaly_start
    cross join lateral (
        select *
        from {{ ref('fct_reading_hour') }}
        where series_id = anomaly_start.series_id and bucket >= anomaly_start.since
        offset 0
    ) as hour
    {%- else %}
    from {{ ref('fct_reading_hour') }} as hour
    {%- endif %}
    {{ join_version('hour', 'bucket') }}
    where hour.mean is not null and version.kind = 'number'
),

with_changes as (
    select
        *,
        case
            when unchanged_since is not null then unchanged_since
            when
                minimum = maximum
                and minimum = lag(maximum) over in_order
                and lag(bucket) over in_order >= bucket - interval '{{ threshold("flat_gap") }}'
                then null
            else bucket
        end as changed_at,
        array_agg(mean) over last_day as day_means
    from hourly
    window
        in_order as (partition by series_id, unit order by bucket),
        last_day as (
            partition by series_id, unit order by bucket
            range between interval '23 hours' preceding and current row
        )
)

select
    hour.bucket,
    hour.series_id,
    hour.unit,
    hour.mean,
    hour.maximum,
    case when cardinality(hour.day_means) >= 12 then {{ median_of('hour.day_means') }} end as day_median,
    hour.unchanged_from as unchanged_since
from (
    select
        *,
        max(changed_at) over (partition by series_id, unit order by bucket) as unchanged_from
    from with_changes
) as hour
{%- if is_incremental() %}
where hour.unchanged_since is null
{%- endif %}
