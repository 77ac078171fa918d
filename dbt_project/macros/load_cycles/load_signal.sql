{#- The first steps of int_load_phase. A line is a series in one unit. version, span: the lines that are searched for load,
    and the days of each series to compute; smooth: their readings, made smooth. -#}
{% macro load_signal() -%}
-- line: a series in one unit.
version as materialized (
    select
        series_id,
        unit,
        dense_rank() over (order by series_id, unit) as line,
        coalesce(minimum, '-infinity') as minimum,
        coalesce(maximum, 'infinity') as maximum,
        {{ gap_limit('interval_seconds') }} as gap_limit,
        valid_from,
        valid_to
    from {{ ref('int_series_history') }}
    where quantity in ({{ load_quantities() }})
),

span as materialized (
    select
        version.series_id,
        max(version.gap_limit) as gap_limit,
        {%- if is_incremental() %}
        load_span.days
        {%- else %}
        tstzmultirange(tstzrange(null, null)) as days
        {%- endif %}
    from version
    {%- if is_incremental() %}
    inner join load_span on version.series_id = load_span.series_id
    group by version.series_id, load_span.days
    {%- else %}
    group by version.series_id
    {%- endif %}
),

-- The times from which readings are needed: each day, the day before, and the neighbours of the first and last reading.
period as materialized (
    select
        united.series_id,
        coalesce(lower(one.period), '-infinity') as since,
        coalesce(upper(one.period), 'infinity') as until
    from (
        select
            span.series_id,
            range_agg(tstzrange(
                lower(one.day) - interval '1 day' - span.gap_limit, upper(one.day) + span.gap_limit
            )) as periods
        from span
        cross join unnest(span.days) as one (day)
        group by span.series_id
    ) as united
    cross join unnest(united.periods) as one (period)
),

-- Implausible readings say nothing about the load.
reading as (
    select
        version.line,
        version.gap_limit,
        reading.time,
        reading.value,
        lag(reading.time) over one as previous_time,
        lag(reading.value) over one as previous_value,
        lead(reading.time) over one as next_time,
        lead(reading.value) over one as next_value
    from period
    inner join {{ ref('stg_telemetry__reading') }} as reading
        on
            period.series_id = reading.series_id
            and period.since <= reading.time
            and period.until > reading.time
    inner join version
        on
            reading.series_id = version.series_id
            and reading.time >= version.valid_from
            and reading.time < version.valid_to
            and reading.value between version.minimum and version.maximum
    window one as (partition by version.line order by reading.time)
),

-- level: the median of a reading and its two neighbours. It leaves edges where they are and takes out what only a
-- single reading shows.
neighbour as (
    select
        line,
        gap_limit,
        time,
        value,
        case when time - previous_time <= gap_limit then previous_time end as previous_time,
        case when next_time - time <= gap_limit then next_time end as next_time,
        case when time - previous_time <= gap_limit then previous_value else value end as before,
        case when next_time - time <= gap_limit then next_value else value end as after
    from reading
),

smooth as materialized (
    select
        line,
        gap_limit,
        time,
        value,
        previous_time,
        next_time,
        {{ bucket_of('time', 'day') }} as day,
        greatest(least(before, value), least(greatest(before, value), after)) as level
    from neighbour
)
{%- endmacro %}
