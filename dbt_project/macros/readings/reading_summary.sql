{#- The query of fct_reading_hour and fct_reading_day: all figures of a series per hour or day (grain 'hour' or 'day'),
    computed from the raw readings: a day is as exact as an hour and is not combined from hours. Where retention has dropped
    the raw readings, the figures come from the stored means; those that the means do not have are null.

    In an incremental run the query returns the buckets that delete_changed_buckets has deleted. -#}
{% macro reading_summary(grain) %}
{%- set stored = ref('stg_telemetry__reading_' ~ {'hour': '1h', 'day': '1d'}[grain]) %}
with retention as (
    select dropped_before
    from {{ ref('stg_telemetry__retention') }}
),

{%- if is_incremental() %}

late as (
    select distinct
        series_id,
        {{ bucket_of('bucket', grain) }} as bucket
    from changed_hour
),
{%- endif %}

reading as (
    select
        series_id,
        time,
        value,
        received_at
    from {{ ref('stg_telemetry__reading') }}
    where
        time >= {{ changed_from(grain) }}
        and ((select dropped_before from retention) is null or time >= (select dropped_before from retention))
    {%- if is_incremental() %}

    union all

    -- offset 0 keeps the planner from joining the whole history: it reads one bucket after the other.
    select late_reading.*
    from late
    cross join lateral (
        select
            series_id,
            time,
            value,
            received_at
        from {{ ref('stg_telemetry__reading') }}
        where
            series_id = late.series_id
            and time >= late.bucket
            and time < late.bucket + interval '{{ bucket_length(grain) }}'
            and ((select dropped_before from retention) is null or time >= (select dropped_before from retention))
        offset 0
    ) as late_reading
    {%- endif %}
),

means as (
    select
        {{ mean_columns() | indent(4) }}
    from {{ stored }}
    where
        bucket >= {{ changed_from(grain) }}
        and (select dropped_before from retention) is not null
        and bucket < (select dropped_before from retention)
    {%- if is_incremental() %}

    union all

    select late_mean.*
    from late
    cross join lateral (
        select
            {{ mean_columns() | indent(8) }}
        from {{ stored }}
        where
            series_id = late.series_id
            and bucket = late.bucket
            and (select dropped_before from retention) is not null
            and bucket < (select dropped_before from retention)
        offset 0
    ) as late_mean
    {%- endif %}
),

aggregated as (
    select
        series_id,
        {{ bucket_of('time', grain) }} as bucket,
        min(value) as minimum,
        max(value) as maximum,
        min(time) as first_time,
        max(time) as last_time,
        count(*) as sample_count,
        count(*) filter (
            where received_at - time > {{ late_after() }}
        ) as late_count,
        -- Both arrays have the same order, in which the readings are scanned. Each array is sorted below: so the readings
        -- can be hashed into their groups and the first value looked up, in a third of the time of ordered aggregates.
        array_agg(value) as all_values,
        array_agg(time) as all_times
    from reading
    group by 1, 2
),

summary as (
    select
        aggregated.series_id,
        aggregated.bucket,
        sorted.sum_value / aggregated.sample_count as mean,
        aggregated.minimum,
        aggregated.maximum,
        case when greatest(-aggregated.minimum, aggregated.maximum) <= 1e150 then sorted.standard_deviation end as standard_deviation,
        sorted.quantiles[1] as p05,
        sorted.quantiles[2] as median,
        sorted.quantiles[3] as p95,
        aggregated.all_values[array_position(aggregated.all_times, aggregated.first_time)] as first_value,
        aggregated.all_values[array_position(aggregated.all_times, aggregated.last_time)] as last_value,
        aggregated.first_time,
        aggregated.last_time,
        sorted.sum_value,
        aggregated.sample_count,
        aggregated.late_count,
        aggregated.all_values,
        aggregated.all_times
    from aggregated
    -- Sums of floating-point numbers depend on the order: over sorted values every build gets the same last digit.
    cross join lateral (
        select
            sum(value) as sum_value,
            -- The squares of values beyond 1e154 overflow.
            stddev_samp(value) filter (where value between -1e150 and 1e150) as standard_deviation,
            percentile_cont(array[0.05, 0.5, 0.95]) within group (order by value) as quantiles
        from (
            select value
            from unnest(aggregated.all_values) as value
            order by value
        ) as ascending
    ) as sorted

    union all

    select
        series_id,
        bucket,
        mean,
        minimum,
        maximum,
        null as standard_deviation,
        null as p05,
        null as median,
        null as p95,
        first_value,
        last_value,
        null as first_time,
        null as last_time,
        sum_value,
        sample_count,
        null as late_count,
        null as all_values,
        null as all_times
    from means
),

with_registry as (
    select
        summary.*,
        version.sensor_id,
        version.quantity,
        version.unit,
        version.quantity_key,
        version.sensor_version_key,
        version.type,
        version.site,
        version.area,
        service.expected_count,
        service.out_of_range_count,
        service.has_one_unit
    from summary
    {{ join_version('summary', 'bucket') }}
    -- Each version of the series that overlaps the bucket counts for the time during which it was valid and in service,
    -- up to now. A version that was already retired in the first build that saw it was in service until it was retired.
    cross join lateral (
        select
            -- In the bucket in which the series was registered, counting starts at the registration, or at its first
            -- reading if that is earlier. The same holds for the bucket of "since": readings before it were accepted after
            -- "since" was moved to an earlier time.
            greatest(1, {{ whole_intervals("sum(
                greatest(0, extract(epoch from
                    least(part.valid_to, part.retired_at, summary.bucket + interval '" ~ bucket_length(grain) ~ "', now())
                    - greatest(
                        part.valid_from,
                        summary.bucket,
                        case
                            when
                                greatest(part.registered_at, part.since)
                                < summary.bucket + interval '" ~ bucket_length(grain) ~ "'
                                then least(greatest(part.registered_at, part.since), summary.first_time)
                        end
                    )
                ))
                / part.interval_seconds
            )") }})::bigint as expected_count,
            -- Each reading is compared with the range at its time, and only where a reading of the bucket can be outside.
            sum(
                case
                    when summary.all_values is null then null
                    when summary.minimum < part.minimum or summary.maximum > part.maximum
                        then (
                            select count(*)
                            from unnest(summary.all_values, summary.all_times) as reading (value, time)
                            where
                                (reading.value < part.minimum or reading.value > part.maximum)
                                and reading.time >= part.valid_from
                                and reading.time < part.valid_to
                        )
                    else 0
                end
            )::bigint as out_of_range_count,
            min(part.unit) = max(part.unit) as has_one_unit
        from {{ ref('int_series_history') }} as part
        where
            part.series_id = summary.series_id
            and part.valid_from < summary.bucket + interval '{{ bucket_length(grain) }}'
            and part.valid_to > summary.bucket
    ) as service
)

select
    bucket,
    (bucket at time zone 'UTC')::date as day,
    series_id,
    sensor_id,
    sensor_version_key,
    quantity,
    unit,
    quantity_key,
    type,
    site,
    area,
    {{- figures_in_one_unit([
        'mean', 'minimum', 'maximum', 'standard_deviation', 'p05', 'median', 'p95', 'first_value', 'last_value', 'sum_value'
    ]) }}
    first_time,
    last_time,
    sample_count,
    expected_count,
    least(1.0, sample_count / expected_count::double precision) as completeness,
    late_count,
    out_of_range_count
from with_registry
{% endmacro %}
