{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ delete_changed_load_cycles() }}",
) }}

-- A cycle is one phase, or several phases that midnight separates: each of them but the first names the last reading of
-- the phase before it (previous_reading_at).
with
phase as (
    select
        phase.*,
        {%- if is_incremental() %}
        phase.started_at >= load_cycle_range.first_start as is_rebuilt
        {%- else %}
        true as is_rebuilt
        {%- endif %}
    from {{ ref('int_load_phase') }} as phase
    {%- if is_incremental() %}
    inner join load_cycle_range
        on
            phase.series_id = load_cycle_range.series_id
            and phase.started_at >= load_cycle_range.previous_start
            and phase.started_at < load_cycle_range.next_start
    {%- endif %}
),

linked as (
    select
        *,
        (previous_reading_at = lag(last_reading_at) over in_order and unit = lag(unit) over in_order) is true as is_continued
    from phase
    window in_order as (partition by series_id order by started_at, bucket)
),

numbered as (
    select
        *,
        sum((not is_continued)::integer) over (partition by series_id order by started_at, bucket) as cycle
    from linked
),

cycle as (
    select
        series_id,
        cycle,
        bool_and(is_rebuilt) as is_rebuilt,
        min(unit) as unit,
        min(started_at) as started_at,
        max(ended_at) as ended_at,
        (array_agg(start_seen order by bucket))[1] as start_seen,
        (array_agg(end_seen order by bucket desc))[1] as end_seen,
        max(longest_gap) as longest_gap,
        sum(sample_count)::bigint as sample_count,
        sum(sum_value order by bucket) as sum_value,
        sum(integral order by bucket) as integral,
        max(peak) as peak,
        (array_agg(base_level order by bucket))[1] as base,
        (array_agg(load_level order by bucket))[1] as load_level,
        (array_agg(low_threshold order by bucket))[1] as low_threshold,
        (array_agg(high_threshold order by bucket))[1] as high_threshold
    from numbered
    group by series_id, cycle
),

ordered as (
    select
        *,
        {{ seconds('ended_at - started_at') }} as duration_seconds,
        case
            when start_seen and lag(end_seen) over in_order
                then {{ seconds('started_at - lag(ended_at) over in_order') }}
        end as idle_before_seconds
    from cycle
    window in_order as (partition by series_id order by cycle)
)

select
    ordered.started_at,
    ordered.ended_at,
    (ordered.started_at at time zone 'UTC')::date as day,
    ordered.series_id,
    version.sensor_id,
    version.sensor_version_key,
    version.quantity,
    ordered.unit,
    version.quantity || ' ' || ordered.unit as quantity_key,
    version.type,
    version.site,
    version.area,
    ordered.duration_seconds,
    ordered.idle_before_seconds,
    ordered.sum_value / ordered.sample_count as mean,
    ordered.peak,
    ordered.base,
    ordered.peak - ordered.base as rise,
    ordered.integral,
    ordered.integral - ordered.base * ordered.duration_seconds as integral_above_base,
    ordered.load_level,
    ordered.low_threshold,
    ordered.high_threshold,
    ordered.sample_count,
    least(1, ordered.sample_count * version.interval_seconds / greatest(ordered.duration_seconds, version.interval_seconds))
        as completeness,
    {{ seconds('ordered.longest_gap') }} as longest_gap_seconds,
    ordered.start_seen,
    ordered.end_seen,
    ordered.start_seen and ordered.end_seen and ordered.longest_gap = interval '0 seconds' as is_complete
from ordered
{{ join_version('ordered', 'started_at') }}
where ordered.is_rebuilt
