{#- Load cycles: which series have them, and which of their days a build computes anew. -#}


{#- The quantities that are searched for load cycles, as a list of SQL. LOAD_QUANTITIES in the environment (names with
    commas or spaces between), or the dbt variable load_quantities. -#}
{% macro load_quantities() -%}
    {%- set named = env_var('LOAD_QUANTITIES', '').replace(',', ' ').split() or var('load_quantities') -%}
    {%- for name in named %}{{ ', ' if not loop.first }}'{{ name | replace("'", "''") }}'{% endfor %}
{%- endmacro %}


{#- No reading for longer than this is a gap: some intervals of the series, a day at most. -#}
{% macro gap_limit(interval_seconds) -%}
    least({{ var('gap_after_intervals') }} * {{ interval_seconds }} * interval '1 second', interval '1 day')
{%- endmacro %}


{#- How far before a day its readings are looked at to know the state in which the day begins. -#}
{% macro load_context() -%}
    interval '6 hours'
{%- endmacro %}


{#- For pre-hooks: makes the temporary table load_span, one row a series: the days to compute anew, as ranges of time.
    A reading counts for the levels of its day and of the next, and at midnight for the state on the other side. -#}
{% macro take_load_spans() %}
{{ take_changed_hours('hour') }}
    {%- if is_incremental() %}
create temporary table load_span on commit drop as
select
    series.series_id,
    range_agg(tstzrange(
        date_trunc('day', changed.since - series.gap_limit, 'UTC'),
        date_trunc('day', changed.until + series.gap_limit, 'UTC') + interval '2 days'
    )) as days
from (
    select
        series_id,
        max({{ gap_limit('interval_seconds') }}) as gap_limit
    from {{ ref('int_series_history') }}
    where quantity in ({{ load_quantities() }})
    group by series_id
) as series
cross join lateral (
    select
        bucket as since,
        bucket + interval '1 hour' as until
    from changed_hour
    where series_id = series.series_id
    union all
    select
        {{ changed_from('hour') }},
        null
) as changed
group by series.series_id;
    {%- endif %}
{% endmacro %}


{#- For the pre-hook of the phases: take_load_spans, and removes the days that are to be computed again. -#}
{% macro forget_load_phases() %}
{{ take_load_spans() }}
    {%- if is_incremental() %}
delete from {{ this }} as old
using load_span
where
    old.series_id = load_span.series_id
    and old.bucket >= lower(range_merge(load_span.days))
    and load_span.days @> old.bucket;
    {%- endif %}
{% endmacro %}


{#- For the pre-hook of the cycles: makes the temporary table load_chain, one row a series: from which cycle on and up to
    which other one they are put together anew. A cycle may reach from days that are computed anew into others, and knows
    when the one before it ended: so it begins with the last cycle that set in before these days, and takes in the first
    one that set in after them. Only phases that nothing precedes are such bounds. -#}
{% macro forget_load_cycles() %}
{{ take_load_spans() }}
    {%- if is_incremental() %}
create temporary table load_chain on commit drop as
select
    bound.series_id,
    bound.since,
    bound.until,
    coalesce((
        select phase.started_at
        from {{ ref('int_load_phase') }} as phase
        where
            phase.series_id = bound.series_id
            and phase.bucket <= bound.since
            and phase.started_at < bound.since
        order by phase.bucket desc, phase.started_at desc
        limit 1
    ), bound.since) as previous
from (
    select
        load_span.series_id,
        coalesce((
            select phase.started_at
            from {{ ref('int_load_phase') }} as phase
            where
                phase.series_id = load_span.series_id
                and phase.bucket < lower(range_merge(load_span.days))
                and phase.previous_reading_at is null
            order by phase.bucket desc, phase.started_at desc
            limit 1
        ), '-infinity') as since,
        coalesce((
            select phase.started_at
            from {{ ref('int_load_phase') }} as phase
            where
                phase.series_id = load_span.series_id
                and phase.bucket >= upper(range_merge(load_span.days))
                and phase.previous_reading_at is null
            order by phase.bucket, phase.started_at
            offset 1
            limit 1
        ), 'infinity') as until
    from load_span
) as bound;
delete from {{ this }} as old
using load_chain
where
    old.series_id = load_chain.series_id
    and old.started_at >= load_chain.since
    and old.started_at < load_chain.until;
    {%- endif %}
{% endmacro %}


{#- Length of an interval in seconds, as a double precision. -#}
{% macro seconds(length) -%}
    extract(epoch from {{ length }})::double precision
{%- endmacro %}
