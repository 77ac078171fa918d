{#- Sorting is off in a full build so that minutes are hashed into their intervals; sorting takes longer. -#}
{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook=[
        "{{ delete_changed_summaries() }}",
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
-- Series without rows: new ones, and those whose interval setting has changed, whose rows the pre-hook has deleted.
unbuilt as (
    select series.series_id
    from series
    where not exists (select 1 from {{ this }} as summary where summary.series_id = series.series_id)
),

periods as (
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
    from periods
    -- A plain join with the real-time part of a continuous aggregate reads the minutes of all series; "distinct on"
    -- removes no rows, but keeps the planner from turning the lateral subquery into a join.
    cross join lateral (
        select distinct on (reading_1m.bucket) *
        from {{ ref('stg_telemetry__reading_1m') }} as reading_1m
        where
            reading_1m.series_id = periods.series_id
            and reading_1m.bucket >= periods.from_time
            and reading_1m.bucket < periods.until_time
    ) as minute
    {% endif %}
),

-- Intervals are counted from midnight (UTC); if they do not divide the day evenly, the last one of the day is shorter.
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

with_bucket_end as (
    select
        *,
        least(
            bucket + make_interval(mins => interval_minutes),
            {{ bucket_of('bucket', 'day') }} + interval '{{ bucket_length("day") }}'
        ) as bucket_end
    from summaries
),

-- Materialized, so that the two bounds are looked up once per version and not once per row.
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

with_registry as (
    select
        with_bucket_end.*,
        with_bucket_end.sum_value / with_bucket_end.sample_count as mean,
        version.sensor_id,
        version.sensor_version_key,
        version.quantity,
        version.unit,
        version.quantity_key,
        version.type,
        version.site,
        version.area,
        coalesce(version.unit_until >= with_bucket_end.bucket_end, true) as has_one_unit,
        -- Expected readings are counted for the time in service, up to now. In the interval in which the series was
        -- registered, counting starts at the registration, or at its first reading if that is earlier; the same holds
        -- for "since", which may have been moved to an earlier time.
        greatest(1, {{ whole_intervals("extract(
            epoch from
            least(with_bucket_end.bucket_end, version.service_until, now())
            - greatest(
                with_bucket_end.bucket,
                case
                    when greatest(version.registered_at, version.since) < with_bucket_end.bucket_end
                        then least(greatest(version.registered_at, version.since), with_bucket_end.first_minute)
                end
            )
        ) / version.interval_seconds") }})::bigint as expected_count
    from with_bucket_end
    {{ join_version('with_bucket_end', 'bucket', relation='versions') }}
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
    {{- figures_in_one_unit(['mean', 'minimum', 'maximum', 'sum_value']) }}
    sample_count,
    expected_count,
    least(1.0, sample_count / expected_count::double precision) as completeness
from with_registry
