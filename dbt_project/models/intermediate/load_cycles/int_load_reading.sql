{{ config(materialized='ephemeral') }}

-- The periods from which readings are needed: each day, the day before, and the neighbours of the first and the last
-- reading.
with period as materialized (
    select
        merged.series_id,
        coalesce(lower(range.period), '-infinity') as starts_at,
        coalesce(upper(range.period), 'infinity') as ends_at
    from (
        select
            build.series_id,
            range_agg(tstzrange(
                lower(range.days) - interval '1 day' - build.gap_limit, upper(range.days) + build.gap_limit
            )) as periods
        from {{ ref('int_load_build_days') }} as build
        cross join unnest(build.days) as range (days)
        group by build.series_id
    ) as merged
    cross join unnest(merged.periods) as range (period)
),

-- Implausible readings carry no information about the load.
plausible as (
    select
        line.line,
        line.gap_limit,
        reading.time,
        reading.value,
        lag(reading.time) over in_order as previous_time,
        lag(reading.value) over in_order as previous_value,
        lead(reading.time) over in_order as next_time,
        lead(reading.value) over in_order as next_value
    from period
    inner join {{ ref('stg_telemetry__reading') }} as reading
        on
            period.series_id = reading.series_id
            and period.starts_at <= reading.time
            and period.ends_at > reading.time
    {{ join_version('reading', 'time', version='line', relation=ref('int_load_line')) }}
            and reading.value between line.minimum and line.maximum
    window in_order as (partition by line.line order by reading.time)
),

neighbours as (
    select
        line,
        gap_limit,
        time,
        value,
        case when time - previous_time <= gap_limit then previous_time end as previous_time,
        case when next_time - time <= gap_limit then next_time end as next_time,
        case when time - previous_time <= gap_limit then previous_value else value end as previous_value,
        case when next_time - time <= gap_limit then next_value else value end as next_value
    from plausible
)

-- The median of three keeps the position of edges and removes values that only a single reading has.
select
    line,
    gap_limit,
    time,
    value,
    previous_time,
    next_time,
    {{ bucket_of('time', 'day') }} as day,
    greatest(least(previous_value, value), least(greatest(previous_value, value), next_value)) as smoothed_value
from neighbours
