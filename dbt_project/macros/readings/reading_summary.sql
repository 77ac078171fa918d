{#- Everything about the readings of a series in an hour or a day ('hour', 'day'), from the raw readings: each figure of
    a day is as exact as that of an hour, and no day is put together from hours. Where retention has dropped the raw
    readings, what the stored means still know; the rest is null.

    In an incremental run it holds the buckets that forget_changed has removed. -#}
{% macro reading_summary(grain) %}
{%- set means = ref('stg_telemetry__reading_' ~ {'hour': '1h', 'day': '1d'}[grain]) %}
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

    -- offset 0 keeps the planner from joining all of history: it looks up one bucket after the other.
    select found.*
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
    ) as found
    {%- endif %}
),

kept as (
    select
        {{ mean_columns() | indent(4) }}
    from {{ means }}
    where
        bucket >= {{ changed_from(grain) }}
        and (select dropped_before from retention) is not null
        and bucket < (select dropped_before from retention)
    {%- if is_incremental() %}

    union all

    select found.*
    from late
    cross join lateral (
        select
            {{ mean_columns() | indent(8) }}
        from {{ means }}
        where
            series_id = late.series_id
            and bucket = late.bucket
            and (select dropped_before from retention) is not null
            and bucket < (select dropped_before from retention)
        offset 0
    ) as found
    {%- endif %}
),

raw as (
    select
        series_id,
        {{ bucket_of('time', grain) }} as bucket,
        min(value) as minimum,
        max(value) as maximum,
        min(time) as first_time,
        max(time) as last_time,
        count(*) as sample_count,
        count(*) filter (
            where received_at - time > interval '{{ var("late_after_seconds") | float }} seconds'
        ) as late_count,
        -- Both in the same order, whatever that is. Sorting each array by itself, below, lets the readings be hashed
        -- into their groups, and the first value be looked up: a third of the time that ordered aggregates take.
        array_agg(value) as all_values,
        array_agg(time) as all_times
    from reading
    group by 1, 2
),

summary as (
    select
        raw.series_id,
        raw.bucket,
        sorted.sum_value / raw.sample_count as mean,
        raw.minimum,
        raw.maximum,
        case when greatest(-raw.minimum, raw.maximum) <= 1e150 then sorted.standard_deviation end as standard_deviation,
        sorted.quantiles[1] as p05,
        sorted.quantiles[2] as median,
        sorted.quantiles[3] as p95,
        raw.all_values[array_position(raw.all_times, raw.first_time)] as first_value,
        raw.all_values[array_position(raw.all_times, raw.last_time)] as last_value,
        raw.first_time,
        raw.last_time,
        sorted.sum_value,
        raw.sample_count,
        raw.late_count,
        raw.all_values,
        raw.all_times
    from raw
    -- Sums of floating-point numbers depend on their order: over sorted values every build gets the same last digit.
    cross join lateral (
        select
            sum(one) as sum_value,
            -- The squares of values beyond 1e154 overflow.
            stddev_samp(one) filter (where one between -1e150 and 1e150) as standard_deviation,
            percentile_cont(array[0.05, 0.5, 0.95]) within group (order by one) as quantiles
        from (
            select one
            from unnest(raw.all_values) as one
            order by one
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
    from kept
),

due as (
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
    inner join {{ ref('int_series_history') }} as version
        on
            summary.series_id = version.series_id
            and summary.bucket >= version.valid_from
            and summary.bucket < version.valid_to
    -- Every version that touches the bucket counts for as long as it was valid, until now and while in service. A
    -- version that no build has seen in service has been, until it was retired. Shares of a whole number of intervals
    -- add up to a hair less, in one order of the versions or another: so much is given before it is cut.
    cross join lateral (
        select
            greatest(1, floor(0.000001 + sum(
                greatest(0, extract(epoch from
                    least(part.valid_to, part.retired_at, summary.bucket + interval '{{ bucket_length(grain) }}', now())
                    - greatest(
                        part.valid_from,
                        summary.bucket,
                        -- In the bucket in which the series was registered, it begins there or with its first reading. So
                        -- it does at "since"; readings before that were let in when it was moved back.
                        case
                            when
                                greatest(part.registered_at, part.since)
                                < summary.bucket + interval '{{ bucket_length(grain) }}'
                                then least(greatest(part.registered_at, part.since), summary.first_time)
                        end
                    )
                ))
                / part.interval_seconds
            )))::bigint as expected_count,
            -- Each reading against the range of its time; looked at only where one of the bucket can be outside.
            sum(
                case
                    when summary.all_values is null then null
                    when summary.minimum < part.minimum or summary.maximum > part.maximum
                        then (
                            select count(*)
                            from unnest(summary.all_values, summary.all_times) as one (value, time)
                            where
                                (one.value < part.minimum or one.value > part.maximum)
                                and one.time >= part.valid_from
                                and one.time < part.valid_to
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
    {%- for figure in [
        'mean', 'minimum', 'maximum', 'standard_deviation', 'p05', 'median', 'p95', 'first_value', 'last_value', 'sum_value'
    ] %}
    case when has_one_unit then {{ figure }} end as {{ figure }},
    {%- endfor %}
    first_time,
    last_time,
    sample_count,
    expected_count,
    least(1.0, sample_count / expected_count::double precision) as completeness,
    late_count,
    out_of_range_count
from due
{% endmacro %}
