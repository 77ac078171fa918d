{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ forget_anomaly_hours() }} set local work_mem = '128MB'",
    indexes=[{'columns': ['series_id', 'bucket'], 'unique': true}],
    post_hook="analyze {{ this }}",
) }}

-- What an hour is compared by, from it and the 24 hours before. An hour in which the unit changed has no mean.
-- offset 0 keeps the planner from reading all of history: it looks up one series after the other.
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
    from anomaly_from
    cross join lateral (
        select *
        from {{ this }}
        where
            series_id = anomaly_from.series_id
            and bucket >= anomaly_from.since - interval '24 hours'
            and bucket < anomaly_from.since
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
    from anomaly_from
    cross join lateral (
        select *
        from {{ ref('fct_reading_hour') }}
        where series_id = anomaly_from.series_id and bucket >= anomaly_from.since
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
    where hour.mean is not null and version.kind = 'number'
),

gathered as (
    select
        *,
        case
            when unchanged_since is not null then unchanged_since
            when
                minimum = maximum
                and minimum = lag(maximum) over one
                and lag(bucket) over one >= bucket - interval '24 hours'
                then null
            else bucket
        end as changed_at,
        array_agg(mean) over last_day as day_means
    from hourly
    window
        one as (partition by series_id, unit order by bucket),
        last_day as (
            partition by series_id, unit order by bucket
            range between interval '23 hours' preceding and current row
        )
)

select
    gathered.bucket,
    gathered.series_id,
    gathered.unit,
    gathered.mean,
    gathered.maximum,
    case when cardinality(gathered.day_means) >= 12 then {{ median_of('gathered.day_means') }} end as day_median,
    gathered.still_since as unchanged_since
from (
    select
        *,
        max(changed_at) over (partition by series_id, unit order by bucket) as still_since
    from gathered
) as gathered
{%- if is_incremental() %}
where gathered.unchanged_since is null
{%- endif %}
