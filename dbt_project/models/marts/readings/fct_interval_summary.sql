{#- Minutes are hashed into their intervals; the planner would sort them, which takes longer. -#}
{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook=[
        "{{ forget_summaries() }}",
        "set local work_mem = '64MB'" ~ ("" if is_incremental() else "; set local enable_sort = off"),
    ],
) }}

with series as (
    select
        series_id,
        {{ summary_minutes('quantity') }} as interval_minutes
    from {{ ref('stg_telemetry__series') }}
),

{% if is_incremental() %}
-- Series without a row: new ones, and those whose interval was set anew, whose rows the pre-hook has deleted.
unbuilt as (
    select series.series_id
    from series
    where not exists (select 1 from {{ this }} as kept where kept.series_id = series.series_id)
),

spans as (
    select
        series_id,
        timestamptz '-infinity' as from_time,
        {{ changed_from('day') }} as until_time
    from unbuilt
    union all
    select distinct
        series_id,
        {{ bucket_of('bucket', 'day') }},
        {{ bucket_of('bucket', 'day') }} + interval '{{ bucket_length("day") }}'
    from changed_hour
    where series_id not in (select unbuilt.series_id from unbuilt)
),
{% endif %}

minutes as (
    select
        bucket,
        series_id,
        minimum,
        maximum,
        sum_value,
        sample_count
    from {{ ref('stg_telemetry__reading_1m') }}
    where bucket >= {{ changed_from('day') }}
    {% if is_incremental() %}
    union all
    select
        minute.bucket,
        minute.series_id,
        minute.minimum,
        minute.maximum,
        minute.sum_value,
        minute.sample_count
    from spans
    -- A join with the real-time part of a continuous aggregate reads the minutes of all series; "distinct on" removes
    -- nothing, but keeps the planner from making a join of it.
    cross join lateral (
        select distinct on (one.bucket) *
        from {{ ref('stg_telemetry__reading_1m') }} as one
        where one.series_id = spans.series_id and one.bucket >= spans.from_time and one.bucket < spans.until_time
    ) as minute
    {% endif %}
),

-- Intervals are counted from midnight (UTC); where they don't divide the day, its last one is shorter.
summaries as (
    select
        date_bin(
            make_interval(mins => series.interval_minutes), minutes.bucket, {{ bucket_of('minutes.bucket', 'day') }}
        ) as bucket,
        minutes.series_id,
        series.interval_minutes,
        min(minutes.minimum) as minimum,
        max(minutes.maximum) as maximum,
        min(minutes.bucket) as first_minute,
        sum(minutes.sum_value) as sum_value,
        sum(minutes.sample_count)::bigint as sample_count
    from minutes
    inner join series on minutes.series_id = series.series_id
    group by 1, 2, 3
),

ended as (
    select
        *,
        least(
            bucket + make_interval(mins => interval_minutes),
            {{ bucket_of('bucket', 'day') }} + interval '{{ bucket_length("day") }}'
        ) as bucket_end
    from summaries
),

-- Materialized, or the two bounds would be looked up for every row.
versions as materialized (
    select
        version.*,
        (
            select min(later.valid_from)
            from {{ ref('int_series_history') }} as later
            where
                later.series_id = version.series_id
                and later.valid_from > version.valid_from
                and later.unit <> version.unit
        ) as unit_until,
        (
            select min(coalesce(later.retired_at, later.valid_from))
            from {{ ref('int_series_history') }} as later
            where
                later.series_id = version.series_id
                and later.valid_from >= version.valid_from
                and later.retired_at is not null
        ) as service_until
    from {{ ref('int_series_history') }} as version
),

named as (
    select
        ended.*,
        version.sensor_id,
        version.sensor_version_key,
        version.quantity,
        version.unit,
        version.quantity_key,
        version.type,
        version.site,
        version.area,
        coalesce(version.unit_until >= ended.bucket_end, true) as has_one_unit,
        -- Due is what the time in service says, until now. The interval in which the series was registered begins with
        -- that, or with its first reading; so does that of "since", which may have been moved back.
        greatest(1, floor(0.000001 + extract(
            epoch from
            least(ended.bucket_end, version.service_until, now())
            - greatest(
                ended.bucket,
                case
                    when greatest(version.registered_at, version.since) < ended.bucket_end
                        then least(greatest(version.registered_at, version.since), ended.first_minute)
                end
            )
        ) / version.interval_seconds))::bigint as expected_count
    from ended
    inner join versions as version
        on
            ended.series_id = version.series_id
            and ended.bucket >= version.valid_from
            and ended.bucket < version.valid_to
)

select
    bucket,
    (bucket at time zone 'UTC')::date as day,
    interval_minutes,
    series_id,
    sensor_id,
    sensor_version_key,
    quantity,
    unit,
    quantity_key,
    type,
    site,
    area,
    case when has_one_unit then sum_value / sample_count end as mean,
    case when has_one_unit then minimum end as minimum,
    case when has_one_unit then maximum end as maximum,
    case when has_one_unit then sum_value end as sum_value,
    sample_count,
    expected_count,
    least(1.0, sample_count / expected_count::double precision) as completeness
from named
