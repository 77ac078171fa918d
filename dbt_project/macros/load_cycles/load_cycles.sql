{#- Load cycles: which series have them, and which of their days a build computes again. -#}


{#- The quantities that are searched for load cycles, as a list of SQL: LOAD_QUANTITIES in the environment (names separated
    by commas or spaces), or the dbt variable load_quantities. -#}
{% macro load_quantities() -%}
    {%- set names = env_var('LOAD_QUANTITIES', '').replace(',', ' ').split() or var('load_quantities') -%}
    {%- for name in names %}{{ ', ' if not loop.first }}'{{ name | replace("'", "''") }}'{% endfor %}
{%- endmacro %}


{#- A time without readings that is longer than this is a gap: some intervals of the series, at most a day. -#}
{% macro gap_limit(interval_seconds) -%}
    least({{ var('gap_after_intervals') }} * {{ interval_seconds }} * interval '1 second', interval '1 day')
{%- endmacro %}


{#- How far before a day its readings are read, to know the state in which the day begins. -#}
{% macro load_context() -%}
    interval '6 hours'
{%- endmacro %}


{#- For pre-hooks: creates the temporary table load_build_days, one row per series: the days to compute, as ranges of time.
    A build of everything computes all days. In an incremental build a reading affects the levels of its day and of the
    next day, and near midnight the state on the other side. -#}
{% macro create_load_build_days() %}
{{ create_changed_hours('hour') }}
create temporary table load_build_days on commit drop as
select
    series.series_id,
    series.gap_limit,
    {%- if is_incremental() %}
    range_agg(tstzrange(
        date_trunc('day', changed.first_time - series.gap_limit, 'UTC'),
        date_trunc('day', changed.last_time + series.gap_limit, 'UTC') + interval '2 days'
    )) as days
    {%- else %}
    tstzmultirange(tstzrange(null, null)) as days
    {%- endif %}
from (
    select
        series_id,
        max({{ gap_limit('interval_seconds') }}) as gap_limit
    from {{ ref('int_series_history') }}
    where quantity in ({{ load_quantities() }})
    group by series_id
) as series
{%- if is_incremental() %}
cross join lateral (
    select
        bucket as first_time,
        bucket + interval '1 hour' as last_time
    from changed_hour
    where series_id = series.series_id
    union all
    select
        {{ changed_from('hour') }},
        null
) as changed
group by series.series_id, series.gap_limit
{%- endif %};
analyze load_build_days;
{% endmacro %}


{#- For the pre-hook of int_load_phase: create_load_build_days, and deletes the days that are computed again. -#}
{% macro delete_changed_load_phases() %}
{{ create_load_build_days() }}
    {%- if is_incremental() %}
delete from {{ this }} as old
using load_build_days as build
where
    old.series_id = build.series_id
    and old.bucket >= lower(range_merge(build.days))
    and build.days @> old.bucket;
    {%- endif %}
{% endmacro %}


{#- For the pre-hook of fct_load_cycle: creates the temporary table load_cycle_range, one row per series: the first cycle
    that is put together again (first_start), and the first after it that is not (next_start). A cycle may extend from days
    that are computed again into others, and needs the end of the cycle before it: so the range begins with the last cycle
    that started before these days, and includes the first one that started after them. Only phases that do not continue
    another phase can be such bounds. Then deletes the cycles of the range. -#}
{% macro delete_changed_load_cycles() %}
    {%- if is_incremental() %}
{{ create_load_build_days() }}
create temporary table load_cycle_range on commit drop as
select
    bounds.series_id,
    bounds.first_start,
    bounds.next_start,
    coalesce((
        select phase.started_at
        from {{ ref('int_load_phase') }} as phase
        where
            phase.series_id = bounds.series_id
            and phase.bucket <= bounds.first_start
            and phase.started_at < bounds.first_start
        order by phase.bucket desc, phase.started_at desc
        limit 1
    ), bounds.first_start) as previous_start
from (
    select
        build.series_id,
        coalesce((
            select phase.started_at
            from {{ ref('int_load_phase') }} as phase
            where
                phase.series_id = build.series_id
                and phase.bucket < lower(range_merge(build.days))
                and phase.previous_reading_at is null
            order by phase.bucket desc, phase.started_at desc
            limit 1
        ), '-infinity') as first_start,
        coalesce((
            select phase.started_at
            from {{ ref('int_load_phase') }} as phase
            where
                phase.series_id = build.series_id
                and phase.bucket >= upper(range_merge(build.days))
                and phase.previous_reading_at is null
            order by phase.bucket, phase.started_at
            offset 1
            limit 1
        ), 'infinity') as next_start
    from load_build_days as build
) as bounds;
delete from {{ this }} as old
using load_cycle_range as changed
where
    old.series_id = changed.series_id
    and old.started_at >= changed.first_start
    and old.started_at < changed.next_start;
    {%- endif %}
{% endmacro %}


{#- Length of an interval in seconds, as a double precision. -#}
{% macro seconds(length) -%}
    extract(epoch from {{ length }})::double precision
{%- endmacro %}
